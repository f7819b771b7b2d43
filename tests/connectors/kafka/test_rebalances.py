"""Members that come, go and come back, with either assignor, anonymous and with stable names, on a real group."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.protocols import Sink
from streamae.errors import MembershipError, RetryableError
from tests.connectors.streams import KafkaStreams, Reader, commit, is_stable, settle
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

PARTITIONS = 4
NAMES = ("a", "b", "c")


class Group:
    """Readers of one topic that commit what they have read, and what all of them together have processed."""

    def __init__(self, streams: KafkaStreams, topic: str, assignor: str, *, is_static: bool) -> None:
        self.streams, self.topic, self.assignor, self.is_static = streams, topic, assignor, is_static
        self.members: dict[str, Reader] = {}
        self.sinks: dict[str, Sink] = {}
        self.committed: dict[Partition, int] = {}
        self.produced = 0
        streams.create_topic(topic, PARTITIONS)

    def start(self, name: str, **options: Any) -> Reader:
        """Start a member; a sink belongs to it."""
        options |= {"instance_id": f"{self.topic}-{name}" if self.is_static else None}
        self.members[name] = self.streams.reader(self.topic, assignor=self.assignor, **options)
        self.sinks[name] = self.streams.sink(**options)
        return self.members[name]

    def stop(self, name: str) -> None:
        """End a member in order."""
        self.members.pop(name).source.close()
        self.sinks.pop(name).close()

    def settle(self) -> None:
        """Work until every partition has one owner."""

        def is_settled() -> bool:
            self.work()
            owned = [partition for member in self.members.values() for partition in member.owned]
            is_shared = len(owned) == len(set(owned)) == PARTITIONS
            return is_shared and all(is_stable(member.source) for member in self.members.values())

        wait_until(is_settled, "one owner for every partition", timeout_s=40)

    def produce(self) -> None:
        """Write one record to each partition."""
        for index in range(PARTITIONS):
            self.streams.produce(self.topic, [(b"k", b"%d" % self.produced)], index)
        self.produced += 1

    def process_all(self) -> None:
        """Poll and commit until everything produced is committed, each step as the engine does it."""

        def is_done() -> bool:
            self.work()
            return self.committed == {Partition(self.topic, index): self.produced for index in range(PARTITIONS)}

        wait_until(is_done, f"everything to be committed, not {self.committed}", timeout_s=40)

    def work(self) -> None:
        """Let every member take one step."""
        for name, member in self.members.items():
            self.turn(member, self.sinks[name])

    def turn(self, member: Reader, sink: Sink) -> None:
        """One step of one member: every record exactly behind the last committed one of its partition."""
        read = len(member.records)
        member.poll()
        offsets: dict[Partition, int] = {}
        for record in member.records[read:]:
            partition = Partition(record.topic, record.partition)
            assert record.offset == offsets.get(partition, self.committed.get(partition, 0)), "a gap or a repetition"
            offsets[partition] = record.offset + 1
        if not offsets:
            return
        try:
            commit(sink, [], offsets, member.source.membership())
        except MembershipError:  # read again by whoever owns it then
            for partition in offsets:
                with suppress(MembershipError):
                    member.source.start_at(partition, self.committed.get(partition, 0))
            return
        assert all(offset > self.committed.get(partition, 0) for partition, offset in offsets.items())
        self.committed |= offsets


@pytest.fixture(params=["cooperative_sticky", "range"])
def assignor(request: pytest.FixtureRequest) -> str:
    """How members share partitions."""
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["dynamic", "static"])
def group(request: pytest.FixtureRequest, kafka_streams: KafkaStreams, topic: str, assignor: str) -> Group:
    """A group whose members all commit."""
    return Group(kafka_streams, topic, assignor, is_static=request.param)


def test_members_come_and_go_without_a_gap_or_a_repetition(group: Group) -> None:
    """One to three members and back to one: whatever moves, every record is processed once."""
    for name in NAMES:
        group.start(name)
        group.produce()
        group.settle()
        group.process_all()
    for name in NAMES[:2]:
        group.stop(name)
        group.produce()
        group.settle()
        group.process_all()
    assert group.committed == {Partition(group.topic, index): 5 for index in range(PARTITIONS)}


def test_members_that_join_while_others_work_lose_nothing(group: Group) -> None:
    """The others do not stand still for a rebalance: they commit into it, are refused or accepted, and go on."""
    group.start("a")
    group.settle()
    for name in ("b", "c"):
        group.produce()
        group.start(name)
        group.process_all()
    group.settle()
    shares = sorted(len(member.owned) for member in group.members.values())
    assert shares == [1, 1, 2]


def test_a_static_member_comes_back_to_its_partitions(kafka_streams: KafkaStreams, topic: str, assignor: str) -> None:
    """A restart within the session moves nothing: the others do not even hear of it."""
    group = Group(kafka_streams, topic, assignor, is_static=True)
    lasting = {"session_timeout_ms": 10_000, "max_poll_interval_ms": 30_000}  # a heartbeat later is still in time
    first, second = group.start("a", **lasting), group.start("b", **lasting)
    group.settle()
    kept, heard = set(second.owned), len(second.assigned) + len(second.revoked)
    gone = set(first.owned)
    del group.members["a"], first  # killed: it does not say good-bye
    again = group.start("a", **lasting)
    group.settle()
    assert (again.owned, second.owned) == (gone, kept)
    assert len(second.assigned) + len(second.revoked) == heard


def test_members_with_different_assignors_say_so(kafka_streams: KafkaStreams, topic: str) -> None:
    """A change of the setting needs all members to stop first; who comes too early is told."""
    kafka_streams.create_topic(topic, 1)
    old = kafka_streams.reader(topic)
    old.poll_until_owner(1)
    new = kafka_streams.reader(topic, assignor="range")

    def says_so() -> bool:
        old.poll()
        try:
            new.poll()
        except RetryableError as error:
            return "kafka.assignor: stop all of them" in str(error)
        return False

    wait_until(says_so, "the refusal")
    old.source.close()

    def owns() -> bool:
        with suppress(RetryableError):
            new.poll()
        return len(new.owned) == 1

    wait_until(owns, "the partition, once the old member is gone")


def test_range_takes_everything_back_and_nothing_is_used_meanwhile(kafka_streams: KafkaStreams, topic: str) -> None:
    """Everything is reported as revoked before it is assigned anew, and needs a new start."""
    kafka_streams.create_topic(topic, 2)
    first = kafka_streams.reader(topic, assignor="range")
    first.poll_until_owner(2)
    second = kafka_streams.reader(topic, assignor="range")
    settle([first, second], 2)
    assert sorted(first.revoked) == [Partition(topic, 0), Partition(topic, 1)]
    assert len(first.assigned) == 3
    first.source.pause(sorted(first.owned))
    second.source.close()
    settle([first], 2)
    for index in range(2):
        kafka_streams.produce(topic, [(b"k", b"v")], index)
    assert first.poll_until_values(2) == [b"v", b"v"]  # a pause ends with the assignment it was made in
