"""What an operator orders, as records of a compacted topic: silences, and alerts that are to end.

A record's key is the id of the order, so that a later record of an order (a silence that is ended early) takes the
place of the one before. Who gave it and why stand in the record itself. A record that cannot be read is told in the
log and otherwise ignored: one wrong order must not take the others away.

Must not know: how the topic is read or written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streamae.alerting.alert import Alert, Labels
from streamae.alerting.silences import Silence, Silences, matcher
from streamae.batches import RawRecord
from streamae.observe.logs import get_logger

VERSION = 1
MOST_BYTES = 65_536
MOST_LETTERS = 1_024  # of who, why and each pattern


@dataclass(frozen=True, slots=True)
class Resolution:
    """Alerts of detectors or keys that are retired are to end.

    Attributes:
        id: its name.
        labels: by label (`detector`, `key`), a pattern; all must fit. Never empty.
        given_ms: wall clock, milliseconds since the epoch: what begins later is not meant.
        who, why: for whoever asks later.
    """

    id: str
    labels: Labels
    given_ms: int
    who: str
    why: str

    def ends(self, alert: Alert) -> bool:
        """Tell whether an alert is to end: its labels fit, and it was there when the order was given.

        As often as it is asked the answer is the same: an order that is read again ends nothing new.
        """
        return alert.started_ms <= self.given_ms and matcher(self.labels)(alert.identity)


Order = Silence | Resolution


@dataclass(frozen=True, slots=True)
class Orders:
    """All orders that still mean something: a snapshot, which any thread may read.

    Attributes:
        silences: those that are not over.
        resolutions: in the order in which they were given.
    """

    silences: Silences
    resolutions: tuple[Resolution, ...] = ()


class OrderBook:
    """Orders as their topic tells them. Mutated by one thread.

    Args:
        max_silence_ms: longest silence; one that was ordered for longer ends after that.
    """

    def __init__(self, max_silence_ms: int) -> None:
        self._max_silence_ms = max_silence_ms
        self._orders: dict[str, Order] = {}

    def take(self, records: Iterable[RawRecord]) -> list[Order]:
        """Take in records of the topic, oldest first; return the orders that are new or have changed."""
        changed: dict[str, Order] = {}
        for record in records:
            name = (record.key or b"").decode(errors="backslashreplace")
            if record.value is None:
                self._orders.pop(name, None)
                changed.pop(name, None)
                continue
            try:
                order = read_order(record.key, record.value)
            except ValueError as error:
                place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
                get_logger().warning("order_unreadable", why=str(error), **place)
                continue
            if order != self._orders.get(name):
                self._orders[name] = changed[name] = order
        return list(changed.values())

    def since(self, before: OrderBook) -> list[Order]:
        """Return the orders that are not the same in another book."""
        return [order for name, order in self._orders.items() if before._orders.get(name) != order]

    def silence(self, name: str) -> Silence | None:
        """Return a silence by its id, also one that is over."""
        found = self._orders.get(name)
        return found if isinstance(found, Silence) else None

    def orders(self, now_ms: int) -> Orders:
        """Return what still means something at `now_ms`, wall clock."""
        silences = [self._bounded(each) for each in self._orders.values() if isinstance(each, Silence)]
        resolutions = [each for each in self._orders.values() if isinstance(each, Resolution)]
        return Orders(
            Silences(each for each in silences if now_ms < each.ends_ms),
            tuple(sorted(resolutions, key=lambda each: (each.given_ms, each.id))),
        )

    def _bounded(self, silence: Silence) -> Silence:
        return replace(silence, ends_ms=min(silence.ends_ms, silence.starts_ms + self._max_silence_ms))


def write_order(order: Order) -> tuple[bytes, bytes]:
    """Return key and value of the record of an order."""
    common = {"version": VERSION, "id": order.id, "labels": dict(order.labels), "who": order.who, "why": order.why}
    if isinstance(order, Silence):
        own = {
            "kind": "silence",
            "starts_ms": order.starts_ms,
            "ends_ms": order.ends_ms,
            "ended_by": order.ended_by,
            "ended_why": order.ended_why,
            "elsewhere": dict(order.elsewhere),
        }
    else:
        own = {"kind": "resolve", "given_ms": order.given_ms}
    return order.id.encode(), json.dumps({**common, **own}, sort_keys=True).encode()


def read_order(key: bytes | None, value: bytes) -> Order:
    """Return the order of a record. Fields that are not known are ignored.

    Raises:
        ValueError: it is none, or of a later version.
    """
    if len(value) > MOST_BYTES:
        raise ValueError(f"order of {len(value):,} bytes: at most {MOST_BYTES:,}")
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"order is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"order is no JSON object of version {VERSION}")
    name = _text(found, "id")
    if not name or name.encode(errors="replace") != key:
        raise ValueError("order has another id than its record has a key")
    labels = _labels(found, "labels")
    if not labels:
        raise ValueError("order names no label: it would mean everything")
    who, why = _text(found, "who"), _text(found, "why")
    if found.get("kind") == "silence":
        starts_ms, ends_ms = _moment(found, "starts_ms"), _moment(found, "ends_ms")
        ended_by, ended_why = (_text(found, field) if field in found else "" for field in ("ended_by", "ended_why"))
        elsewhere = _labels(found, "elsewhere") if "elsewhere" in found else {}
        return Silence(name, labels, starts_ms, ends_ms, who, why, ended_by, ended_why, elsewhere)
    if found.get("kind") == "resolve":
        return Resolution(name, labels, _moment(found, "given_ms"), who, why)
    raise ValueError(f"order of unknown kind {found.get('kind')!r:.64}")


def _text(found: Mapping[str, Any], name: str) -> str:
    text = found.get(name)
    if not isinstance(text, str) or len(text) > MOST_LETTERS:
        raise ValueError(f"order: {name} is no text of at most {MOST_LETTERS:,} letters")
    return text


def _moment(found: Mapping[str, Any], name: str) -> int:
    time_ms = found.get(name)
    if type(time_ms) is not int:
        raise ValueError(f"order: {name} is no time in milliseconds")
    return time_ms


def _labels(found: Mapping[str, Any], name: str) -> dict[str, str]:
    labels = found.get(name)
    if not isinstance(labels, dict):
        raise ValueError(f"order: {name} is no JSON object")  # noqa: TRY004 - the bytes are wrong
    return {label: _text(labels, label) for label in labels}


def tell(order: Order) -> None:
    """Write the line of the log that an audit looks for: who, what, why."""
    common = {"id": order.id, "labels": dict(order.labels), "who": order.who, "why": order.why}
    if isinstance(order, Resolution):
        get_logger().info("alerts_ended_by_operator", **common)
    elif order.ended_by:
        get_logger().info("silence_ended", ended_by=order.ended_by, ended_why=order.ended_why, **common)
    else:
        get_logger().info("silence_set", starts_ms=order.starts_ms, ends_ms=order.ends_ms, **common)
