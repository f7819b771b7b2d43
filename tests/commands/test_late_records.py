"""Records of which a tenth comes late, by the commands that people type: as if they had come in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.foreign_data import csv, saved, stamps, wave
from tests.commands.shell import FirstContact, Shell
from tests.shared_data import field_inputs

pytestmark = pytest.mark.slow

TRAINED, LIVE, STEP_S, LATE_S = 900, 1_200, 10, 25
ALLOWED = ("--window.lateness_ms", "60000")
FAR = ("--window.max_jump_ms", "604800000")  # a week: records of a time long past are late, not a clock set back
Rows = dict[str, list[Any]]


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A process for commands."""
    one = Shell()
    yield one
    one.close()


def telemetry(rows: int, odd: slice | None = None) -> Rows:
    """Return a device's rows in order; `odd` ones are far from what it shows."""
    first, second = wave(rows, 10), wave(rows, 20, 2, seed=2)
    if odd is not None:
        first[odd] += 6
    return {"timestamp": stamps(rows, STEP_S), "key": ["dev-1"] * rows, "a": first.tolist(), "b": second.tolist()}


def disordered(rows: Rows, share: float = 0.1) -> Rows:
    """Return rows of which a share stands `LATE_S` further down."""
    count = len(rows["a"])
    arrivals = np.arange(count) * STEP_S + LATE_S * (np.random.default_rng(3).random(count) < share)
    order = np.argsort(arrivals, kind="stable")
    return {name: [of[at] for at in order] for name, of in rows.items()}


def told(found: FirstContact) -> list[dict[str, Any]]:
    """Return the events without what says which record caused them, and by which settings."""
    return [
        {name: value for name, value in event.items() if name not in {"episode_id", "source", "settings_version"}}
        for event in found.events
    ]


def ran(shell: Shell, folder: Path, train: Path, live: Path, *more: str) -> FirstContact:
    """Learn from one file and run on another."""
    folder.mkdir()
    found = shell.first_contact(folder, train, live=live, more=more)
    assert found.codes == (0, 0, 0)
    return found


def test_a_tenth_of_the_rows_late_and_sixty_seconds_allowed(shell: Shell, tmp_path: Path) -> None:
    """Case 21: no dead letter, and the same events; without lateness each late row is one."""
    train = saved(tmp_path / "train.csv", csv(telemetry(TRAINED)))
    rows = telemetry(LIVE, slice(700, 712))
    ordered, late = saved(tmp_path / "ordered.csv", csv(rows)), saved(tmp_path / "late.csv", csv(disordered(rows)))
    plain = ran(shell, tmp_path / "plain", train, ordered)
    waiting = ran(shell, tmp_path / "waiting", train, late, *ALLOWED)
    refused = ran(shell, tmp_path / "refused", train, late)
    assert any("2025-03-03T01:56" <= event["start_time"] <= "2025-03-03T01:59" for event in told(plain))
    assert told(waiting) == told(plain)
    assert waiting.dead_letters == []
    assert len(refused.dead_letters) > 60
    assert {letter["streamae-reason"] for letter in refused.dead_letters} == {"late"}


def test_inspect_of_such_rows_says_how_long_to_wait(shell: Shell, tmp_path: Path) -> None:
    """What is proposed is enough: learnt from the late rows and run on them, nothing is refused."""
    late = saved(tmp_path / "late.csv", csv(disordered(telemetry(LIVE))))
    found = shell.first_contact(tmp_path, late)
    assert found.codes == (0, 0, 0)
    assert found.settings["window.lateness_ms"] == 20_000
    assert found.dead_letters == []


def test_the_end_of_a_file_is_judged(shell: Shell, tmp_path: Path) -> None:
    """Rows that still wait when a file ends are scored all the same: the anomaly stands in its last rows."""
    train = saved(tmp_path / "train.csv", csv(telemetry(TRAINED)))
    live = saved(tmp_path / "live.csv", csv(telemetry(LIVE, slice(LIVE - 3, LIVE))))
    plain, waiting = (
        ran(shell, tmp_path / name, train, live, *more) for name, more in (("plain", ()), ("waits", ALLOWED))
    )
    assert any(event["end_time"] >= "2025-03-03T03:19:30" for event in told(plain))
    assert told(waiting) == told(plain)


def test_a_daemon_that_waits_takes_what_a_bootstrap_has_learnt(shell: Shell, tmp_path: Path) -> None:
    """A history is played with the same lateness: its keys are known when the daemon meets them."""
    train = saved(tmp_path / "train.csv", csv(telemetry(TRAINED)))
    live = saved(tmp_path / "live.csv", csv(disordered(telemetry(LIVE))))
    found = ran(shell, tmp_path / "first", train, live, *ALLOWED)
    learnt = tmp_path / "learnt"
    taught = shell.say("bootstrap", train, "--out", learnt, "--config", found.folder / "streamae.toml", *ALLOWED)
    assert "1 keys (dev-1) from 900 rows until 2025-03-03T02:29:50Z (1 ready)" in taught.out, taught.err
    again = ran(shell, tmp_path / "again", train, live, *ALLOWED, "--state.bootstrap_file", str(learnt), *FAR)
    assert again.ran is not None
    assert len(again.dead_letters) > 800  # what lies before the history's end is late: the key is known


@pytest.mark.skipif(not any(path.name == "19_train.csv" for path in field_inputs()), reason="no field inputs here")
def test_the_case_as_reported(shell: Shell, tmp_path: Path) -> None:
    """98 of 1,200 records were dead letters; with 60 s allowed none is."""
    files = {path.name: path for path in field_inputs()}
    found = ran(shell, tmp_path / "case", files["19_train.csv"], files["19_out_of_order.csv"], *ALLOWED)
    assert found.dead_letters == []
    assert found.ran is not None
    plain = ran(shell, tmp_path / "plain", files["19_train.csv"], files["19_out_of_order.csv"])
    assert len(plain.dead_letters) == 98
