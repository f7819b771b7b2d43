"""Thresholds from a key's rolling statistics: mean + k sigma, a running quantile, or one number for all.

The statistics (count, weighted mean and variance, quantile of the smoothed score) are the same for the three, so that
one may follow the other. Reads no clock: forgetting follows the windows' event time. Must not know settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Ints, Slots
from streamae.core.columns import Columns, Field
from streamae.core.moments import learn
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.learning import Learning, floored, k_of_share, sigma_rarity, track_quantile
from streamae.core.thresholds.rule import Judgement, ThresholdRule, Wave, mean_state
from streamae.core.thresholds.spec import MARGIN, K, Knob, RuleSpec, RuleWords, Shared

EARLY_SCORES = 64  # until then tails follow mean and spread of the key
MAX_QUANTILE = 0.9999  # a tracked quantile beyond it is passed too seldom to be followed


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What n keys know about their own scores before the one being judged.

    Attributes:
        means, sds: (n,) rolling mean and (floored) standard deviation.
        quantiles: (n,) tracked quantile.
    """

    means: Doubles
    sds: Doubles
    quantiles: Doubles


class Limit(Protocol):
    """Turns statistics into thresholds. Holds no state."""

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return the entry threshold of each key, (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class SigmaLimit:
    """threshold = mean + k sigma.

    Attributes:
        k: standard deviations, > 0.
    """

    k: float

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return mean + k sd."""
        return statistics.means + self.k * statistics.sds


@dataclass(frozen=True, slots=True)
class StaticLimit:
    """The same threshold for every key.

    Attributes:
        value: the threshold; quiet data scores about 1.
    """

    value: float

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return `value` for every key."""
        return np.full_like(statistics.means, self.value)


@dataclass(frozen=True, slots=True)
class QuantileLimit:
    """threshold = margin x running quantile of the key's own scores.

    Attributes:
        margin: factor >= 1.
    """

    margin: float

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return margin x quantile."""
        return self.margin * statistics.quantiles


@dataclass(frozen=True, slots=True)
class RollingRule:
    """A limit on the smoothed score, from the key's rolling statistics.

    Attributes:
        limit: the formula.
        learning: how the statistics follow the scores.
        quantile: probability of the tracked quantile, in (0.5, 1); followed under every limit, so that one may follow
            the other.
    """

    limit: Limit
    learning: Learning
    quantile: float

    def fields(self, features: int) -> dict[str, Field]:  # noqa: ARG002 - other rules look at single features
        """Return six numbers, whatever the features; a new key starts at the level of the calibration."""
        prior_sd = self.learning.start_sd
        return {
            "count": Field("<i8"),
            "mean": Field("<f8", (), self.learning.prior_mean),
            "variance": Field("<f8", (), prior_sd**2),
            "quantile": Field("<f8", (), self.learning.prior_mean + 3.0 * prior_sd),
            "smoothed": Field("<f8"),
            "newest": Field("<i8"),
        }

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Change nothing: the calibration's level is a good start."""

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Compare the smoothed score with the limit."""
        slots, means, sds = wave.slots, states["mean"][wave.slots], _spreads(states, wave.slots)
        smoothed = self.learning.smooth(wave, states["smoothed"][slots])
        thresholds = self.limit.thresholds(Statistics(means, sds, states["quantile"][slots]))
        rarities = sigma_rarity((smoothed - means) / sds)
        return Judgement(smoothed, thresholds, means, sds, rarities, states["count"][slots])

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:  # noqa: ARG002 - caps guard it
        """Move mean, variance and quantile by the smoothed score, in capped steps, alarms or not."""
        slots, smoothed, sds, counts = wave.slots, judgement.scores, judgement.sds, judgement.counts
        weights = self.learning.weights(wave, counts, states["newest"][slots])
        states["mean"][slots], states["variance"][slots] = learn(
            judgement.means, states["variance"][slots], smoothed, weights, self.learning.cap_sigma * sds
        )
        offsets = states["quantile"][slots] - judgement.means
        offsets *= spread_ratios(sds, _spreads(states, slots), counts)
        quantiles = np.where(counts < EARLY_SCORES, states["mean"][slots] + offsets, states["quantile"][slots])
        states["quantile"][slots] = track_quantile(quantiles, smoothed, sds, self.quantile)
        states["smoothed"][slots] = smoothed
        states["count"][slots] = counts + 1
        states["newest"][slots] = wave.end_times_ms

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """Mean of the keys' statistics, with the spread between keys."""
        return mean_state(states, {"mean": "variance"}, ("quantile",))


def _spreads(states: Columns, slots: Slots) -> Doubles:
    """Return standard deviations with their floor."""
    return floored(np.sqrt(states["variance"][slots]), states["mean"][slots])


def spread_ratios(before: Doubles, after: Doubles, counts: Ints) -> Doubles:
    """Return by what the distance of a tail from the mean grows as a key learns its own spread: after / before, else 1.

    A tail is tracked by rare events, so that one that comes from other keys would stay theirs for thousands of windows.
    For the first `EARLY_SCORES` (n,) it keeps its place in sd of the key instead, which shrinks towards the key's own
    as its mean and variance do.

    Example:
        >>> spread_ratios(np.array([2.0, 2.0]), np.array([1.0, 1.0]), np.array([0, EARLY_SCORES])).tolist()
        [0.5, 1.0]
    """
    return np.where(counts < EARLY_SCORES, after / before, 1.0)


FAMILY = "rolling"
VALUE = Knob("value", 10.0, "static: the threshold itself (a quiet key scores about 2, or 1 without memory).", gt=0)
TAIL = Knob("quantile", 0.999, "quantile: tail of the key's own scores.", gt=0.5, lt=1)


def _rule(limit: Limit, knobs: Mapping[str, float], shared: Shared) -> ThresholdRule:
    return RollingRule(limit, shared.learning, knobs["quantile"])


def _quantile_of_share(share: float) -> dict[str, float]:
    """Return the quantile that so many windows pass, without a margin, which would make alarms rarer than asked for."""
    if 1.0 - share > MAX_QUANTILE:
        raise ValueError(f"a quantile of {1 - share:.7g} cannot be tracked: use pot")
    return {"quantile": 1.0 - share, "margin": 1.0}


SIGMA = RuleSpec(
    "sigma",
    FAMILY,
    RuleWords(
        phrase="mean + k sigma",
        alarm_when="score > mean + `k` sd, exponentially forgotten, steps capped",
        formula="T > m + k s",
        source="Shewhart 1931; exponential weights: Roberts 1959",
    ),
    parameters=(K,),
    level="k",
    build=lambda knobs, shared: _rule(SigmaLimit(knobs["k"]), knobs, shared),
    from_budget=k_of_share,
)
STATIC = RuleSpec(
    "static",
    FAMILY,
    RuleWords(phrase="fixed", alarm_when="score > `value`", formula="T > `value`", source=""),
    parameters=(VALUE,),
    level="value",
    build=lambda knobs, shared: _rule(StaticLimit(knobs["value"]), knobs, shared),
    from_budget="a fixed threshold has no rate of alarms",
)
QUANTILE = RuleSpec(
    "quantile",
    FAMILY,
    RuleWords(
        phrase="running quantile",
        alarm_when="score > `margin` times the tracked quantile",
        formula="T > `margin` times the followed quantile `threshold.quantile`",
        source="Robbins & Monro 1951",
    ),
    parameters=(TAIL, MARGIN),
    level="margin",
    build=lambda knobs, shared: _rule(QuantileLimit(knobs["margin"]), knobs, shared),
    from_budget=_quantile_of_share,
)
