"""Numbers as times: counted in some unit from some instant; and what numbers look like that were meant otherwise.

Must not know text, zones or cells.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from streamae.batches import Doubles, Flags, Ints
from streamae.connectors.time_formats import UNREADABLE, time_format

EARLIEST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00Z
LATEST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant RFC 3339 can write
DAY_MS = 86_400_000

# Sizes up to which `auto` takes a number as this unit. Each band covers the years 1973 to 5138 of its unit.
_AUTO_LIMITS = {"s": 1e11, "ms": 1e14, "us": 1e17, "ns": np.inf}
_TICKS_PER_MS = {"ms": 1, "us": 1_000, "100 ns": 10_000, "ns": 1_000_000}
_MS_PER_TICK = {"s": 1_000, "days": DAY_MS}


class Count(NamedTuple):
    """What numbers count.

    Attributes:
        unit: `s`, `ms`, `us`, `ns`, `100 ns`, `days`, or `auto`: by the size of each number.
        start_ms: event time of 0.
        is_local: a local clock shows them; else they are instants.
    """

    unit: str
    start_ms: int = 0
    is_local: bool = False


COUNTS = {
    "filetime": Count("100 ns", -11_644_473_600_000),  # since 1601, UTC
    "ticks": Count("100 ns", EARLIEST_MS, is_local=True),
    "excel": Count("days", -25_569 * DAY_MS, is_local=True),  # since 1899-12-30
}
_SINCE_1904 = Count("s", -2_082_844_800_000)
_LOOKS = (
    ("Windows FILETIME", COUNTS["filetime"], "input.time_format = filetime"),
    ("ticks of .NET", COUNTS["ticks"], "input.time_format = ticks"),
    ("days of Excel", COUNTS["excel"], "input.time_format = excel"),
    ("a date in digits", "%Y%m%d", "input.time_format = %Y%m%d"),
    ("a time in digits", "%Y%m%d%H%M", "input.time_format = %Y%m%d%H%M"),
    ("a time in digits", "%Y%m%d%H%M%S", "input.time_format = %Y%m%d%H%M%S"),
    ("seconds since 1904", _SINCE_1904, "input.time_unit = s, input.time_origin = 1904-01-01T00:00:00Z"),
    *((f"a number of {unit}", Count(unit), f"input.time_unit = {unit}") for unit in _AUTO_LIMITS),
)
_SINCE_MS = 662_688_000_000  # 1991: ticks of .NET since 1990 would be nanoseconds since then
_UNTIL_MS = 2_524_608_000_000  # 2050
_NEARLY_ALL = 0.9  # share of numbers from which on they look alike


def count_up(numbers: Ints | Doubles, count: Count) -> Ints:
    """Return (N,) int64 ms since the epoch, `UNREADABLE` for what is no number or after the year 9999.

    Whole numbers (int64) are cut to the millisecond below, others (float64) rounded to the nearest one.
    """
    times = np.full(len(numbers), UNREADABLE, np.int64)
    for unit, mask in _by_unit(np.abs(numbers.astype(np.float64)), count.unit).items():
        ticks = numbers[mask]
        if unit in _MS_PER_TICK:
            ticks = ticks * _MS_PER_TICK[unit]
        elif ticks.dtype == np.int64:
            ticks = ticks // _TICKS_PER_MS[unit]
        else:
            ticks = ticks / _TICKS_PER_MS[unit]
        times[mask] = count.start_ms + np.rint(ticks).astype(np.int64)
    return times


def plausible_range(now_ms: int) -> tuple[int, int]:
    """Return the first and the last event time that numbers are believed: from 1991 to a year ahead of the wall clock.

    Text names its year and needs no such belief.
    """
    return _SINCE_MS, now_ms + 366 * DAY_MS


def looks_like(numbers: Doubles) -> str | None:
    """Return what (N,) numbers look like, an example, and the setting that reads them so; None = like nothing known.

    For numbers that, as they are read, are no plausible times: what is said would be wrong of good ones.

    Example:
        >>> looks_like(np.array([133_854_768_000_000_000.0]))
        'looks like Windows FILETIME, 2025-03-03T12:00:00Z if so: input.time_format = filetime'
        >>> looks_like(np.array([0.0, 60.0, 172_792.0]))
    """
    known = numbers[np.isfinite(numbers)]
    for words, kind, setting in _LOOKS if len(known) else ():
        if isinstance(kind, Count):
            times = count_up(known, kind)
        else:
            times = time_format(kind).read([f"{number:.0f}" for number in known.tolist()])
        good = times[(times >= _SINCE_MS) & (times < _UNTIL_MS)]
        if len(good) >= _NEARLY_ALL * len(known):
            example = datetime.fromtimestamp(int(good[len(good) // 2]) // 1_000, UTC)
            return f"looks like {words}, {example:%Y-%m-%dT%H:%M:%SZ} if so: {setting}"
    return None


def _by_unit(sizes: Doubles, unit: str) -> dict[str, Flags]:
    """Return the (N,) mask of the numbers that are in each unit, without those past the year 9999."""
    if unit != "auto":
        return {unit: sizes <= _most(unit)}
    if not len(sizes):
        return {}
    masks, lower, least, largest = {}, 0.0, np.fmin.reduce(sizes), np.fmax.reduce(sizes)
    for name, limit in _AUTO_LIMITS.items():
        if least < limit and largest >= lower:
            masks[name] = (sizes >= lower) & (sizes < limit) & (sizes <= _most(name))
        lower = limit
    return masks


def _most(unit: str) -> float:
    """Return the largest number of a unit that is no later than the year 9999."""
    return LATEST_MS / _MS_PER_TICK[unit] if unit in _MS_PER_TICK else LATEST_MS * float(_TICKS_PER_MS[unit])
