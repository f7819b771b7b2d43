"""Made-up cells, and what is proposed for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from streamae.connectors.cell_table import CellTable
from streamae.connectors.cell_values import NumberRules
from streamae.discovery.proposal import Proposal, propose
from streamae.discovery.scene import Sample, Wish
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings

START = datetime(2025, 3, 3, tzinfo=UTC)
NOW_MS = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp() * 1_000)


def table(*, is_text: bool = True, source: str = "data.csv", **cells: Sequence[Any]) -> CellTable:
    """Return a table of these columns; in text, as CSV has them, numbers are written as people do."""
    columns = {name: [_text(cell) if is_text else _plain(cell) for cell in of] for name, of in cells.items()}
    return CellTable(source, len(next(iter(columns.values()))), columns, is_text)


def proposed(
    *tables: CellTable, settings: dict[str, Any] | None = None, rules: NumberRules | None = None, **given: Any
) -> Proposal:
    """Return what is proposed where these settings of the input section, and `settings` of others, were given."""
    others = settings or {}
    wish = Wish(
        InputSettings(**given),
        WindowSettings(**{name[7:]: value for name, value in others.items() if name.startswith("window.")}),
        FeatureSettings(**{name[9:]: value for name, value in others.items() if name.startswith("features.")}),
        frozenset({*others, *(f"input.{name}" for name in given)}),
    )
    rules = rules or NumberRules(from_text=all(one.is_text for one in tables))
    return propose([Sample(one) for one in tables], wish, NOW_MS, rules)


def times(rows: int, step_s: float = 60, form: str = "%Y-%m-%dT%H:%M:%SZ", start: datetime = START) -> list[str]:
    """Return times one step apart, as text."""
    return [(start + timedelta(seconds=row * step_s)).strftime(form) for row in range(rows)]


def noise(rows: int, centre: float = 20.0, spread: float = 1.0, seed: int = 1) -> list[float]:
    """Return values of a quiet sensor with three decimals."""
    return np.random.default_rng(seed).normal(centre, spread, rows).round(3).tolist()


def settings_of(proposal: Proposal) -> dict[str, Any]:
    """Return the proposed settings by name."""
    return {name: decision.value for name, decision in proposal.settings.items()}


def names(proposal: Proposal) -> list[str]:
    """Return the names of the features."""
    return [feature.name for feature in proposal.scene.features]


def asked(proposal: Proposal) -> dict[str, str]:
    """Return what is asked about, by the setting that answers it."""
    return {doubt.setting: doubt.field for doubt in proposal.doubts}


def left_out(proposal: Proposal) -> dict[str, str]:
    """Return why fields are left out."""
    return {left.field: left.why for left in proposal.scene.left_out}


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _plain(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell
