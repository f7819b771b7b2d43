"""What an event says, read tolerantly: events of other releases, or broken ones, never keep an alert from being told.

Must not know: receivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import numpy as np

from streamae.alerting.alert import Alert
from streamae.alerting.change import LARGEST
from streamae.alerting.texts import one_line
from streamae.time_zones import read_zone

MOST_FEATURES = 10
MOST_TEXT = 1_024
TIMES = ("start", "peak", "end")
NUMBERS = ("severity", "confidence", "score", "threshold", "peak_score", "anomalous_windows", "imputed_share")
SILENCE = ("silent_keys", "partition_keys")
WORDS = ("state", "state_reason", "model_version", "settings_version")
ENDINGS = {  # words for people, by close reason; others are shown as they are
    "quiet": "over",
    "silent": "over: its key says nothing any more",
    "returned": "over: heard again",
    "ended": "given up: nobody waits for it any longer",
    "state_lost": "given up: what was known of its key cannot be read",
    "stale": "given up: its detector is silent, nobody knows whether it goes on",
    "superseded": "replaced by a newer one of the same key",
    "operator": "ended by an operator",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class FeatureFact:
    """One feature to blame: its name, its values as text, and what is special about it in words, if anything."""

    name: str
    actual: str
    expected: str
    words: str

    def __str__(self) -> str:
        return f"{self.name} {self.actual} (expected {self.expected})" + (f": {self.words}" if self.words else "")


def features_of(event: Mapping[str, Any]) -> list[FeatureFact]:
    """Return the features to blame, most guilty first."""
    listed = event.get("features")
    found = []
    for part in listed[:MOST_FEATURES] if isinstance(listed, list) else ():
        if isinstance(part, Mapping) and isinstance(part.get("name"), str):
            words = part.get("description")
            found.append(
                FeatureFact(
                    one_line(part["name"], MOST_TEXT),
                    shown_number(part.get("actual")),
                    shown_number(part.get("expected")),
                    one_line(words, MOST_TEXT) if isinstance(words, str) else "",
                )
            )
    return found


def times_of(event: Mapping[str, Any], zone: str | None) -> dict[str, str]:
    """Return start, peak and end in event time as they are shown; those that the event has."""
    known = {name: event.get(f"{name}_time_ms") for name in TIMES}
    return {name: shown_time(time_ms, zone) for name, time_ms in known.items() if type(time_ms) is int}


def numbers_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return severity, confidence and the like as text; those that the event has."""
    return {name: shown_number(event[name]) for name in NUMBERS if _is_number(event.get(name))}


def silence_of(event: Mapping[str, Any]) -> dict[str, int]:
    """Return how many keys of the partition are silent, of how many; 0 where the event is no silence."""
    counts = {name: event.get(name) for name in SILENCE}
    is_known = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**63 for one in counts.values())
    return {name: one if is_known and isinstance(one, int) else 0 for name, one in counts.items()}


def words_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the state of the key and the versions; those that the event has."""
    found = {name: event.get(name) for name in WORDS}
    return {name: one_line(text, MOST_TEXT) for name, text in found.items() if isinstance(text, str) and text}


def ending_of(alert: Alert) -> str:
    """Return why an alert is over, in words; "" while it is open."""
    if alert.ended_ms is None:
        return ""
    reason = one_line(alert.close_reason, 80)
    return ENDINGS.get(reason, f"over ({reason})" if reason else "over")


def facts_of(alert: Alert, zone: str | None) -> dict[str, str]:
    """Return what an alert says besides its labels, features and words, as text; "" for what it does not say."""
    return {
        "episode_id": alert.episode_id,
        "sequence": str(alert.sequence) if alert.event else "",
        "started": shown_time(alert.started_ms, zone),
        "ended": "" if alert.ended_ms is None else shown_time(alert.ended_ms, zone),
        "ending": ending_of(alert),
        "close_reason": alert.close_reason,
        **{f"{name}_time": text for name, text in times_of(alert.event, zone).items()},
        **numbers_of(alert.event),
    }


def shown_time(time_ms: int, zone: str | None) -> str:
    """Return a time in UTC, and in `zone` beside it.

    Example:
        >>> shown_time(1_735_757_820_000, "Europe/Rome")
        '2025-01-01 18:57:00 UTC (19:57:00 Europe/Rome)'
    """
    moment = _moment(time_ms)
    text = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if zone is None:
        return text
    local = _moment(int(read_zone(zone).local(np.array([min(max(time_ms, 0), _LATEST_MS)], np.int64))[0]))
    day = "" if local.date() == moment.date() else f"{local:%Y-%m-%d} "
    return f"{text} ({day}{local:%H:%M:%S} {zone})"


def rfc3339(time_ms: int) -> str:
    """Return a time as machines read it: RFC 3339, UTC, milliseconds."""
    return _moment(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_number(number: object) -> str:
    """Return a number with four digits that count; "?" for what is none."""
    return f"{number:.4g}" if _is_number(number) else "?"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _moment(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=min(max(time_ms, 0), _LATEST_MS))
