"""`streamae bootstrap`: keys that learnt from files go on in a daemon as if it had read those files itself."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamae.cli import main
from streamae.commands.bootstrap import bootstrap
from streamae.connectors.learnt_keys import LearntKeys
from streamae.connectors.memory_store import MemoryStore
from streamae.engine.standing import by_state, standings
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.settings.tree import Settings
from tests.engine.test_crash_resume import Crash, Fuse
from tests.engines import FEATURES, START_MS, STEP_MS, WINDOW, Rig, broker_with, ids, settings, stream, tiny_bundle
from tests.sweeps import Sweep

KEYS, BEFORE, ROWS = 4, 80, 130
PARTS = 40  # of a run of the daemon
SPIKES = [(0, 40), (1, 60), (2, 70), (0, 100), (3, 110), (2, 120)]  # (key, row): three in the history
RECORDS = stream(KEYS, ROWS, spikes=SPIKES)
HISTORY, NEWER = RECORDS[: KEYS * BEFORE], RECORDS[KEYS * BEFORE :]
OWN_RUNNER = {"runner": None}  # the bundle's network instead of a stand-in: a bootstrap knows no other


def write(path: Path, records: Sequence[tuple[bytes, bytes]]) -> Path:
    """Write records as a table that a user might have."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["machine", "ts", *FEATURES])
        for key, value in records:
            row = json.loads(value)
            writer.writerow([key.decode(), row["ts"], *(row[name] for name in FEATURES)])
    return path


class Place:
    """A bundle, a history, and the file that comes of it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.bundle = folder / "learnt", folder / "bundle"
        tiny_bundle().save(self.bundle)
        self.history = write(folder / "history.csv", HISTORY)
        self.learn()

    def settings(self, **sections: dict[str, Any]) -> Settings:
        """Settings of the daemon, which begins with the file."""
        given = sections.pop("state", {})
        model = {"bundle": self.bundle, "max_wait_ms": 0, "max_batch_size": 64, "device": "cpu", "threads": 1}
        return settings(
            model=model, state={"bootstrap_file": self.file, "checkpoint_interval_ms": 15} | given, **sections
        )

    def learn(self, history: Path | None = None, **sections: dict[str, Any]) -> str:
        """Run the command; return what it printed."""
        told = io.StringIO()
        reads = {"key_field": "machine", "time_field": "ts"}
        of = self.settings(input=reads, **sections)
        assert bootstrap(of, [history or self.history], self.file, told, io.StringIO()) == ExitCode.OK
        return told.getvalue()

    def daemon(self, records: Sequence[tuple[bytes, bytes]], store: MemoryStore | None = None, **more: Any) -> Rig:
        """A process that finds these records."""
        return Rig(broker_with(records), store or MemoryStore(), self.settings(**more), 17, parts=dict(OWN_RUNNER))


def known(process: Rig) -> dict[bytes, bytes]:
    """The stored state of each key but for its episodes, which remember where their records lie, and its checksums."""
    stages = process.engine.stages
    sizes = [columns.size_bytes for columns in stages.state]
    at = next(number for number, columns in enumerate(stages.state) if columns is stages.episodes.columns)
    before, behind = slice(sum(sizes[:at])), slice(sum(sizes[: at + 1]), sum(sizes))
    return {key: packed[before] + packed[behind] for (_, key), packed in process.state().items()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Bundle, history and learnt keys."""
    return Place(tmp_path)


def reader_of_all(records: Sequence[tuple[bytes, bytes]] = RECORDS, **sections: dict[str, Any]) -> Rig:
    """A group that has read everything from the beginning."""
    whole = Rig(broker_with(records), settings=settings(**sections), max_poll_records=17, parts=dict(OWN_RUNNER))
    whole.run_dry()
    return whole


def in_short(process: Rig) -> list[tuple[str, str, int, float]]:
    """What events tell, without where their records lie."""
    events = [json.loads(record.value or b"") for record in process.events()]
    return sorted((one["key"], one["kind"], one["end_time_ms"], one["severity"]) for one in events)


def test_keys_go_on_as_if_the_daemon_had_read_the_history(place: Place) -> None:
    """The same events for newer records, to the digit, and the same state at the end; none for the history."""
    process, whole = place.daemon(NEWER), reader_of_all()
    process.run_dry()
    live_ms = json.loads(NEWER[0][1])["ts"]
    assert in_short(process) == [one for one in in_short(whole) if one[2] >= live_ms]
    assert len(in_short(process)) >= 5
    assert known(process) == known(whole)
    assert process.dead_letters() == []


def test_it_says_how_far_keys_are(place: Place) -> None:
    """Before the daemon relies on it, and in the daemon from the first record on."""
    assert (
        f"4 keys (machine-0, machine-1, machine-2, ...) from {KEYS * BEFORE} rows until 2023-11-14T22:14:39Z (4 ready),"
        in place.learn()
    )
    process = place.daemon(NEWER[:KEYS])
    process.run_dry()
    assert "streamae_bootstrapped_keys_total 4.0" in process.telemetry.render()[0].decode()
    assert by_state(standings(process.engine.stages, process.engine.states))["ready"] == KEYS


def test_a_key_that_the_history_does_not_hold_is_new(place: Place) -> None:
    """It learns as any other, and takes nothing from its neighbours."""
    place.learn(write(place.history.with_name("less.csv"), [one for one in HISTORY if one[0] != b"machine-2"]))
    process, alone = place.daemon(NEWER), reader_of_all(NEWER)
    process.run_dry()
    key = b"machine-2"
    (state,), (expected,) = (
        [packed for (_, name), packed in rig.state().items() if name == key] for rig in (process, alone)
    )
    assert state == expected


def test_stored_state_counts_more_than_the_file(place: Place) -> None:
    """What a key has learnt since is not thrown away by a restart, and a second file changes nothing for it."""
    store = MemoryStore()
    first = place.daemon(NEWER[: KEYS * 25], store)
    first.run_dry()
    first.broker.expel(first.engine.source)  # type: ignore[arg-type]
    place.learn(write(place.history.with_name("other.csv"), HISTORY[: KEYS * 30]))
    for key, value in NEWER[KEYS * 25 :]:
        first.broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
    last = Rig(first.broker, store, first.settings, 17, parts=dict(OWN_RUNNER))
    last.run_dry()
    assert known(last) == known(reader_of_all())


def test_an_episode_that_nobody_was_told_of_is_not_reported_as_over(place: Place) -> None:
    """The history ends in an anomaly: the daemon does not close what it has not opened."""
    spiked, slow = stream(KEYS, ROWS, spikes=[(1, BEFORE - 22)]), {"merge_gap_windows": 40}
    place.learn(write(place.history.with_name("spiked.csv"), spiked[: KEYS * BEFORE]), episode=slow)
    process, whole = place.daemon(spiked[KEYS * BEFORE :], episode=slow), reader_of_all(spiked, episode=slow)
    process.run_dry()
    assert in_short(process) == []
    live_ms = json.loads(NEWER[0][1])["ts"]
    assert [(one[0], one[1]) for one in in_short(whole)] == [("machine-1", "closed"), ("machine-1", "opened")]
    assert known(process) == known(whole)
    assert [json.loads(one.value or b"")["window"]["end_time_ms"] >= live_ms for one in whole.events()] == [False, True]


GRID = {"grid_ms": 2 * STEP_MS, "grid_merge": "mean"}


@pytest.mark.parametrize("missed", [0, 25, 70])
def test_with_a_grid_the_daemon_judges_no_row_of_the_history(place: Place, missed: int) -> None:
    """The last bucket is not over when the files end, and holds a spike: nobody is told of it, soon or late, even when
    the key has idled out and comes back."""
    spiked = stream(KEYS, 230, spikes=[(key, BEFORE - 1) for key in range(KEYS)])
    place.learn(write(place.history.with_name("spiked.csv"), spiked[: KEYS * BEFORE]), window=GRID)
    live = spiked[KEYS * (BEFORE + missed) :]
    tight = {"max_keys": 3, "key_idle_ms": 1}
    for limits in ({}, tight):
        process = place.daemon(live, window=GRID, limits=limits)
        process.run_dry()
        assert in_short(process) == []
        counts = process.engine.stages.decision.columns["count"][process.engine.states.table.resident()]
        assert counts.max() > (BEFORE - 2 * WINDOW) // 2  # it goes on from what the file knows
    assert "streamae_evicted_keys_total 0.0" not in process.telemetry.render()[0].decode()


def test_with_a_grid_windows_hold_no_row_of_the_history(place: Place) -> None:
    """They fill anew, and the bucket in which the files end is a missing row, not what the files say of it."""
    spiked = stream(KEYS, 230, spikes=[(key, BEFORE - 1) for key in range(KEYS)])
    place.learn(write(place.history.with_name("spiked.csv"), spiked[: KEYS * BEFORE]), window=GRID)
    process = place.daemon(spiked[KEYS * BEFORE : KEYS * (BEFORE + 1)], window=GRID)
    process.run_dry()
    windows, slots = process.engine.stages.windows.columns, process.engine.states.table.resident()
    assert windows["filled"][slots].tolist() == [1] * KEYS
    newest = windows["ring"][slots, (windows["written"][slots] - 1) % windows["ring"].shape[1]]
    assert newest.tolist() == [[0.0, 0.0]] * KEYS


def test_a_key_that_idled_out_begins_with_the_file_again(place: Place) -> None:
    """What it learnt since is gone with it, as for any evicted key; the file is not."""
    away = [one for one in NEWER if one[0] == b"machine-0"]
    others = [one for one in NEWER[KEYS * 10 : KEYS * 20] if one[0] != b"machine-0"]
    process = place.daemon([*away[:10], *others, *away[20:]], limits={"max_keys": 3, "key_idle_ms": 1})
    process.run_dry()
    alone = place.daemon(away[20:])
    alone.run_dry()
    assert known(process)[b"machine-0"] == known(alone)[b"machine-0"]


def test_a_row_of_the_future_is_refused(place: Place) -> None:
    """One wrong year would make all live records of its key late, for good."""
    rows = place.history.read_text(encoding="utf-8")
    place.history.write_text(f"{rows}machine-1,4070908800000,0.0,0.0\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"key 'machine-1', row 81: 2099-01-01T00:00:00Z lies in the future"):
        place.learn()


def test_files_of_a_key_are_read_in_order_of_time(place: Place) -> None:
    """Shells put day-10 before day-2."""
    late = write(place.history.with_name("day-10.csv"), HISTORY[KEYS * 40 :])
    early = write(place.history.with_name("day-2.csv"), HISTORY[: KEYS * 40])
    learnt = dict(LearntKeys.read(place.file))
    reads = {"key_field": "machine", "time_field": "ts"}
    told = io.StringIO()
    assert bootstrap(place.settings(input=reads), [late, early], place.file, io.StringIO(), told) == ExitCode.OK
    assert dict(LearntKeys.read(place.file)) == learnt
    assert told.getvalue() == ""


def test_rows_out_of_order_are_told(place: Place) -> None:
    """Newest first they are sorted, and learn what they learn in order."""
    told = io.StringIO()
    upside_down = write(place.history.with_name("down.csv"), HISTORY[::-1])
    reads = {"key_field": "machine", "time_field": "ts"}
    bootstrap(place.settings(input=reads), [upside_down], place.file, io.StringIO(), told)
    assert "rows were not in the order of time (316 steps back, most of key" in told.getvalue()
    learnt = dict(LearntKeys.read(place.file))
    bootstrap(place.settings(input=reads), [place.history], place.file, io.StringIO(), io.StringIO())
    assert dict(LearntKeys.read(place.file)) == learnt


def test_times_are_those_of_the_daemon(place: Place) -> None:
    """In its unit; and never made up where there is no column for them."""
    small = [
        (key, value.replace(b'"ts": 17000', b'"ts": 1')) for key, value in HISTORY
    ]  # in ms a day after the epoch, in s a year of 1973
    file = write(place.history.with_name("small.csv"), small)
    reads = {"key_field": "machine", "time_field": "ts", "time_unit": "ms"}
    told = io.StringIO()
    bootstrap(place.settings(input=reads), [file], place.file, told, io.StringIO())
    assert "until 1970-01-02T03:47:59Z" in told.getvalue()
    with pytest.raises(DataError, match=r"small.csv: no time was found: name its field with input.time_field"):
        bootstrap(place.settings(input={"key_field": "machine"} | {"time_field": None}), [file], place.file, told)


def test_the_place_of_the_file_is_looked_at_first(place: Place) -> None:
    """Not after an hour of replay."""
    place.file.unlink()
    place.file.mkdir()
    with pytest.raises(DataError, match=r"learnt: is a folder: name a file"):
        place.learn(place.history.with_name("none.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_begins_again_from_the_file(place: Place, part: int, sweep: Sweep) -> None:
    """Keys that were not saved yet start from the same state again: events and state are those of a calm run."""
    calm = place.daemon(NEWER)
    with Fuse(None) as fuse:
        calm.run_dry()
    for at in sweep.lines(fuse.lines, part, PARTS):
        store = MemoryStore()
        process, line = place.daemon(NEWER, store), f"line {at} of {fuse.lines} ({sweep})"
        with pytest.raises(Crash), Fuse(at):
            process.run_dry()
        process.broker.expel(process.engine.source)  # type: ignore[arg-type]
        last = Rig(process.broker, store, process.settings, 17, parts=dict(OWN_RUNNER))
        last.run_dry()
        assert ids(last.events()) == ids(calm.events()), line
        assert last.state() == calm.state(), line


@pytest.mark.parametrize(
    "changed",
    [{"window": {"stride": 2}}, {"window": {"missing": "constant"}}],
    ids=["stride", "missing"],
)
def test_a_file_learnt_otherwise_is_refused(place: Place, changed: dict[str, Any]) -> None:
    """Before the first record, with the way out: state of another meaning must never be read as this one."""
    with pytest.raises(ConfigError, match=r"state.bootstrap_file: .*run `streamae bootstrap` with these settings"):
        place.daemon(NEWER, **changed)


def test_under_another_family_of_rules_a_key_keeps_its_window(place: Place) -> None:
    """What the file says is taken over by field: only what the other rule keeps of a key begins anew."""
    process = place.daemon(NEWER[:KEYS], threshold={"rule": "pot"})
    process.run_dry()
    stages = process.engine.stages
    slots = process.engine.states.table.resident()
    assert len(slots) == KEYS
    assert stages.windows.columns["written"][slots].tolist() == [BEFORE + 1] * KEYS
    assert stages.decision.columns["count"][slots].max() <= 1


def test_a_level_may_change_between_the_two(place: Place) -> None:
    """What keys know does not depend on how sensitive somebody wants it."""
    place.daemon(NEWER, threshold={"k": 6.0}).run_dry()


def test_a_missing_file_ends_the_start(place: Place) -> None:
    """Going on without would look as if keys had learnt."""
    place.file.unlink()
    with pytest.raises(ConfigError, match=r"state.bootstrap_file: .*learnt: cannot be read: No such file"):
        place.daemon(NEWER)


def test_the_command_line_writes_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings come as for every command; what cannot be read is an error of data."""
    given = ["--model.bundle", str(place.bundle), "--input.key_field", "machine", "--input.time_field", "ts"]
    out = place.file.with_name("again")
    assert main(["bootstrap", str(place.history), "--out", str(out), *given]) == ExitCode.OK
    assert f"{out}: 4 keys (machine-0" in capsys.readouterr().out
    assert set(LearntKeys.read(out)) == {key for key, _ in HISTORY}
    assert main(["bootstrap", str(out), "--out", str(out), *given]) == ExitCode.FAILURE


def test_nothing_is_written_for_a_history_that_cannot_be_read(place: Place) -> None:
    """The file from before stays."""
    before = place.file.read_bytes()
    with pytest.raises(DataError):
        place.learn(place.history.with_name("none.csv"))
    assert place.file.read_bytes() == before
