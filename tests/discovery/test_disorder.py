"""Rows out of order: waiting is proposed where it helps, as long as is needed, and not where something else is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from streamae.discovery.disorder import Disorder, disorder_of, most_waiting
from streamae.discovery.report import report_lines
from tests.discovery.tables import START, noise, proposed, settings_of, table

ROWS = 1_200


def arrivals(rows: int = ROWS, step_s: float = 10, late_s: float = 25, share: float = 0.1) -> list[float]:
    """Return seconds of rows in the order they arrive, of which a share comes late."""
    taken = np.arange(rows) * step_s
    is_late = np.random.default_rng(5).random(rows) < share
    return taken[np.argsort(taken + late_s * is_late, kind="stable")].tolist()


def of_seconds(seconds: list[float], **more: Any) -> Any:
    """Return what is proposed for rows of these seconds."""
    stamps = [(START + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for at in seconds]
    return proposed(table(time=stamps, temp=noise(len(stamps)), **more))


def lateness(proposal: Any) -> tuple[Any, Any]:
    """Return what is proposed of lateness."""
    found = settings_of(proposal)
    return found.get("window.lateness_ms"), found.get("window.lateness_rows")


def test_stragglers_are_waited_for() -> None:
    """Case 21: a tenth comes 25 s late, which is two rows later; the report says what `run` will do."""
    found = of_seconds(arrivals())
    assert lateness(found) == (20_000, None)
    assert "% of the rows come late, nearly all by 20 s or less" in found.settings["window.lateness_ms"].why
    assert "`run` waits for nearly all: window.lateness_ms" in "\n".join(report_lines(found))


def test_room_is_proposed_for_as_many_rows_as_wait() -> None:
    """Many records a second: the rows of the time that is waited for must have room, else they go early."""
    found = of_seconds(arrivals(step_s=0.25, rows=4_000))
    assert lateness(found) == (30_000, 120)


@pytest.mark.parametrize(
    "seconds",
    [
        arrivals(share=0.0),
        [*range(0, 6_000, 10), *range(0, 6_000, 10)],
        [72_000 if at == 3_000 else at for at in range(0, 12_000, 10)],
        list(range(12_000, 0, -10)),
        [at - 300 * (at % 50 > 20) for at in range(0, 12_000, 10)],
        [5 if at == 10 else at for at in range(0, 12_000, 10)],
    ],
    ids=[
        "in order",
        "one device after the other",
        "one stamp 20 h ahead",
        "newest first",
        "a device that lags",
        "one row in 1,200",
    ],
)
def test_nothing_is_proposed_where_waiting_does_not_help(seconds: list[float]) -> None:
    """Several devices, a wrong clock or a file from its end are other troubles; a single row is none."""
    assert lateness(of_seconds(seconds)) == (None, None)


def test_what_was_said_stays() -> None:
    """Whoever set how long to wait is not overruled."""
    stamps = [(START + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%SZ") for at in arrivals()]
    given = {"window.lateness_ms": 60_000}
    assert lateness(proposed(table(time=stamps, temp=noise(ROWS)), settings=given)) == (60_000, None)


def test_records_of_one_row_are_not_late_to_each_other() -> None:
    """One metric a record: within a time bucket no order is needed."""
    values = noise(300)
    jitter = [
        START + timedelta(seconds=10 * row + (3, 1, 2)[at] * (row % 10 == 0)) for row in range(300) for at in range(3)
    ]
    stamps = [one.strftime("%Y-%m-%dT%H:%M:%SZ") for one in jitter]
    names, cells = ["a", "b", "c"] * 300, [value for value in values for _ in range(3)]
    found = proposed(table(time=stamps, name=names, value=cells), layout="long")
    assert "window.grid_ms" in settings_of(found)
    assert lateness(found) == (None, None)


def test_each_key_is_late_by_itself() -> None:
    """A device that lags behind another is not late, and rows wait by key."""
    steps = np.arange(2_000) * 1_000
    keys = np.array([0, 1] * 1_000)
    shifted = np.where(keys == 1, steps - 900_000, steps)
    assert disorder_of(shifted, keys) is None
    swapped = shifted.copy()
    swapped[[100, 102]] = swapped[[102, 100]]
    swapped[[101, 103]] = swapped[[103, 101]]
    swapped[[501, 503]] = swapped[[503, 501]]
    assert disorder_of(swapped, keys) == Disorder(0.0015, 2_000)
    assert most_waiting(swapped, keys, 5_000) == 3
