"""The documents people read on call hold together as Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SEPARATOR = re.compile(r"^\|[-:| ]+\|$")
CELL_BORDER = re.compile(r"(?<!\\)\|")


def cells(row: str) -> int:
    """Return the number of cells of a row; a border inside of code is one all the same, as renderers see it."""
    return len(CELL_BORDER.findall(row.strip())) - 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_rows_of_a_table_have_the_cells_of_its_head(document: Path) -> None:
    """What stands in a cell too many is not shown: figures would be lost where nobody looks for them."""
    lines = document.read_text(encoding="utf-8").splitlines()
    odd, width = [], 0
    for number, line in enumerate(lines, start=1):
        if not line.startswith("|"):
            width = 0
        elif width and cells(line) != width:
            odd.append(f"{number}: {cells(line)} cells, {width} in the head")
        elif not width and number < len(lines) and SEPARATOR.match(lines[number]):
            width = cells(line)
    assert odd == []
    assert document.name not in {"README.md", "detection.md", "guarantees.md"} or any(map(SEPARATOR.match, lines))
