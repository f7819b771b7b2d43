"""A file with one time that is 20 h ahead, through the commands that people type: it costs its own record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from streamae.errors import ExitCode
from tests.commands.foreign_data import START, csv, moments, saved, wave
from tests.commands.shell import SERVED, FirstContact, Shell
from tests.shared_data import field_inputs

pytestmark = pytest.mark.slow

ROWS, WILD, ODD = 600, 200, 500  # of each pump: all rows, the one with the wild time, the one with the fault
AHEAD_H = 20


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A process for commands."""
    one = Shell()
    yield one
    one.close()


def pumps(folder: Path, name: str, *, wild: bool, start: datetime = START) -> Path:
    """Write two pumps a minute apart; with `wild`, one of them jumps ahead once, and has a fault five hours later."""
    instants = [instant.strftime("%Y-%m-%dT%H:%M:%SZ") for instant in moments(ROWS, start=start)]
    flows, pressures = ([wave(ROWS, centre, seed=seed) for seed in (1, 2)] for centre in (10.0, 5.0))
    times = [list(instants), list(instants)]
    if wild:
        day, clock = divmod(WILD + 60 * AHEAD_H, 24 * 60)
        times[0][WILD] = f"2025-03-{START.day + day:02}T{clock // 60:02}:{clock % 60:02}:00Z"
        flows[0][ODD : ODD + 10] += 8
    columns = {
        "timestamp": np.column_stack(times).ravel(),
        "key": ["pump-1", "pump-2"] * ROWS,
        "flow": np.column_stack(flows).ravel(),
        "pressure": np.column_stack(pressures).ravel(),
    }
    return saved(folder / name, csv(columns))


def reasons(found: FirstContact) -> list[str]:
    """Return why records were refused."""
    return [letter["streamae-reason"] for letter in found.dead_letters]


def test_the_fault_behind_a_wild_time_is_found(shell: Shell, tmp_path: Path) -> None:
    """`run` with the settings that `inspect` wrote refuses one record, names the key, and finds what comes hours later."""
    live = pumps(tmp_path, "live.csv", wild=True)
    found = shell.first_contact(tmp_path, pumps(tmp_path, "train.csv", wild=False), live=live)
    assert found.codes == (ExitCode.OK,) * 3, (found.inspected.err, found.trained, found.ran)
    assert found.settings["window.max_jump_ms"] == 3_600_000
    assert reasons(found) == ["clock_jump"]
    assert {episode["key"] for episode in found.episodes} == {"pump-1"}
    assert "flow" in found.blamed("2025-03-03T08:22:00Z")
    assert found.ran is not None
    (told,) = found.ran.logged("clock_jump")
    assert told["keys"] == "pump-1"


def test_without_the_setting_the_fault_is_missed(shell: Shell, tmp_path: Path) -> None:
    """What the proposal is for: else all that follows of the pump is late, and the fault is not seen."""
    live, train = pumps(tmp_path, "live.csv", wild=True), pumps(tmp_path, "train.csv", wild=False)
    found = shell.first_contact(tmp_path, train, live=live, more=["--window.max_jump_ms", str(100 * 3_600_000)])
    assert set(reasons(found)) == {"late"}
    assert len(reasons(found)) > 300
    assert found.events == []


@pytest.fixture(scope="module")
def learnt(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> FirstContact:
    """What comes of data with a wild time in them, where they are looked at, learnt from and run on."""
    folder = tmp_path_factory.mktemp("learnt")
    found = shell.first_contact(folder, pumps(folder, "live.csv", wild=True))
    assert found.codes == (ExitCode.OK,) * 3, (found.inspected.err, found.trained, found.ran)
    return found


def test_data_with_a_wild_time_are_learnt_from(learnt: FirstContact) -> None:
    """`inspect` says it, `train` leaves the row out, `run` refuses it."""
    assert "1 time lies far ahead of the rows around it" in learnt.inspected.out
    assert learnt.bundle["training"]["metrics"]["records_left_out"] == 1
    assert reasons(learnt) == ["clock_jump"]


def of(learnt: FirstContact) -> list[str | Path]:
    """Return the flags of what was learnt."""
    return ["--config", learnt.folder / "streamae.toml"]


def test_a_history_with_a_wild_time_is_played_as_it_is_run(learnt: FirstContact, shell: Shell, tmp_path: Path) -> None:
    """`backtest` finds the fault that comes hours behind the wild time."""
    data, bundle = learnt.folder / "live.csv", learnt.folder / "bundle"
    played = shell.say("backtest", data, "--bundle", bundle, *of(learnt), "--out", tmp_path)
    assert played.code == ExitCode.OK, played.err
    alerts = (tmp_path / "alerts.csv").read_text(encoding="utf-8")
    assert "pump-1" in alerts
    assert "2025-03-03T08:2" in alerts


def test_a_bootstrap_does_not_carry_the_wild_time_on(learnt: FirstContact, shell: Shell, tmp_path: Path) -> None:
    """Keys that begin with what they learnt from such a history take the records that come behind it."""
    bundle = ["--model.bundle", learnt.folder / "bundle"]
    answer = shell.say("bootstrap", learnt.folder / "live.csv", "--out", tmp_path / "keys", *of(learnt), *bundle)
    assert answer.code == ExitCode.OK, answer.err
    after = pumps(tmp_path, "after.csv", wild=False, start=START + timedelta(minutes=ROWS))
    run = ["run", *of(learnt), "--input.source", "files", "--input.files", after, "--state.store", "memory"]
    out = ["--output.sink", "files", "--output.directory", tmp_path / "streamae-events"]
    ran = shell.say(*run, *out, "--state.bootstrap_file", tmp_path / "keys", *bundle, *SERVED)
    assert ran.code == ExitCode.OK, ran.err
    assert reasons(FirstContact(tmp_path, learnt.inspected)) == [], "the wild time is no time of the pump"
    (seen,) = ran.logged("stream_seen")
    assert seen["usable"] == 2 * ROWS


@pytest.mark.parametrize("data", [path for path in field_inputs() if path.name == "11_fast_clock.csv"], ids=str)
def test_the_reported_case(data: Path, shell: Shell, tmp_path: Path) -> None:
    """Case 15: 399 good records were late and the anomaly was missed; now one record is refused and it is found."""
    found = shell.first_contact(tmp_path, data.with_name("11_train.csv"), live=data)
    assert found.codes == (ExitCode.OK,) * 3
    assert reasons(found) == ["clock_jump"]
    assert {episode["key"] for episode in found.episodes} == {"pump-1"}
    assert "flow" in found.blamed("2025-03-03T12:00:00Z")
