"""One column of cells, and what they are: numbers, numbers in text, truth values, text, or nothing.

Whole columns at a time: a sample tells what a column of text is, only numbers are read in full. Must not know: which
column is the time, the key or a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from streamae.batches import Doubles, Flags, Ints
from streamae.connectors.cell_table import CellTable
from streamae.connectors.cell_values import MISSING_WORDS, TRUTH_WORDS, NumberRules, read_numbers

SAMPLE = 2_000  # cells that tell what a column of text is
MOSTLY = 0.5  # share of numbers from which on a column was meant as numbers
LONGEST = 40  # characters of a cell that is quoted


class Kind(StrEnum):
    """What the cells of a column are."""

    NUMBER = "number"
    TEXT_NUMBER = "number as text"  # where text need not be
    TRUTH = "truth value"
    TEXT = "text"
    NESTED = "list or object"
    EMPTY = "empty"


NUMERIC = frozenset({Kind.NUMBER, Kind.TEXT_NUMBER, Kind.TRUTH})


@dataclass(frozen=True, eq=False)
class Column:
    """One field of all rows.

    Attributes:
        name: path of the field.
        cells: N cells as the source spells them.
        kind: of most cells that are there.
        numbers: (N,) float64; NaN = missing, or no number.
        odd: cells of a column of numbers that are none.
        example: the first of these, or the first text, shortened.
    """

    name: str
    cells: Sequence[Any]
    kind: Kind
    numbers: Doubles
    odd: int = 0
    example: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether the cells are numbers, or can be read as such."""
        return self.kind in NUMERIC

    @cached_property
    def places(self) -> dict[Any, int]:
        """Code of each different cell, in order of appearance; missing cells are -1."""
        different = dict.fromkeys(self.cells)
        return {cell: code for code, cell in enumerate(cell for cell in different if cell is not None and cell != "")}

    @cached_property
    def codes(self) -> Ints:
        """(N,) int64, -1 = missing."""
        find = self.places.get
        return np.fromiter((find(cell, -1) for cell in self.cells), np.int64, len(self.cells))

    @property
    def distinct(self) -> int:
        """How many different cells there are, missing ones not counted."""
        return len(self.places)

    @cached_property
    def is_there(self) -> Flags:
        """(N,) bool, where the cell is not missing."""
        return ~np.isnan(self.numbers) if self.is_numeric else self.codes >= 0

    @property
    def missing(self) -> int:
        """How many cells are missing; odd ones are not."""
        if self.kind is Kind.NESTED:
            return sum(cell is None for cell in self.cells)
        return len(self.cells) - int(np.count_nonzero(self.is_there)) - self.odd

    @cached_property
    def is_whole(self) -> bool:
        """Whether all numbers are integers."""
        there = self.numbers[self.is_there] if self.is_numeric else self.numbers[:0]
        return bool(len(there)) and bool((there == np.rint(there)).all())


def read_column(name: str, cells: Sequence[Any], rules: NumberRules, *, is_text: bool) -> Column:
    """Return a column and what it is.

    Args:
        name: path of the field.
        cells: N cells.
        rules: how numbers are spelt; text that is a number is recognised whatever they say of it.
        is_text: every cell is text, so that numbers are nothing special there.
    """
    nothing = np.full(len(cells), np.nan)
    present = [cell for cell in cells[:: max(1, len(cells) // SAMPLE)] if not _is_missing(cell)]
    if len(present) < min(SAMPLE // 10, len(cells)):
        present = [cell for cell in cells if not _is_missing(cell)][:SAMPLE]
    if not present:
        return Column(name, cells, Kind.EMPTY, nothing)
    if {dict, list, bytes} & set(map(type, present)):
        return Column(name, cells, Kind.NESTED, nothing)
    rules = replace(rules, from_text=True)
    numbers, faults = read_numbers(present, rules)
    if len(faults) > MOSTLY * len(present):
        return Column(name, cells, Kind.TEXT, nothing, 0, str(present[min(faults)])[:LONGEST])
    numbers, faults = read_numbers(cells, rules)
    example = str(cells[min(faults)])[:LONGEST] if faults else ""
    kinds = set(map(type, present))
    kind = Kind.TEXT_NUMBER if str in kinds and not is_text else Kind.NUMBER
    if kinds <= {bool} or all(isinstance(cell, str) and cell.strip().lower() in TRUTH_WORDS for cell in present):
        kind = Kind.TRUTH
    return Column(name, cells, kind, numbers, len(faults), example)


def read_columns(tables: Sequence[CellTable], rules: NumberRules) -> dict[str, Column]:
    """Return the columns of all tables one after the other, by name; cells a table does not have are missing."""
    names = dict.fromkeys(name for table in tables for name in table.cells)
    is_text = all(table.is_text for table in tables)
    columns = {}
    for name in names:
        cells: list[Any] = tables[0].cells.get(name, [None] * tables[0].count)
        if len(tables) > 1:
            cells = [cell for table in tables for cell in table.cells.get(name, [None] * table.count)]
        columns[name] = read_column(name, cells, rules, is_text=is_text)
    return columns


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING_WORDS)
