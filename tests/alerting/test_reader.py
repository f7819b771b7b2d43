"""What of the output topic counts as told before, as backlog and as news, and what is committed."""

from __future__ import annotations

import pytest

from streamae.alerting.reader import Read, Reader, Start
from streamae.batches import Cause, Partition
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.protocols import Message
from streamae.errors import RetryableError

HERE, GROUP = Partition("anomalies", 0), "alerts.pager"
WALL_MS, MAX_AGE_MS = 1_700_000_000_000, 3_600_000
FRESH_MS, AGED_MS = WALL_MS - 60_000, WALL_MS - MAX_AGE_MS - 1


def broker_with(*stamps: int) -> MemoryBroker:
    """Return a broker whose topic holds a record for each timestamp."""
    broker = MemoryBroker()
    broker.create_topic(HERE.topic, 1)
    for stamp in stamps:
        broker.produce(HERE.topic, b"k", b"v", stamp)
    return broker


def reader_of(broker: MemoryBroker, max_poll_records: int | None = None) -> Reader:
    """Return a reader as a process that starts has it."""
    return Reader(MemorySource(broker, GROUP, [HERE.topic], max_poll_records), MemorySink(broker), MAX_AGE_MS)


def read_to_end(reader: Reader, reach: dict[Partition, int] | None = None) -> list[Read]:
    """Poll until the backlog is read."""
    found: list[Read] = []
    for _ in range(50):
        found += reader.poll(0, WALL_MS, reach)
        if reader.is_caught_up:
            return found
    raise AssertionError("never caught up")


def shape(reads: list[Read]) -> list[tuple[int, bool, bool]]:
    """Return offset, told before, old."""
    return [(read.raw.offset, read.was_told, read.is_old) for read in reads]


def test_at_a_first_start_everything_that_lies_there_is_old() -> None:
    """Whoever switches alerts on is not told of last week, however fresh the last change is."""
    broker = broker_with(AGED_MS, FRESH_MS)
    reader = reader_of(broker)
    assert shape(read_to_end(reader)) == [(0, False, True), (1, False, True)]
    broker.produce(HERE.topic, b"k", b"v", AGED_MS)
    assert shape(reader.poll(0, WALL_MS, None)) == [(2, False, False)]


def test_of_a_backlog_only_the_aged_part_is_old() -> None:
    """After a short stop everything is told, after a long one what happened lately."""
    broker = broker_with(FRESH_MS, AGED_MS, AGED_MS + 1)
    broker.set_committed(GROUP, HERE, 1)
    reader = reader_of(broker)
    assert shape(read_to_end(reader, {HERE: 1})) == [(1, False, True), (2, False, False)]
    broker.produce(HERE.topic, b"k", b"v", AGED_MS)
    assert shape(reader.poll(0, WALL_MS, {HERE: 1})) == [(3, False, False)]


def test_without_records_of_what_was_told_the_topic_says_it() -> None:
    """Redis was emptied: all that the group has committed is read once more, as told before."""
    broker = broker_with(AGED_MS, FRESH_MS, FRESH_MS)
    broker.set_committed(GROUP, HERE, 2)
    assert shape(read_to_end(reader_of(broker))) == [(0, True, True), (1, True, False), (2, False, False)]


def test_records_that_do_not_reach_far_enough_are_completed() -> None:
    """Redis was away when the group committed on, or has gone back: only what is missing is read again."""
    broker = broker_with(*[FRESH_MS] * 4)
    broker.set_committed(GROUP, HERE, 3)
    assert shape(read_to_end(reader_of(broker), {HERE: 1})) == [(1, True, False), (2, True, False), (3, False, False)]


def test_what_retention_has_deleted_holds_nothing_up() -> None:
    """What is gone cannot be told; what is left is the backlog, and that something is gone is said once."""
    broker = broker_with(*[FRESH_MS] * 4)
    broker.set_committed(GROUP, HERE, 1)
    broker.delete_before(HERE, 3)
    for reach in ({HERE: 1}, None):
        reader = reader_of(broker)
        assert shape(read_to_end(reader, reach)) == [(3, False, False)]
        assert (reader.take_starts(), reader.take_starts()) == ([Start(HERE, 3, 4, has_lost=True)], [])
        reader.close()


@pytest.mark.parametrize(
    ("committed", "reach", "has_lost"),
    [
        (None, None, False),
        (2, None, False),
        (3, {HERE: 3}, False),
        (3, {HERE: 1}, True),
        (1, {HERE: 3}, True),
        (None, {HERE: 1}, True),
        (9, {HERE: 9}, True),
    ],
)
def test_when_something_was_deleted_that_would_have_been_read(
    committed: int | None, reach: dict[Partition, int] | None, has_lost: bool
) -> None:
    """Only who knows how far reading was can tell; a group that is new, or has lost its place, misses nothing."""
    broker = broker_with(*[FRESH_MS] * 4)
    broker.set_committed(GROUP, HERE, committed)
    broker.delete_before(HERE, 2)
    reader = reader_of(broker)
    reader.poll(0, WALL_MS, reach)
    assert [start.has_lost for start in reader.take_starts()] == [has_lost]


def test_what_is_deleted_while_a_receiver_is_away_is_noticed() -> None:
    """An outage longer than the topic keeps its records loses ends, also without a restart."""
    broker = broker_with(FRESH_MS)
    reader = reader_of(broker)
    read_to_end(reader)
    reader.commit([], {HERE: 1})
    reader.take_starts()
    reader.pause()
    for _ in range(3):
        broker.produce(HERE.topic, b"k", b"v", FRESH_MS)
    broker.delete_before(HERE, 3)
    reader.resume()
    assert shape(read_to_end(reader, {HERE: 1})) == [(3, False, False)]
    assert [start.has_lost for start in reader.take_starts()] == [True]


def test_an_offset_behind_the_end_counts_as_none() -> None:
    """The topic was made anew: offsets of the former one say nothing, and everything lying there is old."""
    broker = broker_with(FRESH_MS)
    broker.set_committed(GROUP, HERE, 9)
    assert shape(read_to_end(reader_of(broker), {HERE: 9})) == [(0, False, True)]


def test_nothing_is_caught_up_before_the_end_is_reached() -> None:
    """What is sent before would be taken back a moment later."""
    broker = broker_with(*[FRESH_MS] * 5)
    broker.set_committed(GROUP, HERE, 2)
    reader = reader_of(broker, max_poll_records=1)
    assert not reader.is_caught_up
    seen = []
    while not reader.is_caught_up:
        reader.poll(0, WALL_MS, {HERE: 0})
        seen.append(reader.is_rebuilding)
    assert seen == [True, True, False, False, False, False]


def test_after_a_pause_the_backlog_is_folded_first() -> None:
    """A receiver that was away for an hour is told how things are, not how they were."""
    broker = broker_with(FRESH_MS)
    reader = reader_of(broker, max_poll_records=1)
    read_to_end(reader)
    reader.pause()
    for _ in range(3):
        broker.produce(HERE.topic, b"k", b"v", FRESH_MS)
    assert reader.poll(0, WALL_MS, {}) == []
    reader.resume()
    assert not reader.is_caught_up
    assert shape(read_to_end(reader)) == [(1, False, False), (2, False, False), (3, False, False)]


def test_settled_offsets_are_committed_once_and_letters_before_them() -> None:
    """What is not settled is read again by the next process."""
    broker = broker_with(FRESH_MS, FRESH_MS, FRESH_MS)
    reader = reader_of(broker)
    read_to_end(reader)
    assert reader.positions() == {HERE: 3}
    assert reader.to_commit({HERE: 2}) == {HERE: 2}
    assert reader.to_commit({HERE: None}) == {}
    letter = Message("letters", b"k", b"v", (), Cause(HERE, 0))
    broker.fail_at("before_commit", RetryableError("away"))
    with pytest.raises(RetryableError):
        reader.commit([letter], {HERE: 2})
    assert (broker.committed(GROUP, HERE), broker.records("letters")) == (None, [])
    reader.commit([letter], {HERE: 2})
    assert (broker.committed(GROUP, HERE), len(broker.records("letters"))) == (2, 1)
    assert reader.to_commit({HERE: 2}) == reader.to_commit({HERE: 1}) == {}


def test_nothing_is_committed_while_it_is_rebuilt() -> None:
    """An offset in the middle of what was told would have it told again."""
    broker = broker_with(*[FRESH_MS] * 4)
    broker.set_committed(GROUP, HERE, 3)
    reader = reader_of(broker, max_poll_records=1)
    reader.poll(0, WALL_MS, None)
    reader.poll(0, WALL_MS, None)
    assert reader.is_rebuilding
    assert reader.to_commit({HERE: 4}) == {}


def test_news_wait_until_everything_told_before_is_known() -> None:
    """Of an episode it may be known only from another partition that it was told."""
    broker = MemoryBroker()
    broker.create_topic(HERE.topic, 2)
    for index, count in ((0, 2), (1, 6)):
        for _ in range(count):
            broker.produce(HERE.topic, b"k", b"v", FRESH_MS, partition=index)
    broker.set_committed(GROUP, HERE, 1)
    broker.set_committed(GROUP, Partition(HERE.topic, 1), 5)
    reads = read_to_end(reader_of(broker, max_poll_records=2))
    assert [read.was_told for read in reads] == [True] * 6 + [False] * 2
    assert sorted((read.raw.partition, read.raw.offset) for read in reads) == sorted(
        [(0, 0), (0, 1), *((1, offset) for offset in range(6))]
    )


def test_a_lost_partition_is_planned_anew() -> None:
    """A group that had thrown us out goes on where it has committed."""
    broker = broker_with(FRESH_MS, FRESH_MS)
    source = MemorySource(broker, GROUP, [HERE.topic])
    reader = Reader(source, MemorySink(broker), MAX_AGE_MS)
    read_to_end(reader)
    reader.commit([], {HERE: 1})
    broker.expel(source)
    assert shape(read_to_end(reader, {HERE: 1})) == [(1, False, False)]


def test_how_far_reading_is_behind() -> None:
    """The age of what was read last, while something waits; nothing waits = 0."""
    broker = broker_with(WALL_MS - 90_000, WALL_MS - 30_000)
    broker.set_committed(GROUP, HERE, 0)
    reader = reader_of(broker, max_poll_records=1)
    reader.poll(0, WALL_MS - 90_000, {HERE: 0})
    reader.poll(0, WALL_MS, {HERE: 0})
    assert reader.lag_ms(WALL_MS) == 90_000
    reader.poll(0, WALL_MS, {HERE: 0})
    assert reader.lag_ms(WALL_MS) == 0
