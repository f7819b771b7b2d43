"""What every source promises, held against memory and Kafka alike."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import pytest

from streamae.alerting.reader import Feed
from streamae.batches import Partition
from streamae.errors import MembershipError
from tests.connectors.streams import Streams, commit, is_stable, message, settle


def numbered(first: int, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Return records whose values are numbers."""
    return [(b"key", b"%d" % number) for number in range(first, first + count)]


def test_nothing_is_delivered_before_start_at(streams: Streams, topic: str) -> None:
    """A new owner plans recovery first; records that arrive earlier would be scored with wrong state."""
    streams.create_topic(topic, 1)
    streams.produce(topic, numbered(0, 3))
    reader = streams.reader(topic)
    reader.starts_itself = False
    reader.poll_until_owner(1)
    for _ in range(5):
        reader.poll()
    assert reader.records == []
    reader.start(Partition(topic, 0))
    assert reader.poll_until_values(3) == [b"0", b"1", b"2"]


def test_records_carry_what_was_produced_in_offset_order(streams: Streams, topic: str) -> None:
    """Key, value, topic, partition and offset reach the codec untouched."""
    streams.create_topic(topic, 2)
    streams.produce(topic, [(b"\xff\x00", b"\xfe"), (None, b"1"), (b"k", None)], partition=1)
    reader = streams.reader(topic)
    reader.poll_until_values(3)
    seen = [(record.topic, record.partition, record.offset, record.key, record.value) for record in reader.records]
    assert seen == [
        (topic, 1, 0, b"\xff\x00", b"\xfe"),
        (topic, 1, 1, None, b"1"),
        (topic, 1, 2, b"k", None),
    ]
    assert all(record.timestamp >= 0 and list(record.headers) == [] for record in reader.records)


def test_start_at_reads_again(streams: Streams, topic: str) -> None:
    """A failed step goes back to where it was; shadow replay starts anywhere."""
    streams.create_topic(topic, 1)
    streams.produce(topic, numbered(0, 5))
    reader = streams.reader(topic)
    reader.poll_until_values(5)
    reader.records.clear()
    reader.source.start_at(Partition(topic, 0), 3)
    assert reader.poll_until_values(2) == [b"3", b"4"]


def test_one_poll_brings_no_more_than_asked(streams: Streams, topic: str) -> None:
    """The micro-batch stays bounded however far behind the group is."""
    streams.create_topic(topic, 1)
    streams.produce(topic, numbered(0, 25))
    reader = streams.reader(topic, max_poll_records=10)
    totals = [0]

    def is_done() -> bool:
        totals.append(len(reader.records))
        return totals[-1] == 25

    reader.poll_until(is_done, "all records")
    assert max(after - before for before, after in pairwise(totals)) == 10


def test_pause_holds_one_partition_and_not_the_others(streams: Streams, topic: str) -> None:
    """Back-pressure stops a partition without giving it away, and goes on exactly where it stopped."""
    streams.create_topic(topic, 2)
    reader = streams.reader(topic)
    reader.poll_until_owner(2)
    reader.source.pause([Partition(topic, 0)])
    streams.produce(topic, numbered(0, 2), partition=0)
    streams.produce(topic, numbered(10, 2), partition=1)
    assert reader.poll_until_values(2) == [b"10", b"11"]
    reader.source.start_at(Partition(topic, 0), 1)
    for _ in range(3):
        reader.poll()
    assert len(reader.records) == 2, "start_at must not lift a pause"
    reader.source.resume([Partition(topic, 0)])
    assert reader.poll_until_values(3) == [b"10", b"11", b"1"]


def test_a_partition_paused_half_read_goes_on_when_it_is_resumed(streams: Streams, topic: str) -> None:
    """H11: what is left of its last fetch must come, also when another partition was read to its end meanwhile."""
    streams.create_topic(topic, 2)
    for partition in range(2):
        streams.produce(topic, numbered(10 * partition, 5), partition)
    reader = streams.reader(topic, max_poll_records=2)
    reader.starts_itself = False
    reader.poll_until_owner(2)
    reader.start(Partition(topic, 0))
    reader.poll_until(lambda: reader.records, "the first two records")
    reader.source.pause([Partition(topic, 0)])
    reader.start(Partition(topic, 1))
    reader.poll_until_values(7)
    reader.source.resume([Partition(topic, 0)])
    assert reader.poll_until_values(10)[-1] == b"4"


def test_resume_does_not_start_a_partition(streams: Streams, topic: str) -> None:
    """Resuming everything after back-pressure must not deliver a partition that is still being recovered."""
    streams.create_topic(topic, 1)
    streams.produce(topic, numbered(0, 1))
    reader = streams.reader(topic)
    reader.starts_itself = False
    reader.poll_until_owner(1)
    reader.source.pause([Partition(topic, 0)])
    reader.source.resume([Partition(topic, 0)])
    for _ in range(3):
        reader.poll()
    assert reader.records == []


def test_span_tells_committed_and_kept_offsets(streams: Streams, topic: str) -> None:
    """Recovery is planned from these three numbers."""
    streams.create_topic(topic, 1)
    partition = Partition(topic, 0)
    reader = streams.reader(topic)
    reader.poll_until_owner(1)
    assert reader.source.span(partition)[:3] == (None, 0, 0)
    streams.produce(topic, numbered(0, 6))
    commit(streams.sink(), [], {partition: 4}, reader.source.membership())
    streams.delete_before(partition, 2)
    assert reader.source.span(partition)[:3] == (4, 2, 6)


def test_a_topic_created_again_has_another_identity(streams: Streams, topic: str) -> None:
    """Stored state must not be taken for that of a topic which only has the same name."""
    streams.create_topic(topic, 1)
    partition = Partition(topic, 0)
    reader = streams.reader(topic)
    reader.poll_until_owner(1)
    former = reader.source.span(partition).identity
    assert former
    assert former.count("/") == 1
    assert reader.source.span(partition).identity == former
    reader.source.close()
    streams.recreate(topic)
    reader = streams.reader(topic)
    reader.poll_until_owner(1)
    assert reader.source.span(partition).identity not in {former, ""}


def test_whoever_reads_a_topic_that_is_created_again_begins_anew(streams: Streams, topic: str) -> None:
    """A position in the former topic, and what was committed there, would skip records of the new one."""
    streams.create_topic(topic, 1)
    partition = Partition(topic, 0)
    streams.produce(topic, numbered(0, 4))
    reader = streams.reader(topic, metadata_max_age_ms=1_000)  # sees the new one soon
    assert len(reader.poll_until_values(4)) == 4
    commit(streams.sink(), [], {partition: 4}, reader.source.membership())
    former = reader.source.span(partition).identity
    reader.starts_itself = False
    streams.recreate(topic, numbered(10, 6))
    reader.poll_until(lambda: reader.revoked and len(reader.assigned) > 1, "the partition to come back", timeout_s=30)
    span = reader.source.span(partition)
    assert (span.committed, span.earliest, span.end) == (None, 0, 6)
    assert span.identity != former
    reader.records.clear()
    reader.start(partition)
    assert reader.poll_until_values(6) == [value for _, value in numbered(10, 6)]


def test_a_position_that_is_no_longer_kept_is_planned_anew(streams: Streams, topic: str) -> None:
    """Retention overtook us: the partition comes back as lost and won, so that its owner decides, without a crash."""
    streams.create_topic(topic, 1)
    partition = Partition(topic, 0)
    streams.produce(topic, numbered(0, 6))
    streams.delete_before(partition, 4)
    reader = streams.reader(topic)
    reader.starts_itself = False
    reader.poll_until_owner(1)
    reader.source.start_at(partition, 1)
    reader.poll_until(lambda: reader.revoked, "the partition to come back")
    assert (reader.revoked, reader.assigned) == ([partition], [partition, partition])
    for _ in range(3):
        reader.poll()
    assert reader.records == []
    reader.start(partition)
    assert reader.poll_until_values(2) == [b"4", b"5"]


def test_lag_counts_what_is_left_to_read(streams: Streams, topic: str) -> None:
    """The lag metric needs no call to the broker and reaches zero at the end."""
    streams.create_topic(topic, 1)
    streams.produce(topic, numbered(0, 30))
    reader = streams.reader(topic, max_poll_records=10)
    reader.poll_until(lambda: reader.records, "the first records")
    assert reader.source.lag() == {Partition(topic, 0): 20}
    reader.poll_until_values(30)
    assert reader.source.lag() == {Partition(topic, 0): 0}


def test_the_position_passes_what_holds_no_record(streams: Streams, topic: str) -> None:
    """Whoever waits for an end must not wait for the mark that a transaction leaves there."""
    streams.create_topic(topic, 1)
    here = Partition(topic, 0)
    with streams.sink().transaction() as transaction:
        transaction.send([message(topic, b"1"), message(topic, b"2")])
    reader = streams.reader(topic)
    source = cast(Feed, reader.source)
    assert source.position(here) is None
    reader.poll_until(lambda: source.position(here) == source.span(here).end, "the end")
    assert reader.values == [b"1", b"2"]


def test_a_second_member_takes_half_and_gives_it_back(streams: Streams, topic: str) -> None:
    """Joining and leaving move only what must move, each record goes to one owner, and none is missed."""
    streams.create_topic(topic, 4)
    first = streams.reader(topic)
    first.poll_until_owner(4)
    kept = set(first.owned)
    second = streams.reader(topic)
    settle([first, second], 4)
    assert len(first.owned) == len(second.owned) == 2
    assert first.owned <= kept, "a partition moved without need"
    assert set(first.revoked) == set(second.assigned) == second.owned
    for index in range(4):
        streams.produce(topic, [(b"k", b"%d" % index)], partition=index)
    first.poll_until_values(2)
    second.poll_until_values(2)
    assert sorted(value or b"" for value in first.values + second.values) == [b"0", b"1", b"2", b"3"]
    second.source.close()
    settle([first], 4)
    assert len(first.owned) == 4


def test_membership_is_refused_to_who_is_not_a_member(streams: Streams, topic: str) -> None:
    """Before joining there is nothing to prove."""
    streams.create_topic(topic, 1)
    with pytest.raises(MembershipError):
        streams.reader(topic).source.membership()


def test_a_member_that_was_dropped_proves_nothing_until_it_polls(streams: Streams, topic: str) -> None:
    """The proof of a lost membership would pass Kafka unchecked and overwrite the new owner's offsets."""
    streams.create_topic(topic, 1)
    reader = streams.reader(topic)
    reader.poll_until_owner(1)
    assert is_stable(reader.source)
    streams.expel(reader)
    with pytest.raises(MembershipError):
        reader.source.membership()
    reader.poll_until(lambda: len(reader.assigned) == 2, "the member to join again")
    assert reader.revoked == [Partition(topic, 0)]
    assert reader.owned == {Partition(topic, 0)}
    settle([reader], 1)


def test_starting_a_partition_of_someone_else_is_refused(streams: Streams, topic: str) -> None:
    """A partition lost between two steps is an ordinary event, with an ordinary error."""
    streams.create_topic(topic, 1)
    reader = streams.reader(topic)
    reader.poll_until_owner(1)
    with pytest.raises(MembershipError):
        reader.source.start_at(Partition(topic, 7), 0)


def test_aborted_messages_are_never_delivered(streams: Streams, topic: str) -> None:
    """A chain of daemons reads only what its predecessor committed."""
    streams.create_topic(topic, 1)
    sink = streams.sink()
    with pytest.raises(ZeroDivisionError):
        commit(sink, [message(topic, b"aborted")], error=ZeroDivisionError())
    commit(sink, [message(topic, b"committed")])
    assert streams.reader(topic).poll_until_values(1) == [b"committed"]


def test_close_leaves_the_group_at_once_and_twice_is_fine(streams: Streams, topic: str) -> None:
    """An orderly stop hands over without waiting for a session to expire, and commits nothing."""
    streams.create_topic(topic, 1)
    streams.produce(topic, numbered(0, 1))
    first = streams.reader(topic)
    first.poll_until_values(1)
    first.source.close()
    first.source.close()
    second = streams.reader(topic)
    second.poll_until(lambda: second.owned, "the second owner", timeout_s=2.5)
    assert second.poll_until_values(1) == [b"0"]
    assert streams.committed(topic) is None
