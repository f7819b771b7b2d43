"""Feature scaling frozen at training time: standardise, then squash instead of clipping.

`squash` and the transforms take the array module as argument, so that numpy (baselines, tests) and torch
(on the device) run one implementation; this module itself knows only numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.errors import DataError

KNEE = 5.0  # standard deviations up to which inputs stay linear
FLOOR_SHARE = 0.1  # a channel's scale is at least this share of the median channel's


def squash(u: Any, xp: ModuleType = np) -> Any:
    """Compress values beyond `KNEE` logarithmically, keeping sign, order and a continuous first derivative.

    z = u for |u| <= 5, else sign(u) (5 + 5 log(1 + (|u| - 5) / 5)). NaN stays NaN.

    Args:
        u: array of any shape, in standard deviations.
        xp: numpy or torch, matching `u`.

    Example:
        >>> squash(np.array([1.0, -5.0, 100.0])).round(3).tolist()
        [1.0, -5.0, 19.979]
    """
    size = xp.abs(u)
    beyond = (size - KNEE).clip(min=0.0)
    return xp.where(size <= KNEE, u, xp.sign(u) * (KNEE + KNEE * xp.log1p(beyond / KNEE)))


def unsquash(z: Any, xp: ModuleType = np) -> Any:
    """Invert `squash`.

    Example:
        >>> unsquash(squash(np.array([1.0, -5.0, 100.0]))).round(3).tolist()
        [1.0, -5.0, 100.0]
    """
    size = xp.abs(z)
    beyond = ((size - KNEE) / KNEE).clip(min=0.0, max=60.0)
    return xp.where(size <= KNEE, z, xp.sign(z) * (KNEE + KNEE * xp.expm1(beyond)))


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Mean and scale of each feature.

    Attributes:
        means: (F,) float64 in the features' units; also what `missing = constant` fills in by default.
        scales: (F,) float64, > 0.
    """

    means: NDArray[np.float64]
    scales: NDArray[np.float64]

    @classmethod
    def fit(cls, rows: NDArray[Any], least: NDArray[np.float64] | None = None) -> Scaling:
        """Estimate from training rows: scale = max(sd, 0.1 x median sd of the non-constant features, least).

        Args:
            rows: (N, F) any float type; NaN = missing, ignored.
            least: (F,) smallest scale of each feature, in its own unit; None = no such bound.

        Raises:
            DataError: a feature has no value at all.
        """
        rows = rows.astype(np.float64)
        empty = np.flatnonzero(~np.isfinite(rows).any(axis=0))
        if len(empty):
            raise DataError(f"feature number {empty[0]} has no value in the training rows: leave it out")
        means, deviations = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        moving = deviations[deviations > 1e-12 * np.maximum(np.abs(means), 1.0)]
        floor = FLOOR_SHARE * float(np.median(moving)) if len(moving) else 1.0
        return cls(means, np.maximum(np.maximum(deviations, floor), 0.0 if least is None else least))

    @classmethod
    def within(cls, keys: Sequence[NDArray[Any]], least: NDArray[np.float64] | None = None) -> Scaling:
        """Estimate level and spread of rows inside of keys that may lie far apart.

        Means are those of all rows. Scales are the first decile over keys of the sd of each, keys that never move
        left out, so that the quieter keys of a fleet are not measured by the louder ones; else as in `fit`.

        Args:
            keys: (N, F) rows of each training key.
            least: as in `fit`.

        Raises:
            DataError: a feature has no value at all.
        """
        whole = cls.fit(np.concatenate(keys), least)
        deviations = np.array([_deviations(rows) for rows in keys if len(rows)])  # (K, F), NaN = no value
        is_moving = deviations > 1e-12 * np.maximum(np.abs(whole.means), 1.0)
        counts = is_moving.sum(axis=0)
        ordered = np.sort(np.where(is_moving, deviations, np.inf), axis=0)
        deciles = ordered[np.maximum(counts - 1, 0) // 10, np.arange(len(counts))]
        moving = deciles[counts > 0]
        floor = FLOOR_SHARE * float(np.median(moving)) if len(moving) else 1.0
        scales = np.maximum(np.where(counts > 0, deciles, 0.0), floor)
        return cls(whole.means, np.maximum(scales, 0.0 if least is None else least))

    @classmethod
    def unit(cls, features: int) -> Scaling:
        """Return the scaling of F `features` that are standardised already."""
        return cls(np.zeros(features), np.ones(features))

    def from_origins(self, origins: NDArray[np.float64]) -> Scaling:
        """Return the same scaling for values that count from `origins`, (F,) or one for all."""
        return Scaling(self.means - origins, self.scales)

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return squashed standardised values, same shape (..., F), float32; NaN stays NaN."""
        scaled: NDArray[np.float32] = squash((values - self.means) / self.scales).astype(np.float32)
        return scaled

    def invert(self, scaled: NDArray[Any]) -> NDArray[np.float32]:
        """Return values in the features' own units from squashed ones, shape (..., F), float32."""
        values: NDArray[np.float32] = (unsquash(scaled.astype(np.float64)) * self.scales + self.means).astype(
            np.float32
        )
        return values


def _deviations(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the standard deviation (F,) of rows (N, F), NaN where a feature has no value."""
    present = np.isfinite(rows)
    counts = present.sum(axis=0)
    filled = np.where(present, rows, 0.0).astype(np.float64)
    means = filled.sum(axis=0) / np.maximum(counts, 1)
    squares = np.where(present, (filled - means) ** 2, 0.0).sum(axis=0)
    return np.where(counts > 0, np.sqrt(squares / np.maximum(counts, 1)), np.nan)
