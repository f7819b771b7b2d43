"""Where past data comes from, as it is written on a command line: files and folders, or `kafka:TOPIC` and a range of it.

Must not know how any of them is read: `--help` waits for nothing.
"""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from streamae.commands.durations import span_ms

TOPIC = "kafka:"
MAX_RECORDS = 1_000_000


@dataclass(frozen=True, slots=True)
class TopicRange:
    """The newest records of a topic.

    Attributes:
        topic: its name.
        since_ms: only records with this Kafka timestamp or a later one, ms since the epoch; None = of any time.
        max_records: most of all partitions together.
    """

    topic: str
    since_ms: int | None = None
    max_records: int = MAX_RECORDS


def data_of(
    words: Sequence[str], since_ms: int | None = None, max_records: int | None = None
) -> list[Path] | TopicRange:
    """Return what DATA or SOURCE means; `-` stays the path `-`, a file of this name is `./-`.

    Args:
        words: as they were typed, at least one.
        since_ms, max_records: of a topic only; None = not said.

    Raises:
        ValueError: a topic beside other data, or without a name, or a range of files.
    """
    topics = [word for word in words if word.startswith(TOPIC)]
    if not topics:
        if since_ms is not None or max_records is not None:
            raise ValueError(f"--since and --max-records go with {TOPIC}TOPIC")
        return [Path(word) for word in words]
    if len(words) > 1:
        raise ValueError(f"{topics[0]}: give either one topic or files, nothing beside a topic")
    if topics == [TOPIC]:
        raise ValueError(f"{TOPIC}TOPIC needs the name of a topic")
    return TopicRange(topics[0].removeprefix(TOPIC), since_ms, max_records or MAX_RECORDS)


def age_or_time(text: str) -> int:
    """Read `14d`, `6h`, `30m` before now, or an ISO 8601 time (UTC if it names no zone), for argparse.

    Returns:
        Milliseconds since the epoch, at least 0.
    """
    age_ms = span_ms(text)
    if age_ms is not None:
        since_ms = time.time_ns() // 1_000_000 - age_ms
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ArgumentTypeError(
                "must be an age such as 14d, 6h or 30m, or a time such as 2025-03-03T06:00Z"
            ) from None
        since_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    return max(0, since_ms)
