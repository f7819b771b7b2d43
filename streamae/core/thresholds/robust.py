"""Median and median absolute deviation: mean + k sigma for scores whose tail would spoil mean and sigma.

Both are followed by stochastic approximation, one comparison a score, so that no score moves them by more than a
fixed part of the spread however high it is. Must not know settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Flags
from streamae.core.columns import Columns, Field
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.learning import SD_FLOOR, Learning, floored, k_of_share, sigma_rarity
from streamae.core.thresholds.rule import Judgement, Wave, mean_state
from streamae.core.thresholds.spec import K, RuleSpec, RuleWords

CONSISTENCY = 1.4826  # sigma of a normal distribution over its MAD
FREE_SCORES = 8  # the first ones of a key count in full: it may be far from where new keys start
GAIN = 2.0  # MADs a comparison, up or down: of normal scores half of 1 / density at the median is 1.86 MAD


@dataclass(frozen=True, slots=True)
class MadRule:
    """threshold = median + k 1.4826 MAD of the smoothed score.

    Each score moves the median by +-w 2 MAD, and the MAD by +-w MAD towards |score - median|, w as in
    `core.moments.weight`: large while a key is new, then forgetting with the half-life. The first 8 scores of a key
    move both by w times the whole difference.

    Reference:
        Robbins & Monro 1951, "A stochastic approximation method", for the root of P(x <= m) = 1/2; Rousseeuw & Croux
        1993, "Alternatives to the median absolute deviation", eq. 1.1 for the constant. Steps in units of MAD are ours.

    Attributes:
        k: robust standard deviations above the median, > 0.
        learning: half-life, smoothing and the level of the calibration.
    """

    k: float
    learning: Learning

    def fields(self, features: int) -> dict[str, Field]:  # noqa: ARG002 - other rules look at single features
        """Return five numbers; a new key starts at the level of the calibration."""
        spread = self.learning.start_sd / CONSISTENCY
        return {
            "count": Field("<i8"),
            "newest": Field("<i8"),
            "smoothed": Field("<f8"),
            "median": Field("<f8", (), self.learning.prior_mean),
            "deviation": Field("<f8", (), spread),
        }

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Change nothing: the calibration's level is a good start."""

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Compare the smoothed score with the limit."""
        slots, medians = wave.slots, states["median"][wave.slots]
        smoothed = self.learning.smooth(wave, states["smoothed"][slots])
        sds = floored(CONSISTENCY * states["deviation"][slots], medians)
        rarities = sigma_rarity((smoothed - medians) / sds)
        return Judgement(smoothed, medians + self.k * sds, medians, sds, rarities, states["count"][slots])

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:  # noqa: ARG002 - bounded
        """Move median and MAD by one comparison each, alarms or not."""
        slots, counts, medians = wave.slots, judgement.counts, judgement.means
        steps = GAIN * self.learning.weights(wave, counts, states["newest"][slots])
        deviations = floored(states["deviation"][slots], medians, SD_FLOOR / CONSISTENCY)
        offsets = judgement.scores - medians
        moves = steps * deviations * np.sign(offsets)
        growths = steps * deviations * np.where(np.abs(offsets) > deviations, 0.5, -0.5)
        is_new = counts < FREE_SCORES
        states["median"][slots] = medians + np.where(is_new, steps / GAIN * offsets, moves)
        changes = np.where(is_new, steps / GAIN * (np.abs(offsets) - deviations), growths)
        states["deviation"][slots] = deviations + changes
        states["smoothed"][slots] = judgement.scores
        states["count"][slots] = counts + 1
        states["newest"][slots] = wave.end_times_ms

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """Mean over the keys; the spread between keys is added as a MAD."""
        found = mean_state(states, {}, ("median", "deviation"))
        between = states["median"].std() / CONSISTENCY
        return found | {"deviation": np.hypot(found["deviation"], between)}


MAD = RuleSpec(
    "mad",
    "mad",
    RuleWords(
        phrase="median + k MAD",
        alarm_when="score > median + `k` robust sd, both tracked",
        formula="T > median + k 1.4826 MAD, both followed by one comparison a window",
        source="Rousseeuw & Croux 1993; Robbins & Monro 1951",
    ),
    parameters=(K,),
    level="k",
    build=lambda knobs, shared: MadRule(knobs["k"], shared.learning),
    from_budget=k_of_share,
)
