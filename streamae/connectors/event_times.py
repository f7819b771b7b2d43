"""Event times as producers write them, turned into milliseconds since the Unix epoch, a column at a time.

Numbers are seconds, milliseconds, microseconds or nanoseconds; text is ISO 8601. This module knows nothing of
records, JSON or which times are acceptable: that is the codec's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from streamae.batches import Doubles, Ints

UNREADABLE = np.iinfo(np.int64).min  # stands where no time could be read
EARLIEST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00Z
LATEST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant RFC 3339 can write

# Sizes up to which `auto` takes a number as this unit. Each band covers the years 1973 to 5138 of its unit.
_AUTO_LIMITS = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": np.inf}
_TICKS_PER_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}

# fromisoformat alone takes any character for the T and reads some plain numbers as dates.
_ISO_DATE = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{4}-W\d{2}-\d)([T ]|$)|\d{8}T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def read_times(times: Sequence[int | float | str], unit: str) -> Ints:
    """Return (N,) int64 milliseconds since the epoch, `UNREADABLE` where a value is no time.

    Integers and text are cut to the millisecond below, fractions are rounded to the nearest one.
    Text is ISO 8601, a date with or without a time; without a zone it is UTC. Text of digits only is no time.

    Args:
        times: N values, types may be mixed.
        unit: `s`, `ms`, `us`, `ns`, or `auto`: by the size of each number.

    Example:
        >>> read_times([1_700_000_000, 1_700_000_000_123, "2023-11-14T22:13:20.123Z"], "auto").tolist()
        [1700000000000, 1700000000123, 1700000000123]
    """
    kinds = set(map(type, times))
    if len(kinds) == 1:
        return _READERS[kinds.pop()](times, unit)
    result = np.full(len(times), UNREADABLE, np.int64)
    for kind in kinds:
        where = [i for i, value in enumerate(times) if type(value) is kind]
        result[where] = _READERS[kind]([times[i] for i in where], unit)
    return result


def _read_integers(times: Sequence[Any], unit: str) -> Ints:
    try:
        numbers = np.array(times, np.int64)
    except OverflowError:  # even in ns, more than 64 bits are after the year 2262
        fits = np.array([abs(time) < 2**63 for time in times])
        result = np.full(len(times), UNREADABLE, np.int64)
        result[fits] = _read_integers([time for time in times if abs(time) < 2**63], unit)
        return result
    result = np.full(len(numbers), UNREADABLE, np.int64)
    for name, mask in _by_unit(numbers.astype(np.float64), unit).items():
        ticks = numbers[mask]
        result[mask] = ticks * 1_000 if name == "s" else ticks // _TICKS_PER_MS[name]
    return result


def _read_fractions(times: Sequence[Any], unit: str) -> Ints:
    numbers = np.array(times, np.float64)
    result = np.full(len(numbers), UNREADABLE, np.int64)
    for name, mask in _by_unit(numbers, unit).items():
        ticks = numbers[mask]
        result[mask] = np.rint(ticks * 1_000 if name == "s" else ticks / _TICKS_PER_MS[name]).astype(np.int64)
    return result


def _by_unit(sizes: Doubles, unit: str) -> dict[str, Any]:
    """Return the (N,) mask of the numbers that are in each unit, without those past the year 9999."""
    sizes = np.abs(sizes)
    if not len(sizes):
        return {}
    masks, lower = {}, 0.0
    for name, limit in _AUTO_LIMITS.items():
        low, high = (lower, limit) if unit == "auto" else (0.0, np.inf)
        if unit in {"auto", name} and sizes.min() < high and sizes.max() >= low:
            most = LATEST_MS / 1_000 if name == "s" else LATEST_MS * float(_TICKS_PER_MS[name])
            masks[name] = (sizes >= low) & (sizes < high) & (sizes <= most)
        lower = limit
    return masks


def _read_texts(times: Sequence[Any], _unit: str) -> Ints:
    return np.array([_read_text(text) for text in times], np.int64)


def _read_text(text: str) -> int:
    text = text.upper()
    if _ISO_DATE.match(text) is None:
        return UNREADABLE
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return UNREADABLE
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


_READERS: dict[type, Callable[[Sequence[Any], str], Ints]] = {
    int: _read_integers,
    float: _read_fractions,
    str: _read_texts,
}
