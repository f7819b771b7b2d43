"""Input records and codecs for tests, with everything a test does not care about filled in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from streamae.batches import Partition
from streamae.connectors.codec import Codec

FEATURES = ("temp", "load")
STAMP_MS = 1_700_000_000_000  # Kafka timestamp of every record unless told otherwise: 2023-11-14T22:13:20Z
PARTITION = Partition("sensors", 3)


@dataclass(frozen=True)
class Record:
    """A `RawRecord`."""

    value: bytes | None
    key: bytes | None = b"m1"
    timestamp: int = STAMP_MS
    offset: int = 0
    headers: list[tuple[str, bytes | None]] = ()  # type: ignore[assignment]
    topic: str = PARTITION.topic
    partition: int = PARTITION.index


def record(content: Any, **fields: Any) -> Record:
    """Return a record whose value is `content` as JSON."""
    return Record(json.dumps(content, ensure_ascii=False).encode(), **fields)


def codec(features: tuple[str, ...] = FEATURES, **overrides: Any) -> Codec:
    """Return a codec with the default settings, Kafka key and Kafka timestamp."""
    arguments: dict[str, Any] = {
        "layout": "wide",
        "key_field": None,
        "time_field": None,
        "time_unit": "auto",
        "value_fields": (),
        "name_field": "name",
        "value_field": "value",
        "unknown_features": "dead_letter",
        "max_record_bytes": 262_144,
        "max_key_bytes": 256,
        "max_future_ms": 86_400_000,
        "min_time_ms": 0,
        "reject_missing": (False,) * len(features),
    }
    return Codec(features, **(arguments | overrides))
