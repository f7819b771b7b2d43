"""One text, one time: ISO 8601, and other spellings that cannot mean two things.

Month and day as two numbers are taken with the year first only; days before months, or the other way round, are told
by no text. Must not know columns, units, or the zone of times that name none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from streamae.connectors.time_formats import LOCAL_EPOCH, MILLISECOND
from streamae.time_zones import read_zone, zone_names

# fromisoformat alone takes any character for the T and reads some plain numbers as dates.
_ISO_DATE = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{4}-W\d{2}-\d)([T ]|$)|\d{8}T")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_REST = r":(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?:[.,](?P<fraction>\d+))?)?"  # of a time, after the hour
_ZONE = r"(?:(?P<zone>Z|UTC|GMT|UT|[+-]\d\d(?::?\d\d)?)(?: UTC)?)?(?:\[(?P<place>[\w/+-]+)\])?"
_DATES = (
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",  # 2025/03/03, 2025-3-3
    (
        rf"(?:(?:{'|'.join(_DAYS)})[A-Z]{{0,6}},? )?"  # Mon, 03 Mar 2025; 03-Mar-2025
        rf"(?P<day>\d{{1,2}})[ -](?P<month>{'|'.join(_MONTHS)})[A-Z]{{0,6}}[ -](?P<year>\d{{4}})"
    ),
)
_SPELLINGS = [
    re.compile(rf"{date}(?:(?:T| +)(?P<hour>\d{{1,2}}){_REST} *{_ZONE})?", re.ASCII | re.IGNORECASE) for date in _DATES
]
_ELAPSED = re.compile(rf"(?:(?P<days>\d{{1,6}}) days? )?(?P<hour>\d{{1,6}}){_REST}", re.ASCII)


def read_moment(text: str) -> datetime | None:
    """Return the time that a text names, naive where it names no zone; None where it is no time.

    A place in brackets without an offset says which clock; of two instants that it shows alike, the earlier one.

    Example:
        >>> str(read_moment("2025-03-03t12:00z")), str(read_moment("Mon, 03 Mar 2025 12:00:00 GMT"))
        ('2025-03-03 12:00:00+00:00', '2025-03-03 12:00:00+00:00')
        >>> read_moment("03/03/2025")
    """
    upper = text.upper()
    if _ISO_DATE.match(upper) is not None:
        try:
            return datetime.fromisoformat(upper)
        except ValueError:
            pass
    stripped = text.strip()
    found = next((found for spelling in _SPELLINGS if (found := spelling.fullmatch(stripped)) is not None), None)
    if found is None:
        return None
    try:
        return _placed(_moment(found), found["zone"], found["place"])
    except (ValueError, OverflowError):
        return None


def read_elapsed(text: str) -> int | None:
    """Return the ms of a time of day, or of a duration in hours or `2 days 03:00:00`; None where a text is neither.

    Example:
        >>> read_elapsed("00:01:00.5"), read_elapsed("30:00"), read_elapsed("12:60")
        (60500, 108000000, None)
    """
    found = _ELAPSED.fullmatch(text.strip())
    if found is None:
        return None
    minutes = (int(found["days"] or 0) * 24 + int(found["hour"])) * 60 + int(found["minute"])
    return (minutes * 60 + int(found["second"] or 0)) * 1_000 + _microseconds(found) // 1_000


def _moment(found: re.Match[str]) -> datetime:
    month = found["month"].upper()
    return datetime(  # noqa: DTZ001 - the zone comes after
        int(found["year"]),
        _MONTHS.index(month) + 1 if month in _MONTHS else int(month),
        int(found["day"]),
        int(found["hour"] or 0),
        int(found["minute"] or 0),
        int(found["second"] or 0),
        _microseconds(found),
    )


def _microseconds(found: re.Match[str]) -> int:
    return int((found["fraction"] or "").ljust(6, "0")[:6])


def _placed(moment: datetime, zone: str | None, place: str | None) -> datetime | None:
    """Return a local time in the zone that is named by offset or else by place; None where its clock skips it."""
    if zone is not None:
        return moment.replace(tzinfo=_zone(zone.upper()))
    if place is None:
        return moment
    if place not in zone_names():
        return None
    local_ms = np.array([(moment - LOCAL_EPOCH) // MILLISECOND])
    earlier, _, is_skipped = read_zone(place).instants(local_ms)
    offset = timedelta(milliseconds=int(local_ms[0] - earlier[0]))
    return None if is_skipped[0] else moment.replace(tzinfo=timezone(offset))


def _zone(name: str) -> timezone:
    if name[0] not in "+-":
        return UTC
    ahead = timedelta(hours=int(name[1:3]), minutes=int(name[-2:]) if len(name) > 3 else 0)
    return timezone(ahead if name[0] == "+" else -ahead)
