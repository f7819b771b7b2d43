"""The newest records of a topic for a command that learns or looks back, with a word on how much there is of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from streamae.batches import Partition, RawRecord
from streamae.commands.past_data import TopicRange
from streamae.connectors.kafka import TopicHistory, sample_topic
from streamae.connectors.past_records import PastData, PastRecords
from streamae.observe.progress import ReplayProgress
from streamae.reports.text import moment
from streamae.settings.connections import KafkaSettings
from streamae.settings.contract import Source, source_of

MIB = 1_048_576
SAMPLE_RECORDS = 1_000


def past_data(of: Sequence[Path] | TopicRange, settings: KafkaSettings, progress: TextIO) -> PastData:
    """Return files as they are, and a topic as records that are read when they are asked for."""
    if not isinstance(of, TopicRange):
        return of

    def sample() -> list[RawRecord]:
        return list(chain.from_iterable(sample_topic(of.topic, settings, SAMPLE_RECORDS).values()))

    return PastRecords(f"topic {of.topic}", sample, read_records(of, settings, progress))


def kind_of_data(of: PastData | TopicRange) -> Source:
    """Return the kind of records that past data are."""
    return "kafka" if isinstance(of, TopicRange | PastRecords) else source_of(of)


def read_records(
    of: TopicRange, settings: KafkaSettings, progress: TextIO
) -> Iterator[dict[Partition, Sequence[RawRecord]]]:
    """Yield the records a partition after the other, each in offset order; nothing is joined or committed.

    Args:
        of: what to read. Offsets count, also those that hold no committed record.
        settings: how to reach the cluster.
        progress: is told what is read, how far it is, and how much it was.

    Raises:
        DataError: the topic is missing or empty, or may not be read.
        ConfigError, RetryableError: the cluster cannot be reached.
    """
    count = size = 0
    with TopicHistory(of.topic, settings) as history:
        parts = history.newest(of.max_records, of.since_ms)
        asked = sum(part.size for part in parts.values())
        held = sum(part.size for part in history.held.values())
        since = "" if of.since_ms is None else f" since {moment(of.since_ms)}"
        print(
            f"topic {of.topic}: the newest {asked:,} of {held:,} offsets in {len(parts)} partitions{since},"
            f" at most {history.memory_bytes // MIB:,} MiB of messages in memory at a time",
            file=progress,
            flush=True,
        )
        for batch in history.read(parts, ReplayProgress(progress, asked, "offsets")):
            for records in batch.values():
                count += len(records)
                size += sum(len(record.value or b"") for record in records)
            yield batch
    print(f"topic {of.topic}: {count:,} records, {size / MIB:,.1f} MiB", file=progress, flush=True)
