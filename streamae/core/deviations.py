"""Which anomalies matter: those whose guilty features lie on the wanted side of what was expected, far enough off.

How far a feature is off is what its newest row differs from the forecast, in the feature's own units. A score stays
high for some windows after the rows that made it so; therefore the largest of the last deviations counts, and of the
last scores of a feature for its guilt. Both fade by a tenth with every window. Must not know keys or settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Flags, Floats, Ints, Slots

GUILTY_SHARE = 0.5  # of the largest feature's score: features above it are guilty too
FADING = 0.9  # a window: half after 7, as long as the newest rows are looked at


def largest(last: Floats, values: Floats, is_fresh: Flags) -> Floats:
    """Return `values` (n, F), or the last ones times `FADING` where those are larger in size.

    Args:
        last: (n, F) float32 what was returned for the window before.
        values: (n, F) float32; what is not finite is taken for 0.
        is_fresh: (n,) bool, there is no window before, or a gap lies between.

    Example:
        >>> spike, row = np.array([[-40.0]], dtype=np.float32), np.array([[3.0]], dtype=np.float32)
        >>> largest(spike, row, np.array([False])).tolist()
        [[-36.0]]
    """
    faded = np.where(is_fresh[:, None], np.float32(0.0), np.float32(FADING) * last)
    now = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    found: Floats = np.where(np.abs(now) >= np.abs(faded), now, faded)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Deviations:
    """What a feature must do to be worth an alarm: one rule for all windows, or a row for each.

    Attributes:
        signs: (F,) or (n, F) float64, 1 = above what was expected, -1 = below it, 0 = either.
        least: likewise, smallest |actual - expected|, >= 0.
        least_relative: likewise, smallest |actual - expected| / |expected|, >= 0.
    """

    signs: Doubles
    least: Doubles
    least_relative: Doubles

    @classmethod
    def rows(cls, of: Sequence[Deviations]) -> Deviations:
        """Return rules (F,) below each other, (n, F)."""
        return cls(*(np.array([getattr(one, name) for one in of]) for name in cls.__slots__))

    def take(self, rows: Ints | Slots) -> Deviations:
        """Return some of the rows, also one of them again and again."""
        return Deviations(*(getattr(self, name)[rows] for name in self.__slots__))

    def matters(self, channels: Floats, deviations: Floats, expected: Floats | Doubles) -> Flags:
        """Tell in which windows at least one guilty feature deviates as it must.

        Args:
            channels: (n, F) `largest` scores of the features.
            deviations: (n, F) `largest` differences between newest rows and their forecasts.
            expected: (n, F) forecast of the newest row in own units. What is not finite is never trivial.

        Returns:
            (n,) bool.

        Example:
            >>> only_above = Deviations(np.ones(1), np.full(1, 2.0), np.zeros(1))
            >>> off = np.array([[2.0], [1.0], [-5.0]], dtype=np.float32)
            >>> only_above.matters(np.ones_like(off), off, off).tolist()
            [True, False, False]
        """
        guilty = channels >= GUILTY_SHARE * channels.max(axis=1, keepdims=True)
        is_finite, sizes = np.isfinite(expected), np.abs(deviations.astype(np.float64))
        usual = np.abs(np.where(is_finite, expected, 0.0).astype(np.float64))
        is_trivial = (deviations * self.signs < 0) | (sizes < self.least) | (sizes < self.least_relative * usual)
        found: Flags = (guilty & ~(is_trivial & is_finite)).any(axis=1)
        return found
