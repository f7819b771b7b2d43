"""What is to be said of one feature in figures, from its rows in the order of key and time.

Must not know: names, settings, or what is made of the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Ints

FEW = 64  # different values up to which they are worth counting for people


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """A feature in figures.

    Attributes:
        count: values that are there.
        missing: rows without a value.
        low, high, middle: least, greatest and median value, in the feature's unit; NaN where there is none.
        spread: standard deviation.
        values: (D,) float64 different values, increasing.
        counts: (D,) int64 how often each occurs.
        steps: pairs of successive values of one key.
        rises, falls, resets: how many of these go up, go down, and go down nearly to the least value.
    """

    count: int
    missing: int
    low: float
    high: float
    middle: float
    spread: float
    values: Doubles
    counts: Ints
    steps: int
    rises: int
    falls: int
    resets: int

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.values)

    @property
    def is_constant(self) -> bool:
        """Whether there is one value only."""
        return len(self.values) == 1

    @property
    def is_binary(self) -> bool:
        """Whether there are 0 and 1, and nothing else."""
        return len(self.values) == 2 and self.low == 0 and self.high == 1

    @property
    def quantum(self) -> float | None:
        """Distance of neighbouring values where there are few values, all whole multiples of it apart; else None."""
        if not 2 < len(self.values) <= FEW or self.count < 10 * len(self.values):
            return None
        gaps = np.diff(self.values)
        multiples = gaps / gaps.min()
        is_even = bool((np.abs(multiples - np.rint(multiples)) < 1e-3).all())
        return float(f"{gaps.min():.6g}") if is_even else None


def figures_of(numbers: Doubles, keys: Ints) -> Figures:
    """Return the figures of a feature.

    Args:
        numbers: (N,) float64 in the order of key and time, NaN = missing.
        keys: (N,) int64 key of each.

    Example:
        >>> found = figures_of(np.array([1.0, 2.0, np.nan, 0.0]), np.zeros(4, np.int64))
        >>> found.missing, found.rises, found.falls, found.resets
        (1, 1, 1, 1)
    """
    there = ~np.isnan(numbers)
    values, of_key = numbers[there], keys[there]
    if not len(values):
        nan, none = math.nan, np.zeros(0, np.int64)
        return Figures(0, len(numbers), nan, nan, nan, nan, np.zeros(0), none, 0, 0, 0, 0)
    different, counts = np.unique(values, return_counts=True)
    middle = different[np.searchsorted(np.cumsum(counts), len(values) / 2)]
    same = of_key[1:] == of_key[:-1]
    before, after = values[:-1][same], values[1:][same]
    falls = after < before
    low, high = float(different[0]), float(different[-1])
    resets = falls & (after - low <= 0.1 * (before - low))
    return Figures(
        len(values),
        len(numbers) - len(values),
        low,
        high,
        float(middle),
        float(values.std()) if high - low < math.inf else math.inf,
        different,
        counts.astype(np.int64),
        len(before),
        int(np.count_nonzero(after > before)),
        int(np.count_nonzero(falls)),
        int(np.count_nonzero(resets)),
    )
