"""From model errors to one score a window: whiten per feature, then average.

Whitening divides each feature's error by its level on calibration data, so that features count alike and the
score of quiet data is about 1 (2 with a memory) whatever the model or the features. Knows nothing about keys or
thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamae.batches import ErrorBatch, Floats, Ints, ScoreBatch

LEVEL_FLOOR = 0.05  # of the variance of a scaled feature: a nearly constant channel must not dominate
SIGNIFICANT_BITS = 16  # of the mantissa that is kept: more is noise of batch composition


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Error levels on rows the model was not trained on.

    Attributes:
        recent_levels, forecast_levels: (F,) float64 mean error, floored at `LEVEL_FLOOR`.
        score_mean, score_sd: of the (unsmoothed) total score on the same rows.
        memory_levels: the same of the distance to the nearest remembered window; None = the model has no memory.
    """

    recent_levels: NDArray[np.float64]
    forecast_levels: NDArray[np.float64]
    score_mean: float
    score_sd: float
    memory_levels: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, errors: ErrorBatch, *, by_feature: bool = True) -> Calibration:
        """Estimate from the errors (B, F) of calibration windows, B >= 1.

        Args:
            errors: of quiet data.
            by_feature: each feature has a level of its own; else all share their mean, and none is whitened.
        """

        def level(found: Floats) -> NDArray[np.float64]:
            means = found.mean(axis=0, dtype=np.float64)
            floored: NDArray[np.float64] = np.maximum(means if by_feature else means.mean(), LEVEL_FLOOR)
            return np.broadcast_to(floored, means.shape).copy()

        memory = None if errors.memory is None else level(errors.memory)
        levels = cls(level(errors.recent), level(errors.forecast), 1.0, 1.0, memory)
        totals = score(errors, levels).totals.astype(np.float64)
        return replace(levels, score_mean=float(totals.mean()), score_sd=float(totals.std()))


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHistory:
    """Scores of training rows, oldest first: what a threshold rule begins a new key with.

    Attributes:
        channels: (K, N, F) float32 as in `ScoreBatch`, of up to N windows of K training keys.
        forecasts: (K, N) float32 as in `ScoreBatch`.
        lengths: (K,) int64 windows of each key, 1 to N; behind them the arrays hold zeros.
    """

    channels: Floats
    forecasts: Floats
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    def of(self, key: int) -> ScoreBatch:
        """Return the scores of one training key."""
        length = int(self.lengths[key])
        channels = self.channels[key, :length]
        totals = round_bits(channels.mean(axis=1, dtype=np.float64))
        return ScoreBatch(totals, channels, np.zeros_like(channels), self.forecasts[key, :length])


def score(errors: ErrorBatch, calibration: Calibration) -> ScoreBatch:
    """Whiten and average: s_c = (w(recent_c) + w(forecast_c)) / 2 + sqrt(w(memory_c)), w(v_c) = v_c / level_c.

    The total is the mean over c. The root keeps a slow drift, which takes a feature away from all that is remembered,
    from drowning its peaks. A model without memory scores without the last term. All is rounded to `SIGNIFICANT_BITS`
    bits, so that the last bits, which depend on which windows shared a batch, decide nothing.

    Args:
        errors: (B, F), finite and >= 0.
        calibration: levels of the same F features.

    Returns:
        Scores of the same B windows.
    """
    forecasts = errors.forecast / calibration.forecast_levels  # (B, F) float64
    channels = 0.5 * (errors.recent / calibration.recent_levels + forecasts)
    if errors.memory is not None and calibration.memory_levels is not None:
        channels += np.sqrt(errors.memory / calibration.memory_levels)
    rounded = round_bits(channels)
    return ScoreBatch(
        round_bits(rounded.mean(axis=1, dtype=np.float64)), rounded, errors.expected, round_bits(forecasts.mean(axis=1))
    )


def round_bits(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to `SIGNIFICANT_BITS` bits of mantissa (1.5e-5 relative).

    Example:
        >>> round_bits(np.array([1.0, 1.0000001, 3.14159])).tolist()
        [1.0, 1.0, 3.1416015625]
    """
    mantissas, exponents = np.frexp(values)
    steps = float(2**SIGNIFICANT_BITS)
    rounded: NDArray[np.float32] = np.ldexp(np.round(mantissas * steps) / steps, exponents).astype(np.float32)
    return rounded
