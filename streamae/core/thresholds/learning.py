"""What several threshold rules have in common: how they follow a key's score, and how rare so many sigma are.

They judge the smoothed score of a window by a level and a spread that the key has learnt in capped steps. Reads no
clock: forgetting follows the windows' event time. Must not know any rule, or settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Ints
from streamae.core.moments import weight
from streamae.core.thresholds.rule import Wave

SD_FLOOR = 0.1  # of max(mean, 1): a key that was perfectly quiet must not alarm at its first breath
SIGMA_LEVEL, SIGMA_RATE, SIGMA_SLOPE = 8.0, 7.4e-4, 0.18  # measured false episodes a window, see `sigma_rarity`
LEAST_K = 5.0  # the line is measured from 8 on; no further: a larger budget is left unspent


@dataclass(frozen=True, slots=True)
class Learning:
    """How a key's statistics follow its scores.

    Attributes:
        half_life_ms: event time after which a score counts half.
        cap_sigma: largest step of learning, in standard deviations.
        smoothing: weight of the newest score in the smoothed score, in (0, 1].
        prior_mean, prior_sd: level of the score on the model's calibration rows; where a new key starts.
    """

    half_life_ms: float
    cap_sigma: float
    smoothing: float
    prior_mean: float
    prior_sd: float

    @property
    def start_sd(self) -> float:
        """Spread of a new key, not below the floor of keys that score about 1."""
        return max(self.prior_sd, SD_FLOOR)

    def smooth(self, wave: Wave, last: Doubles) -> Doubles:
        """Return the smoothed totals of a wave, (n,): last + smoothing (total - last), the total itself after a gap.

        Args:
            wave: n keys.
            last: (n,) their smoothed score before it.
        """
        return np.where(wave.is_fresh, wave.totals, last + self.smoothing * (wave.totals - last))

    def weights(self, wave: Wave, counts: Ints, newest_ms: Ints) -> Doubles:
        """Return how much each score of a wave counts, (n,), as in `core.moments.weight`.

        Args:
            wave: n keys.
            counts: (n,) scores learnt before; a key without any has no last one.
            newest_ms: (n,) event time of the last one; one that lies later counts as now.
        """
        elapsed = np.where(counts > 0, np.maximum(wave.end_times_ms - newest_ms, 0), 0)
        return weight(counts, elapsed, self.half_life_ms)


def floored(spreads: Doubles, levels: Doubles, floor: float = SD_FLOOR) -> Doubles:
    """Return spreads (n,), each at least `floor` times the level (n,), which counts as 1 where it is lower.

    Example:
        >>> floored(np.array([0.0, 0.0, 2.0]), np.array([0.5, 4.0, 4.0])).tolist()
        [0.1, 0.4, 2.0]
    """
    found: Doubles = np.maximum(spreads, floor * np.maximum(levels, 1.0))
    return found


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


def k_of_share(share: float) -> dict[str, float]:
    """Return the `k` at which so large a share of windows is in alarm: `sigma_rarity`, solved for the threshold.

    Example:
        >>> k_of_share(7.4e-4)
        {'k': 8.0}
    """
    return {"k": max(SIGMA_LEVEL + float(np.log(SIGMA_RATE / share)) / SIGMA_SLOPE, LEAST_K)}


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
