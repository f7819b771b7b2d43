"""Own ids of records, such as those of transactions: in events and dead letters, also after a crash."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streamae.batches import RecordBatch, WindowBatch
from streamae.connectors.memory_store import MemoryStore
from streamae.core.windowing import join, select
from streamae.engine.record_ids import with_ids
from streamae.errors import RetryableError
from tests.engines import Rig, broker_with, header, settings, stream

SPIKES = [(0, 35), (1, 60), (1, 61), (2, 90), (3, 30)]


def named(records: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Give each record an id made of its key and time."""
    return [(key, json.dumps(json.loads(value) | {"tx": {"id": id_of(key, value)}}).encode()) for key, value in records]


def id_of(key: bytes, value: bytes | None) -> str:
    """Return the id that `named` gives a record."""
    return f"{key.decode()}@{json.loads(value or b'')['ts']}"


def rig(store: MemoryStore | None = None, broker: Any = None, **sections: Any) -> Rig:
    """Return a process whose records have ids."""
    of = settings(**{"input": {"id_field": "tx.id"}, **sections})
    broker = broker or broker_with(named(stream(4, 110, spikes=SPIKES)))
    return Rig(broker, store or MemoryStore(), settings=of, max_poll_records=17)


def origins(process: Rig) -> dict[str, dict[str, Any]]:
    """Return the origin of each event, by the event's id."""
    return {header(one, "ce_id") or "": json.loads(one.value or b"")["source"] for one in process.events()}


def assert_own_ids(process: Rig) -> None:
    """Hold the id of each event against the record at its offset."""
    found = origins(process).values()
    assert len(found) >= 3
    for origin in found:
        cause = process.broker.records(origin["topic"])
        (record,) = [r for r in cause if (r.partition, r.offset) == (origin["partition"], origin["offset"])]
        assert origin["record_id"] == id_of(record.key or b"", record.value)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"window": {"grid_ms": 3_000, "max_gap_ms": 60_000}},
        {"model": {"max_batch_size": 7, "max_wait_ms": 30}, "output": {"commit_interval_ms": 40}},
    ],
    ids=["at once", "on a grid", "windows wait over steps"],
)
def test_an_event_carries_the_id_of_the_record_that_caused_it(sections: dict[str, Any]) -> None:
    """The record at the event's offset, however long its window waited and however many keys share the batch."""
    process = rig(**sections)
    process.run_dry()
    assert_own_ids(process)


def test_ids_survive_a_crash_and_a_silent_replay() -> None:
    """A process that comes after the other one's death writes what that one would have written."""
    golden = rig()
    golden.run_dry()
    store, broker = MemoryStore(), broker_with(named(stream(4, 110, spikes=SPIKES)))
    store.fail_at("before_checkpoint", RetryableError("down"), times=10_000)
    first = rig(store, broker)
    first.step(20)
    broker.expel(first.engine.source)  # type: ignore[arg-type]
    first.engine.source.close()
    written = len(origins(first))
    last = rig(store, broker)
    last.run_dry()
    assert 0 < written < len(origins(last))
    assert origins(last) == origins(golden)


def test_dead_letters_of_the_engine_carry_ids() -> None:
    """A late record and one of a key too many are refused behind the codec."""
    records = named(stream(3, 30, spikes=()))
    late = json.dumps(json.loads(records[0][1]) | {"tx": {"id": "late one"}}).encode()
    process = rig(
        broker=broker_with([*records, (records[0][0], late)], partitions=1),
        limits={"max_keys": 2},
    )
    process.run_dry()
    found = {(header(one, "streamae-reason"), header(one, "streamae-record-id")) for one in process.dead_letters()}
    assert ("late", "late one") in found
    assert ("too_many_keys", id_of(*records[2])) in found


def test_equal_offsets_of_several_partitions_are_told_apart_by_the_key() -> None:
    """Offsets count in each partition; windows come in another order than records, and not for each of them."""
    offsets = np.array([5, 6, 5, 2**62])
    names: list[str | None] = ["a5", "a6", "b5", None]
    batch = RecordBatch([], [], [b"a", b"a", b"b", b"b"], offsets, offsets, np.zeros((4, 1), np.float32), ids=names)
    slots = np.array([9, 9, 3, 3], np.int32)
    windows = with_ids(_windows(slots[[3, 2, 0]], offsets[[3, 2, 0]]), batch, slots)
    assert windows.ids is not None
    assert windows.ids.tolist() == [None, "b5", "a5"]
    again = join([select(windows, slice(1, None)), select(windows, np.array([0]))])
    assert again.ids is not None
    assert again.ids.tolist() == ["b5", "a5", None]


def test_a_window_that_no_record_of_its_key_completed_has_no_id() -> None:
    """Rows that wait can be released by a record of another key: its id says nothing of them."""
    offsets = np.array([5, 7])
    batch = RecordBatch([], [], [], offsets, offsets, np.zeros((2, 1), np.float32), ids=["a5", "b7"])
    windows = _windows(np.array([9, 9, 3, 9, 12], np.int32), np.array([5, 7, 7, 6, 9]))
    found = with_ids(windows, batch, np.array([9, 3], np.int32))
    assert found.ids is not None
    assert found.ids.tolist() == ["a5", None, "b7", None, None]
    none = with_ids(windows, batch.take(np.zeros(0, np.int64)), np.zeros(0, np.int32))
    assert none.ids is not None
    assert none.ids.tolist() == [None] * 5


def _windows(slots: Any, offsets: Any) -> WindowBatch:
    """Return windows of these slots and offsets, empty otherwise."""
    zeros = np.zeros(len(slots))
    values = np.zeros((len(slots), 2, 1), np.float32)
    return WindowBatch(slots, offsets, offsets, offsets, values, zeros.astype(np.float32), zeros.astype(np.bool_))
