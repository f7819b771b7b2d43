"""Kafka consumer group as a `Source`.

The client has hazards here as well; each has its guard in this module:
    H1  after losing membership it offers a proof that the broker would not check at all: proofs are checked by us;
    H4  rebalance listeners run on its IO thread: they raise flags, which the next `poll` reports, and do not wait;
    H6  by default it skips or repeats records on its own: no automatic reset, no automatic commit, nothing is
        delivered before `start_at`: see `consumer.py`;
    H7  it logs an error at each retry while another owner's transaction is open: those lines are dropped;
    H9  the broker checks the member, not the partition: a proof names the partitions it is good for;
    H11 what was fetched of a partition before it was paused is put aside, and comes back only if no other partition
        was read meanwhile: the client is made to look again;
    H12 who is expelled while it joins anew is not told that others had its partitions meanwhile: see `ownership.py`;
    H13 who was expelled claims, when it joins again, what it had before: see `assignors.py`;
    H14 who comes back under its stable name causes no rebalance, also when one was due: see `unowned.py`;
    H15 it has the broker create a topic that is missing, though it is told not to: see `client.py`.

Must not know: what the bytes mean, or how partitions are recovered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    KafkaError,
    KafkaTimeoutError,
    LogTruncationError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnstableOffsetCommitError,
)
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from streamae.batches import Partition, RawRecord
from streamae.connectors.kafka.assignors import assignor_of
from streamae.connectors.kafka.client import CLOSE_TIMEOUT_MS, client_errors
from streamae.connectors.kafka.consumer import open_consumer
from streamae.connectors.kafka.ownership import OwnershipChanges
from streamae.connectors.kafka.unowned import UnownedPartitions
from streamae.connectors.protocols import Poll, Span
from streamae.errors import FatalError, MembershipError, OutcomeUnknownError, RetryableError
from streamae.settings.connections import KafkaSettings


class _ExpectedErrors(logging.Filter):
    """Drops the error line the client writes at each retry while another owner's transaction is open."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(isinstance(argument, UnstableOffsetCommitError) for argument in arguments)


METADATA_MAX_AGE_MS = 10_000
QUIET = _ExpectedErrors()


class _FinishedJoin:
    """A finished join that the client has not looked at yet, in the shape of one it is still waiting for."""

    is_done = False

    def __init__(self, assignment: bytes) -> None:
        self._assignment = assignment

    def add_callback(self, callback: Callable[[bytes], None]) -> None:
        callback(self._assignment)

    def add_errback(self, _errback: object) -> None:
        """It has succeeded."""


class KafkaMembership(NamedTuple):
    """Proof of membership: the client's group metadata, and the partitions owned with it.

    Attributes:
        source: who gave it; used in the polling thread only.
    """

    metadata: Any
    owned: frozenset[Partition]
    source: KafkaSource | None = None

    def check_owned(self, partitions: Iterable[Partition]) -> None:
        """Refuse partitions of others: the broker would take their offsets (H9).

        Raises:
            MembershipError: one is not owned by this member.
        """
        strange = set(partitions) - self.owned
        if strange:
            raise MembershipError(f"not the owner of {sorted(strange)}")

    def check_current(self) -> None:
        """Refuse to be used after a rebalance.

        Raises:
            MembershipError: this member is no longer stable, or in another generation.
        """
        assert self.source is not None
        if self.source.membership() != self:
            raise MembershipError("membership has changed since the proof was given")

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets outside of any transaction, from the polling thread.

        Raises:
            MembershipError: the group no longer knows this member; nothing is committed.
            OutcomeUnknownError: not answered in time.
            RetryableError: refused for another reason.
        """
        self.check_current()
        assert self.source is not None
        self.source.commit(offsets)


class KafkaSource:
    """Source over a Kafka consumer group (read_committed, no automatic commits).

    Args:
        topics: to read.
        settings: how to reach the cluster and how to behave in the group.
        max_poll_records: most records of one poll.
        metadata_max_age_ms: how long it takes, at most, until new partitions or another topic of an old name are seen;
            twice as long until a partition is missed that no member owns.

    Raises:
        RetryableError: the cluster cannot be reached.
        ConfigError: the client refuses the settings.
    """

    def __init__(
        self,
        topics: Sequence[str],
        settings: KafkaSettings,
        max_poll_records: int,
        metadata_max_age_ms: int = METADATA_MAX_AGE_MS,
    ) -> None:
        self._settings = settings
        self._topics = frozenset(topics)
        self._owned: set[Partition] = set()
        self._started: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._topic_ids: dict[Partition, Any] = {}  # of the topics partitions were planned in; see `span`
        self._is_metadata_old = True
        self._misplaced: set[Partition] = set()  # whose committed offset is one of a former topic
        self._is_closed = False
        logging.getLogger("kafka.coordinator.consumer").addFilter(QUIET)
        self._consumer = open_consumer(
            settings,
            settings.group_id,
            max_poll_records,
            group_id=settings.group_id,
            group_instance_id=settings.instance_id,
            partition_assignment_strategy=(assignor_of(settings.assignor, self._claims),),
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=min(3_000, settings.session_timeout_ms // 3),
            max_poll_interval_ms=settings.max_poll_interval_ms,
            metadata_max_age_ms=metadata_max_age_ms,
        )
        self._changes = OwnershipChanges(self._consumer)
        self._unowned = UnownedPartitions(self._consumer, settings.group_id, self._topics, metadata_max_age_ms / 1_000)
        self._consumer.subscribe(topics=list(topics), listener=self._changes)

    def poll(self, timeout_ms: int) -> Poll:
        """Wait for records or ownership changes; see `Source.poll`."""
        fetched: Mapping[Any, Sequence[RawRecord]] = {}
        self._keep_join()
        self._check_not_displaced()
        self._make_room()
        with client_errors("poll"):
            try:
                fetched = self._consumer.poll(timeout_ms=timeout_ms)
            except OffsetOutOfRangeError as error:  # retention passed the position, or it lies past the end
                self._plan_anew(error.args[0])
            except LogTruncationError as error:  # records we have read are gone: unclean leader election
                self._plan_anew(error.divergent_offsets)
        self._notice_other_topics()
        self._unowned.look(self._changes.joined)
        assigned, revoked = self._changes.take()
        self._is_metadata_old = self._is_metadata_old or bool(assigned)
        self._owned = self._owned.difference(revoked).union(assigned)
        self._started.difference_update(revoked, assigned)
        self._paused.difference_update(revoked)
        if not self._owned:
            self._check_allowed()
        for partition in set(revoked).difference(assigned):
            self._topic_ids.pop(partition, None)
            self._misplaced.discard(partition)
        records = {Partition(*partition): batch for partition, batch in fetched.items()}
        return Poll(records, assigned, revoked)

    def span(self, partition: Partition) -> Span:
        """Return committed and kept offsets; see `Source.span`. The end leaves out open transactions."""
        at = TopicPartition(*partition)
        timeout_ms = self._settings.request_timeout_ms
        with client_errors(f"offsets of {partition}"):
            identity = self._identity(partition)
            committed = self._consumer.committed(at, timeout_ms=timeout_ms)
            earliest = self._consumer.beginning_offsets([at], timeout_ms=timeout_ms)[at]
            end = self._consumer.end_offsets([at], timeout_ms=timeout_ms)[at]
        return Span(None if partition in self._misplaced else committed, earliest, end, identity)

    def start_at(self, partition: Partition, offset: int) -> None:
        """Deliver from `offset` on; see `Source.start_at`."""
        at = TopicPartition(*partition)
        try:
            self._consumer.seek(at, offset)
        except ValueError as error:
            raise MembershipError(f"{partition} is not owned") from error
        self._started.add(partition)
        self._misplaced.discard(partition)
        if partition not in self._paused:
            self._consumer.resume(at)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivering; see `Source.pause`."""
        owned = self._owned.intersection(partitions)
        self._paused.update(owned)
        self._consumer.pause(*self._still_assigned(owned))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Deliver again what was started; see `Source.resume`."""
        self._paused.difference_update(partitions)
        self._consumer.resume(*self._still_assigned(self._started.intersection(partitions)))

    def lag(self) -> dict[Partition, int]:
        """Return records between position and high watermark of each started partition fetched from so far."""
        lag = {}
        for at in self._still_assigned(self._started):
            try:
                end, position = self._consumer.highwater(at), self._consumer.position(at, timeout_ms=0)
            except LogTruncationError as error:  # told only once, to whoever asks first
                self._plan_anew(error.divergent_offsets)
                continue
            if end is not None and position is not None:
                lag[Partition(*at)] = max(0, end - position)
        return lag

    def position(self, partition: Partition) -> int | None:
        """Return the offset that is delivered next, past offsets that hold no record; None = not started."""
        at = TopicPartition(*partition)
        if not self._still_assigned(self._started & {partition}):
            return None
        try:
            position: int | None = self._consumer.position(at, timeout_ms=0)
        except LogTruncationError as error:  # told only once, to whoever asks first
            self._plan_anew(error.divergent_offsets)
            return None
        return position

    def membership(self) -> KafkaMembership:
        """Return proof of membership as of the last poll; see `Source.membership`."""
        metadata = self._consumer.group_metadata()
        if metadata.generation_id < 0 or not metadata.member_id or metadata.state != MemberState.STABLE:
            raise MembershipError(f"not a stable member: {metadata.state}, generation {metadata.generation_id}")
        if self._changes.assigned or self._changes.revoked:
            raise MembershipError("ownership has changed since the last poll")
        if self._changes.joined != (metadata.generation_id, metadata.member_id):
            raise MembershipError(f"generation {metadata.generation_id} is joined, but not yet what it owns")
        return KafkaMembership(metadata, frozenset(self._owned), self)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets for this member; see `KafkaMembership.commit`, which checks first."""
        committed = {TopicPartition(*at): OffsetAndMetadata(offset) for at, offset in offsets.items()}
        with client_errors("commit of offsets"):
            try:
                self._consumer.commit(committed, timeout_ms=self._settings.request_timeout_ms)
            except (CommitFailedError, FencedInstanceIdError, RebalanceInProgressError) as error:
                raise MembershipError(f"commit of offsets: {error}") from error
            except KafkaTimeoutError as error:
                raise OutcomeUnknownError(f"commit of offsets not answered: {error}") from error

    def close(self) -> None:
        """Leave the group and release connections; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            with suppress(KafkaError, OSError):
                self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _identity(self, partition: Partition) -> str:
        """Return "<cluster id>/<topic id>" as of the last assignment or later, "" where brokers are too old to tell."""
        consumer = self._consumer
        if self._is_metadata_old:
            update = consumer._cluster.request_update()  # noqa: SLF001 - nothing public asks for our topics only
            consumer._net.run(consumer._manager.wait_for, update, self._settings.request_timeout_ms)  # noqa: SLF001
            self._is_metadata_old = False
        self._notice_other_topics()
        self._topic_ids[partition] = topic_id = self._topic_id(partition.topic)
        cluster_id = consumer._cluster.cluster_id  # noqa: SLF001 - as above
        return f"{cluster_id}/{topic_id}" if cluster_id and topic_id else ""

    def _topic_id(self, topic: str) -> Any:
        """Return the id of a topic as the client knows it, None if it does not."""
        found = self._consumer._cluster.topic_id(topic)  # noqa: SLF001 - nothing public tells
        return found if found is not None and found.int else None  # 0: the broker knows no ids

    def _notice_other_topics(self) -> None:
        """Plan partitions anew whose topic was deleted and created again.

        The client does not notice: it reads on in the new topic at its place in the former one, and what was
        committed meanwhile means nothing either.
        """
        ids = {partition: self._topic_id(partition.topic) for partition in self._topic_ids}
        other = {
            partition for partition, found in ids.items() if found and self._topic_ids[partition] not in {None, found}
        }
        self._topic_ids.update((partition, ids[partition]) for partition in other)
        self._misplaced |= other
        self._plan_anew(self._still_assigned(self._started & other))

    def _claims(self) -> set[Any]:
        """Return what is owned as of a request to join: nothing by who is no longer a member."""
        is_lost = self._consumer._coordinator._generation.is_lost()  # noqa: SLF001 - nothing public tells
        return set() if is_lost else set(self._consumer.assignment())

    def _keep_join(self) -> None:
        """See a join through that takes longer than one poll.

        The client forgets one that finishes between two polls and starts over, which with busy members need
        never end; and it stops waiting for one that began because a topic got partitions, and stays without
        partitions for ever.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 - nothing public tells that a join is under way
        if coordinator.rejoining:
            coordinator.request_rejoin()
            join = coordinator._join_task  # noqa: SLF001 - as above
            if join is not None and join.is_done and join.succeeded():
                coordinator._join_task = _FinishedJoin(join.value)  # noqa: SLF001 - as above

    def _make_room(self) -> None:
        """Let the client go on with a partition that was paused half read.

        It takes up what it has put aside when nothing is in line, and takes what is read to its end for something;
        nor does it fetch of a partition while a part of it is aside.
        """
        fetcher = self._consumer._fetcher  # noqa: SLF001 - nothing public reaches what was put aside
        if not fetcher._next_partition_records:  # noqa: SLF001 - as above
            fetcher._next_partition_records = None  # noqa: SLF001 - as above

    def _check_not_displaced(self) -> None:
        """Notice that another process took our instance id: the client only stops its heartbeat, and reads on.

        Raises:
            FatalError: it did.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 - nothing public tells
        if coordinator.state == MemberState.STABLE and not coordinator._heartbeat_enabled:  # noqa: SLF001 - same
            raise FatalError(f"instance id {self._settings.instance_id} is used by another process")

    def _check_allowed(self) -> None:
        """Notice that topics are kept from us: the client joins the group all the same, and gets nothing.

        Raises:
            RetryableError: no partition is owned, and the broker has refused to show an input topic.
        """
        refused = self._topics & self._consumer._client.cluster.unauthorized_topics  # noqa: SLF001 - nothing public tells
        if refused:
            raise RetryableError(f"input topic may not be read: grant READ on topic {', '.join(sorted(refused))}")

    def _still_assigned(self, partitions: Iterable[Partition]) -> list[Any]:
        assigned = self._consumer.assignment()
        return [at for at in (TopicPartition(*partition) for partition in partitions) if at in assigned]

    def _plan_anew(self, partitions: Iterable[Any]) -> None:
        """Report partitions as lost and won back, so that whoever reads asks where to go on."""
        self._changes.forget(Partition(*partition) for partition in partitions)
        self._changes.on_partitions_assigned(partitions)
