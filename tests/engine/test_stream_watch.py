"""What is said of a stream: what its first records look like, when most come to nothing, and when that is over."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemorySource
from streamae.engine.engine import Engine
from streamae.engine.stream_watch import KEY_RECORDS, STREAM_RECORDS
from streamae.model.bundle import Bundle
from streamae.observe import logs
from streamae.reasons import REMEDIES, Fruitless, Reason
from tests.engines import FEATURES, START_MS, STEP_MS, TOPIC, Rig, broker_with, settings, tiny_bundle

Records = list[tuple[bytes, bytes]]
BAD = Reason.BAD_TIME


def record(key: int, row: float, **changes: Any) -> tuple[bytes, bytes]:
    """A record of a machine, `row` steps after the start."""
    content = {"ts": START_MS + round(row * STEP_MS)} | dict.fromkeys(FEATURES, 0.5) | changes
    return b"machine-%d" % key, json.dumps(content).encode()


def mixed(rows: Iterable[int], bad: int, of: int = 10, keys: Sequence[int] = (0,)) -> Records:
    """Rows of keys, of which `bad` in `of` have no time that can be read."""
    return [record(key, row, **({"ts": "yesterday"} if row % of < bad else {})) for row in rows for key in keys]


def interleaved(rows: int) -> Records:
    """Machine 0, whose time cannot be read but at first, among nine that are well."""
    well = range(1, 10)
    return [one for row in range(rows) for one in (*mixed([row], 0, keys=well), *mixed([row], 10 if row > 9 else 0))]


class EndingSource(MemorySource):
    """An input that has an end, as files have: what the topic holds now."""

    @property
    def is_finished(self) -> bool:
        return not any(self.lag().values())


class Ending(Rig):
    """A process on such an input."""

    def build(self) -> Engine:
        self.parts["source"] = EndingSource(self.broker, "group", (TOPIC,), self.max_poll_records)
        return super().build()


def ending(records: Records) -> Ending:
    """A process whose input is these records."""
    return Ending(broker_with(records, 1))


class Watched:
    """A process on records, and what it says."""

    def __init__(
        self, records: Records, bundle: Bundle | None = None, step_records: int = 100, **sections: dict[str, Any]
    ) -> None:
        self.log = io.StringIO()
        logs.configure("info", "json", self.log)
        self.rig = Rig(
            broker_with(records, 1),
            settings=settings(**sections),
            max_poll_records=step_records,
            bundle=bundle or tiny_bundle(),
        )
        self.rig.run_dry()

    def more(self, records: Records) -> None:
        """Let more records come."""
        for key, value in records:
            self.rig.broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
        self.rig.run_dry()

    def lines(self, *prefixes: str) -> list[dict[str, Any]]:
        """Return the lines of the log whose event begins so."""
        return [
            line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"].startswith(prefixes)
        ]

    def said(self) -> list[str]:
        """Return what was said of the stream, its keys and its step."""
        return [line["event"] for line in self.lines("stream_", "keys_", "step_") if line["event"] != "stream_seen"]

    def metric(self, text: str) -> bool:
        """Tell whether the metrics have this line now."""
        self.rig.engine.report()
        return f"streamae_{text}\n" in self.rig.telemetry.render()[0].decode()


@pytest.mark.parametrize(("bad", "said"), [(4, []), (5, ["stream_refused"]), (10, ["stream_refused"])])
def test_it_speaks_at_half_and_not_below(bad: int, said: list[str]) -> None:
    """Once, however long it lasts; below one half dead letters and their metric are enough."""
    watched = Watched(mixed(range(2 * STREAM_RECORDS), bad))
    assert watched.said() == said


def test_it_is_silent_before_enough_records() -> None:
    """A few bad records at the start are no stream that is read wrongly."""
    assert Watched(mixed(range(STREAM_RECORDS - 20), 10)).said() == []


def test_a_warning_has_reason_example_and_remedy_and_no_payload() -> None:
    """Whoever reads the line finds a record of this kind and the setting, and nothing private in the log."""
    watched = Watched(mixed(range(STREAM_RECORDS), 6))
    (line,) = watched.lines("stream_refused")
    assert (line["level"], line["reason"], line["unusable"]) == ("warning", BAD, "60%")
    assert (line["topic"], line["partition"], line["offset"]) == (TOPIC, 0, 995)
    assert "`ts`" in line["detail"]
    assert REMEDIES[BAD] in line["remedy"]
    assert "streamae inspect" in line["remedy"]
    assert "yesterday" not in watched.log.getvalue()


@pytest.mark.slow
def test_it_says_when_it_is_over_and_when_it_begins_again() -> None:
    """The producer is mended: one line; it breaks again: another warning."""
    watched = Watched(mixed(range(STREAM_RECORDS), 10))
    watched.more(mixed(range(STREAM_RECORDS, 3 * STREAM_RECORDS), 0))
    assert watched.said() == ["stream_refused", "stream_recovered"]
    assert watched.rig.engine.status().warnings == []
    watched.more(mixed(range(3 * STREAM_RECORDS, 4 * STREAM_RECORDS), 10))
    assert watched.said()[2:] == ["stream_refused"]


@pytest.mark.parametrize(
    ("reason", "records"),
    [
        (Reason.LATE, [record(0, STREAM_RECORDS), *(record(0, row) for row in range(STREAM_RECORDS))]),
        (Reason.DUPLICATE, [record(0, 0) for _ in range(STREAM_RECORDS + 20)]),
        (Reason.NOT_JSON, [(b"machine-0", b"no JSON")] * STREAM_RECORDS),
        (Reason.TOO_MANY_KEYS, [record(key, 0) for key in range(3 * STREAM_RECORDS)]),
        (Fruitless.STARVED, [record(0, row, temp=None, load=None) for row in range(STREAM_RECORDS + 20)]),
        (Fruitless.GAP, [record(0, 61 * row) for row in range(STREAM_RECORDS + 20)]),
        (Fruitless.GAP, [record(0, row + 61 * (row // 5)) for row in range(STREAM_RECORDS + 20)]),
    ],
    ids=["late", "duplicate", "not_json", "too_many_keys", "starved", "gap", "short_runs"],
)
def test_whatever_makes_a_record_worthless_counts(reason: Reason | Fruitless, records: Records) -> None:
    """Refused, late, starved, or always in a gap: all end in nothing being watched."""
    (line,) = Watched(records).lines("stream_refused")
    assert line["reason"] == reason


@pytest.mark.parametrize(
    "records",
    [
        [record(0, row + (100 if row > 500 else 0)) for row in range(STREAM_RECORDS + 500)],
        [record(0, row + 61 * (row // 10)) for row in range(STREAM_RECORDS + 500)],
        [record(0, row, **({"temp": None} if row % 2 else {})) for row in range(STREAM_RECORDS + 500)],
    ],
    ids=["one_gap", "gaps_between_full_windows", "holes_that_are_filled"],
)
def test_what_can_be_scored_is_no_trouble(records: Records) -> None:
    """A pause of the producer, runs just long enough for a window, holes within bounds."""
    assert Watched(records).said() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temp": "ERR", "load": "ERR"}, ["bad_values"]),
        ({"temp": "ERR", "load": None}, ["bad_values"]),
        ({"temp": "ERR"}, ["bad_values"]),
        ({"temp": None}, []),
    ],
    ids=["all", "all_but_nulls", "half", "a_hole"],
)
def test_records_mostly_of_bad_values_count(changes: dict[str, Any], said: list[str]) -> None:
    """With input.bad_value = missing no record is refused for a stray word; half of its values are too many."""
    watched = Watched([record(0, row, **changes) for row in range(STREAM_RECORDS)], input={"bad_value": "missing"})
    lines = watched.lines("stream_refused")
    assert [line["reason"] for line in lines] == said
    assert all(line["detail"] in {"of temp: wrong_type", "of load: wrong_type"} for line in lines)
    (first,) = watched.lines("stream_seen")
    assert ("temp wrong_type 1000" in first["bad_values"]) == bool(said)


def test_a_bad_value_among_many_is_no_trouble() -> None:
    """One broken sensor of five costs its own values only."""
    features = ("temp", "load", "a", "b", "c")
    rest = dict.fromkeys(features, 0.5) | {"temp": "ERR"}
    records = [record(0, row, **rest) for row in range(STREAM_RECORDS)]
    assert Watched(records, tiny_bundle(features=features), input={"bad_value": "missing"}).said() == []


def test_a_key_in_trouble_is_named_while_the_stream_is_well() -> None:
    """One device in ten with a broken clock: once, with its name, and again when it is over."""
    rows = KEY_RECORDS + 100
    watched = Watched(interleaved(rows))
    assert watched.said() == ["keys_refused"]
    (line,) = watched.lines("keys_refused")
    assert (line["reason"], line["examples"], line["keys"]) == (BAD, "machine-0", 1)
    assert watched.metric('unusable_keys{reason="bad_time"} 1.0')
    (warning,) = watched.rig.engine.status().warnings
    assert "machine-0" in warning
    watched.more(mixed(range(rows, 4 * rows), 0))
    assert watched.said() == ["keys_refused", "keys_recovered"]
    assert watched.metric('unusable_keys{reason="bad_time"} 0.0')


def test_a_refused_record_counts_for_the_key_in_its_value() -> None:
    """With input.key_field the Kafka key need not be there."""
    keys = range(10)
    rows = [(row, key, key == 0 and row > 20) for row in range(KEY_RECORDS + 120) for key in keys]
    records = [record(9, row, id=f"pump-{key}", **({"ts": "now"} if bad else {})) for row, key, bad in rows]
    (line,) = Watched([(b"", value) for _, value in records], input={"key_field": "id"}).lines("keys_")
    assert line["examples"] == "pump-0"


@pytest.mark.slow
def test_keys_are_not_told_of_beside_their_whole_stream() -> None:
    """Everything is refused: one warning, not one for each device besides."""
    keys = range(3)
    watched = Watched(mixed(range(STREAM_RECORDS), 0, keys=keys) + mixed(range(STREAM_RECORDS), 10, keys=keys))
    assert watched.said() == ["stream_refused"]


def test_a_key_that_leaves_takes_its_trouble_along() -> None:
    """Its slot is given to another key, of which nothing is known yet."""
    watched = Watched(interleaved(KEY_RECORDS + 100))
    assert watched.metric('unusable_keys{reason="bad_time"} 1.0')
    watched.rig.engine.states.release(Partition(TOPIC, 0))
    assert watched.metric('unusable_keys{reason="bad_time"} 0.0')


def test_records_of_a_silent_replay_do_not_count() -> None:
    """They were told of when they came: a restart must not say it again, nor take them for what comes now."""
    bad = mixed(range(2 * STREAM_RECORDS), 10)
    watched = Watched(bad, state={"checkpoint_interval_ms": 10_000_000})
    watched.rig.engine.close()
    replaying = Watched([])
    replaying.rig = Rig(watched.rig.broker, settings=watched.rig.settings, max_poll_records=100)
    broker = replaying.rig.broker
    assert broker.committed("group", Partition(TOPIC, 0)) == len(bad)
    replaying.rig.run_dry()
    assert replaying.lines("stream_") == []
    replaying.more(mixed(range(STREAM_RECORDS // 2), 10))
    assert replaying.lines("stream_") == []
    assert int(replaying.rig.engine.watch.seen.sum()) == STREAM_RECORDS // 2


@pytest.mark.parametrize("step_records", [100, 10_000])
def test_the_first_records_are_described_once(step_records: int) -> None:
    """How many keys, what was refused, which times, which step, which holes: a wrong reading shows in one line."""
    rows = range(400)
    holes = [record(key, row, **({"load": None} if row % 4 == 0 else {})) for row in rows for key in range(2)]
    watched = Watched(holes + mixed(range(400, 600), 10), step_records=step_records)
    (line,) = watched.lines("stream_seen")
    assert line["level"] == "info"
    assert (line["records"], line["usable"], line["keys"]) == (1_000, 800, 2)
    assert line["unusable"] == "bad_time 200"
    assert (line["step_ms"], line["trained_step_ms"]) == (STEP_MS, STEP_MS)
    assert (line["first"], line["last"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:19:59.000Z")
    assert line["missing"] == "load 25.0%"


@pytest.mark.parametrize("step", [0.5, 0.4, 2.0, 7.0])
def test_a_live_step_far_from_the_trained_one_is_told(step: float) -> None:
    """A window is then another length of time than in training: a warning, a metric, and when it is over."""
    watched = Watched([record(key, step * row) for row in range(100) for key in range(3)])
    assert watched.metric(f"step_ratio {step}")
    assert watched.said() == ["step_differs"]
    assert len(watched.rig.engine.status().warnings) == 1
    watched.more([record(key, 100 * step + row) for row in range(100) for key in range(3)])
    assert watched.metric("step_ratio 1.0")
    assert watched.said() == ["step_differs", "step_fits"]
    assert watched.rig.engine.status().warnings == []


@pytest.mark.parametrize(
    "records",
    [
        [record(key, row * 1.7) for row in range(100) for key in range(3)],
        [record(key, row * 0.6) for row in range(100) for key in range(3)],
        [record(key, row + 0.8 * (row % 2)) for row in range(100) for key in range(3)],
        [record(key, row * (9 if key == 0 else 1)) for row in range(100) for key in range(3)],
        [record(key, row + 20 * (row // 4)) for row in range(100) for key in range(3)],
        [record(key, row * 9) for row in range(5) for key in range(3)],
        [record(key, row // 3, temp=row % 3) for row in range(100) for key in range(3)],
        [record(key, 0, temp=row) for row in range(100) for key in range(3)],
    ],
    ids=[
        "slower",
        "faster",
        "irregular",
        "one_key_of_three",
        "bursts",
        "too_few_rows",
        "several_of_one_time",
        "one_time",
    ],
)
def test_a_step_within_a_factor_of_two_for_most_keys_is_not_told(records: Records) -> None:
    """Clocks jitter and devices pause: only most keys far off tell of another sampling."""
    watched = Watched(records)
    watched.rig.engine.report()
    assert watched.said() == []


def test_it_shows_in_status_and_metrics() -> None:
    """Whoever does not read the log sees it in `/status`, and an alert can go by it."""
    watched = Watched(mixed(range(STREAM_RECORDS), 5))
    assert watched.metric('stream_unusable{reason="bad_time"} 1.0')
    assert watched.metric('stream_unusable{reason="late"} 0.0')
    assert watched.metric('unusable_records_ratio{reason="bad_time"} 0.5')
    status = watched.rig.engine.status()
    (warning,) = status.warnings
    assert warning.startswith(
        "50% of the newest 1,000 records came to nothing, most often bad_time, as sensors-0 offset"
    )
    assert REMEDIES[BAD] in warning
    assert status.stream is not None
    assert (status.stream["records"], status.stream["unusable"]) == (STREAM_RECORDS, {"bad_time": 0.5})
    assert json.loads(json.dumps(status.plain()))["stream"]["trained_step_ms"] == STEP_MS


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "no record"),
        (mixed(range(30), 10), "30 of 30 records came to nothing, most often bad_time"),
        ([record(key, row) for row in range(7) for key in range(2)], "a window is 8 rows, the longest run"),
        ([record(0, 61 * row) for row in range(30)], "most often gap"),
        ([record(0, row, temp=None, load=None) for row in range(30)], "starved"),
    ],
    ids=["nothing", "refused", "short", "gap", "starved"],
)
def test_an_input_that_ends_unscored_says_why(records: Records, words: str) -> None:
    """A replay of files that scored nothing is a failure that names its cause."""
    rig = ending(records)
    rig.run_dry()
    status = rig.engine.status()
    assert status.finished
    assert words in status.unscored


def test_an_input_that_ends_is_described_however_short() -> None:
    """A file of some hundred rows at another step than in training: the log says both before the process ends."""
    log = io.StringIO()
    logs.configure("info", "json", log)
    rig = ending([record(key, 6 * row) for row in range(20) for key in range(2)])
    rig.run_dry()
    for _ in range(2):
        rig.engine.report()
    told = [line for line in map(json.loads, log.getvalue().splitlines()) if "step_ms" in line]
    assert [line["event"] for line in told] == ["step_differs", "stream_seen"]
    assert (told[1]["records"], told[1]["keys"], told[1]["step_ms"]) == (40, 2, 6 * STEP_MS)


def test_the_first_records_are_described_with_their_keys_also_in_one_poll() -> None:
    """A poll may bring them all at once: no line says that there are no keys."""
    records = [record(key, row) for row in range(600) for key in range(2)]
    (line,) = Watched(records, step_records=5_000).lines("stream_seen")
    assert (line["keys"], line["step_ms"]) == (2, STEP_MS)


def test_an_input_that_was_scored_ends_well() -> None:
    """One window is enough, and so is having nothing new to read."""
    rig = ending([record(0, row) for row in range(8)])
    rig.run_dry()
    assert (rig.engine.status().finished, rig.engine.status().unscored) == (True, "")
    rig.engine.close()
    rig.engine = rig.build()
    rig.run_dry()
    assert (rig.engine.status().finished, rig.engine.status().unscored) == (True, "")
