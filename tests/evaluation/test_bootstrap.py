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
from streamae.config import Settings
from streamae.connectors.learnt_keys import LearntKeys
from streamae.connectors.memory_store import MemoryStore
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.evaluation.bootstrap import bootstrap
from streamae.runtime.standing import by_state, standings
from tests.engines import FEATURES, START_MS, Rig, broker_with, ids, settings, stream, tiny_bundle
from tests.runtime.test_crash_resume import Crash, Fuse

KEYS, BEFORE, ROWS = 4, 80, 130
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
    """The stored state of each key but for its episodes, which remember where their records lie."""
    last = process.engine.stages.episodes.columns.size_bytes
    return {key: packed[:-last] for (_, key), packed in process.state().items()}


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
    assert f"4 keys from {KEYS * BEFORE} rows until 2023-11-14T22:14:39Z (4 ready), bundle " in place.learn()
    process = place.daemon(NEWER[:KEYS])
    process.run_dry()
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


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.85])
def test_a_crash_begins_again_from_the_file(place: Place, share: float) -> None:
    """Keys that were not saved yet start from the same state again: events and state are those of a calm run."""
    with Fuse(None) as fuse:
        place.daemon(NEWER).run_dry()
    store = MemoryStore()
    process = place.daemon(NEWER, store)
    with pytest.raises(Crash), Fuse(int(share * fuse.lines)):
        process.run_dry()
    process.broker.expel(process.engine.source)  # type: ignore[arg-type]
    last = Rig(process.broker, store, process.settings, 17, parts=dict(OWN_RUNNER))
    last.run_dry()
    calm = place.daemon(NEWER)
    calm.run_dry()
    assert ids(last.events()) == ids(calm.events())
    assert last.state() == calm.state()


@pytest.mark.parametrize(
    "changed",
    [{"threshold": {"rule": "pot"}}, {"window": {"stride": 2}}, {"window": {"missing": "constant"}}],
    ids=["rule", "stride", "missing"],
)
def test_a_file_learnt_otherwise_is_refused(place: Place, changed: dict[str, Any]) -> None:
    """Before the first record, with the way out: state of another form must never be read as this one."""
    with pytest.raises(ConfigError, match=r"state.bootstrap_file: .*run `streamae bootstrap` with these settings"):
        place.daemon(NEWER, **changed)


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
    assert f"{out}: 4 keys from" in capsys.readouterr().out
    assert set(LearntKeys.read(out)) == {key for key, _ in HISTORY}
    assert main(["bootstrap", str(out), "--out", str(out), *given]) == ExitCode.FAILURE


def test_nothing_is_written_for_a_history_that_cannot_be_read(place: Place) -> None:
    """The file from before stays."""
    before = place.file.read_bytes()
    with pytest.raises(DataError):
        place.learn(place.history.with_name("none.csv"))
    assert place.file.read_bytes() == before
