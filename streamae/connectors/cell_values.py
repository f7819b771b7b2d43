"""One cell after the other becomes a number, or a reason why it is none: the only place that knows how numbers are spelt.

Cells are what a parser left: text (always, in CSV), numbers, truth values, or anything else that JSON can hold. A
whole column is read at once; only a column with an odd cell is looked at cell by cell. Must not know fields, records
or what is done about a cell that is no number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from streamae.batches import Doubles
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

MAX_SIZE = 1e30  # larger values are no measurements, and stay safely below the end of float32
MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "nil", "-nan", "?"})  # in lower case
TRUTH_WORDS = {"true": 1.0, "false": 0.0}
TYPESET = str.maketrans("\u2212\u00a0\u2009\u202f\u2019", "-   '")  # minus, blanks and apostrophe of printed numbers
_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[-+]?inf(inity)?", re.ASCII | re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[^0-9.eE+\-\n]")  # of a column that float() may read unseen
_BLOCK = 2_048  # cells that are looked at one by one where one of them is odd


class Fault(NamedTuple):
    """Why a cell, or a whole record, cannot be used."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class NumberRules:
    """How numbers are spelt.

    Attributes:
        from_text: text may be a number.
        decimal: mark of numbers in text: `.` or `,`.
        thousands: mark between thousands of numbers in text; None = there is none.
        missing: cells that mean missing: the same text, or the same number.
    """

    from_text: bool = False
    decimal: str = "."
    thousands: str | None = None
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: InputSettings) -> NumberRules:
        """Return those of the settings; what is unset there is as in JSON."""
        mark = settings.decimal_mark or "."
        return cls(settings.numbers == "text", mark, settings.thousands_mark, settings.missing_values)

    @cached_property
    def missing_texts(self) -> frozenset[str]:
        """Text that means missing, in lower case."""
        return MISSING_WORDS.union(text.strip().lower() for text in self.missing)

    @cached_property
    def missing_numbers(self) -> Doubles:
        """Numbers that mean missing."""
        numbers = (self.number(text) for text in self.missing)
        return np.array([number for number in numbers if number is not None], np.float64)

    @cached_property
    def _grouped(self) -> re.Pattern[str]:
        mark, decimal = re.escape(self.thousands or ""), re.escape(self.decimal)
        return re.compile(rf"([-+]?[1-9]\d{{0,2}}(?:{mark}\d{{3}})+)({decimal}\d*)?", re.ASCII)

    def number(self, text: str) -> float | None:
        """Return the number that a text is, None where it is none; marks must stand where they belong.

        Example:
            >>> NumberRules(True, ",", ".").number(" 1.203,4 "), NumberRules(True).number("1,203")
            (1203.4, None)
        """
        text = text.strip().translate(TYPESET)
        if self.thousands is not None and self._grouped.fullmatch(text):
            text = text.replace(self.thousands, "")
        if self.decimal == "," and "." not in text:
            text = text.replace(",", ".")
        elif self.decimal == ",":
            return None
        return float(text) if _DECIMAL.fullmatch(text) else None


def read_numbers(cells: Sequence[Any], rules: NumberRules) -> tuple[Doubles, dict[int, Fault]]:
    """Return (N,) float64, NaN = missing or no number, and the faults of cells that are no number, by index.

    None, and what `rules` or everybody calls missing, is missing and no fault. Truth values are 1 and 0.

    Args:
        cells: N cells.
        rules: how numbers are spelt.

    Example:
        >>> read_numbers(["1.5", "", "x"], NumberRules(from_text=True))[0].tolist()
        [1.5, nan, nan]
    """
    faults: dict[int, Fault] = {}
    values = np.empty(len(cells), np.float64)
    for start in range(0, len(cells), _BLOCK):
        block = cells[start : start + _BLOCK]
        numbers = _at_once(block, rules)
        if numbers is None:
            odd = (_read(i, cell, rules, faults) for i, cell in enumerate(block, start))
            numbers = np.fromiter(odd, np.float64, len(block))
        values[start : start + len(block)] = numbers
    size = np.abs(values)
    for i in np.flatnonzero(size > MAX_SIZE).tolist():
        faults[i] = Fault(Reason.NOT_FINITE, f"larger than {MAX_SIZE:g} in size")
        values[i] = np.nan
    if len(rules.missing_numbers):
        values[np.isin(values, rules.missing_numbers)] = np.nan
    return values, faults


def _at_once(cells: Sequence[Any], rules: NumberRules) -> Doubles | None:
    """Return the numbers of cells none of which is odd; None where one may be."""
    kinds = set(map(type, cells))
    if kinds <= {float, int, bool, type(None)}:
        try:
            plain = [math.nan if cell is None else cell for cell in cells] if type(None) in kinds else cells
            numbers = np.fromiter(plain, np.float64, len(cells))
        except OverflowError:
            return None
        return None if float in kinds and np.isinf(numbers).any() else numbers
    if kinds != {str} or not rules.from_text:
        return None
    joined = "\n".join(cells)
    if rules.decimal == ",":
        joined = joined.replace(".", "x").replace(",", ".")
    parts = joined.split("\n")
    if len(parts) != len(cells) or _NOT_PLAIN.search(joined):  # a line end within a cell moves all that follow
        return None
    try:
        return np.fromiter(map(float, parts), np.float64, len(cells))
    except ValueError:
        return None


def _read(index: int, cell: Any, rules: NumberRules, faults: dict[int, Fault]) -> float:
    """Return the number of one cell, NaN where there is none; what is wrong with it goes to `faults`."""
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        return _read_text(index, cell, rules, faults)
    if isinstance(cell, float | int):
        try:
            number = float(cell)
        except OverflowError:
            number = math.inf
        if not math.isinf(number):
            return number
        faults[index] = Fault(Reason.NOT_FINITE, "infinite, or too large for a number")
        return math.nan
    faults[index] = Fault(Reason.WRONG_TYPE, f"holds {_kind(cell)}")
    return math.nan


def _read_text(index: int, text: str, rules: NumberRules, faults: dict[int, Fault]) -> float:
    word = text.strip().lower()
    if word in rules.missing_texts:
        return math.nan
    if rules.from_text:
        if word in TRUTH_WORDS:
            return TRUTH_WORDS[word]
        number = rules.number(word)
        if number is not None and math.isfinite(number):
            return number
        if number is not None or _INFINITE.fullmatch(word):
            faults[index] = Fault(Reason.NOT_FINITE, "infinite, or too large for a number")
            return math.nan
        faults[index] = Fault(Reason.WRONG_TYPE, "holds text that is no number")
        return math.nan
    faults[index] = Fault(Reason.WRONG_TYPE, "holds text: input.numbers = text reads numbers in text")
    return math.nan


def _kind(cell: Any) -> str:
    return "an object" if isinstance(cell, dict) else "an array" if isinstance(cell, list | tuple) else "no number"
