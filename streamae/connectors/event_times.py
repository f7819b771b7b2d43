"""Event times as producers write them, turned into milliseconds since the Unix epoch, a column at a time.

Numbers are seconds, milliseconds, microseconds or nanoseconds (`time_numbers.py`); text is ISO 8601 or what else cannot
mean two things (`time_texts.py`); both may be of a stated form (`time_formats.py`). This module knows nothing of
records, JSON or which times are acceptable: that is the codec's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from streamae.batches import Doubles, Flags, Ints
from streamae.connectors.time_formats import LOCAL_EPOCH, MILLISECOND, UNREADABLE, TimeFormat, time_format
from streamae.connectors.time_numbers import (
    COUNTS,
    EARLIEST_MS,
    LATEST_MS,
    Count,
    count_up,
    looks_like,
    plausible_range,
)
from streamae.connectors.time_texts import read_elapsed, read_moment
from streamae.errors import ConfigError
from streamae.settings.data import InputSettings
from streamae.time_zones import read_zone

__all__ = [
    "EARLIEST_MS",
    "LATEST_MS",
    "SKIPPED",
    "UNREADABLE",
    "TimeRules",
    "looks_like",
    "plausible_range",
    "read_local",
    "read_times",
    "strange_number",
    "why_no_time",
]

SKIPPED = UNREADABLE + 1  # stands where a local time was never shown: the clock was set forward over it
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NUMBER = re.compile(r"\s*([-+]?\d{1,40})((?:[.,]\d{0,40})?(?:[eE][-+]?\d{1,3})?)\s*", re.ASCII)
_LARGEST = 2**63  # number that is looked at
_UTC = "UTC"


@dataclass(frozen=True)
class TimeRules:
    """How times are written.

    Attributes:
        unit: of numbers: `s`, `ms`, `us`, `ns`, or `auto`: by the size of each number.
        format: of text (and of numbers, as they are spelt), in the letters of `strptime`; or what numbers count:
            `filetime`, `ticks`, `excel`. None = text is ISO 8601.
        zone: IANA name, of times that name none and are no instants by themselves.
        origin_ms: instant, in ms since the epoch, from which numbers and times of day are counted; None = numbers are
            counted from the epoch, and a time of day is no time.
        from_text: text that is a number is read like the number.

    Raises:
        ConfigError: the format is none, or has no date where there is no origin.
    """

    unit: str
    format: str | None
    zone: str
    origin_ms: int | None
    from_text: bool

    def __post_init__(self) -> None:
        try:
            form = self.form
        except ValueError as error:
            raise ConfigError([f"input.time_format: {self.format}: {error}"]) from None
        if form is not None and not form.has_date and self.origin_ms is None:
            raise ConfigError([f"input.time_format: {self.format} has no date: input.time_origin says of which day"])

    @classmethod
    def of(cls, settings: InputSettings, from_text: bool) -> TimeRules:
        """Return those of the settings."""
        origin = settings.time_origin
        origin_ms = None if origin is None else (origin - EPOCH) // MILLISECOND
        return cls(settings.time_unit, settings.time_format, settings.time_zone, origin_ms, from_text)

    @property
    def form(self) -> TimeFormat | None:
        """The form of text; None = there is none."""
        return None if self.format is None or self.format in COUNTS else time_format(self.format)


def read_times(cells: Sequence[Any], rules: TimeRules) -> Ints:
    """Return (N,) int64 milliseconds since the epoch, `UNREADABLE` where a cell is no time, `SKIPPED` for no such hour.

    Integers and text are cut to the millisecond below, fractions are rounded to the nearest one. Of the two instants
    at which a clock that was set back shows the same, this is the earlier one: `read_local` tells both.

    Args:
        cells: N numbers or texts, types may be mixed; anything else is no time.
        rules: how they are written.

    Example:
        >>> rules = TimeRules("auto", None, "UTC", None, from_text=False)
        >>> read_times([1_700_000_000, 1_700_000_000_123, "2023-11-14T22:13:20.123Z"], rules).tolist()
        [1700000000000, 1700000000123, 1700000000123]
    """
    return read_local(cells, rules)[0]


def read_local(cells: Sequence[Any], rules: TimeRules) -> tuple[Ints, Ints]:
    """Return both instants (N,) that each cell may mean, the earlier one first, as for `read_times`.

    They differ only in the hour that a local clock shows twice; `streamae/connectors/repeated_hours.py` decides:

        earlier, later = read_local(cells, rules)
        times = resolve_order(earlier, later, keys)  # rows of a file, all of a key at once
        times = nearest(earlier, later, stamps_ms)  # records with a Kafka timestamp

    Example:
        >>> rules = TimeRules("auto", None, "Europe/Rome", None, from_text=False)
        >>> earlier, later = read_local(["2025-10-26 01:30", "2025-10-26 02:30", "2025-10-26T02:30Z"], rules)
        >>> ((later - earlier) / 3_600_000).tolist()
        [0.0, 1.0, 0.0]
    """
    times, is_local = _read(cells, rules)
    if rules.zone == _UTC or not is_local.any():
        return times, times
    earlier, later, is_skipped = read_zone(rules.zone).instants(times[is_local])
    both = times, times.copy()
    for result, instants in zip(both, (earlier, later), strict=True):
        result[is_local] = np.where(is_skipped, SKIPPED, instants)
    return both


def why_no_time(cell: Any, time_ms: int, rules: TimeRules) -> str:
    """Return what is wrong with a cell that was read as `UNREADABLE` or `SKIPPED`, and the setting that may help.

    Nothing of the cell is quoted. To be put behind the name of the field.

    Example:
        >>> why_no_time("03/03/2025", UNREADABLE, TimeRules("s", None, "UTC", None, from_text=False))
        'is text of another form than ISO 8601: input.time_format says which'
    """
    if time_ms == SKIPPED:
        return f"is a time that {rules.zone} never had: its clock was set forward over it (input.time_zone)"
    if rules.form is not None:
        return f"is not written as input.time_format {rules.format} says"
    if isinstance(cell, str) and read_elapsed(cell) is not None:
        return "is a time of day or a duration: input.date_field or input.time_origin says of which day"
    if isinstance(cell, str) and isinstance(_number(cell), str):
        return "is text of another form than ISO 8601: input.time_format says which"
    if isinstance(cell, str) and not rules.from_text:
        return "is a number written as text: input.numbers = text reads it"
    return f"is neither ISO 8601 nor a number of {rules.format or rules.unit} before the year 10000"


def strange_number(cell: Any, time_ms: int, now_ms: int) -> str | None:
    """Return what a cell looks like that was read as an implausible time; None = a good one, or like nothing known.

    Args:
        cell: number or text.
        time_ms: as what it was read.
        now_ms: wall clock, or a Kafka timestamp.
    """
    number = _number(cell) if isinstance(cell, str) else cell
    earliest_ms, latest_ms = plausible_range(now_ms)
    if earliest_ms <= time_ms <= latest_ms or not isinstance(number, int | float) or abs(number) > _LARGEST:
        return None
    return looks_like(np.array([number], np.float64))


def _read(cells: Sequence[Any], rules: TimeRules) -> tuple[Ints, Flags]:
    """Return (N,) times, and which (N,) of them are what a local clock shows, counted as if it stood in UTC."""
    if (form := rules.form) is not None:
        times = form.read([cell if type(cell) is str else _spelt(cell) for cell in cells])
        is_read = times != UNREADABLE
        if not form.has_date:
            return np.where(is_read, times + (rules.origin_ms or 0), UNREADABLE), np.zeros(len(cells), np.bool_)
        return times, is_read & (not form.has_zone)
    if rules.from_text or rules.format is not None:
        cells = [_number(cell) if type(cell) is str else cell for cell in cells]
    kinds = set(map(type, cells))
    if len(kinds) == 1:
        return _READERS.get(kinds.pop(), _read_others)(cells, rules)
    times, is_local = np.full(len(cells), UNREADABLE, np.int64), np.zeros(len(cells), np.bool_)
    for kind in kinds & _READERS.keys():
        where = [i for i, cell in enumerate(cells) if type(cell) is kind]
        times[where], is_local[where] = _READERS[kind]([cells[i] for i in where], rules)
    return times, is_local


def _spelt(cell: Any) -> str:
    """Return a number as text: whole ones without a point, as dates written in digits are."""
    if type(cell) is float and cell.is_integer():
        cell = int(cell)
    return str(cell) if isinstance(cell, int | float) and abs(cell) < _LARGEST else ""


def _number(text: str) -> int | float | str:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    return float(found[0].replace(",", ".")) if found[2] else int(found[1])


def _read_others(cells: Sequence[Any], _rules: TimeRules) -> tuple[Ints, Flags]:
    return np.full(len(cells), UNREADABLE, np.int64), np.zeros(len(cells), np.bool_)


def _read_texts(texts: Sequence[Any], rules: TimeRules) -> tuple[Ints, Flags]:
    times, local = [UNREADABLE] * len(texts), []
    for i, moment in enumerate(map(read_moment, texts)):
        if moment is None:
            elapsed = None if rules.origin_ms is None else read_elapsed(texts[i])
            times[i] = UNREADABLE if elapsed is None else (rules.origin_ms or 0) + elapsed
        elif moment.tzinfo is None:
            local.append(i)
            times[i] = (moment - LOCAL_EPOCH) // MILLISECOND
        else:
            times[i] = (moment - EPOCH) // MILLISECOND
    is_local = np.zeros(len(texts), np.bool_)
    is_local[local] = True
    return np.array(times, np.int64), is_local


def _read_integers(cells: Sequence[Any], rules: TimeRules) -> tuple[Ints, Flags]:
    try:
        numbers = np.array(cells, np.int64)
    except OverflowError:  # even in ns, more than 64 bits are after the year 2262
        fits = np.array([abs(cell) < 2**63 for cell in cells])
        times, is_local = _read_others(cells, rules)
        times[fits], is_local[fits] = _read_integers([cell for cell in cells if abs(cell) < 2**63], rules)
        return times, is_local
    return _counted(numbers, rules)


def _read_fractions(cells: Sequence[Any], rules: TimeRules) -> tuple[Ints, Flags]:
    return _counted(np.array(cells, np.float64), rules)


def _counted(numbers: Ints | Doubles, rules: TimeRules) -> tuple[Ints, Flags]:
    count = COUNTS.get(rules.format or "", Count(rules.unit, rules.origin_ms or 0))
    times = count_up(numbers, count)
    return times, (times != UNREADABLE) & count.is_local


_READERS: dict[type, Callable[[Sequence[Any], TimeRules], tuple[Ints, Flags]]] = {
    int: _read_integers,
    float: _read_fractions,
    str: _read_texts,
}
