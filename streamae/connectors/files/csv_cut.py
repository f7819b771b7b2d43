"""The first lines of CSV cut into rows with one delimiter, and which of them hold the names of the columns.

Must not know: files, encodings, how numbers are spelt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

from streamae.connectors.cell_values import MISSING_WORDS, TRUTH_WORDS
from streamae.connectors.files.csv_rows import CsvRow, read_rows

DELIMITERS = ",;\t|"
BLANKS = " \t\r\n\0\ufeff\u00a0"
SAMPLE_ROWS = 500  # rows whose cells are looked at
FITS = 0.5  # quality from which on a delimiter may be the right one
FEW = 0.05  # share of rows up to which content behind the named columns is a remark
_VALUE = re.compile(r"[-+\u2212]?[.,]?\d[-+\d.,:/'%TZeE \u00a0\u202f]*", re.ASCII)  # a number or a time, not a name
_WITH_COMMAS = re.compile(r"[-+\u2212]?(\d{1,3}(,\d{3})+(\.\d*)?|[\d.' \u00a0\u202f]*,\d+([eE][-+]?\d+)?)", re.ASCII)
_NUMBER_AS_NAME = re.compile(r"\d+", re.ASCII)


class Cut:
    """Lines cut with one delimiter.

    Args:
        lines: the first lines of a file, with their line ends.
        delimiter: one character; a blank stands for any number of blanks.
        start: lines at the beginning that are left out.
        is_start_known: the first line behind them holds the names; else they are looked for.

    Attributes:
        delimiter: the same.
        skips_blanks: blanks behind a delimiter do not count.
        rows: what holds anything.
        width: cells of most rows.
    """

    def __init__(self, lines: Sequence[str], delimiter: str, start: int, *, is_start_known: bool) -> None:
        self.delimiter, self._is_start_known = delimiter, is_start_known
        self.rows = _rows(lines, delimiter, start, skips_blanks=False)
        self.skips_blanks = 2 * sum(any(cell.startswith(' "') for cell in row.cells) for row in self.rows) > len(
            self.rows
        )
        if self.skips_blanks:
            self.rows = _rows(lines, delimiter, start, skips_blanks=True)
        sizes = Counter(len(row.cells) for row in self.rows)
        self.width = max(sizes, key=lambda size: (size * sizes[size], size), default=1)
        self._body = [row for row in self.rows if len(row.cells) == self.width]

    @cached_property
    def header(self) -> CsvRow | None:
        """The row of names; None where there is none."""
        if self._is_start_known:
            return next(iter(self.rows), None)
        found: list[CsvRow] = []  # the last lines without a gap that may be names
        for row in self.rows:
            if self._holds_names(row):
                found = [*found, row] if found and row.line == found[-1].last + 1 else [row]
                if not self.has_values and not row.cells[0].startswith("#"):
                    break
            elif self._holds_values(row) and not row.cells[0].startswith("#"):
                break
        return next((row for row in found if not row.cells[0].startswith("#")), found[-1] if found else None)

    @cached_property
    def units(self) -> list[CsvRow]:
        """Rows directly below the names that hold words where all others hold values."""
        found = []
        for row in self._below(self.header):
            if len(row.cells) != self.width or not self._words(row) or any(map(_is_value, row.cells)):
                break
            found.append(row)
        return found

    @property
    def data(self) -> list[CsvRow]:
        """Rows of data that have the width."""
        last = self.units[-1] if self.units else self.header
        return [row for row in self._below(last) if len(row.cells) == self.width]

    @cached_property
    def has_values(self) -> bool:
        """Whether any column holds values."""
        return any(self._is_value_column)

    @cached_property
    def quality(self) -> float:
        """How well the delimiter fits, 0 to 1: the share of rows of one width, times that of cells without others."""
        rows = [row for row in self.rows if self.header is None or row.line >= self.header.line]
        others = set(DELIMITERS) - {self.delimiter}
        cells = [cell for row in self._body[:SAMPLE_ROWS] for cell in row.cells]
        clean = sum(others.isdisjoint(cell) or _WITH_COMMAS.fullmatch(cell.strip(BLANKS)) is not None for cell in cells)
        return len(self._body) / len(rows) * clean / len(cells) if rows else 0.0

    @property
    def rank(self) -> tuple[bool, bool, float, int]:
        """What the best of several cuts has most of."""
        fits = self.quality >= FITS
        return self.header is not None and fits, self.width > 1 and fits, self.quality, self.width

    def why_no_names(self) -> str:
        """Say why there is no row of names, and what helps."""
        if not self.rows:
            return "has no row behind the lines left out: set input.skip_lines"
        first = self.rows[0]
        if first in self._body or any(map(_is_value, first.cells)):
            return f"line {first.line} holds values, not the names of columns: write a line of names above it"
        return (
            f"line {first.line} names {len(_stripped(first))} columns, but most rows have {self.width} fields: set"
            " input.delimiter or input.skip_lines"
        )

    @cached_property
    def _used(self) -> int:
        """Columns with content in more than a few rows, and all before them."""
        sizes = Counter(len(_stripped(row)) for row in self._body)
        count = 0
        for size in sorted(sizes, reverse=True):
            count += sizes[size]
            if count > FEW * len(self._body):
                return size
        return 1

    @cached_property
    def _is_value_column(self) -> list[bool]:
        """For each used column whether most of its cells are values; the rows at the end say so, or most of them do."""
        rows = self._body[len(self._body) // 2 :][:SAMPLE_ROWS]
        columns = [[row.cells[i] for row in rows if not _is_missing(row.cells[i])] for i in range(self._used)]
        return [bool(cells) and 2 * sum(map(_is_value, cells)) >= len(cells) for cells in columns]

    def _holds_names(self, row: CsvRow) -> bool:
        names = _stripped(row)
        named = names[1:]  # the first may be an index
        if not self._used <= len(names) <= self.width or 2 * sum(map(bool, named)) < len(named):
            return False
        if not self.has_values:
            return not any(map(_is_value, names))
        if self._words(row):
            return all(_NUMBER_AS_NAME.fullmatch(name) for name in names if _is_value(name))
        return len(names) > 2 and names == [str(i) for i in range(len(names))]

    def _holds_values(self, row: CsvRow) -> bool:
        pairs = zip(row.cells, self._is_value_column, strict=False)
        values = sum(wanted and _is_value(cell) for cell, wanted in pairs)
        return len(row.cells) == self.width and values > len(self._words(row))

    def _words(self, row: CsvRow) -> list[str]:
        """Return the cells that hold words where all others hold values."""
        pairs = zip(row.cells, self._is_value_column, strict=False)
        return [cell for cell, wanted in pairs if wanted and not _is_value(cell) and not _is_missing(cell)]

    def _below(self, row: CsvRow | None) -> Iterator[CsvRow]:
        return (other for other in self.rows if row is not None and other.line > row.line)


def _rows(lines: Sequence[str], delimiter: str, start: int, *, skips_blanks: bool) -> list[CsvRow]:
    rows = read_rows(lines[start:], delimiter, skips_blanks=skips_blanks, first_line=start + 1)
    return [row for row in rows if _stripped(row)]


def _stripped(row: CsvRow) -> list[str]:
    """Return the cells without blanks around them and without empty ones at the end."""
    cells = [cell.strip(BLANKS) for cell in row.cells]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _is_value(cell: str) -> bool:
    cell = cell.strip(BLANKS)
    return _VALUE.fullmatch(cell) is not None or cell.lower() in TRUTH_WORDS


def _is_missing(cell: str) -> bool:
    return cell.strip(BLANKS).lower() in MISSING_WORDS
