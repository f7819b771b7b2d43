"""Conformal p-values: the share of the key's newest scores that are as high as this one.

No assumption on the shape of scores but that quiet ones may be exchanged for one another. The smallest p-value is
1 / (ring + 1); a threshold for rarer alarms than that does not exist, and settings are refused. Must not know settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Floats, Ints
from streamae.core.columns import Columns, Field
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.learning import Learning, floored, sigma_rarity
from streamae.core.thresholds.rule import Judgement, Wave
from streamae.core.thresholds.spec import MARGIN, PROBABILITY, RuleSpec, RuleWords

RING = 256  # newest scores: p-values down to 0.4 %
GROWTH, FREE_SCORES = 1.1, 32  # an anomaly of five windows lifts the highest score by 1.6, a new level is soon adopted
MIN_PROBABILITY = 1.0 / (RING + 1)


@dataclass(frozen=True, slots=True)
class ConformalRule:
    """Anomalous where p = (1 + number of newest scores >= score) / (n + 1) is at most `probability`, and by a margin.

    As a threshold: the score is above the m-th highest of the n newest, m = floor(probability (n + 1)), times
    `margin`. Without a margin each new highest score would be an alarm.

    Reference:
        Laxhammar & Falkman 2010, "Conformal prediction for distribution-independent anomaly detection in streaming
        vessel data", section 3 (p-value of a conformal anomaly); the margin is ours.

    Attributes:
        probability: of a quiet window with such a p-value, at least 1 / 257.
        margin: factor >= 1 above that score.
        learning: smoothing; the level of the calibration until the ring holds enough.
    """

    probability: float
    margin: float
    learning: Learning

    def fields(self, features: int) -> dict[str, Field]:  # noqa: ARG002 - other rules look at single features
        """Return a ring of the newest scores and three numbers."""
        return {
            "count": Field("<i8"),
            "ring_count": Field("<i8"),
            "smoothed": Field("<f8"),
            "ring": Field("<f4", (RING,), -np.inf),
        }

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Change nothing: the ring fills by itself."""

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Compare the smoothed score with the newest ones."""
        slots = wave.slots
        smoothed = self.learning.smooth(wave, states["smoothed"][slots])
        rings = states["ring"][slots]
        sizes = np.minimum(states["ring_count"][slots], RING)
        ranks = np.maximum(np.floor(self.probability * (sizes + 1) + 1e-9).astype(np.int64), 1)
        peaks = rings.max(axis=1).astype(np.float64)
        highest = peaks if ranks.max(initial=1) == 1 else _ranked(rings, ranks)
        filled = rings.astype(np.float64)
        if sizes.min(initial=RING) < RING:
            filled[np.isneginf(filled)] = 0.0  # empty places
        divisors = np.maximum(sizes, 1)
        means = filled.sum(axis=1) / divisors
        variances = np.maximum((filled**2).sum(axis=1) / divisors - means**2, 0.0)
        sds = floored(np.sqrt(variances), means)
        thresholds = np.where(sizes > 0, np.maximum(self.margin * highest, means + sds), np.inf)
        rarities = sigma_rarity((smoothed - means) / sds)  # the ring itself cannot tell rarer from rare
        return Judgement(smoothed, thresholds, means, sds, rarities, states["count"][slots], (peaks,))

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:  # noqa: ARG002 - capped
        """Keep the score in place of the oldest; it may lie above the highest one by `GROWTH` only.

        One sd above the mean is always learnt as it is: a ring full of zeros would never grow.
        """
        slots, numbers = wave.slots, states["ring_count"][wave.slots]
        most = np.maximum(GROWTH * judgement.workings[0], judgement.means + judgement.sds)
        caps = np.where(numbers >= FREE_SCORES, most, np.inf)
        states["ring"][slots, numbers % RING] = np.minimum(judgement.scores, caps)
        states["ring_count"][slots] = numbers + 1
        states["smoothed"][slots] = judgement.scores
        states["count"][slots] = judgement.counts + 1

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """The ring of a new key holds evenly spread quantiles of all training keys' newest scores."""
        joined = np.sort(states["ring"][np.isfinite(states["ring"])])
        size = min(RING, len(joined))
        ring = np.full(RING, -np.inf, dtype=np.float32)
        ring[:size] = joined[np.linspace(0, len(joined) - 1, size).round().astype(np.int64)]
        return {"ring": ring, "ring_count": np.array(size)}


def _ranked(rings: Floats, ranks: Ints) -> Doubles:
    """Return the ranks-th highest (n,) of each ring (n, RING); a full sort would cost twice as much."""
    places = RING - ranks
    ordered = np.partition(rings, np.unique(places), axis=1)  # empty places (-inf) come first
    return np.take_along_axis(ordered, places[:, None], axis=1)[:, 0].astype(np.float64)


def _probability_of_share(share: float) -> dict[str, float]:
    """Return the probability, without a margin, which would make alarms rarer than asked for."""
    if share < MIN_PROBABILITY:
        raise ValueError(
            f"ranks among {RING} scores tell no rarer alarms than {MIN_PROBABILITY:.2g} of all windows: use pot"
        )
    return {"probability": share, "margin": 1.0}


CONFORMAL = RuleSpec(
    "conformal",
    "conformal",
    RuleWords(
        phrase="rank among the newest 256 scores",
        alarm_when="rank among the newest 256 scores, all it remembers: after as many windows at zero, ordinary traffic"
        " alarms once, for up to 20",
        formula="T > `margin` times the floor(p (n + 1))-th highest of the newest n <= 256 scores",
        source="Laxhammar & Falkman 2010",
    ),
    parameters=(MARGIN, PROBABILITY),
    level="margin",
    build=lambda knobs, shared: ConformalRule(knobs["probability"], knobs["margin"], shared.learning),
    from_budget=_probability_of_share,
)
