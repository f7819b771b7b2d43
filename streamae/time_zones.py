"""Zones by their IANA name, from the pinned `tzdata` package, so that a name means the same on every machine.

What the system has installed is not looked at. Must not know what a zone is for.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import numpy as np

from streamae.core.zones import Zone

_DATA = files("tzdata")
_END_S = int(datetime(2101, 1, 1, tzinfo=UTC).timestamp())  # later clocks stay as they are then
_STEP_S = 3 * 86_400  # since 1970 no clock was set twice in three days
_MILLISECOND = timedelta(milliseconds=1)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset((_DATA / "zones").read_text(encoding="utf-8").split())


@cache
def read_zone(name: str) -> Zone:
    """Return the clock of a place, for the years 1970 to 2100.

    Before and after, it stands as at the nearest instant of these years.

    Raises:
        ValueError: there is no such zone; the message names similar ones.

    Example:
        >>> read_zone("Europe/Rome").local(np.array([1_740_787_200_000])).tolist()  # 2025-03-01T00:00Z, it is 1:00
        [1740790800000]
    """
    if name not in zone_names():
        similar = get_close_matches(name, zone_names(), cutoff=0.5)
        hint = f": did you mean {' or '.join(similar)}?" if similar else ": an IANA name like Europe/Rome is needed"
        raise ValueError(f"there is no time zone {name[:40]!r}{hint}")
    with _DATA.joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        place = ZoneInfo.from_file(file, key=name)
    transitions, offsets = [], [_offset_ms(0, place)]
    for start in range(0, _END_S, _STEP_S):
        span = range(start, start + _STEP_S + 1)
        if _offset_ms(span[-1], place) != offsets[-1]:
            second = span[bisect_left(span, True, key=lambda second: _offset_ms(second, place) != offsets[-1])]
            transitions.append(second * 1_000)
            offsets.append(_offset_ms(second, place))
    return Zone(name, np.array(transitions, np.int64), np.array(offsets, np.int64))


def _offset_ms(second: int, place: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, place).utcoffset()
    return 0 if offset is None else offset // _MILLISECOND
