"""A CSV file as columns of text: at once where every row is as it should be, else row by row.

Must not know: what a column means, or which rows are used.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute, csv

from streamae.connectors.files.csv_cut import SAMPLE_ROWS
from streamae.connectors.files.csv_dialect import Dialect, sniff
from streamae.connectors.files.csv_rows import LONGEST_CELL, fault_of_width, read_rows
from streamae.connectors.files.text_files import FALLBACK, opened, read_head
from streamae.errors import DataError
from streamae.settings.data import InputSettings

CHUNK_ROWS = 2_048  # rows that are Python objects at a time
_UNREADABLE = "backslashreplace"  # what happens to bytes that are no text: they are seen, and no other cell suffers
_MARKED = r"\d[.,' \x{a0}\x{2009}\x{2019}\x{202f}]\d|^\s*[-+]?[.,]\d"  # a number that shows how it is spelt
_LINE_END = re.compile(r"[\r\n]")


class BadRow(NamedTuple):
    """A row that cannot be used."""

    line: int  # counted from 1
    what: str  # is wrong with it
    text: str  # its first line as it is written


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
    r"""Read a CSV file, gzip or not, as text.

    Bytes that are no text in the encoding become `\xb0` and the like in their cell. Where the beginning had ASCII only
    and the file is not UTF-8, it is read as `FALLBACK`.

    Args:
        path: the file.
        dialect: how it is written.
        limit: the most rows of the table; None = all.

    Raises:
        DataError: not readable or damaged; names the file.
    """
    found = _read_at_once(path, dialect, limit)
    if found is not None:
        return found
    if dialect.is_ascii and not _is_utf8(path):
        return read_csv_text(path, replace(dialect, encoding=FALLBACK, is_ascii=False), limit)
    return _read_row_by_row(path, dialect, limit)


def telling_cells(text: CsvText) -> dict[str, list[str]]:
    """Return cells that tell how numbers are spelt, by column: of the beginning, of all over the file, and marked ones.

    A machine that stood still for an hour has written `0` before its first `0,5`, and a counter `999` before `1.000`.
    """
    table, count = text.table, int(text.table.num_rows)
    rows = np.union1d(
        np.arange(min(count, SAMPLE_ROWS)), np.linspace(0, max(0, count - 1), SAMPLE_ROWS).astype(np.int64)
    )
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = column.take(rows[:count])
        found[name] = cells.to_pylist()
        if not compute.any(compute.match_substring_regex(cells, _MARKED)).as_py():
            marked = np.flatnonzero(compute.match_substring_regex(column, _MARKED))
            found[name] += column.take(marked[:: max(1, len(marked) // SAMPLE_ROWS)]).to_pylist()
    return found


def _read_at_once(path: Path, dialect: Dialect, limit: int | None) -> CsvText | None:
    """Return the rows; None where a cell or a row with a fault has several lines, or a byte is no text."""
    if dialect.skips_blanks or dialect.delimiter == " " or not dialect.delimiter.isascii():
        return None
    ragged: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "error" if _LINE_END.search(row.text) or len(row.text) > LONGEST_CELL else "skip"

    columns = [str(i) for i in range(dialect.width)]
    encoding = "utf8" if dialect.encoding in {"utf-8", "utf-8-sig"} else dialect.encoding
    read = csv.ReadOptions(skip_rows=dialect.first_line - 1, column_names=columns, encoding=encoding)
    parse = csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=note)
    convert = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    batches, count = [], 0
    try:
        with (
            opened(path) as file,
            csv.open_csv(
                pa.PythonFile(_Utf8(file) if encoding == "utf8" else file, mode="r"), read, parse, convert
            ) as reader,
        ):
            for batch in reader:
                if any(map(_is_odd, batch.columns)):
                    return None
                batches.append(batch)
                count += len(batch)
                if limit is not None and count >= limit:
                    break
    except (pa.ArrowException, UnicodeError):
        return None
    table = pa.Table.from_batches(batches, reader.schema).slice(0, limit)
    table = table.select(columns[: len(dialect.names)]).rename_columns(list(dialect.names))
    bad_rows = _located(path, dialect, ragged)
    return CsvText(table, bad_rows, dialect) if len(bad_rows) == len(ragged) else None


def _located(path: Path, dialect: Dialect, ragged: list[csv.InvalidRow]) -> list[BadRow]:
    """Return where the rows stand, each of one line: a line with the same text has the same fault."""
    bad_rows: list[BadRow] = []
    if not ragged:
        return bad_rows
    with opened(path) as file, io.TextIOWrapper(file, dialect.encoding, _UNREADABLE, newline="") as text:
        for number, line in enumerate(text, 1):
            row = ragged[len(bad_rows)]
            if number >= dialect.first_line and line.rstrip("\r\n") == row.text:
                bad_rows.append(BadRow(number, fault_of_width(row.actual_columns, row.expected_columns), row.text))
                if len(bad_rows) == len(ragged):
                    break
    return bad_rows


def _is_odd(texts: Any) -> bool:
    """Tell whether a cell has several lines, as below a quote that is never closed, or is longer than any is meant."""
    _, ends, characters = texts.buffers()
    if characters is None:
        return False
    codes = np.frombuffer(characters, np.uint8)
    longest = np.diff(np.frombuffer(ends, np.int32)).max(initial=0)
    return bool((codes == 10).any() or (codes == 13).any() or longest > LONGEST_CELL)


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
    try:
        with opened(path) as file, io.TextIOWrapper(file, dialect.encoding, _UNREADABLE, newline="") as text:
            for _ in islice(text, dialect.first_line - 1):
                pass
            for row in read_rows(
                text, dialect.delimiter, dialect.width, skips_blanks=dialect.skips_blanks, first_line=dialect.first_line
            ):
                if row.fault is None:
                    yield row.cells
                else:
                    bad_rows.append(BadRow(row.line, row.fault, row.text))
    except UnicodeError as error:
        raise DataError(f"{path}: not {dialect.encoding}: set input.text_encoding: {error}") from error


def _is_utf8(path: Path) -> bool:
    try:
        with opened(path) as file:
            checked = _Utf8(file)
            while checked.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return False
    return True


class _Utf8:
    """A file that raises `UnicodeDecodeError` at bytes that are not UTF-8, before anybody has seen them."""

    closed = False

    def __init__(self, file: io.BufferedReader | gzip.GzipFile) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8")()

    def read(self, size: int) -> bytes:
        """Return the next bytes, empty at the end."""
        block = self._file.read(size)
        self._decoder.decode(block, final=not block)
        return block

    def close(self) -> None:
        """Leave the file to who opened it."""
