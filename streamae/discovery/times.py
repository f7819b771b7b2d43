"""Which field is the event time, found by what the fields hold; names only break ties.

Pure functions on columns. Must not know: keys, features, or what is done where no time is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streamae.batches import Flags, Ints
from streamae.connectors.event_times import UNREADABLE, TimeRules, looks_like, plausible_range, read_local, read_times
from streamae.connectors.time_numbers import COUNTS
from streamae.discovery.columns import Column, Kind
from streamae.discovery.names import NOT_THE_EVENT, STRICTLY_ELAPSED, TIME, hints_at, parts
from streamae.discovery.time_spellings import NEARLY_ALL, ZONE, Part, spellings
from streamae.settings.data import InputSettings

ORDERED = 0.9  # share of steps that go one way, from which on a column is in an order
EXAMPLES = 200  # texts from which a format is told
MOST_TRIED = 20_000  # cells by which formats are told apart
TOO_LARGE = 1e17  # for any measurement: numbers of this size that look like times need no name that says so
COMPACT = (19_910_101_000_000, 21_000_101_000_000)  # instants in digits, of years that need no name that says so
UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


@dataclass(frozen=True, slots=True, eq=False)
class Time:
    """A column, or two, that hold times.

    Attributes:
        field: path of the field.
        date_field: path of the field with the date, where `field` has only the time of day.
        unit: of numbers; None for text.
        format: of text, in the letters of strptime; None = ISO 8601, or numbers.
        others: formats that read every cell too, in another order of day and month.
        has_zone: whether each text names its zone; None for numbers.
        times_ms: (N,) int64 milliseconds since the epoch, `UNREADABLE` where a cell is no time; counted from 0 where
            an origin is missing, and only in the right order where `looks` is set.
        is_relative: counts from an origin that nothing tells.
        counts_rows: holds 0, 1, 2 and so on.
        looks: what it looks like where the plain reading is implausible; None = it is plausible.
        score: how much speaks for it.
        later_ms: (N,) int64, the later one of two instants that a local clock shows alike; None = there is none such.
    """

    field: str
    date_field: str | None
    unit: str | None
    format: str | None
    others: tuple[str, ...]
    has_zone: bool | None
    times_ms: Ints
    is_relative: bool = False
    counts_rows: bool = False
    looks: str | None = None
    score: float = 0.0
    later_ms: Ints | None = None

    @property
    def is_known(self) -> bool:
        """Whether it tells when each row was, and not only in which order they came."""
        return not (self.is_relative or self.counts_rows or self.looks)


def find_times(
    columns: Mapping[str, Column], files: Ints, settings: InputSettings, now_ms: int
) -> tuple[Time | None, list[Time]]:
    """Return the event time and whatever else holds times, the likely ones first.

    Args:
        columns: all columns by name.
        files: (N,) int64 number of the file of each row.
        settings: what is set there of times is taken as it is: field, date field, unit, format, zone, origin.
        now_ms: wall clock, milliseconds since the epoch: times long after it are implausible.
    """
    if settings.time_field is not None:
        column = columns.get(settings.time_field)
        chosen = None if column is None else _given(column, columns, files, settings, now_ms)
        return chosen, []
    found = [time for column in columns.values() if (time := _told(column, files, settings, now_ms)) is not None]
    found += _in_two(columns, found, files, settings, now_ms)
    found.sort(key=lambda time: -time.score)
    return (found[0], found[1:]) if found else (None, [])


def rules_of(settings: InputSettings, **known: Any) -> TimeRules:
    """Return how times are read by the settings, but for what is known better; text of digits is a number."""
    return replace(TimeRules.of(settings, from_text=True), **known)


def order_share(times_ms: Ints, files: Ints) -> tuple[float, float]:
    """Return the shares of steps within a file that do not fall, and that do not rise; 1 where there is no step.

    Example:
        >>> order_share(np.array([1, 2, 3, 0]), np.array([0, 0, 0, 1]))
        (1.0, 0.0)
    """
    steps = np.diff(times_ms)[files[1:] == files[:-1]]
    if not len(steps):
        return 1.0, 1.0
    return float((steps >= 0).mean()), float((steps <= 0).mean())


def counts_up(column: Column, files: Ints) -> bool:
    """Tell whether a column of numbers grows by exactly 1 from row to row of each file."""
    if not column.is_whole or column.missing or column.odd:
        return False
    steps = np.diff(column.numbers)[files[1:] == files[:-1]]
    return bool(len(steps)) and bool((steps == 1).all())


def _given(
    column: Column, columns: Mapping[str, Column], files: Ints, settings: InputSettings, now_ms: int
) -> Time | None:
    """Return the time that was named, read as the settings say."""
    told = _told(column, files, settings, now_ms, is_named=True)
    if settings.date_field is not None and settings.date_field in columns:
        return _joined(columns[settings.date_field], column, files, settings, now_ms)
    if told is not None and told.is_relative and told.unit is None:
        pairs = _in_two(columns, [told], files, settings, now_ms)
        return pairs[0] if pairs else told
    return told


def _told(column: Column, files: Ints, settings: InputSettings, now_ms: int, *, is_named: bool = False) -> Time | None:
    """Return a column as a time, None where it holds none."""
    is_spelt = settings.time_format is not None and (is_named or hints_at(column.name, TIME))
    if settings.time_format in COUNTS and not is_named:
        is_spelt = column.is_numeric and _counts_plausibly(column, settings, now_ms)
    if column.kind is Kind.TEXT or is_spelt or _is_compact(column):
        time = _from_text(column, files, settings)
    elif column.kind in {Kind.NUMBER, Kind.TEXT_NUMBER}:
        time = _from_numbers(column, files, settings, now_ms, is_named=is_named)
    else:
        return None
    return None if time is None else replace(time, score=_score(time, column, files))


def _score(time: Time, column: Column, files: Ints) -> float:
    """Return how much speaks for a column as the event time."""
    rising, falling = order_share(time.times_ms, files)
    words = parts(column.name)
    score = 4.0 if time.unit is None else 2.0
    score += 2.0 * hints_at(column.name, TIME) + 0.5 * ("event" in words) + 0.3 * ("utc" in words)
    score += 2.0 * (max(rising, falling) >= ORDERED) - 2.0 * hints_at(column.name, NOT_THE_EVENT)
    score -= 3.0 * (column.missing > 0.02 * len(column.cells)) + 3.0 * (column.distinct <= 1)
    if time.looks is not None or time.is_relative or time.counts_rows:
        score -= 3.0
    return score


def _counts_plausibly(column: Column, settings: InputSettings, now_ms: int) -> bool:
    """Tell whether the numbers of a column, counted as the settings say, are times of these years."""
    earliest, latest = plausible_range(now_ms)
    times = read_times(column.numbers[column.is_there].tolist(), rules_of(settings))
    return bool(len(times)) and float(((times >= earliest) & (times <= latest)).mean()) >= NEARLY_ALL


def _is_compact(column: Column) -> bool:
    """Tell whether numbers in text are dates or instants without anything between their parts: 20250303120000."""
    if column.kind is Kind.TRUTH or not column.is_whole:
        return False
    low, high = COMPACT
    known = column.numbers[column.is_there]
    if not hints_at(column.name, TIME) and not (known.min() >= low and known.max() < high):
        return False
    told = spellings(_examples(column))
    return told is not None and told[0] != "clock"


def _examples(column: Column) -> list[str]:
    """Return some of the texts of a column, from all over it."""
    cells = column.cells[:: max(1, len(column.cells) // EXAMPLES)]
    return [cell for cell in cells if isinstance(cell, str) and cell.strip()]


def _from_text(column: Column, files: Ints, settings: InputSettings) -> Time | None:
    """Return text as times: ISO 8601, or a format that every example fits."""
    examples = _examples(column)
    if settings.time_format is None and not examples:
        return None
    has_zone = all(ZONE.search(text) or text.upper().endswith(("UTC", "GMT", "]")) for text in examples)
    if settings.time_format is not None:
        return _read_text(column, settings, settings.time_format, (), has_zone=has_zone)
    told = spellings(examples)
    is_iso = not column.is_numeric and _share(read_times(examples, rules_of(settings))) >= NEARLY_ALL
    if is_iso and (told is None or told[0] != "clock"):
        return _read_text(column, settings, None, (), has_zone=has_zone)
    if told is None:
        return None
    part, forms = told
    if part == "clock":
        return _clock(column, forms[0], settings)
    forms = _apart(column, forms, files, settings)
    return _read_text(column, settings, forms[0], forms[1:], has_zone=has_zone) if forms else None


def _clock(column: Column, form: str, settings: InputSettings) -> Time | None:
    """Return times of day: from the origin that was given, else milliseconds since midnight of an unknown day."""
    if settings.time_origin is not None:
        examples = _examples(column)
        is_iso = _share(read_times(examples, rules_of(settings))) >= NEARLY_ALL
        return _read_text(column, settings, None if is_iso else form, (), has_zone=False)
    there = [cell is not None and cell != "" for cell in column.cells]
    stamps = [f"1970-01-01 {cell}" if known else "" for cell, known in zip(column.cells, there, strict=True)]
    rules = TimeRules("auto", f"%Y-%m-%d {form}", "UTC", None, from_text=True)
    return Time(column.name, None, None, form, (), False, read_times(stamps, rules), is_relative=True)


def _apart(column: Column, forms: tuple[str, ...], files: Ints, settings: InputSettings) -> tuple[str, ...]:
    """Return the formats that read nearly all cells, the one in whose order the rows are first."""
    if len(forms) == 1:
        return forms
    every = slice(None, None, max(1, len(column.cells) // MOST_TRIED))
    cells, of_file = list(column.cells[every]), files[every]
    fitting = []
    for form in forms:
        times = read_times(["" if cell is None else cell for cell in cells], rules_of(settings, format=form))
        if _share(times) >= NEARLY_ALL:
            readable = times != UNREADABLE
            rising, falling = order_share(times[readable], of_file[readable])
            is_unusual = "%p" in form and form.startswith("%d/")  # who writes AM and PM after slashes has months first
            fitting.append((-round(max(rising, falling), 2), int(np.ptp(times[readable])), is_unusual, form))
    return tuple(form for *_, form in sorted(fitting, key=lambda one: one[:3]))


def _read_text(
    column: Column, settings: InputSettings, form: str | None, others: tuple[str, ...], *, has_zone: bool
) -> Time | None:
    """Return text read in one way; None where too many cells are no time."""
    cells = ["" if cell is None else cell for cell in column.cells]
    times, later = read_local(cells, rules_of(settings, format=form, from_text=column.is_numeric))
    if _share(times[column.codes >= 0]) < NEARLY_ALL and settings.time_field is None:
        return None
    found = Time(column.name, None, None, form, others, has_zone, times)
    return found if later is times else replace(found, later_ms=later)


def _from_numbers(column: Column, files: Ints, settings: InputSettings, now_ms: int, *, is_named: bool) -> Time | None:
    """Return numbers as times: of a unit in which they are plausible, or counted from an origin, or strange ones."""
    numbers = column.numbers
    there = ~np.isnan(numbers)
    known = numbers[there]
    if not len(known):
        return None
    units = UNITS if settings.time_unit == "auto" else {settings.time_unit: UNITS[settings.time_unit]}
    earliest, latest = plausible_range(now_ms)
    rising, falling = order_share(_ranks(known), files[there])
    is_named = is_named or hints_at(column.name, TIME)
    if settings.time_origin is None:
        for unit, factor in units.items():
            size = known * factor
            if ((size >= earliest) & (size <= latest)).mean() >= NEARLY_ALL:
                if not is_named and max(rising, falling) < ORDERED:
                    return None
                return _numbers(column, settings, there, unit)
    counts = counts_up(column, files)
    if not is_named and max(rising, falling) < ORDERED:
        return None
    looks = looks_like(known)
    if not is_named and known.min() < TOO_LARGE and not hints_at(column.name, STRICTLY_ELAPSED):
        return None
    if looks is not None and settings.time_origin is None and settings.time_format is None:
        return Time(column.name, None, "s", None, (), None, _ranks(numbers), looks=looks)
    if rising < NEARLY_ALL or known.min() < 0 or known.min() > 0.5 * known.max():
        is_meant = settings.time_field is not None or (rising >= NEARLY_ALL and _says_time(column.name))
        if not is_named or not is_meant:
            return None
        unit = "s" if settings.time_unit == "auto" else settings.time_unit
        strange = "the times lie before 1991 or ahead in every unit: say how to read them with --input.time_unit"
        return Time(column.name, None, unit, None, (), None, _ranks(numbers), looks=strange)
    unit = _elapsed_unit(column.name) if settings.time_unit == "auto" else settings.time_unit
    is_counted = (
        counts and settings.time_origin is None and known[0] <= 1 and not hints_at(column.name, STRICTLY_ELAPSED)
    )
    found = _numbers(column, settings, there, unit)
    return replace(found, is_relative=settings.time_origin is None and not is_counted, counts_rows=is_counted)


def _says_time(name: str) -> bool:
    """Tell whether a name speaks of time in a whole word: `t` may be a temperature."""
    return any(len(word) > 1 and word in TIME for word in parts(name))


def _numbers(column: Column, settings: InputSettings, there: Flags, unit: str) -> Time:
    cells = [cell if known else "" for cell, known in zip(column.cells, there.tolist(), strict=True)]
    times = read_times(cells, rules_of(settings, unit=unit))
    return Time(column.name, None, unit, settings.time_format, (), None, times)


def _elapsed_unit(name: str) -> str:
    words = parts(name)
    return next((unit for unit in ("ms", "us", "ns") if unit in words), "ms" if "millis" in words else "s")


def _ranks(numbers: Any) -> Ints:
    """Return (N,) int64 in the order of numbers that may be too large for one."""
    ranks: Ints = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    return ranks


def _in_two(
    columns: Mapping[str, Column], found: Sequence[Time], files: Ints, settings: InputSettings, now_ms: int
) -> list[Time]:
    """Return dates joined with the times of day beside them, where both are there."""
    clocks = [time for time in found if time.is_relative and time.unit is None]
    dates = [name for name, column in columns.items() if _part(column) == "date"]
    if settings.date_field is not None:
        dates = [name for name in dates if name == settings.date_field]
    pairs = []
    for clock in clocks:
        for date in dates:
            joined = _joined(columns[date], columns[clock.field], files, settings, now_ms)
            if joined is not None:
                pairs.append(joined)
    return pairs


def _part(column: Column) -> Part | None:
    """Return which part of a time the texts of a column are."""
    if column.kind is not Kind.TEXT:
        return None
    told = spellings(_examples(column))
    return None if told is None else told[0]


def _joined(date: Column, clock: Column, files: Ints, settings: InputSettings, now_ms: int) -> Time | None:
    """Return two columns as one time, joined by a blank."""
    cells = [f"{day} {hour}" if day and hour else None for day, hour in zip(date.cells, clock.cells, strict=True)]
    together = Column(clock.name, cells, Kind.TEXT, clock.numbers)
    time = _told(together, files, settings, now_ms)
    return None if time is None else replace(time, date_field=date.name, score=time.score + 3.0)


def _share(times_ms: Ints) -> float:
    return float((times_ms != UNREADABLE).mean()) if len(times_ms) else 0.0
