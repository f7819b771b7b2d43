"""A CSV file as columns of text: at once where every row is as it should be, else row by row.

Must not know: what a column means, or which rows are used.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import compute, csv

from streamae.connectors.files.csv_dialect import Dialect, sniff
from streamae.connectors.files.csv_rows import read_rows
from streamae.connectors.files.text_files import FALLBACK, opened, read_head
from streamae.errors import DataError
from streamae.settings.data import InputSettings

CHUNK_ROWS = 2_048  # rows that are Python objects at a time
_LINE_END = r"[\r\n]"


class BadRow(NamedTuple):
    """A row that cannot be used."""

    line: int  # counted from 1
    what: str  # is wrong with it


@dataclass(frozen=True, slots=True, eq=False)
class CsvText:
    """The rows of a CSV file.

    Attributes:
        table: Arrow columns of text, as it is written; empty text where a cell is empty, never null.
        bad_rows: those that are not in the table, in order.
        dialect: how the file was read.
    """

    table: Any
    bad_rows: list[BadRow]
    dialect: Dialect


def csv_dialect(path: Path, settings: InputSettings) -> Dialect:
    """Find out how a CSV file is written; see `sniff`.

    Raises:
        DataError: not readable, or no table; names the file and what helps.
    """
    head, is_whole = read_head(path)
    try:
        return sniff(head, settings, is_whole=is_whole)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_csv_text(path: Path, dialect: Dialect, limit: int | None = None) -> CsvText:
    """Read a CSV file, gzip or not, as text.

    Bytes that are no text in the encoding become `\\xb0` and the like in their cell. Where the beginning had ASCII only
    and the file is not UTF-8, it is read as `FALLBACK`.

    Args:
        path: the file.
        dialect: how it is written.
        limit: the most rows of the table; None = all.

    Raises:
        DataError: not readable or damaged; names the file.
    """
    table = _read_at_once(path, dialect, limit)
    if table is not None:
        return CsvText(table, [], dialect)
    if dialect.is_ascii and not _is_utf8(path):
        return read_csv_text(path, replace(dialect, encoding=FALLBACK, is_ascii=False), limit)
    return _read_row_by_row(path, dialect, limit)


def _read_at_once(path: Path, dialect: Dialect, limit: int | None) -> Any:
    """Return the table; None where a row has a fault or may have one."""
    if dialect.skips_blanks or dialect.delimiter == " ":
        return None
    columns = [str(i) for i in range(dialect.width)]
    wanted = columns[: len(dialect.names)]
    read = csv.ReadOptions(
        skip_rows=dialect.first_line - 1,
        column_names=columns,
        encoding="utf8" if dialect.encoding in {"utf-8", "utf-8-sig"} else dialect.encoding,
    )
    parse = csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False, include_columns=wanted
    )
    batches, count = [], 0
    try:
        with opened(path) as file, csv.open_csv(pa.PythonFile(file), read, parse, convert) as reader:
            for batch in reader:
                batches.append(batch)
                count += len(batch)
                if limit is not None and count >= limit:
                    break
    except (pa.ArrowException, UnicodeError):
        return None
    table = pa.Table.from_batches(batches, reader.schema).slice(0, limit)
    if any(compute.any(compute.match_substring_regex(column, _LINE_END)).as_py() for column in table.columns):
        return None  # a cell over several lines may be a quote that is never closed
    return table.rename_columns(list(dialect.names))


def _read_row_by_row(path: Path, dialect: Dialect, limit: int | None) -> CsvText:
    bad_rows: list[BadRow] = []
    chunks: list[list[Any]] = [[pa.array([], pa.string())] for _ in dialect.names]
    rows = _good_rows(path, dialect, bad_rows)
    for start in range(0, limit if limit is not None else 1 << 62, CHUNK_ROWS):
        room = CHUNK_ROWS if limit is None else min(CHUNK_ROWS, limit - start)
        chunk = list(islice(rows, room))
        for column, cells in zip(chunks, zip(*chunk, strict=True), strict=False):
            column.append(pa.array(cells, pa.string()))
        if len(chunk) < room:
            break
    table = pa.table([pa.chunked_array(column) for column in chunks], names=list(dialect.names))
    return CsvText(table.combine_chunks(), bad_rows, dialect)


def _good_rows(path: Path, dialect: Dialect, bad_rows: list[BadRow]) -> Iterator[list[str]]:
    """Yield the cells of each row, and note those with a fault."""
    words: dict[str, str] = {}
    try:
        with opened(path) as file, io.TextIOWrapper(file, dialect.encoding, "backslashreplace", newline="") as text:
            for _ in islice(text, dialect.first_line - 1):
                pass
            for row in read_rows(
                text, dialect.delimiter, dialect.width, skips_blanks=dialect.skips_blanks, first_line=dialect.first_line
            ):
                if row.fault is None:
                    yield row.cells
                else:
                    bad_rows.append(BadRow(row.line, words.setdefault(row.fault, row.fault)))
    except UnicodeError as error:
        raise DataError(f"{path}: not {dialect.encoding}: set input.text_encoding: {error}") from error


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with opened(path) as file:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
