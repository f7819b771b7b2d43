"""Tables in files: CSV (also gzipped) and Parquet, read as typed columns or as series of one key each.

Times are read as in live records (`event_times.py`): ISO 8601, or numbers of seconds, milliseconds, microseconds or
nanoseconds told apart by their size, so that plain row numbers count as seconds. The only module that knows
pyarrow; it does not know what series are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, csv, parquet

from streamae.batches import Flags, Floats, Ints, Series, Words
from streamae.connectors.event_times import EARLIEST_MS, LATEST_MS, TimeRules, read_times
from streamae.errors import DataError
from streamae.settings.data import InputSettings

__all__ = ["DataFile", "Series", "find_files", "read_series"]

SUFFIXES = (".csv", ".csv.gz", ".parquet")
LABEL_FIELD = "is_anomaly"  # never a feature
TIME_FIELDS = ("timestamp", "event_time", "time")  # taken for the event time when no field is named
ROW_MS = 1_000  # rows without any time are one second apart
NUMBER = r"^\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)?\s*$"  # or nothing
MOSTLY_NUMBERS = 0.5  # share of cells from which on a column of text was meant as numbers
LONGEST_CELL = 40  # of a cell that is quoted
MAX_SIZE = 1e30  # as in live records; beyond it a value counts as missing


class DataFile:
    """One table file, in memory. Every method raises `DataError` naming file and column where it cannot answer."""

    def __init__(self, path: Path, settings: InputSettings, categories: Sequence[str] = ()) -> None:
        """Read `path`; the fields are literal column names (a backslash before a dot is ignored, as in the codec).

        Args:
            path, settings, categories: as for `read_series`, one file.

        Raises:
            DataError: not readable as the table its suffix promises, or a column is missing or stands twice.
        """
        self.path, self._time_rules = path, TimeRules.of(settings, from_text=False)
        key_field, time_field = settings.key_field, settings.time_field
        texts = [field.replace("\\.", ".") for field in (key_field, *categories) if field is not None]
        self._table = _read_csv(path, texts) if _suffix(path) != ".parquet" else _read_parquet(path)
        self.names: tuple[str, ...] = tuple(self._table.column_names)
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise DataError(f"{path}: column {twice[0]!r} stands twice")
        self._key_field = self._known(key_field)
        self.categories: tuple[str, ...] = tuple(filter(None, map(self._known, categories)))
        self._time_field = self._known(time_field)
        if time_field is None:
            self._time_field = next((name for name in TIME_FIELDS if name in self.names and name != key_field), None)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def has_times(self) -> bool:
        """Whether a column holds the event time."""
        return self._time_field is not None

    def value_names(self, fields: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the value columns: `fields`, or all numeric ones but key, time, label and categories, as in the file."""
        if fields:
            return tuple(filter(None, map(self._known, fields)))
        others = {self._key_field, self._time_field, LABEL_FIELD, *self.categories}
        return tuple(name for name in self.names if name not in others and self._is_number(name))

    def doubts(self) -> list[str]:
        """Return a sentence for each column that is left out as text, although most of its cells are numbers."""
        others = {self._key_field, self._time_field, LABEL_FIELD, *self.categories}
        found = []
        for name in self.names:
            column = self._table.column(name)
            if name in others or not len(self) or not pa.types.is_string(column.type):
                continue
            is_number = _numpy(compute.fill_null(compute.match_substring_regex(column, NUMBER), True), np.bool_)
            if MOSTLY_NUMBERS <= is_number.mean() < 1.0:
                row = int(np.flatnonzero(~is_number)[0])
                text = str(column[row].as_py())[:LONGEST_CELL]
                found.append(
                    f"{self.path}: column {name!r} is left out: row {row + 1} holds {text!r}, which is no number"
                )
        return found

    def keys(self) -> list[str] | None:
        """Return the N keys as text, None without a key field."""
        if self._key_field is None:
            return None
        column = self._column(self._key_field, pa.string(), "text")
        self._refuse_nulls(self._key_field, column)
        keys: list[str] = column.to_pylist()
        if "" in keys:
            raise DataError(f"{self.path}: column {self._key_field!r}, row {keys.index('') + 1}: is empty")
        return keys

    def event_times_ms(self) -> Ints:
        """Return (N,) int64 in the order of the file; without a time field row numbers times `ROW_MS`."""
        name = self._time_field
        if name is None:
            return np.arange(len(self), dtype=np.int64) * ROW_MS
        column = self._table.column(name)
        self._refuse_nulls(name, column)
        if pa.types.is_temporal(column.type):
            times: Ints = _numpy(compute.cast(self._milliseconds(name), pa.int64(), safe=False), np.int64)
        else:
            cells = column.to_pylist()
            if not all(type(cell) in {int, float, str} for cell in cells):
                raise DataError(f"{self.path}: column {name!r} is {column.type}, not a time")
            times = read_times(cells, self._time_rules)
        bad = np.flatnonzero((times < EARLIEST_MS) | (times > LATEST_MS))
        if len(bad):
            raise DataError(f"{self.path}: column {name!r}, row {bad[0] + 1}: not a time (ISO 8601, or s, ms, us, ns)")
        return times

    def values(self, names: Sequence[str]) -> Floats:
        """Return (N, F) float32 of the named columns; NaN where empty, not finite or beyond `MAX_SIZE`."""
        values = np.empty((len(self), len(names)), dtype=np.float32)
        for i, name in enumerate(names):
            numbers = _numpy(self._column(name, pa.float64(), "a number"), np.float64)
            values[:, i] = np.where(np.abs(numbers) <= MAX_SIZE, numbers, np.nan)
        return values

    def words(self) -> Words:
        """Return (N, C) text of the category fields; None where empty."""
        words = np.full((len(self), len(self.categories)), None, dtype=object)
        for i, name in enumerate(self.categories):
            self._refuse_fractions(name)
            words[:, i] = [word or None for word in self._column(name, pa.string(), "text").to_pylist()]
        return words

    def labels(self) -> Flags | None:
        """Return (N,) bool from the label column (empty = False), None if there is none."""
        if LABEL_FIELD not in self.names:
            return None
        numbers = _numpy(self._column(LABEL_FIELD, pa.float64(), "a number or a truth value"), np.float64)
        flags: Flags = np.nan_to_num(numbers) != 0
        return flags

    def rows(self, start: int, count: int) -> list[dict[str, Any]]:
        """Return rows as dictionaries of all columns, None where empty; times of a time type as datetime or date."""
        rows: list[dict[str, Any]] = self._table.slice(start, count).to_pylist()
        return rows

    def _known(self, field: str | None) -> str | None:
        if field is None:
            return None
        name = field.replace("\\.", ".")
        if name not in self.names:
            raise DataError(f"{self.path}: there is no column {name!r}; there are {', '.join(self.names)}")
        return name

    def _is_number(self, name: str) -> bool:
        kind = self._table.schema.field(name).type
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))

    def _column(self, name: str, kind: Any, meaning: str) -> Any:
        column = self._table.column(name)
        try:
            if pa.types.is_boolean(column.type) and pa.types.is_floating(kind):
                column = compute.cast(column, pa.int8())
            return compute.cast(column, kind, safe=False)
        except pa.ArrowException as error:
            raise DataError(f"{self.path}: column {name!r} is {column.type}, not {meaning}: {error}") from error

    def _milliseconds(self, name: str) -> Any:
        try:
            return compute.cast(self._table.column(name), pa.timestamp("ms"), safe=False)
        except pa.ArrowException as error:
            raise DataError(f"{self.path}: column {name!r} is no point in time: {error}") from error

    def _refuse_fractions(self, name: str) -> None:
        kind = self._table.schema.field(name).type
        if pa.types.is_floating(kind) or pa.types.is_temporal(kind):  # live, the codec refuses them: no text is theirs
            raise DataError(f"{self.path}: column {name!r} is {kind}, not a category: text, integers or truth values")

    def _refuse_nulls(self, name: str, column: Any) -> None:
        if column.null_count:
            row = int(np.flatnonzero(_numpy(compute.is_null(column), np.bool_))[0])
            raise DataError(f"{self.path}: column {name!r}, row {row + 1}: is empty")


def find_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return (name, path) of each data file, those of a folder sorted.

    A file's name is its path without suffix: relative to the folder it was found in, or its last part if it
    was given itself.

    Raises:
        DataError: a path does not exist, has another suffix, or a name stands for two files.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for name, file in _files_of(path):
            if name in found and found[name].resolve() != file.resolve():
                raise DataError(f"{file} and {found[name]} have the same name: name a key field, or rename one")
            found[name] = file
    return list(found.items())


def read_series(
    paths: Sequence[Path],
    settings: InputSettings,
    categories: Sequence[str] = (),
    tell: Callable[[str], None] | None = None,
    *,
    needs_times: bool = False,
) -> list[Series]:
    """Read files and folders as one series a key, keys in order of appearance, rows in the order of the file.

    A key's rows from several files follow each other by the first time of each.

    Args:
        paths: CSV, CSV.gz or Parquet files, or folders that are searched for them.
        settings: `key_field` is the column of the key; None = each file is a series with the file's name as key.
            `time_field` is the column of the event time; None = `timestamp`, `event_time` or `time` if there is one,
            else rows are one second apart. `value_fields` are the columns of the features, in order; empty = all
            numeric ones but key, time, label and categories. `time_unit` is that of times that are numbers.
        categories: columns read as text, see `Series.words`.
        tell: hears of columns that are left out although they look like numbers.
        needs_times: refuse files without a time column.

    Raises:
        DataError: nothing found, a file or column cannot be used, or files differ in their value columns.
    """
    files = find_files(paths)
    if not files:
        raise DataError(f"no {', '.join(SUFFIXES)} file in {', '.join(map(str, paths)) or 'no path at all'}")
    parts: dict[str, list[Series]] = {}
    names: tuple[str, ...] | None = None
    for file_name, path in files:
        file = DataFile(path, settings, categories)
        if needs_times and not file.has_times:
            there = ", ".join(file.names)
            raise DataError(f"{path}: no time column: name it with input.time_field; there are {there}")
        if tell is not None and not settings.value_fields:
            for doubt in file.doubts():
                tell(doubt)
        names = _same_names(names, file, settings.value_fields, files[0][1])
        words = file.words() if categories else None
        times, values = file.event_times_ms(), file.values(names)
        whole = Series(file_name, names, times, values, file.labels(), file.categories, words)
        for part in _by_key(whole, file.keys()):
            parts.setdefault(part.key, []).append(part)
    if not parts:
        raise DataError(f"{files[0][1]}: has no rows")
    return [_joined(of_key) for of_key in parts.values()]


def _same_names(names: tuple[str, ...] | None, file: DataFile, fields: Sequence[str], first: Path) -> tuple[str, ...]:
    """Return the value columns, which must be the same in every file."""
    found = file.value_names(fields)
    if not found:
        raise DataError(f"{file.path}: no numeric column for values; there are {', '.join(file.names)}")
    if names is not None and set(found) != set(names):
        odd = min(set(found) ^ set(names))
        where, other = (file.path, first) if odd in found else (first, file.path)
        raise DataError(f"{other}: column {odd!r} is missing or not numeric, but in {where} it is: name value_fields")
    return names or found


def _by_key(whole: Series, keys: list[str] | None) -> Iterator[Series]:
    """Split the rows of a file by key, keeping their order."""
    if keys is None:
        if len(whole):
            yield whole
        return
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    codes = np.array([numbers[key] for key in keys], dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    bounds = np.cumsum(np.bincount(codes, minlength=len(numbers)))[:-1]
    for key, rows in zip(numbers, np.split(order, bounds), strict=False):
        labels = None if whole.labels is None else whole.labels[rows]
        words = None if whole.words is None else whole.words[rows]
        times, values = whole.event_times_ms[rows], whole.values[rows]
        yield Series(key, whole.features, times, values, labels, whole.categories, words)


def _joined(parts: list[Series]) -> Series:
    if len(parts) == 1:
        return parts[0]
    parts = sorted(parts, key=lambda part: int(part.event_times_ms[0]))
    labels = [np.zeros(len(part), dtype=np.bool_) if part.labels is None else part.labels for part in parts]
    has_labels = any(part.labels is not None for part in parts)
    words = [part.words for part in parts if part.words is not None]
    return Series(
        parts[0].key,
        parts[0].features,
        np.concatenate([part.event_times_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate(labels) if has_labels else None,
        parts[0].categories,
        np.concatenate(words) if words else None,
    )


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((suffix for suffix in reversed(SUFFIXES) if name.endswith(suffix)), None)


def _files_of(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            suffix = _suffix(file)
            if suffix and file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                yield file.relative_to(path).as_posix()[: -len(suffix)], file
        return
    suffix = _suffix(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    if suffix is None:
        raise DataError(f"{path}: is none of {', '.join(SUFFIXES)}")
    yield path.name[: -len(suffix)], path


def _read_csv(path: Path, text_columns: Sequence[str]) -> Any:
    """Read with inferred types; key and categories stay text, so that 007 is not 7."""
    texts = {name: pa.string() for name in text_columns}
    try:
        with pa.input_stream(path, compression="gzip" if _suffix(path) == ".csv.gz" else None) as stream:
            table = csv.read_csv(stream, convert_options=csv.ConvertOptions(column_types=texts))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as CSV: {error}") from error
    return _with_plain_types(table)


def _read_parquet(path: Path) -> Any:
    try:
        return _with_plain_types(parquet.read_table(path, partitioning=None))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet: {error}") from error


def _with_plain_types(table: Any) -> Any:
    """Return the table with times in microseconds, the finest Python knows, and decimals as floats."""
    for i, column in enumerate(table.schema):
        kind = None
        if pa.types.is_timestamp(column.type):
            kind = pa.timestamp("us", column.type.tz)
        elif pa.types.is_decimal(column.type):
            kind = pa.float64()
        if kind is not None:
            table = table.set_column(i, column.name, compute.cast(table.column(i), kind, safe=False))
    return table


def _numpy(column: Any, kind: Any) -> Any:
    """Return a column as a numpy array of `kind`; empty cells of floats are NaN."""
    return column.to_numpy().astype(kind, copy=False)
