"""A host that stops sending is an event, by the time of its stream, whatever polls, batches and restarts do."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker
from streamae.connectors.memory_store import MemoryStore
from streamae.errors import RetryableError
from tests.engines import FEATURES, START_MS, STEP_MS, TOPIC, Rig, broker_with, settings

Life = tuple[bytes, Collection[int], tuple[int, ...]]  # a key, the seconds in which it sends, and those with a spike
PARTITION = Partition(TOPIC, 0)
SILENCE = {"after_ms": 5_000, "forget_ms": 60_000}


def lives(*told: Life, rows: int, seed: int = 1) -> list[tuple[bytes, bytes]]:
    """Return the records of some keys, second by second."""
    noise = np.random.default_rng(seed).normal(size=(rows, len(told), len(FEATURES))).clip(-2, 2).round(4)
    return [
        (
            key,
            json.dumps(
                {"ts": START_MS + row * STEP_MS, "temp": 40.0 if row in spikes else noise[row, number, 0], "load": 0.1}
            ).encode(),
        )
        for row in range(rows)
        for number, (key, seconds, spikes) in enumerate(told)
        if row in seconds
    ]


def everyone(rows: int, *others: Life) -> list[tuple[bytes, bytes]]:
    """Return the records of two steady keys, and of others beside them."""
    steady: list[Life] = [(b"steady-%d" % number, range(rows), ()) for number in range(2)]
    return lives(*steady, *others, rows=rows)


def rig(broker: MemoryBroker, store: MemoryStore | None = None, **more: Any) -> Rig:
    """Return a process for which five seconds are a silence."""
    sections = {"silence": SILENCE, "episode": {"merge_gap_windows": 1_000}} | more.pop("sections", {})
    return Rig(broker, store or MemoryStore(), settings(**sections), **more)


def told(broker_of: Rig) -> list[dict[str, Any]]:
    """Return the events of the output topic, in the order of their causes."""
    found = [json.loads(record.value or b"") for record in broker_of.events()]
    return sorted(found, key=lambda event: (event["source"]["partition"], event["source"]["offset"]))


def leave(broker: MemoryBroker, process: Rig) -> None:
    """Let a process die."""
    broker.leave("group", process.engine.source.member)  # type: ignore[attr-defined]


def story(events: list[dict[str, Any]], key: bytes) -> list[tuple[str, str, str | None]]:
    """Return what happened to a key."""
    return [
        (event.get("cause", "anomaly"), event["kind"], event["close_reason"])
        for event in events
        if event["key"] == key.decode()
    ]


def second_of(event: dict[str, Any], records: list[tuple[bytes, bytes]]) -> int:
    """Return the second of the record that caused an event."""
    return int((json.loads(records[event["source"]["offset"]][1])["ts"] - START_MS) // STEP_MS)


def test_a_host_that_stops_sending_is_an_event_and_its_episode_ends() -> None:
    """Its episode closes, its silence opens at the same record, and ends with the first record after that."""
    records = everyone(100, (b"host", [*range(40), *range(70, 100)], (22,)))
    process = rig(broker_with(records, 1))
    process.run_dry()
    events = [event for event in told(process) if event["key"] == "host"]
    assert story(events, b"host") == [
        ("anomaly", "opened", None),
        ("anomaly", "closed", "silent"),
        ("silence", "opened", None),
        ("silence", "closed", "returned"),
    ]
    _, closed, opened, returned = events
    assert closed["source"] == opened["source"]
    assert second_of(opened, records) == 39 + 6  # the first point of the raster more than five seconds after its last
    assert second_of(returned, records) == 70
    assert opened["threshold"] is None
    assert opened["features"] == []
    assert opened["start_time_ms"] == START_MS + 39 * STEP_MS
    assert opened["window"]["end_time_ms"] == START_MS + 39 * STEP_MS
    assert (opened["silent_keys"], opened["partition_keys"]) == (1, 3)
    assert (returned["silent_keys"], returned["partition_keys"]) == (0, 3)
    assert opened["episode_id"] == returned["episode_id"] != closed["episode_id"]
    assert returned["severity"] > opened["severity"]


def test_a_pause_of_the_whole_partition_is_nobodys_silence() -> None:
    """When nothing comes at all for an hour, no key is silent: the stream's own time stood still."""
    before, after = everyone(40), everyone(40)
    later = [
        (key, json.dumps({**(content := json.loads(value)), "ts": content["ts"] + 3_600_000}).encode())
        for key, value in after
    ]
    process = rig(broker_with([*before, *later], 1))
    process.run_dry()
    assert told(process) == []


def test_a_dead_gateway_says_how_many_of_how_many_are_silent() -> None:
    """Keys that fall silent together say so in each event, so that alerting can fold them."""
    dead: list[Life] = [(b"room-%d" % number, range(40), ()) for number in range(4)]
    process = rig(broker_with(everyone(60, *dead), 1))
    process.run_dry()
    events = told(process)
    assert [(event["key"], event["silent_keys"], event["partition_keys"]) for event in events] == [
        (f"room-{number}", 4, 6) for number in range(4)
    ]


@pytest.mark.parametrize(("keys", "told_of", "is_blind"), [(1, 0, True), (2, 1, True), (3, 1, False)])
def test_it_is_counted_where_the_next_silence_could_not_be_told(keys: int, told_of: int, *, is_blind: bool) -> None:
    """Time is that of two keys, so a silence is told where two others go on: then at most one key has none beside it."""
    records = lives((b"host", range(40), ()), *[(b"on-%d" % key, range(80), ()) for key in range(keys)], rows=80)
    process = rig(broker_with(records, 1))
    process.run_dry()
    process.engine.report()
    assert len(told(process)) == told_of
    metrics = process.telemetry.render()[0].decode()
    assert f"streamae_blind_partitions {float(is_blind)}\n" in metrics
    assert f"streamae_silent_keys {float(told_of)}\n" in metrics


def test_a_key_that_never_comes_back_is_forgotten_in_memory_and_store() -> None:
    """After `forget_ms` its silence ends, its slot is free, its stored state and entry are gone."""
    process = rig(broker_with(everyone(120, (b"gone", range(40), ())), 1))
    process.run_dry()
    assert story(told(process), b"gone") == [("silence", "opened", None), ("silence", "closed", "ended")]
    assert len(process.engine.states.table) == 2
    assert {key for _, key in process.state()} == {b"steady-0", b"steady-1"}
    manifest = process.store.manifest(PARTITION)
    assert manifest is not None
    assert sum(manifest.roster_counts) == 2


def test_a_forgotten_key_that_comes_back_is_a_new_one() -> None:
    """Nothing of what it was is left, also where it comes back in the poll in which it is forgotten."""
    records = everyone(140, (b"gone", [*range(40), *range(105, 140)], ()))
    found = []
    for size in (1, 7, 1_024):
        process = rig(broker_with(records, 1), max_poll_records=size)
        process.run_dry()
        assert story(told(process), b"gone") == [("silence", "opened", None), ("silence", "closed", "ended")]
        found.append((told(process), process.state()))
    assert found[0] == found[1] == found[2]


def test_an_open_episode_of_a_silent_key_is_closed_without_silence_too() -> None:
    """By default an episode does not stay open for ever; beyond that nothing is told, and nobody is remembered."""
    records = everyone(140, (b"host", range(40), (35,)))
    process = rig(broker_with(records, 1), sections={"silence": {}})
    process.run_dry()
    assert story(told(process), b"host") == [("anomaly", "opened", None), ("anomaly", "closed", "silent")]
    assert second_of(told(process)[-1], records) == 39 + 61  # window.max_gap_ms = 60 s
    manifest = process.store.manifest(PARTITION)
    assert manifest is not None
    assert sum(manifest.roster_counts) == 0


@pytest.mark.parametrize("silence", [{}, SILENCE])
def test_a_daemon_stopped_in_the_midst_of_an_episode_closes_it_after_the_restart(silence: dict[str, int]) -> None:
    """A key that never comes back is known from the roster alone: nothing else would ever load its state."""
    records = everyone(140, (b"host", range(40), (35,)))
    store = MemoryStore()
    broker = broker_with(records[: 3 * 40], 1)
    process = rig(broker, store, sections={"silence": silence})
    process.run_dry()
    leave(broker, process)
    for key, value in records[3 * 40 :]:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
    after = rig(broker, store, sections={"silence": silence})
    after.run_dry()
    whole = rig(broker_with(records, 1), sections={"silence": silence})
    whole.run_dry()
    assert told(after) == told(whole)
    assert ("anomaly", "closed", "silent") in story(told(after), b"host")
    assert after.state() == whole.state()


@pytest.mark.parametrize("silence", [{}, SILENCE])
def test_what_was_open_before_anybody_waited_is_closed_too(silence: dict[str, int]) -> None:
    """State of who kept no roster, such as of the release before: the episode of a key that stays away ends."""
    records = everyone(140, (b"host", range(40), (35,)), (b"other", range(140), (36,)))
    nobody = {"silence": {}, "episode": {"merge_gap_windows": 1_000, "close_after_ms": 0}}
    found = []
    for size in (7, 1_024):
        store, broker = MemoryStore(), broker_with(records[: 4 * 40], 1)
        process = rig(broker, store, sections=nobody)
        process.run_dry()
        leave(broker, process)
        manifest = store.manifest(PARTITION)
        assert manifest is not None
        assert (manifest.roster_counts, manifest.partition_state) == ((), b"")
        for key, value in records[4 * 40 :]:
            broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
        after = rig(broker, store, max_poll_records=size, sections={"silence": silence})
        after.run_dry()
        found.append((told(after), after.state()))
    assert found[0] == found[1]
    opened, closed, *rest = (event for event in told(after) if event["key"] == "host")
    assert closed["episode_id"] == opened["episode_id"]
    assert story([opened, closed], b"host") == [("anomaly", "opened", None), ("anomaly", "closed", "silent")]
    assert [event["cause"] for event in rest] == (["silence", "silence"] if silence else [])


def test_a_key_that_left_memory_is_told_of_all_the_same() -> None:
    """No decision depends on which keys have slots: an idle key makes room, and falls silent from the store."""
    crowd: list[Life] = [(b"crowd-%02d" % number, range(16 + number, 90), ()) for number in range(20)]
    records = everyone(90, (b"host", range(15), ()), *crowd)
    wide = rig(broker_with(records, 1), sections={"silence": {"after_ms": 40_000}})
    wide.run_dry()
    narrow = rig(
        broker_with(records, 1),
        max_poll_records=5,
        sections={"silence": {"after_ms": 40_000}, "limits": {"max_keys": 22, "key_idle_ms": 1_000}},
    )
    narrow.run_dry()
    assert [event["key"] for event in told(wide)] == ["host"]
    assert told(narrow) == told(wide)
    assert "streamae_evicted_keys_total 0.0" not in narrow.telemetry.render()[0].decode()


def test_a_store_that_is_away_makes_a_partition_wait_for_a_silent_key() -> None:
    """A silent key whose state cannot be read now is told of later, at the same record, with the same event."""
    records = everyone(70, (b"host", range(40), (35,)))
    store, broker = MemoryStore(), broker_with(records[: 3 * 40], 1)
    process = rig(broker, store)
    process.run_dry()
    leave(broker, process)
    for key, value in records[3 * 40 :]:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
    after = rig(broker, store, max_poll_records=6)
    after.step(2)  # the steady keys are loaded
    store.fail_at("load", RetryableError("away"))
    after.step(3)
    assert "streamae_store_errors_total 1.0" in after.telemetry.render()[0].decode()
    assert "silence" not in {event.get("cause") for event in told(after)}
    after.now_ms += 5_000
    after.run_dry()
    whole = rig(broker_with(records, 1))
    whole.run_dry()
    assert told(after) == told(whole)
    assert after.state() == whole.state()


def test_muted_keys_fall_silent_unheard() -> None:
    """Who never wants to hear of a key is not told that it says nothing."""
    records = everyone(60, (b"host", range(40), ()))
    muted = {"alerts": {"overrides": ({"keys": "host", "mute": True},)}}
    process = rig(broker_with(records, 1), sections=muted)
    process.run_dry()
    assert told(process) == []


def test_silence_in_a_maintenance_is_told_when_that_is_over() -> None:
    """A key that is still silent behind its maintenance is told of then, one that is back is not."""
    records = everyone(100, (b"host", range(40), ()), (b"quick", [*range(40), *range(55, 100)], ()))
    stretch = {"start": "2023-11-14T22:13:50Z", "end": "2023-11-14T22:14:30Z"}  # the seconds 30 to 70
    process = rig(broker_with(records, 1), sections={"alerts": {"maintenance": (stretch,)}})
    process.run_dry()
    assert [(event["key"], event["kind"], second_of(event, records)) for event in told(process)] == [
        ("host", "opened", 70)
    ]


def test_silence_switched_off_ends_what_is_open() -> None:
    """Nobody waits any longer for a key whose silence is open: the alert about it does not stay for ever."""
    records = everyone(80, (b"host", range(30), ()))
    store, broker = MemoryStore(), broker_with(records[:150], 1)
    process = rig(broker, store)
    process.run_dry()
    leave(broker, process)
    for key, value in records[150:]:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
    after = rig(broker, store, sections={"silence": {}})
    after.run_dry()
    assert story(told(after), b"host") == [("silence", "opened", None), ("silence", "closed", "ended")]


CAST: list[Life] = [
    (b"host", [*range(30), *range(60, 130)], (25, 80)),
    (b"flaky", range(0, 130, 9), ()),
    (b"gone", range(20), ()),
    (b"late", range(100, 130), ()),
]


@pytest.mark.slow
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@given(st.sampled_from([1, 7, 1_024]), st.lists(st.integers(1, 300), max_size=4), st.booleans(), st.booleans())
def test_any_cut_and_any_restart_give_the_same_events_and_the_same_state(
    size: int, restarts: list[int], is_killed: bool, is_silence: bool
) -> None:
    """Events with their offsets, and what is stored in the end, follow from the records alone."""
    sections = {"silence": SILENCE if is_silence else {}}
    records = everyone(130, *CAST)
    store, broker = MemoryStore(), broker_with(records, 2)
    process = rig(broker, store, max_poll_records=size, sections=sections)
    for steps in restarts:
        process.step(steps)
        if not is_killed:
            process.engine.drain(process.now_ms)
        leave(broker, process)
        process = rig(broker, store, max_poll_records=size, sections=sections)
    process.run_dry()
    assert (told(process), process.state()) == undisturbed(is_silence=is_silence)


def undisturbed(*, is_silence: bool) -> tuple[list[dict[str, Any]], dict[tuple[Partition, bytes], bytes]]:
    """Return what comes of it when nothing happens."""
    if is_silence not in _UNDISTURBED:
        process = rig(
            broker_with(everyone(130, *CAST), 2),
            max_poll_records=10_000,
            sections={"silence": SILENCE if is_silence else {}},
        )
        process.run_dry()
        _UNDISTURBED[is_silence] = told(process), process.state()
    return _UNDISTURBED[is_silence]


_UNDISTURBED: dict[bool, tuple[list[dict[str, Any]], dict[tuple[Partition, bytes], bytes]]] = {}


def test_rows_that_wait_for_older_ones_come_out_when_the_key_falls_silent() -> None:
    """A spike in the last record before the silence is an episode, opened and closed at the record that tells it."""
    records = everyone(100, (b"host", [*range(40), *range(70, 100)], (39,)))
    found = []
    for size in (1, 7, 1_024):
        late = {"window": {"max_gap_ms": 60_000, "lateness_ms": 3_000}, "threshold": {"smoothing": 1.0}}
        process = rig(broker_with(records, 1), max_poll_records=size, sections=late)
        process.run_dry()
        found.append((told(process), process.state()))
    assert found[0] == found[1] == found[2]
    events = [event for event in found[0][0] if event["key"] == "host"]
    assert story(events, b"host") == [
        ("anomaly", "opened", None),
        ("anomaly", "closed", "silent"),
        ("silence", "opened", None),
        ("silence", "closed", "returned"),
    ]
    assert {second_of(event, records) for event in events[:3]} == {45}
    assert events[0]["peak_time_ms"] == START_MS + 39 * STEP_MS


@pytest.mark.parametrize("comes_back", [True, False])
def test_an_episode_whose_state_cannot_be_read_is_closed(*, comes_back: bool) -> None:
    """Its key begins anew, and says so: with its next record, or when it stays away for too long."""
    seconds = [*range(40), *(range(50, 90) if comes_back else ())]
    records = everyone(90, (b"host", seconds, (22,)))
    store, broker = MemoryStore(), broker_with(records[:120], 1)
    process = rig(
        broker, store, sections={"silence": {}, "episode": {"close_after_ms": 20_000, "merge_gap_windows": 99}}
    )
    process.run_dry()
    leave(broker, process)
    damage(store, b"host")
    for key, value in records[120:]:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
    after = rig(broker, store, sections={"silence": {}, "episode": {"close_after_ms": 20_000, "merge_gap_windows": 99}})
    after.run_dry()
    opened, closed = (event for event in told(after) if event["key"] == "host")
    assert (opened["kind"], closed["kind"], closed["close_reason"]) == ("opened", "closed", "state_lost")
    assert closed["episode_id"] == opened["episode_id"]
    assert second_of(closed, records) == (50 if comes_back else 39 + 21)


def damage(store: MemoryStore, key: bytes) -> None:
    """Change a byte in the midst of what is stored of a key."""
    snapshot = store.snapshot()
    for bucket in snapshot[PARTITION].buckets:
        if key in bucket:
            value = bucket[key]
            bucket[key] = value[:20] + bytes([value[20] ^ 1]) + value[21:]
    store.restore(snapshot)
