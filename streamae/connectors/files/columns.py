"""Which columns of a file are numbers, where nobody says which ones are features.

Must not know: what a time, a key or a label looks like; discovery does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamae.connectors.cell_table import CellTable
from streamae.connectors.cell_values import TRUTH_WORDS, NumberRules, read_numbers
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

MOSTLY_NUMBERS = 0.5  # share of cells from which on a column of text was meant as numbers
LABEL_FIELD = "is_anomaly"  # never a feature
_LONGEST_CELL = 40  # of a cell that is quoted


def numeric_fields(
    table: CellTable, settings: InputSettings, others: Sequence[str], tell: Callable[[str], None] | None
) -> tuple[str, ...]:
    """Return the fields whose cells are all numbers or empty; truth values are none.

    Args:
        table: all cells.
        settings: whose fields are no features.
        others: fields that are none either.
        tell: hears of a field that is left out although most of its cells are numbers.
    """
    rules = NumberRules.of(settings)
    named = (settings.key_field, settings.time_field, settings.date_field, settings.label_field, settings.id_field)
    fields = []
    for field, cells in table.cells.items():
        if field in (*named, *others, LABEL_FIELD) or _are_truths(cells):
            continue
        _, found = read_numbers(cells, rules)
        faults = [i for i, fault in found.items() if fault.reason is not Reason.NOT_FINITE]
        present = sum(cell is not None for cell in cells)
        if not faults:
            fields.append(field)
        elif tell is not None and len(faults) <= MOSTLY_NUMBERS * present:
            row = min(faults)
            text = str(cells[row])[:_LONGEST_CELL]
            tell(f"{table.source}: column {field!r} is left out: row {row + 1} holds {text!r}, which is no number")
    return tuple(fields)


def long_names(table: CellTable, settings: InputSettings) -> tuple[str, ...]:
    """Return the names of metrics in a table of one a row, in order of appearance."""
    names = table.cells.get(settings.name_field, [])
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _are_truths(cells: Sequence[Any]) -> bool:
    words = {str(cell).strip().lower() for cell in set(map(_hashable, cells)) if cell is not None} - {""}
    return bool(words) and words <= TRUTH_WORDS.keys()


def _hashable(cell: Any) -> Any:
    return cell if isinstance(cell, str | int | float | bool | None) else "object"
