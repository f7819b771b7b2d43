"""One event of the output topic, read as alerting needs it: by this release, the one before and the one after.

What is not known is ignored: fields, causes, close reasons. What an alert cannot do without is asked for. Must not
know: routes, receivers, or what was told before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from streamae.alerting.alert import Cause
from streamae.batches import Partition, RawRecord
from streamae.connectors.events import read_event
from streamae.episode_changes import ChangeKind

VERSION = "1"
WORST = 100.0
LARGEST = 1e300
LONGEST_ID = 256  # of what becomes part of keys and headers
_VERSION = re.compile(r"\.v(\d+)$")


class Unreadable(StrEnum):
    """Why a record is no change: a closed set, also a header of its dead letter."""

    NO_VALUE = "no_value"
    NOT_JSON = "not_json"
    UNKNOWN_VERSION = "unknown_version"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"


class UnreadableChange(ValueError):  # noqa: N818 - it goes to the dead letters, nothing is wrong with the program
    """A record of the output topic that cannot be told.

    Attributes:
        reason: of a closed set.
        detail: a sentence; never holds the payload.
    """

    def __init__(self, reason: Unreadable, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Place(NamedTuple):
    """Where a change stands on the output topic."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one episode.

    Attributes:
        event_id: `ce_id`; where that is missing, made of episode and sequence.
        episode_id, kind, sequence: as in the event.
        detector, key: who decided, and on what.
        topic, partition: where the key's records come from; "" and -1 = the event does not say.
        severity: 0 to 100; where that is missing the worst, since a page too many is better than one missed.
        confidence: 0 to 1; where that is missing 1.
        state: of the key, any word.
        cause: any word.
        close_reason: why it was closed, any text; "" while it is open.
        start_ms, end_ms: event time of the first and of the newest anomalous window.
        event: the whole JSON object.
        stamped_ms: Kafka timestamp, wall clock.
        at: its place on the output topic.
        raw: the record, for its dead letter.
    """

    event_id: str
    episode_id: str
    kind: ChangeKind
    sequence: int
    detector: str
    key: str
    topic: str
    partition: int
    severity: float
    confidence: float
    state: str
    cause: str
    close_reason: str
    start_ms: int
    end_ms: int
    event: Mapping[str, Any]
    stamped_ms: int
    at: Place
    raw: RawRecord

    @property
    def is_closed(self) -> bool:
        """Whether the episode is over."""
        return self.kind is ChangeKind.CLOSED


def read_change(raw: RawRecord) -> Change:
    """Return the change that a record of the output topic holds.

    Raises:
        UnreadableChange: it holds none that this release could tell.
    """
    headers = dict(raw.headers)
    kind_word = _kind_in_header(headers)
    if not raw.value:
        raise UnreadableChange(Unreadable.NO_VALUE, "the record has no value")
    try:
        event = read_event(raw.value)
    except ValueError as error:
        raise UnreadableChange(Unreadable.NOT_JSON, _bounded(str(error))) from None
    fields = _Fields(event)
    kind = _kind(kind_word or fields.text("kind"))
    source = _Fields(fields.table("source"), "source.")
    episode_id, sequence = fields.text("episode_id"), fields.whole("sequence")
    if not 0 < len(episode_id) <= LONGEST_ID or sequence < 0:
        raise UnreadableChange(Unreadable.WRONG_TYPE, "episode_id and sequence are none of an episode")
    start_ms = fields.whole("start_time_ms", raw.timestamp)
    return Change(
        event_id=_text(headers.get("ce_id")) or f"{episode_id}/{sequence}",
        episode_id=episode_id,
        kind=kind,
        sequence=sequence,
        detector=fields.text("detector"),
        key=fields.text("key"),
        topic=source.text("topic", ""),
        partition=source.whole("partition", -1),
        severity=fields.number("severity", WORST),
        confidence=fields.number("confidence", 1.0),
        state=fields.text("state", "ready"),
        cause=fields.text("cause", Cause.ANOMALY.value),
        close_reason=fields.text("close_reason", "closed") if kind is ChangeKind.CLOSED else "",
        start_ms=start_ms,
        end_ms=fields.whole("end_time_ms", start_ms),
        event=event,
        stamped_ms=raw.timestamp,
        at=Place(Partition(raw.topic, raw.partition), raw.offset),
        raw=raw,
    )


class _Fields:
    """Typed look-ups in a JSON object; null counts as missing."""

    def __init__(self, content: Mapping[str, Any], prefix: str = "") -> None:
        self._content, self._prefix = content, prefix

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, default)
        return value if isinstance(value, str) else self._refuse(name, "text")

    def whole(self, name: str, default: int | None = None) -> int:
        value = self._get(name, default)
        is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return int(value) if is_whole else self._refuse(name, "a whole number")

    def number(self, name: str, default: float) -> float:
        value = self._get(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
        return float(value) if is_number else self._refuse(name, "a number")

    def table(self, name: str) -> Mapping[str, Any]:
        value = self._get(name, {})
        return value if isinstance(value, dict) else self._refuse(name, "an object")

    def _get(self, name: str, default: Any) -> Any:
        value = self._content.get(name)
        if value is None and default is None:
            raise UnreadableChange(Unreadable.MISSING_FIELD, f"there is no {self._prefix}{name}")
        return default if value is None else value

    def _refuse(self, name: str, what: str) -> Any:
        raise UnreadableChange(Unreadable.WRONG_TYPE, f"{self._prefix}{name} is not {what}")


def _kind_in_header(headers: Mapping[str, bytes | None]) -> str:
    """Return the part of `ce_type` before its version, "" = there is no such header."""
    event_type = _text(headers.get("ce_type"))
    found = _VERSION.search(event_type)
    if found and found[1] != VERSION:
        raise UnreadableChange(
            Unreadable.UNKNOWN_VERSION,
            f"events of version {_bounded(found[1])} are not known here, only version {VERSION}: upgrade the alerts",
        )
    return event_type[: found.start()] if found else event_type


def _kind(word: str) -> ChangeKind:
    """Return what happened; any word with `closed` in it closes, and what is not known goes on."""
    return next((kind for kind in (ChangeKind.CLOSED, ChangeKind.OPENED) if kind.value in word), ChangeKind.UPDATED)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _bounded(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
