"""Whatever cells a source holds, they are looked at without an exception, and what is written can be read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from streamae.connectors.cell_table import CellTable
from streamae.discovery.report import as_json, report_lines
from streamae.discovery.settings_file import settings_text
from streamae.settings.sources import load_settings
from tests.discovery.tables import noise, proposed, settings_of, times

NAMES = (
    "time",
    "Date",
    "t",
    "id",
    "device",
    "name",
    "value",
    "Class",
    "a",
    "b",
    "payload.after.x",
    r"a\.b",
    "",
    "ts_ms",
)
ODD: tuple[Any, ...] = (
    *(
        None,
        "",
        "NaN",
        "nan",
        "inf",
        "x",
        "-",
        "1e400",
        "1,5",
        "1.234,5",
        "00:00",
        "24:61:00",
        "2025-02-30",
        "😀",
        "\x00",
    ),
    *("2025-03-03T00:00:00Z", "03/04/2025", "true", 0, 1, -1, 1e308, -0.0, 2**63, 10**40, 10**400, True, False, 1e18),
    *([], [1, 2], {"a": 1}, 1.5, -200, 45719.5, 133_854_768_000_000_000, 20_250_303, "20250303120000", " 7 ", "７"),
)


def _column(rng: random.Random, rows: int) -> list[Any]:
    """Return cells of one kind, with odd ones among them, or of no kind at all."""
    kinds: tuple[list[Any], ...] = (
        noise(rows, seed=rng.randrange(99)),
        [str(cell) for cell in noise(rows)],
        times(rows),
        times(rows, form="%d.%m.%Y %H:%M")[::-1],
        times(rows, form="%H:%M:%S"),
        list(range(rows)),
        [row % 3 for row in range(rows)],
        [f"k{row % 2}" for row in range(rows)],
        [rng.choice(ODD) for _ in range(rows)],
        [rng.choice(ODD)] * rows,
        [1_740_960_000_000 + rng.randrange(10**6) for _ in range(rows)],
    )
    cells = rng.choice(kinds)
    share = rng.choice((0, 0, 0.01, 0.3, 0.9))
    return [rng.choice(ODD) if rng.random() < share else cell for cell in cells]


@pytest.mark.parametrize("seed", range(12))
def test_no_cells_are_too_odd(seed: int, tmp_path: Path) -> None:
    """A stranger's data end in a report, whatever they are."""
    rng = random.Random(seed)
    for _ in range(15):
        rows = rng.choice((1, 2, 3, 40, 150))
        names = rng.sample(NAMES, rng.randint(1, 6))
        cells = {name: _column(rng, rows) for name in names}
        is_text = rng.random() < 0.5
        if is_text:
            cells = {name: ["" if cell is None else str(cell) for cell in of] for name, of in cells.items()}
        proposal = proposed(*[CellTable("x", rows, cells, is_text)] * rng.choice((1, 2)))
        assert report_lines(proposal)
        json.dumps(as_json(proposal), allow_nan=False)
        if not proposal.refusals and "" not in names:
            path = tmp_path / "streamae.toml"
            path.write_text(settings_text(proposal, {}, "x"), encoding="utf-8")
            loaded = load_settings(path, {}, {}).settings
            assert list(loaded.input.value_fields) == list(settings_of(proposal)["input.value_fields"])
