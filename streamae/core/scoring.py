"""From model errors to one score a window: whiten per feature, then average.

Whitening divides each feature's error by its level on calibration data, so that features count alike and the
score of quiet data is about 1 whatever the model or the features. Knows nothing about keys or thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamae.batches import ErrorBatch, ScoreBatch

LEVEL_FLOOR = 0.05  # of the variance of a scaled feature: a nearly constant channel must not dominate
SIGNIFICANT_BITS = 16  # of the mantissa that is kept: more is noise of batch composition


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Error levels on rows the model was not trained on.

    Attributes:
        recent_levels, forecast_levels: (F,) float64 mean error, floored at `LEVEL_FLOOR`.
        score_mean, score_sd: of the (unsmoothed) total score on the same rows.
    """

    recent_levels: NDArray[np.float64]
    forecast_levels: NDArray[np.float64]
    score_mean: float
    score_sd: float

    @classmethod
    def fit(cls, errors: ErrorBatch) -> Calibration:
        """Estimate from the errors (B, F) of calibration windows, B >= 1."""
        levels = cls(
            np.maximum(errors.recent.mean(axis=0, dtype=np.float64), LEVEL_FLOOR),
            np.maximum(errors.forecast.mean(axis=0, dtype=np.float64), LEVEL_FLOOR),
            1.0,
            1.0,
        )
        totals = score(errors, levels).totals.astype(np.float64)
        return cls(levels.recent_levels, levels.forecast_levels, float(totals.mean()), float(totals.std()))


def score(errors: ErrorBatch, calibration: Calibration) -> ScoreBatch:
    """Whiten and average: s_c = (recent_c / level_c + forecast_c / level_c) / 2, total = mean over c.

    Totals are rounded to `SIGNIFICANT_BITS` bits, so that the last bits, which depend on which windows shared a
    batch, decide nothing.

    Args:
        errors: (B, F), finite and >= 0.
        calibration: levels of the same F features.

    Returns:
        Scores of the same B windows.
    """
    channels = (
        0.5 * (errors.recent / calibration.recent_levels + errors.forecast / calibration.forecast_levels)
    ).astype(np.float32)
    return ScoreBatch(round_bits(channels.mean(axis=1, dtype=np.float64)), channels, errors.expected)


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
