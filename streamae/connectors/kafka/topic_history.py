"""The newest records of one topic, read once and for nobody: what training and a first look start from.

The consumer has no group: it joins nothing, commits nothing, and leaves no trace in the cluster. What is read ends
where the topic ended when it was opened. One partition is read after the other: of partitions read side by side the
client would hold a whole fetch each.

Must not know: what the bytes mean.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple, Self

from kafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from kafka.structs import TopicPartition

from streamae.batches import Partition, RawRecord
from streamae.connectors.kafka.client import CLOSE_TIMEOUT_MS, client_errors
from streamae.connectors.kafka.consumer import open_consumer
from streamae.errors import DataError, RetryableError
from streamae.settings.connections import KafkaSettings

POLL_RECORDS = 5_000
FETCHES_HELD = 2  # one that is being unpacked, one that is on its way
WIDER = 8  # times as many offsets are looked through when too few of them hold a record


class Stretch(NamedTuple):
    """Consecutive offsets of one partition, `end` excluded. Not every offset holds a record that is committed."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many offsets."""
        return self.end - self.start


Stretches = Mapping[Partition, Stretch]
Batches = Iterator[dict[Partition, Sequence[RawRecord]]]


class TopicHistory:
    """What a topic holds at this moment. A context manager; not for several threads.

    Attributes:
        held: by partition, the offsets from the first that is kept to the end as it is now. Records of open
            transactions, and all after the first of them, lie behind that end.

    Raises:
        DataError: there is no such topic; or (from any method) it may not be read.
        ConfigError, RetryableError: the cluster cannot be reached; no wait takes longer than
            `kafka.request_timeout_ms`.
    """

    def __init__(self, topic: str, settings: KafkaSettings, poll_records: int = POLL_RECORDS) -> None:
        self._topic, self._timeout_ms = topic, settings.request_timeout_ms
        self._servers = settings.bootstrap_servers
        self.memory_bytes = FETCHES_HELD * settings.fetch_max_bytes
        try:
            self._consumer = open_consumer(settings, "history", poll_records)
        except RetryableError as error:
            where = f"{self._servers} (kafka.bootstrap_servers)"
            raise RetryableError(f"topic {topic}: Kafka is not reached at {where}: {error}") from error
        try:
            partitions = [TopicPartition(topic, index) for index in self._find()]
            with self._errors():
                starts = self._consumer.beginning_offsets(partitions, self._timeout_ms)
                ends = self._consumer.end_offsets(partitions, self._timeout_ms)
        except BaseException:
            self.close()
            raise
        self.held: Stretches = {Partition(*at): Stretch(min(starts[at], ends[at]), ends[at]) for at in partitions}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Release connections; idempotent."""
        with suppress(KafkaError, OSError):
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def newest(self, most: int, since_ms: int | None = None) -> Stretches:
        """Return the last offsets of each partition, `most` of all together, shared out by `shares`.

        Args:
            most: at least 1.
            since_ms: only from the first record with this Kafka timestamp, or a later one: ms since the epoch, as
                given by producers or brokers, not event time.

        Raises:
            DataError: nothing is there.
        """
        found = self.held if since_ms is None else self._since(since_ms)
        if not any(stretch.size for stretch in found.values()):
            when = "" if since_ms is None else f" since {datetime.fromtimestamp(since_ms / 1_000, UTC).isoformat()}"
            by = " by its Kafka timestamp" if when and any(held.size for held in self.held.values()) else ""
            raise DataError(f"topic {self._topic} holds no record{when}{by}")
        return shares(found, most)

    def _since(self, time_ms: int) -> Stretches:
        asked = {TopicPartition(*partition): max(0, time_ms) for partition in self.held}
        with self._errors():
            found = self._consumer.offsets_for_times(asked, self._timeout_ms)
        starts = {Partition(*at): None if first is None else first.offset for at, first in found.items()}
        return {
            partition: Stretch(held.end if (start := starts[partition]) is None else min(start, held.end), held.end)
            for partition, held in self.held.items()
        }

    def read(self, stretches: Stretches, progress: Callable[[int], object] | None = None) -> Batches:
        """Yield the committed records of `stretches`, a partition after the other, each in offset order.

        Records that the broker deletes before they are read are left out.

        Args:
            stretches: within `held`.
            progress: hears how many offsets are left, at last 0.

        Raises:
            RetryableError: nothing came for `kafka.request_timeout_ms`.
        """
        left = sum(stretch.size for stretch in stretches.values())
        for partition, stretch in stretches.items():
            position = stretch.start
            for records, reached in self._read(TopicPartition(*partition), stretch):
                left, position = left - (reached - position), reached
                if records:
                    yield {partition: records}
                if progress is not None:
                    progress(left)

    def _read(self, at: Any, stretch: Stretch) -> Iterator[tuple[list[RawRecord], int]]:
        """Yield records and how far they reach, at most to the end."""
        position, moved_s = stretch.start, time.monotonic()
        if stretch.size:
            with self._errors():
                self._consumer.assign([at])
                self._consumer.seek(at, position)
        while position < stretch.end:
            records, reached = self._poll(at, stretch)
            now_s = time.monotonic()
            if reached > position:
                position, moved_s = reached, now_s
                yield records, reached
            elif now_s - moved_s > self._timeout_ms / 1_000:
                where = f"partition {at.partition} of topic {self._topic}"
                raise RetryableError(f"{where}: nothing comes after offset {position} of {stretch.end}: is Kafka away?")

    def _poll(self, at: Any, stretch: Stretch) -> tuple[list[RawRecord], int]:
        with self._errors():
            try:
                found = self._consumer.poll(timeout_ms=min(500, self._timeout_ms)).get(at, [])
            except OffsetOutOfRangeError as error:
                found, kept = [], self._consumer.beginning_offsets([at], self._timeout_ms)[at]
                if kept <= error.args[0][at]:  # not deleted for its age: the log ends before it
                    raise
                self._consumer.seek(at, min(kept, stretch.end))
            position = self._consumer.position(at, timeout_ms=0) or 0
        if position > stretch.end:  # of what was written since
            found = [record for record in found if record.offset < stretch.end]
        return found, min(position, stretch.end)

    def _find(self) -> list[int]:
        """Return the numbers of the partitions.

        All topics are asked for, since of one that is missing the client asks again and again. Its public way waits
        without end.
        """
        consumer, cluster = self._consumer, self._consumer._cluster  # noqa: SLF001 - see above
        with self._errors():
            cluster.need_all_topic_metadata = True
            try:
                update = cluster.set_topics([self._topic])  # now: later the client would ask once more
            except ValueError:  # no topic can be called so
                update = cluster.request_update()
            consumer._net.run(consumer._manager.wait_for, update, self._timeout_ms)  # noqa: SLF001 - see above
            cluster.need_all_topic_metadata = False
        found = cluster.partitions_for_topic(self._topic)
        if found:
            return sorted(found)
        near = get_close_matches(self._topic, sorted(cluster.topics()))
        there = f"; there {'is' if len(near) == 1 else 'are'} {', '.join(near)}" if near else ""
        raise DataError(f"there is no topic {self._topic} at {self._servers}, or our user may not see it{there}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with client_errors(f"topic {self._topic}"):
                yield
        except RetryableError as error:
            if isinstance(error.__cause__, TopicAuthorizationFailedError):
                raise DataError(f"topic {self._topic} may not be read: grant READ on it to our user") from error
            raise


def shares(stretches: Stretches, most: int) -> dict[Partition, Stretch]:
    """Return the last offsets of each partition, `most` of all together: each gives as large a part of what it holds.

    Partitions that are cleared by age so go back as far as each other.

    Args:
        stretches: what is there.
        most: offsets in all, at least 1.

    Example:
        >>> here = {Partition("t", 0): Stretch(0, 60), Partition("t", 1): Stretch(10, 40), Partition("t", 2): Stretch(5, 5)}
        >>> [tuple(part) for part in shares(here, 30).values()]
        [(40, 60), (30, 40), (5, 5)]
    """
    held = sum(stretch.size for stretch in stretches.values())
    most = min(most, held)
    parts, given, passed = {}, 0, 0
    for partition, stretch in stretches.items():
        passed += stretch.size
        due = most * passed // max(held, 1)  # of this partition and those before it: rounding never adds up
        parts[partition] = Stretch(stretch.end - (due - given), stretch.end)
        given = due
    return parts


def sample_topic(topic: str, settings: KafkaSettings, most: int) -> dict[Partition, Sequence[RawRecord]]:
    """Return the newest committed records of a topic, `most` of all partitions together, each in offset order.

    Where transactions were aborted or keys compacted, offsets hold no record: it is looked further back then.

    Raises:
        DataError, ConfigError, RetryableError: as `TopicHistory`; DataError also if there is no record.
    """
    with TopicHistory(topic, settings) as history:
        reach = most
        while True:
            parts = history.newest(reach)
            kept = {partition: deque[RawRecord](maxlen=most) for partition in parts}
            for batch in history.read(parts):
                for partition, records in batch.items():
                    kept[partition].extend(records)
            count = sum(map(len, kept.values()))
            if count >= most or parts == history.held:
                break
            reach *= WIDER
    if not count:
        raise DataError(f"topic {topic} holds no record")
    parts = shares({partition: Stretch(0, len(records)) for partition, records in kept.items()}, most)
    return {partition: list(kept[partition])[part.start :] for partition, part in parts.items() if part.size}
