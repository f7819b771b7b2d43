"""Kafka in memory: a source and a sink with the contracts of the real ones, for tests and the demo.

Everything a crash test needs is a switch here: fail at a named point, hold records back for some polls,
throw a member out of its group. Nothing waits and nothing reads a clock, so that a test decides every
interleaving. Not thread-safe. The store's twin is `memory_store.py`.

Must not know: a client library, time, or what the bytes mean.
"""

from __future__ import annotations

import itertools
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from streamae.batches import Partition, RawRecord, Record
from streamae.connectors.memory_store import MemoryStore, Switches
from streamae.connectors.protocols import Message, Poll, Span
from streamae.errors import MembershipError

__all__ = [
    "MemoryBroker",
    "MemoryMembership",
    "MemorySink",
    "MemorySource",
    "MemoryStore",
    "MemoryTransaction",
]


@dataclass(frozen=True, slots=True)
class MemoryMembership:
    """Proof that `member` belonged to `group` in `generation`."""

    group: str
    generation: int
    member: int


@dataclass(slots=True)
class Log:
    """Records of one partition; `first` is the offset of the oldest one kept."""

    records: list[Record] = field(default_factory=list)
    first: int = 0

    @property
    def end(self) -> int:
        """Offset the next record gets."""
        return self.first + len(self.records)


@dataclass(slots=True)
class Group:
    """A consumer group. Members share partitions; every change of membership starts a new generation.

    Attributes:
        since: generation in which each partition came to its owner.
    """

    generation: int = 0
    owners: dict[Partition, int] = field(default_factory=dict)
    since: dict[Partition, int] = field(default_factory=dict)
    members: dict[int, tuple[str, ...]] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)


class MemoryBroker(Switches):
    """Topics, consumer groups and transactions.

    Points for `fail_at`: `poll`; `before_begin` (no transaction), `after_send` (inside the block),
    `before_commit` (nothing becomes visible), `after_commit` (everything is visible, then the error).

    Args:
        partitions: number of partitions of a topic that is first seen by `produce` or a source.
    """

    points = ("poll", "before_begin", "after_send", "before_commit", "after_commit")

    def __init__(self, partitions: int = 1) -> None:
        super().__init__()
        self._partitions = partitions
        self._topics: dict[str, list[Log]] = {}
        self._created: dict[str, int] = {}  # how often each topic was created
        self._groups: dict[str, Group] = {}
        self._member_ids = itertools.count(1)
        self._held_polls = 0

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic, or grow it to `partitions`; groups that read it are rebalanced."""
        logs = self._topics.setdefault(topic, [])
        self._created.setdefault(topic, 1)
        logs.extend(Log() for _ in range(partitions - len(logs)))
        for group in self._groups.values():
            if any(topic in topics for topics in group.members.values()):
                self._rebalance(group)

    def recreate(self, topic: str) -> None:
        """Delete a topic with its records and the offsets groups have committed, and create it again."""
        partitions = len(self.logs(topic))
        self._topics[topic] = [Log() for _ in range(partitions)]
        self._created[topic] += 1
        for group in self._groups.values():
            for index in range(partitions):
                group.committed.pop(Partition(topic, index), None)

    def identity(self, topic: str) -> str:
        """Return what tells a topic from a former one of its name."""
        return f"memory/{topic}-{self._created[topic]}"

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        timestamp: int = 0,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> Record:
        """Append one record; without `partition` its key decides (no key: partition 0)."""
        logs = self.logs(topic)
        index = partition if partition is not None else zlib.crc32(key or b"") % len(logs)
        log = logs[index]
        record = Record(topic, index, log.end, timestamp, key, value, list(headers))
        log.records.append(record)
        return record

    def records(self, topic: str, partition: int | None = None) -> list[Record]:
        """Return the visible records of a topic, or of one partition of it, in order."""
        logs = self.logs(topic)
        return [record for log in (logs if partition is None else [logs[partition]]) for record in log.records]

    def committed(self, group: str, partition: Partition) -> int | None:
        """Return the offset a group has committed, None if it never has."""
        return self.group(group).committed.get(partition)

    def set_committed(self, group: str, partition: Partition, offset: int | None) -> None:
        """Set or (None) delete a committed offset, as an operator's reset does."""
        committed = self.group(group).committed
        committed.pop(partition, None)
        if offset is not None:
            committed[partition] = offset

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Forget records below `offset`, as retention does."""
        log = self.log(partition)
        keep_from = min(max(offset, log.first), log.end)
        del log.records[: keep_from - log.first]
        log.first = keep_from

    def delay_polls(self, polls: int) -> None:
        """Let the next `polls` polls of any source bring no records."""
        self._held_polls = polls

    def expel(self, source: MemorySource) -> None:
        """Throw a source out of its group, as an expired session does; its next poll joins again."""
        self.leave(source.group, source.member)

    # What sources and sinks ask of the broker.

    def logs(self, topic: str) -> list[Log]:
        """Return the logs of a topic by partition, creating it if it is new."""
        if topic not in self._topics:
            self.create_topic(topic, self._partitions)
        return self._topics[topic]

    def log(self, partition: Partition) -> Log:
        """Return the log of one partition."""
        return self.logs(partition.topic)[partition.index]

    def group(self, name: str) -> Group:
        """Return a group, creating it if it is new."""
        return self._groups.setdefault(name, Group())

    def takes_held_poll(self) -> bool:
        """Whether this poll is one of those `delay_polls` holds back."""
        self._held_polls -= 1
        return self._held_polls >= 0

    def join(self, name: str, topics: tuple[str, ...]) -> int:
        """Add a member to a group and return its id."""
        member = next(self._member_ids)
        for topic in topics:
            self.logs(topic)
        group = self.group(name)
        group.members[member] = topics
        self._rebalance(group)
        return member

    def leave(self, name: str, member: int) -> None:
        """Remove a member; idempotent."""
        group = self.group(name)
        if group.members.pop(member, None) is not None:
            self._rebalance(group)

    def _rebalance(self, group: Group) -> None:
        """Start a generation in which every member keeps what it may and the rest is dealt out evenly."""
        group.generation += 1
        previous, group.owners = group.owners, {}
        held = dict.fromkeys(group.members, 0)
        for topic in sorted({topic for topics in group.members.values() for topic in topics}):
            takers = [member for member, topics in group.members.items() if topic in topics]
            share, spare = divmod(len(self._topics[topic]), len(takers))  # `spare` members get one more
            kept = dict.fromkeys(takers, 0)
            partitions = [Partition(topic, index) for index in range(len(self._topics[topic]))]
            for partition in sorted(partitions, key=lambda partition: partition not in previous):
                owner = previous.get(partition)
                if owner not in kept or kept[owner] >= share + (spare > 0):
                    owner = min(takers, key=lambda member: (kept[member], held[member]))
                spare -= kept[owner] == share
                group.owners[partition] = owner
                if owner != previous.get(partition):
                    group.since[partition] = group.generation
                kept[owner] += 1
                held[owner] += 1

    def commit(
        self, messages: Sequence[Message], offsets: dict[Partition, int], membership: MemoryMembership | None
    ) -> None:
        """Make messages and offsets visible at once.

        Raises:
            MembershipError: the membership is not of the current generation, or not the owner; nothing happened.
        """
        if membership is not None:
            group = self.group(membership.group)
            if membership.generation != group.generation or membership.member not in group.members:
                raise MembershipError(f"generation {membership.generation} is over: the group is at {group.generation}")
            strange = [partition for partition in offsets if group.owners.get(partition) != membership.member]
            if strange:
                raise MembershipError(f"not the owner of {strange}")
        self.reach("before_commit")
        for message in messages:
            self.produce(message.topic, message.key, message.value, headers=message.headers)
        if membership is not None:
            group.committed.update(offsets)
        self.reach("after_commit")


class MemorySource:
    """Source over a `MemoryBroker`; several of one group share the partitions.

    Args:
        max_poll_records: most records of one poll; None = all there are.
    """

    def __init__(
        self, broker: MemoryBroker, group: str, topics: Sequence[str], max_poll_records: int | None = None
    ) -> None:
        self.group = group
        self.member = 0  # 0 = has not joined
        self._broker = broker
        self._topics = tuple(topics)
        self._max_poll_records = sys.maxsize if max_poll_records is None else max_poll_records
        self._generation = 0
        self._owned: dict[Partition, int] = {}  # and since which generation
        self._positions: dict[Partition, int] = {}  # owned partitions that were started
        self._paused: set[Partition] = set()
        self._identities: dict[Partition, str] = {}  # as last told by `span`
        self._turn = 0

    def poll(self, timeout_ms: int) -> Poll:  # noqa: ARG002 - nothing in memory is worth waiting for
        """Return what is there; see `Source.poll`."""
        self._broker.reach("poll")
        assigned, revoked = self._follow_group()
        for partition, offset in list(self._positions.items()):
            log = self._broker.log(partition)
            is_same = self._identities.get(partition) == self._broker.identity(partition.topic)
            if not (is_same and log.first <= offset <= log.end):
                del self._positions[partition]
                assigned.append(partition)
                revoked.append(partition)
        records = {} if self._broker.takes_held_poll() else self._take()
        return Poll(records, tuple(assigned), tuple(revoked))

    def span(self, partition: Partition) -> Span:
        """Return committed and kept offsets."""
        log = self._broker.log(partition)
        self._identities[partition] = identity = self._broker.identity(partition.topic)
        return Span(self._broker.committed(self.group, partition), log.first, log.end, identity)

    def start_at(self, partition: Partition, offset: int) -> None:
        """Deliver from `offset` on; see `Source.start_at`."""
        if partition not in self._owned:
            raise MembershipError(f"{partition} is not owned")
        self._identities.setdefault(partition, self._broker.identity(partition.topic))
        self._positions[partition] = offset

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivering."""
        self._paused.update(self._owned.keys() & partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Deliver again."""
        self._paused.difference_update(partitions)

    def lag(self) -> dict[Partition, int]:
        """Return records behind the end for each started partition."""
        return {partition: self._broker.log(partition).end - at for partition, at in self._positions.items()}

    def position(self, partition: Partition) -> int | None:
        """Return the offset that is delivered next, None = not started."""
        return self._positions.get(partition)

    def membership(self) -> MemoryMembership:
        """Return proof of membership; see `Source.membership`."""
        group = self._broker.group(self.group)
        if self.member not in group.members or self._generation != group.generation:
            raise MembershipError("not a stable member: poll first")
        return MemoryMembership(self.group, self._generation, self.member)

    def close(self) -> None:
        """Leave the group; idempotent."""
        self._broker.leave(self.group, self.member)
        self._owned.clear()
        self._positions.clear()

    def _follow_group(self) -> tuple[list[Partition], list[Partition]]:
        """Take over what the group's newest generation gives this member; return (assigned, revoked)."""
        group = self._broker.group(self.group)
        revoked: list[Partition] = []
        if self.member not in group.members:  # new, or thrown out: whatever was owned is lost first
            revoked.extend(sorted(self._owned))
            self._owned = {}
            self.member = self._broker.join(self.group, self._topics)
        if self._generation == group.generation:
            return [], revoked
        self._generation = group.generation
        mine = {partition: group.since[partition] for partition, at in group.owners.items() if at == self.member}
        revoked.extend(sorted(partition for partition, since in self._owned.items() if mine.get(partition) != since))
        assigned = sorted(partition for partition, since in mine.items() if self._owned.get(partition) != since)
        self._owned = mine
        for partition in revoked:
            self._positions.pop(partition, None)
            self._paused.discard(partition)
        return assigned, revoked

    def _take(self) -> dict[Partition, Sequence[RawRecord]]:
        """Return records of the started partitions, beginning with another partition each time."""
        taken: dict[Partition, Sequence[RawRecord]] = {}
        room = self._max_poll_records
        ready = sorted(self._positions.keys() - self._paused)
        self._turn += 1
        for partition in ready[self._turn % max(1, len(ready)) :] + ready[: self._turn % max(1, len(ready))]:
            log = self._broker.log(partition)
            start = self._positions[partition] - log.first
            batch = log.records[start : start + room]
            if batch:
                taken[partition] = batch
                self._positions[partition] += len(batch)
                room -= len(batch)
        return taken


class MemoryTransaction:
    """Messages and offsets of one open transaction."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.messages: list[Message] = []
        self.offsets: dict[Partition, int] = {}
        self.membership: MemoryMembership | None = None

    def send(self, messages: Sequence[Message]) -> None:
        """Add messages."""
        self.messages.extend(messages)
        self._broker.reach("after_send")

    def send_offsets(self, offsets: dict[Partition, int], membership: MemoryMembership) -> None:
        """Add offsets, fenced by `membership`."""
        self.offsets.update(offsets)
        self.membership = membership


class MemorySink:
    """Sink over a `MemoryBroker`."""

    is_thread_bound = True  # the broker it shares with the source knows no locks

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """Commit on normal exit of the block; a stale membership is refused with `MembershipError`."""
        self._broker.reach("before_begin")
        transaction = MemoryTransaction(self._broker)
        yield transaction
        self._broker.commit(transaction.messages, transaction.offsets, transaction.membership)

    def close(self) -> None:
        """Nothing to release."""
