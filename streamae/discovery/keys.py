"""Which field tells the keys apart, and whether a record holds one metric or all of them.

What makes times increase within it is a key; names break ties. Must not know: features, or settings beyond the names
of fields.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Flags, Ints
from streamae.discovery.columns import Column, Kind
from streamae.discovery.names import KEYS, METRIC, STATES, VALUE, hints_at, is_id, key_rank, names_only_keys, parts

UNIQUE = 0.99  # share of rows that are alone with their key and time
EVEN = 0.95  # share of steps that are the usual one, from which on rows are evenly spaced
UNEVEN = 0.8  # and up to which they are not
EVENER = 0.3  # more of the steps are the usual one within the texts of a field than without it: perhaps the devices
EVEN_ROWS = 20  # on average of a key, below which an even step may be chance
MOSTLY_ALONE = 0.5  # share of these rows, below which a number that is called an id is another thing: idle time
MERGED = 0.7  # share of rows alone with key and time, below which a grid merges the others
ROWS_A_KEY = 2  # on average, below which a field names records, not keys
MOST_METRICS = 1_000
MOST_KINDS = 20
MISSING = 0.005  # share of rows that may lack their key


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """What tells keys apart.

    Attributes:
        field: path of the field; None = each file, or the Kafka key, is one.
        codes: (N,) int64 number of the key of each row, -1 = the row has none.
        count: how many keys there are.
        why: in a few words.
        unique: share of rows that are alone with their key and time.
    """

    field: str | None
    codes: Ints
    count: int
    why: str
    unique: float


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """The long layout: one metric a record.

    Attributes:
        name_field: path of the field with its name.
        value_field: path of the field with its value.
        others: fields that also look like its value.
    """

    name_field: str
    value_field: str
    others: tuple[str, ...]


def unique_share(times_ms: Ints, *groups: Ints) -> float:
    """Return the share of rows whose time is not that of an earlier row of the same group.

    Example:
        >>> times, keys = np.array([1, 1, 2, 2]), np.array([0, 1, 0, 1])
        >>> unique_share(times, keys), unique_share(times)
        (1.0, 0.5)
    """
    if not len(times_ms):
        return 1.0
    order = np.lexsort((times_ms, *groups))
    columns = [values[order] for values in (times_ms, *groups)]
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    return 1.0 - float(np.count_nonzero(same)) / len(times_ms)


def find_key(
    columns: Mapping[str, Column], taken: Collection[str], files: Ints, times_ms: Ints | None, *metrics: Ints
) -> Key:
    """Return what tells the keys apart.

    Args:
        columns: all columns by name.
        taken: fields that are something else: the time, the metric's name.
        files: (N,) int64 number of the file of each row, which is the key where nothing else is.
        times_ms: (N,) int64; None = there are none.
        metrics: (N,) int64 number of the metric of each row, in the long layout.
    """
    times = np.arange(len(files), dtype=np.int64) if times_ms is None else times_ms
    alone = unique_share(times, files, *metrics)
    candidates = []
    for name, column in columns.items():
        rank = key_rank(name)
        if name in taken or not _may_be_key(column) or any(_tells_no_more(column, metric) for metric in metrics):
            continue
        share = unique_share(times, column.codes, files, *metrics)
        is_number_of_it = is_id(name) and names_only_keys(name) and share >= MOSTLY_ALONE
        is_sure = rank is not None and (not _is_of_measure(column) if column.kind is Kind.TEXT else is_number_of_it)
        is_whole = not metrics and alone >= UNIQUE and not kinds_of(column, columns)
        is_sure = is_sure or (is_whole and _is_even_by(column, times, files))
        if not is_sure and (alone >= UNIQUE or share < UNIQUE or column.distinct < 2 or kinds_of(column, columns)):
            continue  # without a name that says so, only where it is needed
        rows = len(files) / column.distinct
        candidates.append(((share < UNIQUE, rank is None, rows < 20, rank or 0, -column.distinct), name, share))
    if not candidates:
        return Key(None, files, len(np.unique(files)), "", alone)
    _, name, share = min(candidates)
    column = columns[name]
    why = "times repeat without it" if alone < UNIQUE <= share else "by its name"
    if why == "by its name" and key_rank(name) is None:
        why = "its rows are evenly spaced"
    return Key(name, column.codes, column.distinct, why, share)


def key_of(column: Column, times_ms: Ints | None, *metrics: Ints) -> Key:
    """Return a key field that was named."""
    share = 1.0 if times_ms is None else unique_share(times_ms, column.codes, *metrics)
    return Key(column.name, column.codes, column.distinct, "", share)


def evener_by(columns: Mapping[str, Column], key: Key, times_ms: Ints, is_usable: Flags) -> str | None:
    """Return the field of text within which rows are clearly more evenly spaced than without it, None where there is none.

    Args:
        columns: all columns by name.
        key: what was found; no field.
        times_ms: (N,) int64 of each row.
        is_usable: (N,) bool, rows with a time that can be used.
    """
    times, codes, found = times_ms[is_usable], key.codes[is_usable], []
    for name, column in columns.items():
        rows = len(column.cells)
        if column.kind is not Kind.TEXT or not 2 <= column.distinct <= rows // EVEN_ROWS or not _may_be_key(column):
            continue
        has = kinds_of(column, columns)
        if len(set(has.values())) < len(has) or not has:  # else each text is a kind of record
            found.append((_even_share(times, column.codes[is_usable], codes), name))
    share, name = max(found, default=(0.0, ""))
    return name if share >= _even_share(times, codes) + EVENER else None


def kinds_of(column: Column, columns: Mapping[str, Column]) -> dict[str, tuple[str, ...]]:
    """Return, by text of a column, the numbers its records have, where that differs from text to text; else nothing.

    Args:
        column: that may tell kinds of records, such as the name of a measurement.
        columns: all columns by name.
    """
    if column.kind is not Kind.TEXT or not 2 <= column.distinct <= MOST_KINDS:
        return {}
    rows = np.bincount(column.codes + 1, minlength=column.distinct + 1)[1:]
    numeric = [other for other in columns.values() if other.is_numeric and other.missing]
    there = {
        other.name: np.bincount(column.codes[other.is_there] + 1, minlength=column.distinct + 1)[1:] > 0.5 * rows
        for other in numeric
    }
    has = {str(word): tuple(name for name in there if there[name][code]) for word, code in column.places.items()}
    return has if len(set(has.values())) > 1 else {}


def find_metrics(columns: Mapping[str, Column], taken: Collection[str]) -> Metrics | None:
    """Return name and value field of the long layout, None where records hold all their metrics.

    Args:
        columns: all columns by name.
        taken: fields that are something else: the time.
    """
    texts = [column for name, column in columns.items() if column.kind is Kind.TEXT and name not in taken]
    numeric = [
        name
        for name, column in columns.items()
        if column.is_numeric and name not in taken and _varies(column) and not _is_told_by(texts, column)
    ]
    values = [name for name in numeric if hints_at(name, VALUE)]
    if not values or any(name not in values and not is_id(name) for name in numeric):
        return None
    names = [
        name
        for name, column in columns.items()
        if column.kind is Kind.TEXT
        and name not in taken
        and hints_at(name, METRIC)
        and 2 <= column.distinct <= min(MOST_METRICS, len(column.cells) // 5)
        and column.missing <= MISSING * len(column.cells)
    ]
    if not names:
        return None
    name = min(names, key=lambda name: (name.count("."), key_rank(name) is not None))
    of_name = columns[name]
    value = max(values, key=lambda value: (_covered(of_name, columns[value]), value.lower() == "value"))
    return Metrics(name, value, tuple(other for other in values if other != value))


def needed_metrics(
    columns: Mapping[str, Column], taken: Collection[str], key: Key, files: Ints, times_ms: Ints, *, is_text: bool
) -> Metrics | None:
    """Return name and value field of the long layout where only that tells rows of one key and time apart.

    Args:
        columns: all columns by name.
        taken: fields that are something else: the time, the key.
        key: under which rows repeat their time.
        files, times_ms: (N,) int64 of each row.
        is_text: every cell is text, so that a number may be a name.
    """
    free = {name: column for name, column in columns.items() if name not in taken}
    values = [name for name, column in free.items() if column.is_numeric and not is_id(name) and _varies(column)]
    if len(values) != 1:
        return None
    names = [
        name
        for name, column in free.items()
        if column.kind is Kind.TEXT or (is_text and column.is_whole and is_id(name))
        if 2 <= column.distinct <= min(MOST_METRICS, len(column.cells) // 5) and not column.missing
        if unique_share(times_ms, key.codes, files, column.codes) >= UNIQUE
    ]
    if not names:
        return None
    name = min(names, key=lambda name: (not hints_at(name, METRIC), columns[name].distinct))
    return Metrics(name, values[0], ())


def _varies(column: Column) -> bool:
    return bool(column.is_there.any()) and bool(np.nanmin(column.numbers) < np.nanmax(column.numbers))


def _is_told_by(texts: Sequence[Column], column: Column) -> bool:
    """Tell whether texts that repeat say what a column of whole numbers holds, as of the number of a series."""
    if not column.is_whole or column.missing or hints_at(column.name, VALUE):
        return False
    repeated = [text.codes for text in texts if ROWS_A_KEY * text.distinct <= len(text.cells)]
    if not repeated:
        return False
    groups = np.unique(np.column_stack(repeated), axis=0, return_inverse=True)[1].reshape(-1)
    first = np.unique(groups, return_index=True)[1]
    return bool((column.numbers == column.numbers[first][groups]).all())


def _is_even_by(column: Column, times_ms: Ints, files: Ints) -> bool:
    """Tell whether rows are evenly spaced within the texts of a column, and are not without it."""
    rows = len(column.cells)
    if column.kind is not Kind.TEXT or not 2 <= column.distinct <= rows // EVEN_ROWS:
        return False
    return _even_share(times_ms, files) <= UNEVEN and _even_share(times_ms, column.codes, files) >= EVEN


def _even_share(times_ms: Ints, *groups: Ints) -> float:
    """Return the share of steps within a group that are its usual one, or nearly."""
    order = np.lexsort((times_ms, *groups))
    goes_on = np.logical_and.reduce([group[order][1:] == group[order][:-1] for group in groups])
    steps = np.diff(times_ms[order])[goes_on]
    if not len(steps):
        return 0.0
    usual = float(np.median(steps))
    return float((np.abs(steps - usual) <= 0.1 * usual).mean())


def _is_of_measure(column: Column) -> bool:
    """Tell whether a column called unit holds those of measurement, such as Percent, and not numbered machines."""
    if set(parts(column.name)) & {"unit", "units"} and key_rank(column.name) == KEYS.index("unit"):
        return not all(any(letter.isdigit() for letter in str(cell)) for cell in column.places)
    return False


def _covered(name: Column, value: Column) -> tuple[int, int]:
    """Return for how many metrics most values are there, and how many values in all."""
    all_rows = np.bincount(name.codes + 1, minlength=name.distinct + 1)[1:]
    there = np.bincount(name.codes[value.is_there] + 1, minlength=name.distinct + 1)[1:]
    return int(np.count_nonzero(there > 0.5 * all_rows)), int(there.sum())


def _tells_no_more(column: Column, metrics: Ints) -> bool:
    """Tell whether several words of a column follow from the metric, as its unit does."""
    different = len(set(zip(column.codes.tolist(), metrics.tolist(), strict=True)))
    return column.distinct > 1 and different == len(np.unique(metrics))


def _may_be_key(column: Column) -> bool:
    """Tell whether a column could name keys, whatever its times say."""
    rows = len(column.cells)
    if column.kind not in {Kind.TEXT, Kind.NUMBER, Kind.TEXT_NUMBER} or column.missing > MISSING * rows:
        return False
    if column.is_numeric and (
        not (names_only_keys(column.name) or is_id(column.name)) or not column.is_whole or column.odd
    ):
        return False
    if not column.is_numeric and all(str(word).strip().lower() in STATES for word in column.places):
        return False
    return bool(column.distinct) and rows >= ROWS_A_KEY * column.distinct
