"""Alerts for the tests of receivers: an episode of one machine, as it stands on the output topic and as it is told."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streamae.alerting.alert import Action, Alert, Notice, SeverityClass

START_MS = 1_735_757_820_000  # 2025-01-01 18:57:00 UTC
NOW_MS = 1_735_760_000_000
MINUTE_MS = 60_000
HOSTILE = 'pump <!channel> @everyone </b><script>x</script> *_`[here](http://evil.example) "\r\nBcc: all@example.org'
_NAMES = uuid.UUID("00000000-0000-5000-8000-000000000000")


def made_event(key: str = "machine-006", kind: str = "opened", sequence: int = 0, **more: Any) -> dict[str, Any]:
    """Return the JSON object of an event; `more` replaces or adds fields."""
    return {
        "episode_id": episode_of(key),
        "kind": kind,
        "sequence": sequence,
        "key": key,
        "detector": "streamae",
        "start_time_ms": START_MS,
        "peak_time_ms": START_MS + MINUTE_MS,
        "end_time_ms": START_MS + 2 * MINUTE_MS,
        "severity": 71.25,
        "confidence": 0.62,
        "score": 3.8,
        "threshold": 3.0,
        "state": "ready",
        "state_reason": "",
        "close_reason": "quiet" if kind == "closed" else None,
        "window": {"end_time_ms": START_MS + 2 * MINUTE_MS, "rows": 32},
        "features": [
            {"name": "network_mbit_s", "share": 0.6, "actual": 63.55, "expected": 297.7, "direction": "below"},
            {"name": "requests_per_s", "share": 0.2, "actual": 1191.0, "expected": 627.0, "direction": "above"},
        ],
        **more,
    }


def made_alert(key: str = "machine-006", event: Mapping[str, Any] | None = None, **more: Any) -> Alert:
    """Return the alert of an episode that is open; `more` replaces fields."""
    event = made_event(key) if event is None else event
    alert = Alert(
        episode_id=episode_of(key),
        identity={
            "alertname": "StreamaeAnomaly",
            "detector": "streamae",
            "topic": "sensors",
            "partition": "0",
            "key": key,
            "cause": "anomaly",
        },
        classes=(SeverityClass.WARNING,),
        sequence=event.get("sequence", -1),
        event=event,
        summary=f"{key}: warning anomaly, network_mbit_s 63.55 (expected 297.7)",
        started_ms=NOW_MS,
    )
    return replace(alert, **more)


def trigger(alert: Alert) -> Notice:
    """Return the first news of an alert."""
    return Notice(Action.TRIGGER, alert)


def over(alert: Alert, ended_ms: int = NOW_MS + MINUTE_MS, close_reason: str = "quiet") -> Notice:
    """Return the news that an alert is over."""
    key = alert.identity.get("key", "")
    event = made_event(key, "closed", alert.sequence + 1) if alert.event else alert.event
    ended = replace(alert, ended_ms=ended_ms, close_reason=close_reason, event=event, sequence=alert.sequence + 1)
    return Notice(Action.RESOLVE, ended)


def episode_of(key: str) -> str:
    """Return the id of the one episode of `key`."""
    return str(uuid.uuid5(_NAMES, key))
