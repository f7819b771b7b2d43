"""Changes, rules and receivers' natures for tests, with everything a test does not care about filled in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from streamae.alerting.change import Change, read_change
from streamae.alerting.owners import Owners
from streamae.alerting.routing import Routing
from streamae.alerting.rules import Rules
from streamae.batches import Partition, Record
from streamae.settings.delivery import DeliverySettings, ReceiverSettings

OUTPUT = Partition("anomalies", 0)
NOW_MS = 1_800_000_000_000
START_MS = 1_799_990_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@dataclass(frozen=True)
class Nature:
    """A receiver as its desk sees it."""

    wants_every_change: bool = False
    repeat_ms: int | None = None
    repeat_resolved_ms: int = 0


NEWEST, EVERY = Nature(), Nature(wants_every_change=True)
FORGETFUL = Nature(repeat_ms=MINUTE, repeat_resolved_ms=15 * MINUTE)


def record(
    kind: str = "opened",
    sequence: int = 0,
    episode: str = "e1",
    *,
    offset: int = 0,
    stamped_ms: int = NOW_MS,
    event_type: str | None = None,
    **fields: Any,
) -> Record:
    """Return an event as a record of the output topic; a field given as None is left out."""
    source = {"topic": "metrics", "partition": 4, "offset": 7}
    event = {"episode_id": episode, "kind": kind, "sequence": sequence, "key": "m1", "detector": "streamae"}
    event |= {"start_time_ms": START_MS, "end_time_ms": START_MS, "severity": 60.0, "confidence": 0.9, "state": "ready"}
    event |= {"source": source, "close_reason": "quiet" if kind == "closed" else None, **fields}
    value = json.dumps({name: value for name, value in event.items() if value is not None})
    headers: list[tuple[str, bytes | None]] = [
        ("ce_id", f"{episode}-{sequence}".encode()),
        ("ce_type", (event_type or f"io.streamae.anomaly.{kind}.v1").encode()),
    ]
    return Record(OUTPUT.topic, OUTPUT.index, offset, stamped_ms, b"m1", value.encode(), headers)


def change(kind: str = "opened", sequence: int = 0, episode: str = "e1", **fields: Any) -> Change:
    """Return a change, read from its record."""
    return read_change(record(kind, sequence, episode, **fields))


def rules(receiver: str = "pager", owners: Owners | None = None, **settings: Any) -> Rules:
    """Return the rules of a receiver that gets everything, unless routes are given."""
    receivers = (ReceiverSettings(name=receiver, kind="log"),)
    delivery = DeliverySettings(receivers=receivers, **settings)
    routing = Routing(delivery.routes, delivery.receivers)
    return Rules(receiver, delivery, routing, owners or Owners.read(None, delivery.default_owner))
