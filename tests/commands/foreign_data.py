"""Made-up data of the kinds that people bring: columns, and how they are written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from streamae.batches import Doubles

START = datetime(2025, 3, 3, tzinfo=UTC)
ROWS = 400


def wave(rows: int = ROWS, centre: float = 20.0, size: float = 1.0, seed: int = 1, digits: int = 2) -> Doubles:
    """Return a quiet sensor: a slow wave with some noise, rounded."""
    noise = np.random.default_rng(seed).normal(0, 0.15, rows)
    return np.round(centre + size * (np.sin(np.arange(rows) / 7) + noise), digits)


def moments(rows: int = ROWS, step_s: float = 60, start: datetime = START) -> list[datetime]:
    """Return instants one step apart."""
    return [start + timedelta(seconds=row * step_s) for row in range(rows)]


def stamps(
    rows: int = ROWS, step_s: float = 60, form: str = "%Y-%m-%dT%H:%M:%SZ", start: datetime = START
) -> list[str]:
    """Return instants one step apart, as text."""
    return [moment.strftime(form) for moment in moments(rows, step_s, start)]


def seconds(rows: int = ROWS, step_s: float = 60) -> list[int]:
    """Return instants one step apart, in seconds since 1970."""
    return [int(moment.timestamp()) for moment in moments(rows, step_s)]


def local(instants: Iterable[datetime], zone: str, form: str = "%Y-%m-%d %H:%M:%S") -> list[str]:
    """Return what the clock of a place shows at these instants."""
    return [moment.astimezone(ZoneInfo(zone)).strftime(form) for moment in instants]


def comma(numbers: Iterable[float], form: str = "{:.2f}") -> list[str]:
    """Return numbers with a decimal comma, and a point between thousands if `form` asks for a mark there."""
    return [form.format(number).translate(str.maketrans(",.", ".,")) for number in numbers]


def csv(columns: Mapping[str, Sequence[Any]], mark: str = ",", *, quotes: bool = False) -> str:
    """Return columns as CSV; a cell with the mark in it is quoted, or each one."""

    def written(cell: Any) -> str:
        text = str(cell)
        return f'"{text}"' if quotes or mark in text else text

    rows = [columns.keys(), *zip(*columns.values(), strict=True)]
    return "\n".join(mark.join(map(written, row)) for row in rows) + "\n"


def json_lines(records: Iterable[Any]) -> str:
    """Return records as JSON, one a line."""
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n"


def saved(path: Path, content: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
