"""Partitions that wait for the store: read again, paused meanwhile, tried again, forgotten when they are not ours."""

from __future__ import annotations

import io
import json

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker, MemorySource
from streamae.engine.store_waits import RETRY_MS, StoreWaits
from streamae.errors import RetryableError
from streamae.observe import logs

ONE, TWO = Partition("sensors", 0), Partition("sensors", 1)
DOWN = RetryableError("Redis is down")


@pytest.fixture
def source() -> MemorySource:
    """A source of two partitions with five records each, all read."""
    broker = MemoryBroker(2)
    for number in range(10):
        broker.produce("sensors", b"k", b"%d" % number, partition=number % 2)
    source = MemorySource(broker, "group", ("sensors",))
    for partition in source.poll(0).assigned:
        source.start_at(partition, 0)
    assert sum(map(len, source.poll(0).records.values())) == 10
    return source


def test_records_come_again_after_the_pause(source: MemorySource) -> None:
    """From the first record on, held back until the time has passed, and nothing of other partitions."""
    store_waits = StoreWaits(source)
    store_waits.add({ONE: 2}, DOWN, 100)
    assert store_waits.waiting(100 + RETRY_MS - 1) == {ONE}
    assert store_waits.waiting(100 + RETRY_MS) == set()
    assert [record.offset for record in source.poll(0).records[ONE]] == [2, 3, 4]


def test_a_partition_waits_until_its_keys_are_in_memory(source: MemorySource) -> None:
    """Trying again is not success: the outage counts from the first failure until all who waited got through."""
    store_waits = StoreWaits(source)
    assert store_waits.failing_since_ms is None
    store_waits.add({ONE: 2}, DOWN, 100)
    store_waits.add({TWO: 0}, DOWN, 200)
    assert store_waits.waiting(5_000) == set()
    store_waits.add({ONE: 2}, DOWN, 5_000)
    assert store_waits.failing_since_ms == 100
    store_waits.settle([ONE], 9_000)
    assert (ONE in store_waits, TWO in store_waits) == (False, True)
    assert store_waits.failing_since_ms == 200
    store_waits.abandon(TWO)
    assert store_waits.failing_since_ms is None


def test_a_partition_that_begins_anew_is_not_held_back(source: MemorySource) -> None:
    """Its records come as soon as it is started again, though it was put off before."""
    store_waits = StoreWaits(source)
    store_waits.add({ONE: 2}, DOWN, 0)
    store_waits.abandon(ONE)
    assert store_waits.waiting(1) == set()


def test_a_partition_taken_away_is_no_error(source: MemorySource) -> None:
    """It may go while the store is being asked; the next poll tells."""
    source.close()
    store_waits = StoreWaits(source)
    store_waits.add({ONE: 2}, DOWN, 0)
    store_waits.abandon(ONE)
    assert ONE not in store_waits


def test_begin_and_end_of_the_wait_are_logged_once(source: MemorySource) -> None:
    """Not a line each second of an outage."""
    log = io.StringIO()
    logs.configure("info", "json", log)
    store_waits = StoreWaits(source)
    for now_ms in (0, 1_000, 2_000):
        store_waits.waiting(now_ms)
        store_waits.add({ONE: 2}, DOWN, now_ms)
    store_waits.settle([ONE, TWO], 3_500)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["partition"]) for line in lines] == [
        ("partition_waits_for_store", 0),
        ("partition_goes_on", 0),
    ]
    assert lines[0]["error"] == "Redis is down"
    assert lines[1]["after_ms"] == 3_500
