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
from streamae.core.moments import learn, weight
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.rule import Judgement, Wave, mean_state

SD_FLOOR = 0.1  # of max(mean, 1): a key that was perfectly quiet must not alarm at its first breath
EARLY_SCORES = 64  # until then tails follow mean and spread of the key
SIGMA_LEVEL, SIGMA_RATE, SIGMA_SLOPE = 8.0, 7.4e-4, 0.18  # measured false episodes a window, see `sigma_rarity`


def sigma_rarity(sigmas: Doubles) -> Doubles:
    """Return the logarithm of the windows that pass until usual behaviour lies this many sigma above the mean.

    False episodes per 10,000 normal windows were 7.4 and 3.6 at 8 and 12 sigma (our study, 56 series): error scores
    have tails far heavier than normal ones, and a straight line in logarithms describes them.

    Example:
        >>> np.exp(sigma_rarity(np.array([8.0]))).round().tolist()
        [1351.0]
    """
    found: Doubles = -np.log(SIGMA_RATE) + SIGMA_SLOPE * (sigmas - SIGMA_LEVEL)
    return found


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


@dataclass(frozen=True, slots=True)
class Learning:
    """How a key's statistics follow its scores.

    Attributes:
        half_life_ms: event time after which a score counts half.
        cap_sigma: largest step of learning, in standard deviations.
        smoothing: weight of the newest score in the smoothed score, in (0, 1].
        quantile: probability of the tracked quantile, in (0.5, 1).
        prior_mean, prior_sd: level of the score on the model's calibration rows; where a new key starts.
    """

    half_life_ms: float
    cap_sigma: float
    smoothing: float
    quantile: float
    prior_mean: float
    prior_sd: float


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
    """

    limit: Limit
    learning: Learning

    @property
    def family(self) -> str:
        """One for all limits."""
        return "rolling"

    def fields(self, features: int) -> dict[str, Field]:  # noqa: ARG002 - other rules look at single features
        """Return six numbers, whatever the features; a new key starts at the level of the calibration."""
        prior_sd = max(self.learning.prior_sd, SD_FLOOR)
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
        last = states["smoothed"][slots]
        smoothed = np.where(wave.is_fresh, wave.totals, last + self.learning.smoothing * (wave.totals - last))
        thresholds = self.limit.thresholds(Statistics(means, sds, states["quantile"][slots]))
        rarities = sigma_rarity((smoothed - means) / sds)
        return Judgement(smoothed, thresholds, means, sds, rarities, states["count"][slots])

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:  # noqa: ARG002 - caps guard it
        """Move mean, variance and quantile by the smoothed score, in capped steps, alarms or not."""
        slots, smoothed, sds, counts = wave.slots, judgement.scores, judgement.sds, judgement.counts
        elapsed = np.where(counts > 0, np.maximum(wave.end_times_ms - states["newest"][slots], 0), 0)
        weights = weight(counts, elapsed, self.learning.half_life_ms)
        states["mean"][slots], states["variance"][slots] = learn(
            judgement.means, states["variance"][slots], smoothed, weights, self.learning.cap_sigma * sds
        )
        offsets = states["quantile"][slots] - judgement.means
        offsets *= spread_ratios(sds, _spreads(states, slots), counts)
        quantiles = np.where(counts < EARLY_SCORES, states["mean"][slots] + offsets, states["quantile"][slots])
        states["quantile"][slots] = track_quantile(quantiles, smoothed, sds, self.learning.quantile)
        states["smoothed"][slots] = smoothed
        states["count"][slots] = counts + 1
        states["newest"][slots] = wave.end_times_ms

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """Mean of the keys' statistics, with the spread between keys."""
        return mean_state(states, {"mean": "variance"}, ("quantile",))


def _spreads(states: Columns, slots: Slots) -> Doubles:
    """Return standard deviations with their floor."""
    floors = SD_FLOOR * np.maximum(states["mean"][slots], 1.0)
    found: Doubles = np.maximum(np.sqrt(states["variance"][slots]), floors)
    return found


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


def track_quantile(quantiles: Doubles, scores: Doubles, sds: Doubles, probability: float) -> Doubles:
    """Move each quantile estimate by one score: up by c sd p when exceeded, else down by c sd (1 - p), c = 1/4.

    At rest P(score > quantile) = 1 - p. An anomaly of m windows lifts it by at most m / 4 standard deviations.

    Reference:
        Robbins & Monro 1951, "A stochastic approximation method", eq. 6 for the root of P(x <= q) = p; the constant
        step in units of the standard deviation is ours, so that the estimate keeps following.

    Example:
        >>> track_quantile(np.array([1.0]), np.array([5.0]), np.array([0.4]), 0.9).round(3).tolist()
        [1.09]
    """
    steps = 0.25 * sds * (np.where(scores > quantiles, 1.0, 0.0) - (1.0 - probability))
    return quantiles + steps
