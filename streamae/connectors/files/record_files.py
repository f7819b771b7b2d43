"""A file as JSON records, whatever it is: the source of all past data, read by the codec like any message.

A row of CSV is an object of text, a row of Parquet one of what its cells are. A row that is none stays a record, which
the codec refuses. Files are read whole. Must not know what a field means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from streamae.connectors.cell_table import CellTable
from streamae.connectors.files.csv_dialect import Dialect, with_marks
from streamae.connectors.files.csv_text import csv_dialect, read_csv_text, telling_cells
from streamae.connectors.files.json_files import read_json_records
from streamae.connectors.files.parquet_files import read_parquet_rows
from streamae.connectors.files.paths import kind_of
from streamae.connectors.record_type import split_path
from streamae.errors import DataError
from streamae.settings.data import InputSettings

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_TOO_LARGE, _TOO_SMALL = msgspec.Raw(b"1e999"), msgspec.Raw(b"-1e999")
_FIELDS = ("key_field", "time_field", "date_field", "label_field", "id_field", "name_field", "value_field")


class RecordFile(Protocol):
    """One file in memory.

    Attributes:
        path: of the file.
        settings: how its records are read: those given, with what the file itself says, and fields as paths.
        names: paths of its fields; of JSON those of the first records.
        dialect: how text is written; None where that is no question.
    """

    path: Path
    settings: InputSettings
    names: tuple[str, ...]

    @property
    def dialect(self) -> Dialect | None: ...

    def __len__(self) -> int: ...

    def records(self, start: int, stop: int) -> list[bytes]:
        """Return the bytes of records."""
        ...

    def cells(self, limit: int | None = None) -> CellTable:
        """Return the cells of all fields, of the first `limit` records; None = all."""
        ...


class CsvFile:
    """A file of separated text, see `RecordFile`; rows with another number of cells come last."""

    def __init__(self, path: Path, settings: InputSettings) -> None:
        text = read_csv_text(path, csv_dialect(path, settings), settings.max_rows + 1)
        self.path, self.dialect = path, with_marks(text.dialect, telling_cells(text), settings)
        self._table, self._bad = (
            text.table,
            [f"line {row.line}: {row.what}: {row.text}".encode() for row in text.bad_rows],
        )
        if len(self) > settings.max_rows:
            raise DataError(f"{path}: more than {settings.max_rows:,} rows: input.max_rows; read less, or raise it")
        marks = {"decimal_mark": self.dialect.decimal_mark, "thousands_mark": self.dialect.thousands_mark}
        as_text = settings.model_copy(update={"numbers": "text", **marks})
        self.names = tuple(map(escaped, self._table.column_names))
        self.settings = with_paths(as_text, self.names)

    def __len__(self) -> int:
        return int(self._table.num_rows) + len(self._bad)

    def records(self, start: int, stop: int) -> list[bytes]:
        """See `RecordFile`."""
        rows = int(self._table.num_rows)
        table = self._table.slice(start, max(0, stop - start))
        found = [_ENCODER.encode(row) for row in table.to_pylist()]
        return found + self._bad[max(0, start - rows) : max(0, stop - rows)]

    def cells(self, limit: int | None = None) -> CellTable:
        """See `RecordFile`."""
        table = self._table.slice(0, limit)
        columns = dict(zip(self.names, (column.to_pylist() for column in table.columns), strict=True))
        return CellTable(str(self.path), int(table.num_rows), columns, is_text=True)


class JsonFile:
    """Records that are JSON already, see `RecordFile`."""

    dialect: Dialect | None = None

    def __init__(self, path: Path, settings: InputSettings, records: list[bytes]) -> None:
        self.path, self._records = path, records
        self.names = tuple(self.cells(_SEEN).cells)
        self.settings = with_paths(settings, self.names)

    def __len__(self) -> int:
        return len(self._records)

    def records(self, start: int, stop: int) -> list[bytes]:
        """See `RecordFile`."""
        return self._records[start:stop]

    def cells(self, limit: int | None = None) -> CellTable:
        """See `RecordFile`."""
        return json_cells(str(self.path), self._records[:limit])


_SEEN = 1_000  # records whose fields are taken for those of a file of JSON


def open_file(path: Path, settings: InputSettings) -> RecordFile:
    """Read a file that `find_files` found.

    Raises:
        DataError: it cannot be read as what its name says, or is too long; names the file.
    """
    kind = kind_of(path)
    if kind == "csv":
        return CsvFile(path, settings)
    if kind == "json_lines":
        return JsonFile(path, settings, read_json_records(path, settings))
    rows = read_parquet_rows(path, settings.max_rows)
    return JsonFile(path, settings, [_ENCODER.encode(_spelt(row)) for row in rows])


def _spelt(cell: Any) -> Any:
    """Return a cell of Parquet as JSON can say it: of an infinite number, which would become null, one that is too large."""
    if isinstance(cell, dict):
        return {name: _spelt(inner) for name, inner in cell.items()}
    if isinstance(cell, float) and math.isinf(cell):
        return _TOO_LARGE if cell > 0 else _TOO_SMALL
    return [_spelt(inner) for inner in cell] if isinstance(cell, list) else cell


def json_cells(source: str, records: Sequence[bytes]) -> CellTable:
    """Return the cells of JSON records by dotted path; a record that is no object has none."""
    cells: dict[str, list[Any]] = {}
    for number, record in enumerate(records):
        for path, cell in _flat(_content(record), ""):
            column = cells.setdefault(path, [])
            column.extend([None] * (number - len(column)))
            column.append(cell)
    for column in cells.values():
        column.extend([None] * (len(records) - len(column)))
    return CellTable(source, len(records), cells, is_text=False)


def _content(record: bytes) -> Any:
    """Return what JSON holds, None where it is none; NaN, Infinity and a byte order mark are taken as the codec does."""
    try:
        return msgspec.json.decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            return json.loads(record.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None


def _flat(content: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    if isinstance(content, dict):
        for name, cell in content.items():
            path = f"{prefix}{escaped(name)}"
            if isinstance(cell, dict):
                yield from _flat(cell, f"{path}.")
            else:
                yield path, cell


def escaped(name: str) -> str:
    r"""Return the path of a field of this name: `a\.b` for `a.b`."""
    return name.replace(".", "\\.")


def with_paths(settings: InputSettings, names: Sequence[str]) -> InputSettings:
    r"""Return settings whose fields are paths: a field called as a column is that column, dots and all.

    Args:
        settings: fields as a person writes them: `net.price` may be a column, or `price` inside of `net`.
        names: paths of the fields that there are.
    """

    def path(field: str) -> str:
        literal = escaped(field.replace("\\.", "."))
        return literal if literal in names else field

    changed: dict[str, Any] = {name: path(field) for name in _FIELDS if (field := getattr(settings, name)) is not None}
    fields = settings.value_fields
    if settings.layout == "wide":
        changed["value_fields"] = (
            {name: path(field) for name, field in fields.items()}
            if isinstance(fields, dict)
            else tuple(map(path, fields))
        )
    changed["only"] = {path(field): texts for field, texts in settings.only.items()}
    return settings.model_copy(update=changed)


def is_there(field: str, names: Sequence[str]) -> bool:
    """Tell whether a field, or one that holds it, is among `names`."""
    parts = split_path(field)
    return any(split_path(name)[: len(parts)] == parts for name in names)
