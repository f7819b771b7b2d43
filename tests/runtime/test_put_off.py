"""Partitions that wait for the store: read again, paused meanwhile, tried again, forgotten when they are not ours."""

from __future__ import annotations

import io
import json

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker, MemorySource
from streamae.errors import RetryableError
from streamae.runtime import logs
from streamae.runtime.put_off import RETRY_MS, PutOff

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
    put_off = PutOff(source)
    put_off.add({ONE: 2}, DOWN, 100)
    assert put_off.waiting(100 + RETRY_MS - 1) == {ONE}
    assert put_off.waiting(100 + RETRY_MS) == set()
    assert [record.offset for record in source.poll(0).records[ONE]] == [2, 3, 4]


def test_a_partition_waits_until_its_keys_are_in_memory(source: MemorySource) -> None:
    """Trying again is not success: the outage counts from the first failure until all who waited got through."""
    put_off = PutOff(source)
    assert put_off.failing_since_ms is None
    put_off.add({ONE: 2}, DOWN, 100)
    put_off.add({TWO: 0}, DOWN, 200)
    assert put_off.waiting(5_000) == set()
    put_off.add({ONE: 2}, DOWN, 5_000)
    assert put_off.failing_since_ms == 100
    put_off.settle([ONE], 9_000)
    assert (ONE in put_off, TWO in put_off) == (False, True)
    assert put_off.failing_since_ms == 200
    put_off.abandon(TWO)
    assert put_off.failing_since_ms is None


def test_a_partition_that_begins_anew_is_not_held_back(source: MemorySource) -> None:
    """Its records come as soon as it is started again, though it was put off before."""
    put_off = PutOff(source)
    put_off.add({ONE: 2}, DOWN, 0)
    put_off.abandon(ONE)
    assert put_off.waiting(1) == set()


def test_a_partition_taken_away_is_no_error(source: MemorySource) -> None:
    """It may go while the store is being asked; the next poll tells."""
    source.close()
    put_off = PutOff(source)
    put_off.add({ONE: 2}, DOWN, 0)
    put_off.abandon(ONE)
    assert ONE not in put_off


def test_begin_and_end_of_the_wait_are_logged_once(source: MemorySource) -> None:
    """Not a line each second of an outage."""
    log = io.StringIO()
    logs.configure("info", "json", log)
    put_off = PutOff(source)
    for now_ms in (0, 1_000, 2_000):
        put_off.waiting(now_ms)
        put_off.add({ONE: 2}, DOWN, now_ms)
    put_off.settle([ONE, TWO], 3_500)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["partition"]) for line in lines] == [
        ("partition_waits_for_store", 0),
        ("partition_goes_on", 0),
    ]
    assert lines[0]["error"] == "Redis is down"
    assert lines[1]["after_ms"] == 3_500
