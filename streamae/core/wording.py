"""Numbers of derived features as people write them, and the logarithm that amounts and times are made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LARGEST = 100_000.0  # of a unit that is written out
UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
MOST = 87.0  # exp of more is beyond float32


def signed_log(values: Any) -> Any:
    """Return sign(x) log(1 + |x|) of numbers or arrays."""
    return np.copysign(np.log1p(np.abs(values)), values)


def signed_exp(value: float) -> float:
    """Return what `signed_log` stands for, within float32.

    Example:
        >>> round(signed_exp(float(signed_log(-10.0))), 6)
        -10.0
    """
    return math.copysign(math.expm1(min(abs(value), MOST)), value)


def duration_in_words(value: float) -> str:
    """Return what log(1 + seconds) stands for; a forecast may lie below zero.

    Example:
        >>> duration_in_words(math.log1p(7_200)), duration_in_words(-0.1)
        ('2.0 h', '0 s')
    """
    seconds = max(signed_exp(value), 0.0)
    for size, unit in UNITS:
        if seconds >= size:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < LARGEST else f"{amount:.3g} {unit}"
    return "0 s"


def number_in_words(value: float) -> str:
    """Return a number in three digits or so.

    Example:
        >>> number_in_words(1338.4), number_in_words(-2.5), number_in_words(0.001234)
        ('1,338', '-2.5', '0.00123')
    """
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.3g}"


def zone_in_words(offset_minutes: int) -> str:
    """Return the name of a clock by its offset from UTC.

    Example:
        >>> zone_in_words(0), zone_in_words(-90)
        ('UTC', 'UTC-01:30')
    """
    if not offset_minutes:
        return "UTC"
    return f"UTC{'+' if offset_minutes > 0 else '-'}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}"
