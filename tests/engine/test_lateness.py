"""Streams out of order through the engine: with lateness allowed, the events of the same stream in order, and no dead letter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamae.batches import Series
from streamae.connectors.memory import MemorySink
from streamae.core.encoding import Encoding
from streamae.core.lateness import FREE
from streamae.errors import RetryableError
from streamae.model.bundle import Bundle
from streamae.replay.play import PlayedSource, consume_all, embedded_engine
from tests.engines import (
    FEATURES,
    START_MS,
    STEP_MS,
    TOPIC,
    WINDOW,
    Rig,
    broker_with,
    header,
    settings,
    stream,
    tiny_bundle,
)

LATE_MS = 25_000
ALLOWED = {"lateness_ms": 60_000, "lateness_rows": 64, "max_gap_ms": 60_000}
ROWS = 300
SPIKES = [(key, row + step) for key, row in [(0, 70), (1, 100), (2, 130), (2, 170)] for step in range(4)]
IN_ORDER = stream(3, ROWS, spikes=SPIKES)
Records = list[tuple[bytes, bytes]]


def time_of(record: tuple[bytes, bytes]) -> int:
    """Return the event time of a record."""
    return int(json.loads(record[1])["ts"])


def disordered(records: Records, share: float = 0.1) -> Records:
    """Return records of which a share arrives `LATE_MS` later than it should."""
    is_late = np.random.default_rng(7).random(len(records)) < share
    arrivals = np.array([time_of(one) for one in records]) + LATE_MS * is_late
    return [records[at] for at in np.argsort(arrivals, kind="stable").tolist()]


def rig(records: Records, window: dict[str, Any] | None = None, **more: Any) -> Rig:
    """Return a process that waits for late records."""
    of = settings(window=ALLOWED | (window or {}), **more.pop("sections", {}))
    return Rig(broker_with(records), settings=of, **more)


def told(process: Rig) -> list[dict[str, Any]]:
    """Return what the events say by key and time, without the offsets that caused them."""
    found = [json.loads(one.value or b"") for one in process.events()]
    for event in found:
        for name in ("episode_id", "source", "settings_version"):
            del event[name]
    return sorted(found, key=lambda event: (event["key"], event["start_time_ms"], event["sequence"]))


def letters(process: Rig) -> list[tuple[int, int, str | None]]:
    """Return partition, offset and reason of each dead letter."""
    found = process.dead_letters()
    wanted = ("streamae-source-partition", "streamae-source-offset", "streamae-reason")
    rows = [[header(one, name) for name in wanted] for one in found]
    return sorted((int(partition or -1), int(offset or -1), reason) for partition, offset, reason in rows)


def derived() -> Bundle:
    """Return a bundle that takes the time since the previous record, and of one field its growth."""
    encoding = Encoding(FEATURES, timed=("interval",), rate_fields=("load",))
    plain = tiny_bundle(features=encoding.features)
    return replace(plain, encoding=encoding)


KINDS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "on a grid": {"window": {"grid_ms": 2 * STEP_MS}},
    "interval and rates": {"bundle": derived()},
    "with a stride": {"window": {"stride": 3}},
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@kinds
def test_a_tenth_of_the_records_late_changes_no_event(kind: dict[str, Any]) -> None:
    """What lateness promises: no dead letter, and every event of the stream in order, but for the offsets."""
    ordered, late = rig(IN_ORDER, **kind), rig(disordered(IN_ORDER), **kind)
    plain = Rig(
        broker_with(IN_ORDER),
        settings=settings(window={"max_gap_ms": 60_000} | kind.get("window", {})),
        **{name: value for name, value in kind.items() if name == "bundle"},
    )
    for process in (ordered, late, plain):
        process.run_dry()
    assert len(told(late)) >= 4
    assert told(late) == told(ordered) == told(plain)
    assert not letters(late)


def test_one_metric_a_record_may_come_late() -> None:
    """The long layout: each metric is waited for by itself, and they still meet in their row."""
    long = [
        (key, json.dumps({"ts": json.loads(value)["ts"], "name": name, "value": json.loads(value)[name]}).encode())
        for key, value in IN_ORDER
        for name in FEATURES
    ]
    kind: dict[str, Any] = {
        "window": {"grid_ms": STEP_MS, "lateness_rows": 130},
        "sections": {"input": {"layout": "long"}},
    }
    ordered, late = rig(long, **dict(kind)), rig(disordered(long), **dict(kind))
    ordered.run_dry()
    late.run_dry()
    assert len(told(late)) >= 4
    assert told(late) == told(ordered)
    assert not letters(late)


def test_without_lateness_the_same_records_are_dead_letters() -> None:
    """What it is good for, and that nothing of it is there where nobody asked for it."""
    late, ordered = (Rig(broker_with(records)) for records in (disordered(IN_ORDER), IN_ORDER))
    late.run_dry()
    ordered.run_dry()
    assert {reason for *_, reason in letters(late)} == {"late"}
    assert len(letters(late)) > 50
    assert late.engine.stages.lateness is None
    other = rig([]).engine.stages
    assert other.lateness is not None
    assert other.state[0] is other.lateness.columns
    assert [part.layout for part in other.state[1:]] == [part.layout for part in late.engine.stages.state]


def lived(polls: int, kills: Sequence[int], kind: dict[str, Any], records: Records) -> Rig:
    """Return a process at the end of a stream that was read in polls of a size, and killed after some turns."""
    process = rig(records, max_poll_records=polls, **dict(kind))
    for turns in kills:
        process.step(turns)
        process.broker.expel(process.engine.source)  # type: ignore[arg-type]
        process.engine = process.build()
    process.run_dry()
    return process


@kinds
@pytest.mark.parametrize(
    ("polls", "kills"), [(1, []), (7, [30, 41, 5, 60]), (1_024, []), (64, [4, 3, 6]), (40, [7, 9])]
)
def test_any_polls_and_any_kill_give_the_same_events_letters_and_state(
    polls: int, kills: list[int], kind: dict[str, Any]
) -> None:
    """Rows wait in stored state and leave with a record that a replay meets again: nothing is lost, nothing comes twice."""
    short = {"window": kind.get("window", {}) | {"lateness_ms": 20_000}}  # so that some are late
    records = disordered(IN_ORDER)
    whole, other = lived(100_000, [], kind | short, records), lived(polls, kills, kind | short, records)
    events = [sorted((one.partition, one.key, one.value) for one in process.events()) for process in (whole, other)]
    assert len(events[0]) >= 4
    assert events[0] == events[1]
    assert 0 < len(letters(whole))
    assert letters(whole) == letters(other)
    assert whole.state() == other.state()


def test_a_commit_that_fails_brings_no_event_twice() -> None:
    """An event is suppressed by the offset of the record that released its row, not by that of its own record."""
    records = disordered(IN_ORDER)
    whole, shaken = rig(records), rig(records)
    whole.run_dry()
    for turn in range(60):
        if turn % 7 == 3:
            shaken.broker.fail_at("after_commit" if turn % 2 else "before_commit", RetryableError("no answer"))
        try:
            shaken.step()
        except RetryableError:
            shaken.broker.expel(shaken.engine.source)  # type: ignore[arg-type]
            shaken.engine = shaken.build()
    shaken.run_dry()
    events = [sorted((one.partition, one.key, one.value) for one in process.events()) for process in (whole, shaken)]
    assert events[0] == events[1]


def test_an_event_names_the_record_that_released_its_row() -> None:
    """Offset and own id are those of one record, the one at which the event could first be known."""
    named = [
        (key, json.dumps(json.loads(value) | {"id": str(at)}).encode()) for at, (key, value) in enumerate(IN_ORDER)
    ]
    process = rig(disordered(named), sections={"input": {"id_field": "id"}})
    process.run_dry()
    events = [json.loads(one.value or b"") for one in process.events()]
    assert events
    for event in events:
        source = event["source"]
        (cause,) = [one for one in process.broker.records(TOPIC, source["partition"]) if one.offset == source["offset"]]
        content = json.loads(cause.value or b"")
        assert content["id"] == source["record_id"]
        assert content["ts"] >= event["window"]["end_time_ms"] + ALLOWED["lateness_ms"]
        assert (cause.key or b"").decode() == event["key"]


def test_late_records_are_dead_letters_at_their_own_offset() -> None:
    """A record behind what was waited for is refused at once, with its bytes."""
    records = [*IN_ORDER[:240], IN_ORDER[0], IN_ORDER[30], *IN_ORDER[240:]]
    process = rig(records)
    process.run_dry()
    places = []
    for key, value in (IN_ORDER[0], IN_ORDER[30]):
        twice = [one for one in process.broker.records(TOPIC) if (one.key, one.value) == (key, value)]
        places.append((twice[1].partition, twice[1].offset, "late"))
    assert letters(process) == sorted(places)
    assert {one.value for one in process.dead_letters()} == {IN_ORDER[0][1], IN_ORDER[30][1]}


def test_a_repetition_of_what_has_left_is_refused_at_its_own_offset() -> None:
    """The newest row behind the buffer and a record that says it again meet in the grid: the record is named, no other."""
    newest = START_MS + 19 * STEP_MS  # what has left when 80 rows have come
    gone = [one for one in IN_ORDER if time_of(one) == newest]
    records = [*IN_ORDER[:240], gone[1], *IN_ORDER[240:]]
    process = rig(records, {"duplicate": "dead_letter"}, max_poll_records=100_000)
    process.run_dry()
    twice = [one for one in process.broker.records(TOPIC) if (one.key, one.value) == gone[1]]
    assert letters(process) == [(twice[1].partition, twice[1].offset, "duplicate")]
    assert [one.value for one in process.dead_letters()] == [gone[1][1]]


def test_a_clock_that_is_set_back_releases_what_waits() -> None:
    """The key begins anew behind its own rows: they leave with the record that says so, in any polls and after any kill."""
    records = disordered(IN_ORDER)
    changed = [
        (key, json.dumps(json.loads(value) | {"ts": json.loads(value)["ts"] - 3_600_000 * (at > 500)}).encode())
        for at, (key, value) in enumerate(records)
    ]
    kind = {"window": {"max_jump_ms": 120_000}}
    processes = [lived(*how, kind, changed) for how in ((100_000, []), (1, []), (7, [30, 41, 5, 60]))]
    told_all = [sorted((one.partition, one.key, one.value) for one in process.events()) for process in processes]
    assert len(told_all[0]) >= 4
    assert told_all[0] == told_all[1] == told_all[2]
    assert processes[0].state() == processes[1].state() == processes[2].state()
    assert letters(processes[0]) == letters(processes[1]) == letters(processes[2])
    reasons = [reason for *_, reason in letters(processes[0])]
    assert 7 * 3 <= reasons.count("late") < 40


def test_payments_of_one_second_all_count_though_they_come_late() -> None:
    """Six of one second, alike but for their ids, wait together; what was sent twice is refused, with its own bytes."""
    named = [
        (key, json.dumps(json.loads(value) | {"id": str(at)}).encode()) for at, (key, value) in enumerate(IN_ORDER)
    ]
    key, value = named[30]
    six = [(key, json.dumps(json.loads(value) | {"id": f"payment {at}"}).encode()) for at in range(6)]
    records = [*named[:60], *six, six[2], *named[60:]]
    process = rig(records, {"duplicate": "dead_letter"}, sections={"input": {"id_field": "id"}})
    process.run_dry()
    assert [one.value for one in process.dead_letters()] == [six[2][1]]
    slot = process.engine.states.table.keys.index(key)
    written = process.engine.stages.windows.columns["written"][:3].tolist()
    assert written[slot] == max(written) == min(written) + 6


def test_switched_on_later_nothing_is_learnt_anew() -> None:
    """Stored state of before is taken over: keys go on where they stood, and what was late before still is."""
    half = 450
    broker = broker_with(IN_ORDER[:half])
    plain = Rig(broker, settings=settings(window={"max_gap_ms": 60_000}))
    plain.run_dry()
    plain.broker.expel(plain.engine.source)  # type: ignore[arg-type]
    for key, value in [IN_ORDER[0], *disordered(IN_ORDER[half:])]:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=sum(key) % 2)
    later = Rig(broker, plain.store, settings=settings(window=ALLOWED))
    later.run_dry()
    whole = rig(IN_ORDER)
    whole.run_dry()
    assert told(later) == told(whole)
    assert [(one.value, header(one, "streamae-reason")) for one in later.dead_letters()] == [(IN_ORDER[0][1], "late")]


def test_a_source_that_ends_releases_what_waits() -> None:
    """Files and histories: the last rows are scored with the last record of their partition, and state holds none."""
    ends: dict[bool, set[tuple[int, int]]] = {}
    for is_late in (False, True):
        windows: list[Any] = []
        broker = broker_with(disordered(IN_ORDER) if is_late else IN_ORDER)
        source = PlayedSource(broker, "group", (TOPIC,), 40)
        parts = {"source": source, "sink": MemorySink(broker), "observer": lambda found, *_: windows.append(found)}  # noqa: B023 - called below
        process = rig([], parts=parts)
        process.broker = broker
        process.run_dry()
        ends[is_late] = {
            (slot, end) for one in windows for slot, end in zip(one.slots, one.end_times_ms.tolist(), strict=True)
        }
        last = max(one.offset for one in broker.records(TOPIC, 0))
        assert max(int(one.offsets.max()) for one in windows) <= last
    names = {int(slot) for slot, _ in ends[True]}
    expected = {START_MS + row * STEP_MS for row in range(WINDOW - 1, ROWS)}
    assert len(names) == 3
    for slot in names:
        assert {end for of, end in ends[True] if of == slot} == expected


def test_a_history_that_is_played_leaves_nothing_waiting() -> None:
    """A bootstrap: what keys know at its end is what they know without lateness, and no row is left for the daemon."""
    times = START_MS + np.arange(ROWS, dtype=np.int64) * STEP_MS
    values = np.random.default_rng(1).normal(size=(2, ROWS, 2))
    history = [Series(f"machine-{key}", FEATURES, times, values[key]) for key in range(2)]
    engines = []
    for window in ({"max_gap_ms": 60_000}, ALLOWED):
        engine, _ = embedded_engine(history, tiny_bundle(), settings(window=window))
        consume_all(engine)
        engines.append(engine)
    plain, waiting = (engine.stages for engine in engines)
    assert waiting.lateness is not None
    assert (waiting.lateness.columns["times"] == FREE).all()
    slots = np.arange(2, dtype=np.int32)
    for one, other in zip(plain.state, waiting.state[1:], strict=True):
        assert one.export(slots).tobytes() == other.export(slots).tobytes()
