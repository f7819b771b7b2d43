"""Records of what a receiver knows as JSON texts, and the store that keeps them with how far they reach.

How far they reach is the mark: by partition of the output topic, the offset below which everything that was told is
among the records. When the group has committed more than that, records are missing: Redis was away, or has gone back.

Must not know: where the texts are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from streamae.alerting.alert import Alert, SeverityClass
from streamae.alerting.told import Kept, Told
from streamae.batches import Partition
from streamae.observe.logs import get_logger

VERSION = 1  # within it fields are only ever added


class TextStore(Protocol):
    """Keeps texts by name, and a mark. All methods may raise RetryableError: then ask again."""

    def load(self) -> tuple[dict[str, bytes], bytes] | None:
        """Return all texts and the mark of the last save; None = nothing was ever saved, or it was lost."""
        ...

    def save(self, texts: Mapping[str, bytes], mark: bytes) -> bool:
        """Keep these texts and this mark; return whether an earlier mark was there still."""
        ...

    def forget(self, names: Iterable[str]) -> None:
        """Drop these texts."""
        ...

    def close(self) -> None: ...


class ToldRecords:
    """The `ToldStore` over any `TextStore`."""

    def __init__(self, texts: TextStore) -> None:
        self._texts = texts

    def load(self) -> Kept | None:
        """Return all that can be read; see `ToldStore.load`."""
        found = self._texts.load()
        if found is None:
            return None
        texts, mark = found
        records = []
        for name, text in texts.items():
            try:
                records.append(decoded(text))
            except (ValueError, TypeError, KeyError, AttributeError) as error:  # it is told anew: receivers know it
                get_logger().warning("told_record_unreadable", episode=name, error=type(error).__name__)
        return Kept(tuple(records), _reach(mark))

    def save(self, records: Sequence[Told], reach: Mapping[Partition, int]) -> bool:
        """Keep records; see `ToldStore.save`."""
        mark = json.dumps([[*partition, offset] for partition, offset in sorted(reach.items())])
        return self._texts.save({record.alert.episode_id: encoded(record) for record in records}, mark.encode())

    def forget(self, episode_ids: Iterable[str]) -> None:
        """Drop records; see `ToldStore.forget`."""
        self._texts.forget(episode_ids)

    def close(self) -> None:
        """Release connections; idempotent."""
        self._texts.close()


def encoded(record: Told) -> bytes:
    """Return a record as JSON."""
    alert = record.alert
    plain = {
        "version": VERSION,
        "episode_id": alert.episode_id,
        "identity": dict(alert.identity),
        "classes": [severity.word for severity in alert.classes],
        "sequence": alert.sequence,
        "event": alert.event,
        "summary": alert.summary,
        "started_ms": alert.started_ms,
        "ended_ms": alert.ended_ms,
        "close_reason": alert.close_reason,
        "link": alert.link,
        "extra": dict(alert.extra),
        "is_resolved": record.is_resolved,
        "told_ms": record.told_ms,
        "is_unknown": record.is_unknown,
        "is_withheld": record.is_withheld,
        "is_announced": record.is_announced,
        "is_tried": record.is_tried,
        "lost_ms": record.lost_ms,
    }
    return json.dumps(plain, separators=(",", ":"), default=dict).encode()


def decoded(text: bytes) -> Told:
    """Return the record of a JSON text; fields that are not known are left out, whatever the version.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none.
    """
    plain: dict[str, Any] = json.loads(text)
    alert = Alert(
        episode_id=str(plain["episode_id"]),
        identity={str(name): str(value) for name, value in plain["identity"].items()},
        classes=tuple(SeverityClass[word.upper()] for word in plain["classes"]) or (SeverityClass.INFO,),
        sequence=int(plain["sequence"]),
        event=dict(plain["event"]),
        summary=str(plain["summary"]),
        started_ms=int(plain["started_ms"]),
        ended_ms=None if plain["ended_ms"] is None else int(plain["ended_ms"]),
        close_reason=str(plain["close_reason"]),
        link=str(plain.get("link", "")),
        extra={str(name): str(value) for name, value in plain.get("extra", {}).items()},
    )
    return Told(
        alert,
        is_resolved=bool(plain["is_resolved"]),
        told_ms=int(plain["told_ms"]),
        is_unknown=bool(plain.get("is_unknown", False)),
        is_withheld=bool(plain.get("is_withheld", False)),
        is_announced=bool(plain.get("is_announced", True)),
        is_tried=bool(plain.get("is_tried", False)),
        lost_ms=None if plain.get("lost_ms") is None else int(plain["lost_ms"]),
    )


def _reach(mark: bytes) -> dict[Partition, int]:
    try:
        return {Partition(str(topic), int(index)): int(offset) for topic, index, offset in json.loads(mark)}
    except (ValueError, TypeError):
        return {}  # nothing is complete: what was told is found out from the topic
