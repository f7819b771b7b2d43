"""What a run left behind, read without product code: topics by confluent-kafka, key state by redis-py.

Must not know: what the outputs should be.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from redis import Redis
from redis.exceptions import RedisError

from scripts.verify.torture.checkers import Output, Sample
from scripts.verify.torture.workers import wait_until

READ_TIMEOUT_S = 60.0
ADMIN_TIMEOUT_S = 10.0
COORDINATOR_TIMEOUT_S = 60.0
DECISION_TIMEOUT_S = 30.0  # an open transaction of a dead worker ends after its time limit
ANSWER_TIMEOUT_S = 0.3  # of the group, when nothing holds it up
CHECKSUM_BYTES = 4
# A broker that is stopping may answer that there are none: the client then forgets them all, and by default begins
# anew from its bootstrap servers only minutes later.
CLIENT: dict[str, str | int] = {"log_level": 0, "metadata.recovery.rebootstrap.trigger.ms": 1_000}
NO_COORDINATOR = {  # for the moment: a broker that is very busy may lose its office
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
# Hold names of topic and group, which differ between runs; or change with settings that change no decision.
NOT_COMPARED = ("episode_id", "detector", "source", "settings_version")


class Message(NamedTuple):
    """One message as a consumer sees it."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@functools.cache
def admin_of(servers: str) -> AdminClient:
    """Return the admin client of a cluster: one for the whole process, whose answers can be waited for."""
    return AdminClient({"bootstrap.servers": servers, **CLIENT})


def create_topics(servers: str, partitions: dict[str, int], replication: int = 1) -> None:
    """Create topics by name and number of partitions; they are there when this returns."""
    admin = admin_of(servers)
    topics = [NewTopic(name, count, replication) for name, count in partitions.items()]
    for future in admin.create_topics(topics).values():
        future.result(ADMIN_TIMEOUT_S)
    wait_until(
        lambda: partitions.keys() <= admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics.keys(), "topics", ADMIN_TIMEOUT_S
    )


def ends(servers: str, topic: str, *, committed_only: bool = False) -> dict[int, int]:
    """Return the end offset of each partition; with `committed_only` where open transactions begin."""
    admin = admin_of(servers)
    places = [At(topic, index) for index in admin.list_topics(topic, ADMIN_TIMEOUT_S).topics[topic].partitions]
    level = IsolationLevel.READ_COMMITTED if committed_only else IsolationLevel.READ_UNCOMMITTED
    found = admin.list_offsets(
        {place: OffsetSpec.latest() for place in places}, isolation_level=level, request_timeout=ADMIN_TIMEOUT_S
    )
    return {place.partition: future.result(ADMIN_TIMEOUT_S).offset for place, future in found.items()}


def read(servers: str, topic: str, isolation: str = "read_committed") -> list[Message]:
    """Return all messages of a topic, partition by partition, once no transaction is open in it.

    Raises:
        TimedOutError: a transaction stays open, or the end is not reached.
    """
    wait_until(lambda: ends(servers, topic, committed_only=True) == ends(servers, topic), f"{topic} to settle", 30, 0.3)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "not-used",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            **CLIENT,
        }
    )
    waiting = set(ends(servers, topic))
    found: dict[int, list[Message]] = {partition: [] for partition in sorted(waiting)}
    try:
        consumer.assign([At(topic, partition, 0) for partition in waiting])
        deadline = time.monotonic() + READ_TIMEOUT_S
        while waiting and time.monotonic() < deadline:
            for message in consumer.consume(10_000, 0.5):
                error = message.error()
                if error is None:
                    found[message.partition()].append(_message(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    waiting.discard(message.partition())
    finally:
        consumer.close()
    wait_until(lambda: not waiting, f"the end of {topic}", 0)
    return [message for partition in found.values() for message in partition]


def _message(message: Any) -> Message:
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    return Message(message.partition(), message.offset(), message.key() or b"", message.value() or b"", headers)


def audit(messages: Iterable[Message]) -> list[Output]:
    """Reduce messages of the scores topic to what is compared."""
    found = []
    for message in messages:
        value = json.loads(message.value)
        content = (value["time_ms"], value["score"])
        found.append(Output((value["partition"], value["offset"]), message.key, content))
    return found


def events(messages: Iterable[Message]) -> list[Output]:
    """Reduce anomaly events to what is compared: everything but the names of topic and group."""
    found = []
    for message in messages:
        value = json.loads(message.value)
        source = value["source"]
        content = {name: field for name, field in value.items() if name not in NOT_COMPARED}
        identity = (source["partition"], source["offset"], value["kind"], value["sequence"])
        found.append(Output(identity, message.key, tuple(_leaves(content))))
    return found


def _leaves(value: Any, path: str = "") -> Iterator[Hashable]:
    """Yield path and value of everything in a JSON value, one after the other, in a fixed order."""
    if isinstance(value, dict):
        for name in sorted(value):
            yield from _leaves(value[name], f"{path}.{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}[{index}]")
    else:
        yield path
        yield value


def repeated_ids(messages: Iterable[Message]) -> list[str]:
    """Return event ids that occur more than once."""
    ids = [value.decode() for message in messages for name, value in message.headers if name == "ce_id"]
    return sorted({each for each in ids if ids.count(each) > 1}) if len(set(ids)) < len(ids) else []


class StoredState:
    """Key state in Redis, by its documented layout."""

    def __init__(self, url: str, prefix: str, group: str, topic: str, partitions: int) -> None:
        self._redis = Redis.from_url(url, socket_timeout=30)
        self._names = {index: f"{prefix}:{{{group}:{topic}:{index}}}" for index in range(partitions)}

    def offsets(self) -> dict[int, int]:
        """Return the manifest offset by partition."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in self._names.values():
                pipeline.hget(f"{name}:m", "off")
            return {index: int(offset) for index, offset in zip(self._names, pipeline.execute(), strict=True) if offset}

    def keys(self) -> dict[tuple[int, bytes], bytes]:
        """Return the packed state by partition and key, without its last checksum: that is over the topic's name too."""
        found = {}
        for index, name in self._names.items():
            for bucket in self._redis.scan_iter(f"{_literal(name)}:b:*", count=10_000):
                found |= {(index, key): packed[:-CHECKSUM_BYTES] for key, packed in self._redis.hgetall(bucket).items()}
        return found

    def rosters(self) -> dict[tuple[int, bytes], bytes]:
        """Return the entries of the rosters by partition and key."""
        return {place: entry for place, (_, entry) in self._stored("r").items()}

    def mutate(self, change: Callable[[int, bytes, bytes], bytes | None]) -> None:
        """Write other values over what is stored of keys.

        Args:
            change: of partition, key and value the value to write; None = it stays.
        """
        for (index, key), (bucket, value) in self._stored("b").items():
            changed = change(index, key, value)
            if changed is not None:
                self._redis.hset(bucket, key, changed)

    def _stored(self, kind: str) -> dict[tuple[int, bytes], tuple[bytes, bytes]]:
        """Return bucket and value by partition and key, of one kind of buckets."""
        found = {}
        for index, name in self._names.items():
            for bucket in self._redis.scan_iter(f"{_literal(name)}:{kind}:*", count=10_000):
                found |= {(index, key): (bucket, value) for key, value in self._redis.hgetall(bucket).items()}
        return found

    def close(self) -> None:
        """Release connections."""
        self._redis.close()


class Watch:
    """Samples where group and store stand, in a thread, for as long as a trial lasts.

    Offsets are asked by consumers that never join: the admin client of this library crashes when the coordinator of
    the group is not there yet.
    """

    INTERVAL_S = 0.1

    def __init__(self, servers: str, group: str, topic: str, partitions: int, state: StoredState) -> None:
        self._places = [At(topic, index) for index in range(partitions)]
        self._as_written = offsets_asker(servers, group, "read_uncommitted")
        self._as_decided = offsets_asker(servers, group, "read_committed")
        self._state = state
        self.samples: list[Sample] = []
        self._newest: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def committed(self) -> dict[int, int]:
        """Return the committed offset of each partition as it is written now; 0 = never committed.

        Raises:
            KafkaException: no answer.
        """
        deadline_s = time.monotonic() + COORDINATOR_TIMEOUT_S
        while True:
            try:
                found = self._as_written.committed(self._places, timeout=ADMIN_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in NO_COORDINATOR or time.monotonic() > deadline_s:
                    raise
                time.sleep(self.INTERVAL_S)
            else:
                return {at.partition: max(0, at.offset) for at in found if at.error is None}

    def newest(self) -> dict[int, int]:
        """Return the newest committed offset seen of each partition."""
        return dict(self._newest)

    def _run(self) -> None:
        while not self._stop.wait(self.INTERVAL_S):
            try:
                stored = self._state.offsets()
                committed = self.committed()
                ahead = [index for index, offset in stored.items() if offset > committed.get(index, offset)]
                if ahead:
                    committed = {index: offset for index, offset in committed.items() if index not in ahead}
                    committed |= self._decided(ahead)
                self.samples.append(Sample(time.monotonic(), stored, committed))
                self._newest |= committed
            except (KafkaException, RedisError, TimeoutError):
                continue  # a service is away: that may be the fault of this trial

    def _decided(self, partitions: list[int]) -> dict[int, int]:
        """Return committed offsets once no decided transaction is left to be written, which may take a moment.

        Those that stay undecided are left out: the next sample asks again.
        """
        found = self._as_decided.committed([self._places[index] for index in partitions], timeout=DECISION_TIMEOUT_S)
        return {at.partition: max(0, at.offset) for at in found if at.error is None}


def offsets_asker(servers: str, group: str, isolation: str) -> Consumer:
    """Return a consumer that only asks for offsets of a group."""
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "isolation.level": isolation,
            "enable.auto.commit": False,
            **CLIENT,
        }
    )


def _literal(name: str) -> str:
    """Escape what SCAN would take for a pattern."""
    return "".join(f"\\{letter}" if letter in "[]*?\\" else letter for letter in name)
