"""What the contract tests of sources and sinks need besides the contract: one face for Kafka and its twin in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from streamae.batches import Cause, Partition, RawRecord
from streamae.connectors.kafka import AtLeastOnceSink, KafkaSink, KafkaSource
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.protocols import Message, Sink, Source
from streamae.errors import MembershipError
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.waiting import wait_until

Entry = tuple[bytes | None, bytes | None]


class Reader:
    """A source driven like the engine drives it: new partitions start at the committed offset, or at the beginning."""

    def __init__(self, source: Source, *, starts_itself: bool = True) -> None:
        self.source = source
        self.starts_itself = starts_itself
        self.timeout_ms = 50
        self.owned: set[Partition] = set()
        self.assigned: list[Partition] = []
        self.revoked: list[Partition] = []
        self.records: list[RawRecord] = []

    def poll(self) -> None:
        """Poll once; changes of ownership first, then records."""
        poll = self.source.poll(self.timeout_ms)
        assert set(poll.revoked) <= self.owned, "revoked what was never assigned"
        self.owned -= set(poll.revoked)
        assert not self.owned & set(poll.assigned), "assigned what was owned"
        self.owned |= set(poll.assigned)
        self.assigned += poll.assigned
        self.revoked += poll.revoked
        assert set(poll.records) <= self.owned, "records of a partition that is not owned"
        for batch in poll.records.values():
            self.records += batch
        if self.starts_itself:
            for partition in poll.assigned:
                self.start(partition)

    def start(self, partition: Partition) -> None:
        """Deliver from where the group is."""
        span = self.source.span(partition)
        self.source.start_at(partition, span.earliest if span.committed is None else span.committed)

    @property
    def values(self) -> list[bytes | None]:
        """Values of all records delivered so far."""
        return [record.value for record in self.records]

    def poll_until(self, condition: Callable[[], object], what: str, timeout_s: float = 15.0) -> None:
        """Poll until `condition()` is true."""

        def is_done() -> bool:
            self.poll()
            return bool(condition())

        wait_until(is_done, what, timeout_s)

    def poll_until_owner(self, count: int) -> None:
        """Poll until this many partitions are owned and membership is stable."""
        settle([self], count)

    def poll_until_values(self, count: int) -> list[bytes | None]:
        """Poll until this many records came, then once more; return their values."""
        self.poll_until(lambda: len(self.records) >= count, f"{count} records")
        self.poll()
        return self.values


def settle(readers: Sequence[Reader], partitions: int) -> None:
    """Poll all in turn until together they own `partitions`, none twice, and every membership is stable."""

    def is_settled() -> bool:
        for reader in readers:
            reader.poll()
        owned = [partition for reader in readers for partition in reader.owned]
        return len(owned) == len(set(owned)) == partitions and all(is_stable(reader.source) for reader in readers)

    wait_until(is_settled, f"{len(readers)} readers to share {partitions} partitions", timeout_s=30)


def is_stable(source: Source) -> bool:
    """Whether the source can prove its membership."""
    try:
        source.membership()
    except MembershipError:
        return False
    return True


class Streams(ABC):
    """A cluster under test. Everything opened through it is closed by `close`."""

    def __init__(self) -> None:
        self._opened: list[Source | Sink] = []

    def reader(self, topic: str, group: str = "group", **options: Any) -> Reader:
        """Open a source of `topic` in `group`."""
        source = self._open_source(topic, group, **options)
        self._opened.append(source)
        return Reader(source)

    def sink(self, group: str = "group", **options: Any) -> Sink:
        """Open a sink."""
        sink = self._open_sink(group, **options)
        self._opened.append(sink)
        return sink

    def track(self, opened: Source | Sink) -> None:
        """Close this one as well."""
        self._opened.append(opened)

    def close(self) -> None:
        """Close what was opened."""
        for opened in self._opened:
            opened.close()

    @abstractmethod
    def _open_source(self, topic: str, group: str, **options: Any) -> Source: ...
    @abstractmethod
    def _open_sink(self, group: str, **options: Any) -> Sink: ...
    @abstractmethod
    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic."""

    @abstractmethod
    def produce(self, topic: str, entries: Sequence[Entry], partition: int = 0) -> None:
        """Write (key, value) pairs to one partition."""

    @abstractmethod
    def read(self, topic: str) -> list[Any]:
        """Return all committed records of a topic."""

    @abstractmethod
    def committed(self, topic: str, partition: int = 0, group: str = "group") -> int | None:
        """Return the committed offset."""

    @abstractmethod
    def delete_before(self, partition: Partition, offset: int) -> None:
        """Delete records below `offset`."""

    @abstractmethod
    def recreate(self, topic: str, entries: Sequence[Entry] = ()) -> None:
        """Delete a topic of one partition and create it again, with these (key, value) pairs."""

    @abstractmethod
    def expel(self, reader: Reader) -> None:
        """Make the group drop this member; it does not poll any more until told."""


class MemoryStreams(Streams):
    """Streams over a `MemoryBroker`."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()

    def _open_source(self, topic: str, group: str, **options: Any) -> MemorySource:
        return MemorySource(self.broker, group, [topic], max_poll_records=options.get("max_poll_records", 5_000))

    def _open_sink(self, group: str, **options: Any) -> MemorySink:
        return MemorySink(self.broker)

    def create_topic(self, topic: str, partitions: int) -> None:
        self.broker.create_topic(topic, partitions)

    def produce(self, topic: str, entries: Sequence[Entry], partition: int = 0) -> None:
        for key, value in entries:
            self.broker.produce(topic, key, value, partition=partition)

    def read(self, topic: str) -> list[Any]:
        return self.broker.records(topic)

    def committed(self, topic: str, partition: int = 0, group: str = "group") -> int | None:
        return self.broker.committed(group, Partition(topic, partition))

    def delete_before(self, partition: Partition, offset: int) -> None:
        self.broker.delete_before(partition, offset)

    def recreate(self, topic: str, entries: Sequence[Entry] = ()) -> None:
        self.broker.recreate(topic)
        self.produce(topic, entries)

    def expel(self, reader: Reader) -> None:
        assert isinstance(reader.source, MemorySource)
        self.broker.expel(reader.source)


class KafkaStreams(Streams):
    """Streams over a real broker. Group names get a suffix of their own, topics must be fresh."""

    def __init__(self, bootstrap_servers: str, suffix: str) -> None:
        super().__init__()
        self.servers = bootstrap_servers
        self.suffix = suffix
        self.settings = KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            group_id="group",
            session_timeout_ms=3_000,
            max_poll_interval_ms=3_000,
            request_timeout_ms=5_000,
            transaction_timeout_ms=3_000,
            retry_backoff_ms=5,
        )

    def group(self, name: str) -> str:
        """Return the group's name on the broker."""
        return f"{name}-{self.suffix}"

    def of(self, group: str, **changes: Any) -> KafkaSettings:
        """Return the settings of a member of a group."""
        return self.settings.model_copy(update={"group_id": self.group(group)} | changes)

    def _open_source(self, topic: str, group: str, **options: Any) -> KafkaSource:
        names = ("max_poll_records", "metadata_max_age_ms")
        of_source = {"max_poll_records": 5_000} | {name: options.pop(name) for name in names if name in options}
        return KafkaSource([topic], self.of(group, **options), **of_source)

    def _open_sink(self, group: str, **options: Any) -> Sink:
        return KafkaSink(self.of(group, **options))

    def create_topic(self, topic: str, partitions: int) -> None:
        kafka_io.create_topics(self.servers, topic, partitions=partitions)

    def produce(self, topic: str, entries: Sequence[Entry], partition: int = 0) -> None:
        kafka_io.produce(self.servers, topic, entries, partition)

    def read(self, topic: str) -> list[Any]:
        return kafka_io.read_all(self.servers, topic)

    def committed(self, topic: str, partition: int = 0, group: str = "group") -> int | None:
        return kafka_io.committed_offset(self.servers, self.group(group), topic, partition)

    def delete_before(self, partition: Partition, offset: int) -> None:
        kafka_io.delete_before(self.servers, partition.topic, partition.index, offset)

    def recreate(self, topic: str, entries: Sequence[Entry] = ()) -> None:
        kafka_io.recreate_topic(self.servers, topic)
        self.produce(topic, entries)

    def expel(self, reader: Reader) -> None:
        """Stop its polls: after `max_poll_interval_ms` the client leaves the group by itself."""
        wait_until(lambda: not is_stable(reader.source), "the member to leave its group", timeout_s=20)


class AtLeastOnceStreams(KafkaStreams):
    """Kafka without transactions on our side."""

    def _open_sink(self, group: str, **options: Any) -> AtLeastOnceSink:
        return AtLeastOnceSink(self.of(group, **options))


def message(topic: str, value: bytes | None, key: bytes | None = b"k", headers: tuple[Any, ...] = ()) -> Message:
    """Build a message of no particular origin."""
    return Message(topic, key, value, headers, Cause(Partition("input", 0), 0))


def commit(
    sink: Sink,
    messages: Sequence[Message] = (),
    offsets: dict[Partition, int] | None = None,
    membership: Any = None,
    error: Exception | None = None,
) -> None:
    """Run one transaction; with `error` its block ends by raising it."""
    with sink.transaction() as transaction:
        transaction.send(messages)
        if offsets is not None:
            transaction.send_offsets(offsets, membership)
        if error is not None:
            raise error
