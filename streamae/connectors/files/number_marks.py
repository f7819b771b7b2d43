"""How the numbers of a table of text are spelt: found out from its cells.

Must not know: files, delimiters or what a column means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamae.connectors.cell_values import MISSING_WORDS, TYPESET, NumberRules

MOSTLY = 0.5  # share of a column's cells from which on it counts as one of numbers
NEARLY_ALL = 0.9
_PAIRS = ((".", None), (",", None), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
_PLAIN = re.compile(r"[-+]?\d+", re.ASCII)
_ADDRESS = re.compile(r"(\d{1,3}\.){3}\d{1,3}", re.ASCII)  # of a host, else a number with points between thousands
_ONE_GROUP = {mark: re.compile(rf"[-+]?[1-9]\d{{0,2}}\{mark}\d{{3}}", re.ASCII) for mark in ".,"}


class CsvDoubt(NamedTuple):
    """What was decided, but may be meant otherwise.

    Attributes:
        text: a sentence for people.
        setting: the setting that answers it: `input.decimal_mark`.
    """

    text: str
    setting: str


class Marks(NamedTuple):
    """How numbers are spelt; `are_shown`: by a cell that has one of the marks, else by none."""

    decimal: str
    thousands: str | None
    doubts: tuple[CsvDoubt, ...] = ()
    are_shown: bool = False


def find_marks(
    columns: Mapping[str, Sequence[str]], decimal: str | None, thousands: str | None, *, has_comma_cut: bool
) -> Marks:
    """Return the marks with which most cells are numbers, at first sight as in JSON.

    `1,203` may be either where no cell decides it: it is then 1203 where commas separate the columns (who does so has
    a decimal point) or where smaller numbers stand without a comma and larger ones do not, else 1.203; and a doubt.

    Args:
        columns: cells by name.
        decimal: what is known of the decimal mark, None = nothing.
        thousands: the same of the mark between thousands.
        has_comma_cut: commas separate the columns.
    """
    cells = {
        name: [text for cell in column if _may_be_number(text := cell.strip())] for name, column in columns.items()
    }
    shown = set("".join("".join(column) for column in cells.values()).translate(TYPESET))
    pairs = [
        (d, t)
        for d, t in _PAIRS
        if decimal in {d, None} and thousands in {t, None}
        if (d in {".", decimal} or d in shown or t == ".") and (t in {None, thousands} or t in shown)
    ]
    if not pairs:
        return Marks(decimal or ".", thousands)
    shares = {pair: {name: _share(column, pair) for name, column in cells.items()} for pair in pairs}
    score = {
        pair: sum(share * len(cells[name]) for name, share in of.items() if share >= MOSTLY)
        for pair, of in shares.items()
    }
    best = max(pairs, key=lambda pair: score[pair])
    doubts = []
    example = _example(cells, best[0])
    if best == (",", None) and example and score.get((".", ",")) == score[best]:
        best = (".", ",") if has_comma_cut or _is_grouped(cells, ",") else best
        doubts.append(_doubt_of(*example, ",", is_decimal=best[0] == ",", setting="input.decimal_mark"))
    elif best == (".", None) and None is decimal is thousands and example and _is_grouped(cells, "."):
        doubts.append(_doubt_of(*example, ".", is_decimal=True, setting="input.thousands_mark"))
    doubts += _odd_columns(shares, best, cells)
    numbers = (cell for column in cells.values() for cell in column if _is_read(cell, best))
    return Marks(*best, tuple(doubts), not all(map(_PLAIN.fullmatch, numbers)))


def _may_be_number(text: str) -> bool:
    return text.lower() not in MISSING_WORDS and not _ADDRESS.fullmatch(text)


def _share(cells: Sequence[str], pair: tuple[str, str | None]) -> float:
    """Return the share of cells that are numbers with these marks."""
    rules = NumberRules(True, *pair)
    return sum(rules.number(cell) is not None for cell in cells) / len(cells) if cells else 0.0


def _is_read(cell: str, pair: tuple[str, str | None]) -> bool:
    return NumberRules(True, *pair).number(cell) is not None


def _has_mark(cell: str, pair: tuple[str, str | None]) -> bool:
    return pair[0] in cell and _is_read(cell, pair)


def _is_grouped(columns: Mapping[str, Sequence[str]], mark: str) -> bool:
    """Tell whether in a column every cell from 1000 on has the mark before three digits, and no smaller one has it."""
    for cells in columns.values():
        marked = [cell for cell in cells if mark in cell]
        plain = [cell for cell in cells if mark not in cell]
        if not marked or not plain or not all(map(_ONE_GROUP[mark].fullmatch, marked)):
            continue
        if all(_PLAIN.fullmatch(cell) and len(cell.lstrip("-+")) <= 3 for cell in plain):
            return True
    return False


def _example(columns: Mapping[str, Sequence[str]], mark: str) -> tuple[str, str] | None:
    """Return a column and one of its cells, if all that have the mark have it before the last three digits only."""
    marked = [(name, cell) for name, cells in columns.items() for cell in cells if mark in cell]
    found = [(name, cell) for name, cell in marked if _PLAIN.fullmatch(cell.replace(mark, ""))]
    return found[0] if found and all(_ONE_GROUP[mark].fullmatch(cell) for _, cell in found) else None


def _doubt_of(name: str, cell: str, mark: str, *, is_decimal: bool, setting: str) -> CsvDoubt:
    whole, fraction = cell.replace(mark, ""), cell.replace(mark, ".")
    read, other = (fraction, whole) if is_decimal else (whole, fraction)
    return CsvDoubt(f"column {name!r}: {cell} is read as {read}, not {other}", setting)


def _odd_columns(
    shares: Mapping[tuple[str, str | None], Mapping[str, float]],
    best: tuple[str, str | None],
    columns: Mapping[str, Sequence[str]],
) -> list[CsvDoubt]:
    """Return a doubt for each column that other marks make more of: it shows a number that these do not read."""
    doubts = []
    for name, share in shares[best].items():
        other = next((pair for pair, of in shares.items() if of[name] >= NEARLY_ALL and of[name] > share), None)
        only = (cell for cell in columns[name] if other and _has_mark(cell, other) and not _is_read(cell, best))
        if (shows := next(only, None)) is not None:
            text = f"column {name!r} holds numbers like {shows}, but others have the decimal mark {best[0]!r}"
            doubts.append(CsvDoubt(text, "input.decimal_mark"))
    return doubts
