"""What a source holds before anybody decided how to read it: cells by field.

Must not know: which field is the time, the key or a feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class CellTable:
    r"""Cells as a source spells them.

    Attributes:
        source: name for people: a path, or `kafka:TOPIC`.
        count: N rows.
        cells: by field path (dotted, `\.` is a dot that belongs to a name) its N cells: text in CSV; text, numbers, truth
            values or lists elsewhere; None = absent or null.
        is_text: every cell is text, also numbers: CSV.
    """

    source: str
    count: int
    cells: dict[str, list[Any]]
    is_text: bool
