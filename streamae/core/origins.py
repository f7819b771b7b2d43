"""What the 32 bits of stored rows count from, and the way there and back: nothing else converts between the two.

A value of 2,412,000,060 Hz that moves by 6 has no digits left in 32 bits; its distance from an origin has all of them.
The origin of a feature is the mean of the training rows, or 0 where 32 bits tell enough: then nothing is as much as one
bit other than without any origin. Where each key has its own level, it is the key's first value. Own units are what a
person reads; nothing else here knows what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Doubles, Flags, Floats, Ints, WindowBatch
from streamae.core.segments import Segments

# Of a feature's spread, the step between two 32-bit numbers of its size that costs precision. Up to it rounding adds
# about a millionth of the variance, and a model's error counts from a twentieth of it on (`scoring.LEVEL_FLOOR`).
COARSE_SHARE = 2.0**-8
EXACT_POWER = 22  # of ten, the largest that 64 bits hold exactly


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Where each feature's stored values count from.

    Attributes:
        levels: (F,) float64 in the features' own units, or one 0 for all.
        is_by_key: each key counts from its own first value of each feature; `levels` are 0 then.
    """

    levels: Doubles = field(default_factory=lambda: np.zeros(()))
    is_by_key: bool = False

    @property
    def is_exact(self) -> Flags:
        """Features, shaped as `levels`, whose values keep 64 bits up to the ring; of the others 32 bits are read."""
        found: Flags = (self.levels != 0.0) | self.is_by_key
        return found

    @property
    def are_zero(self) -> bool:
        """Whether stored values are the values themselves."""
        return not self.is_exact.any()

    @property
    def of_windows(self) -> Doubles | None:
        """What windows that carry no origins of their own count from; None = from 0, or each from its key's."""
        return None if self.is_by_key or self.are_zero else self.levels


ZERO = Origins()


def is_coarse(rows: Doubles, scales: Doubles) -> Flags:
    """Tell of which features 32 bits lose what they do.

    Args:
        rows: (N, F) values, N >= 1, NaN = missing; every feature has a value.
        scales: (F,) stand in for the spread of features that never move.

    Example:
        >>> is_coarse(2.412e9 + np.array([[-6.0, -6e6], [6.0, 6e6]]), np.ones(2)).tolist()
        [True, False]
    """
    least, most = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    steps = np.spacing(np.maximum(np.abs(least), np.abs(most)).astype(np.float32))
    found: Flags = steps > COARSE_SHARE * np.where(most > least, np.nanstd(rows, axis=0), scales)
    return found


def narrowed(values: Doubles, is_exact: Flags) -> Doubles:
    """Return values (N, F) float64 of which those that are not `is_exact` ((F,) or one for all) hold 32 bits.

    The same everywhere, so that a feature without an origin is the same bits in every stage.
    """
    if is_exact.all():
        return values
    narrow = values.astype(np.float32).astype(np.float64)
    return np.where(is_exact, values, narrow) if is_exact.any() else narrow


def to_ring(values: Doubles, origins: Doubles) -> Floats:
    """Return what is stored of values (..., F) in own units: float32 distances from `origins`, (F,) or shaped alike."""
    distances: Floats = (values - origins).astype(np.float32)
    return distances


def to_own_units(distances: Floats, origins: Doubles | None) -> Doubles:
    """Return stored values (..., F) in own units, with the digits that they hold and no more.

    Args:
        distances: as `to_ring` made them.
        origins: they count from; None = 0 for all, and the digits of float32 stay as they are.

    Example:
        >>> origin = np.array([2_412_000_000.1234567])
        >>> to_own_units(to_ring(np.array([2_412_000_060.3]), origin), origin).tolist()
        [2412000060.3]
    """
    if origins is None:
        return distances.astype(np.float64)
    found = distances.astype(np.float64) + origins
    return readable(found, np.maximum(np.spacing(np.abs(distances)), np.spacing(np.abs(found))))


def readable(values: Doubles, steps: Doubles | Floats) -> Doubles:
    """Round to the decimals that numbers with such `steps` between them hold; same shapes.

    Example:
        >>> value = np.float32(50.1)
        >>> float(value), readable(np.array(value, dtype=np.float64), np.spacing(value)).item()
        (50.099998474121094, 50.1)
    """
    digits = np.floor(-np.log10(np.maximum(steps.astype(np.float64), np.finfo(np.float64).tiny)))
    powers = 10.0 ** np.clip(digits, 0.0, EXACT_POWER)
    found: Doubles = np.where(digits > EXACT_POWER, values, np.round(values * powers) / powers)
    return found


def newest(windows: WindowBatch, chosen: Ints) -> Doubles:
    """Return the newest rows (n, F), in own units, of the windows `chosen` (n,)."""
    return to_own_units(windows.values[chosen, -1], None if windows.origins is None else windows.origins[chosen])


def first_values(values: Doubles, segments: Segments, is_heard: Flags) -> Flags:
    """Tell which of values (N, F), sorted by segment, are the first of their key and feature.

    Args:
        values: NaN = missing.
        segments: of the same rows.
        is_heard: (U, F) features of each segment's key that had a value before.
    """
    present = ~np.isnan(values)
    earlier = np.cumsum(present, axis=0) - present
    earlier -= earlier[segments.starts][segments.ids]
    found: Flags = present & (earlier == 0) & ~is_heard[segments.ids]
    return found
