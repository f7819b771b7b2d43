"""Rows of CSV read one by one: what has a fault is told with its line, and costs no other row.

Must not know: files, names of columns, what cells mean.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

LONGEST_CELL = csv.field_size_limit()  # characters; longer ones are faults


class CsvRow(NamedTuple):
    """One row as it is written.

    Attributes:
        line: its first line, counted from 1.
        last: its last line: another one where a quoted cell holds a line end.
        cells: what it holds; of a row with a fault what could be read.
        fault: why it cannot be used, in words; None = it can.
        text: of a row with a fault its first line, as it is written.
    """

    line: int
    last: int
    cells: list[str]
    fault: str | None
    text: str = ""


def read_rows(
    lines: Iterable[str], delimiter: str, width: int | None = None, *, skips_blanks: bool = False, first_line: int = 1
) -> Iterator[CsvRow]:
    """Yield the rows that are not blank.

    A quote that is never closed, or only within a later row, must not swallow what follows: a row over several lines
    counts only if its quotes are closed and its width is right; else its first line is a row with a fault, and reading
    goes on with the second.

    Args:
        lines: with their line ends.
        delimiter: one character; a blank stands for any number of blanks.
        width: the number of cells a row must have; None = any.
        skips_blanks: blanks behind a delimiter do not count.
        first_line: number of the first of `lines`.
    """
    source = _Lines(lines, first_line, strips=delimiter == " ")
    skips_blanks = skips_blanks or delimiter == " "
    reader = csv.reader(source, delimiter=delimiter, skipinitialspace=skips_blanks)
    while True:
        source.row.clear()
        fault, cells = None, []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            fault = f"a cell is longer than {LONGEST_CELL} characters"
        if not cells and fault is None:
            continue
        line, last = source.next_line - len(source.row), source.next_line - 1
        if fault is None and last > line and not _is_closed(source.row, delimiter, skips_blanks):
            fault = "a quote is never closed"
        if fault is None and width is not None and len(cells) != width:
            fault = fault_of_width(len(cells), width)
        if fault is not None and last > line:
            source.give_back()
            fault, last = "a quote is opened but not closed in its row", line
        yield CsvRow(line, last, cells, fault, "" if fault is None else source.row[0].rstrip("\r\n"))


@lru_cache(64)
def fault_of_width(found: int, width: int) -> str:
    """Say that a row has another number of cells than it must have; the same text object for many rows."""
    return f"{found} fields instead of {width}"


def _is_closed(lines: list[str], delimiter: str, skips_blanks: bool) -> bool:
    try:
        return len(list(csv.reader(lines, delimiter=delimiter, skipinitialspace=skips_blanks, strict=True))) == 1
    except csv.Error:
        return False


class _Lines(Iterator[str]):
    """Lines of which those behind the first of a row can be given back."""

    def __init__(self, lines: Iterable[str], first_line: int, *, strips: bool) -> None:
        self._lines, self._again, self._strips = iter(lines), deque[str](), strips
        self.row: list[str] = []
        self.next_line = first_line

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        self.next_line += 1
        return line.strip(" \r\n") if self._strips else line

    def give_back(self) -> None:
        """Take back all lines of the row but the first."""
        self._again.extendleft(reversed(self.row[1:]))
        self.next_line -= len(self.row) - 1
