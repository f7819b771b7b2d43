"""Peaks over threshold: a level that is passed with a stated probability, from a Pareto tail of the key's own scores.

A key's high quantile is tracked; what lies above it is kept in a ring of the newest excesses, to which the tail is
fitted. `drifting` first takes a moving level off the score, for keys whose level wanders. Must not know settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Ints, Slots
from streamae.core.columns import Columns, Field
from streamae.core.moments import learn as learn_moments
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.learning import SD_FLOOR, Learning, floored, track_quantile
from streamae.core.thresholds.rule import Judgement, Wave, mean_state
from streamae.core.thresholds.spec import MAX_PROBABILITY, PROBABILITY, RuleSpec, RuleWords
from streamae.core.thresholds.tails import fit, level_of, log_survival

LEVEL_PROBABILITY = 0.98  # of the level above which a score is an excess, as in SPOT
RING = 32  # newest excesses: 1,600 windows of history at 2 %
MIN_EXCESSES = 8  # fewer are taken for an exponential tail
MIN_PROBABILITY = 1e-9  # of passing the threshold


@dataclass(frozen=True, slots=True)
class PeaksRule:
    """threshold = level + (scale / shape) ((p / 0.02)^-shape - 1), GPD fitted to the newest excesses over the level.

    Reference:
        Siffer et al. 2017, "Anomaly detection in streams with extreme value theory", eq. 1, algorithms 1 (SPOT) and 2
        (DSPOT). We differ: the level follows a tracked quantile, the newest excesses count, the fit is in closed form
        (`core.thresholds.tails`), a new normal is adopted because the level goes on through alarms, and the moving
        level is an exponential mean in capped steps. Without any alarm the tail would be cut off where the threshold
        stands, and each fit bring it lower: of each run of alarms the first counts, as in the declustering of Coles
        2001, "An introduction to statistical modeling of extreme values", section 5.3.2, but for no more than the
        threshold, so that no anomaly hides the next one.

    Attributes:
        probability: of a window of a quiet key above the threshold, in (0, 0.02].
        learning: half-life, smoothing and the level of the calibration.
        is_drifting: whether a moving level is taken off first.
    """

    probability: float
    learning: Learning
    is_drifting: bool = False

    def fields(self, features: int) -> dict[str, Field]:  # noqa: ARG002 - other rules look at single features
        """Return seven numbers and the ring; a new key starts at the level of the calibration."""
        mean, sd = self.learning.prior_mean, self.learning.start_sd
        moving = "drift_" if self.is_drifting else ""
        return {
            "count": Field("<i8"),
            "newest": Field("<i8"),
            "smoothed": Field("<f8"),
            f"{moving}mean": Field("<f8", (), mean),
            "variance": Field("<f8", (), sd**2),
            "level": Field("<f8", (), 2.0 * sd + (0.0 if self.is_drifting else mean)),
            "excess_count": Field("<i8"),
            "excesses": Field("<f4", (RING,)),
        }

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Change nothing: the calibration's level is a good start."""

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Hold the smoothed score against the tail."""
        slots, means = wave.slots, states[self._mean][wave.slots]
        sds = floored(np.sqrt(states["variance"][slots]), means)
        smoothed = self.learning.smooth(wave, states["smoothed"][slots])
        levels = states["level"][slots] + (means if self.is_drifting else 0.0)
        shapes, scales = _tail(states, slots, sds)
        probability = min(max(self.probability, MIN_PROBABILITY), MAX_PROBABILITY)
        share = np.full(len(slots), probability / (1.0 - LEVEL_PROBABILITY))
        thresholds = levels + np.maximum(level_of(share, shapes, scales), 0.0)
        survival = log_survival(np.maximum(smoothed - levels, 0.0), shapes, scales) + np.log(1.0 - LEVEL_PROBABILITY)
        return Judgement(smoothed, thresholds, means, sds, -survival, states["count"][slots], (levels,))

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:  # noqa: ARG002 - also while mute
        """Keep an excess that is no alarm or the first of its run; move mean, variance and level in capped steps."""
        slots, counts, sds = wave.slots, judgement.counts, judgement.sds
        levels, scores = judgement.workings[0], judgement.scores
        thresholds = judgement.thresholds
        is_onset = (scores > thresholds) & (states["smoothed"][slots] <= thresholds)
        kept = np.flatnonzero((scores > levels) & ((scores <= thresholds) | is_onset))
        _keep(states, slots[kept], (np.minimum(scores, thresholds) - levels)[kept])
        weights = self.learning.weights(wave, counts, states["newest"][slots])
        states[self._mean][slots], states["variance"][slots] = learn_moments(
            judgement.means, states["variance"][slots], judgement.scores, weights, self.learning.cap_sigma * sds
        )
        offsets = judgement.scores - (judgement.means if self.is_drifting else 0.0)
        states["level"][slots] = track_quantile(states["level"][slots], offsets, sds, LEVEL_PROBABILITY)
        states["smoothed"][slots] = judgement.scores
        states["count"][slots] = counts + 1
        states["newest"][slots] = wave.end_times_ms

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """Mean of levels with the spread between keys; of the excesses the newest of all keys in turn."""
        found = mean_state(states, {self._mean: "variance"}, ("level",))
        taken = np.minimum(states["excess_count"], RING)
        pool = [ring[:count] for ring, count in zip(states["excesses"], taken, strict=True)]
        joined = np.sort(np.concatenate(pool)) if pool else np.zeros(0, dtype=np.float32)
        size = min(RING, len(joined))
        ring = np.zeros(RING, dtype=np.float32)
        ring[:size] = joined[np.linspace(0, max(len(joined) - 1, 0), size).round().astype(np.int64)]
        return found | {"excesses": ring, "excess_count": np.array(size)}

    @property
    def _mean(self) -> str:
        return "drift_mean" if self.is_drifting else "mean"


def _tail(states: Columns, slots: Slots, sds: Doubles) -> tuple[Doubles, Doubles]:
    """Return shapes and scales; few excesses are taken for an exponential tail of one sd."""
    counts: Ints = np.minimum(states["excess_count"][slots], RING)
    shapes, scales = fit(states["excesses"][slots].astype(np.float64), counts)
    is_thin = counts < MIN_EXCESSES
    floors = SD_FLOOR * sds
    return np.where(is_thin, 0.0, shapes), np.maximum(np.where(is_thin, sds, scales), floors)


def _keep(states: Columns, slots: Slots, excesses: Doubles) -> None:
    """Write excesses over the oldest ones."""
    numbers = states["excess_count"][slots]
    states["excesses"][slots, numbers % RING] = excesses
    states["excess_count"][slots] = numbers + 1


PHRASE = "Pareto tail, or the same off a moving level"
POT = RuleSpec(
    "pot",
    "pot",
    RuleWords(
        phrase=PHRASE,
        alarm_when="rarer than `probability` by a Pareto tail fitted to the newest 32 excesses of the key",
        formula="T > u + (b / c) ((p / 0.02)^-c - 1), where 2 % of scores pass u, and c, b are shape and scale of a"
        " Pareto tail of the newest 32 excesses (of fewer than 8: c = 0, b = s); the first alarm of a run is one too,"
        " as high as the threshold was",
        source="Siffer et al. 2017 (SPOT); Hosking & Wallis 1987 for the fit; Coles 2001 for the runs",
    ),
    parameters=(PROBABILITY,),
    level="probability",
    build=lambda knobs, shared: PeaksRule(knobs["probability"], shared.learning),
    from_budget=lambda share: {"probability": share},
)
DSPOT = RuleSpec(
    "dspot",
    "dspot",  # its numbers mean something else, off a moving level
    RuleWords(
        phrase=PHRASE,
        alarm_when="the same of the score less a moving level",
        formula="the same of T less a moving level",
        source="Siffer et al. 2017 (DSPOT)",
    ),
    parameters=(PROBABILITY,),
    level="probability",
    build=lambda knobs, shared: PeaksRule(knobs["probability"], shared.learning, is_drifting=True),
    from_budget=lambda share: {"probability": share},
)
