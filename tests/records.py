"""Input records and codecs for tests, with everything a test does not care about filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamae.batches import Partition
from streamae.connectors.codec import Codec
from streamae.connectors.value_layouts import CategoryValues, Vocabulary
from streamae.settings.data import InputSettings

FEATURES = ("temp", "load")
STAMP_MS = 1_700_000_000_000  # Kafka timestamp of every record unless told otherwise: 2023-11-14T22:13:20Z
PARTITION = Partition("sensors", 3)
WAVES_START_S = 1_740_981_600  # 2025-03-03T06:00:00Z


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


def codec(
    features: tuple[str, ...] = FEATURES,
    *,
    required: tuple[bool, ...] | None = None,
    vocabularies: Sequence[Vocabulary] = (),
    category_fields: Sequence[str] = (),
    **settings: Any,
) -> Codec:
    """Return a codec with the default settings, Kafka key and Kafka timestamp, that requires nothing."""
    flags = (False,) * (len(features) + len(vocabularies)) if required is None else required
    return Codec(InputSettings(**settings), features, flags, CategoryValues(vocabularies, category_fields))


def noisy_waves(rows: int = 120, keys: tuple[str, ...] = ("a", "b")) -> list[tuple[str, dict[str, Any]]]:
    """Return (key, content) of noisy waves: a row a second and key, some without load."""
    random = np.random.default_rng(0)
    return [
        (
            key,
            {
                "when": WAVES_START_S + row,
                "machine": key,
                "temp": round(float(np.sin(row / 5) + random.normal(0, 0.1)), 4),
                "load": None if row % 17 == 3 else round(float(random.normal(0, 1)), 4),
                "note": "text",
            },
        )
        for row in range(rows)
        for key in keys
    ]
