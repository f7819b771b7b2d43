"""What `streamae alert --test RECEIVER` does: one made-up alert begins, goes on and ends, and the answers are printed.

Routes, owners, silences and folding have no part in it. Must not know how a receiver is spoken to.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from streamae.alerting.alert import Action, Alert, Cause, Notice
from streamae.alerting.identity import own_alert
from streamae.alerting.receiver import Delivered, Outcome, Receiver, Refused, Retry
from streamae.alerting.receivers.build import build_receiver
from streamae.commands.alert_settings import load_alerting
from streamae.commands.invocation import Invocation
from streamae.commands.operator import shown
from streamae.errors import ExitCode, FatalError
from streamae.settings.alerts import AlertSettings

STEPS = {Action.TRIGGER: "opened", Action.UPDATE: "updated", Action.RESOLVE: "closed"}
SUMMARY = "TEST of streamae alerts: nothing is wrong"
KEY = "streamae-test"
WINDOW_MS = 60_000


def main(invocation: Invocation) -> int:
    """Do what `streamae alert --test` was asked for."""
    alerts = load_alerting(invocation).settings.alerts
    with closing(_receiver(invocation.options.test, alerts)) as receiver:
        return tell(receiver, time.time_ns() // 1_000_000, alerts.labels)


def tell(receiver: Receiver, now_ms: int, labels: dict[str, str]) -> int:
    """Send each kind of notice, and print what came of it; every one is tried, so that nothing stays open."""
    is_well = True
    for notice in notices(str(uuid.uuid4()), now_ms, labels):
        (outcome,) = receiver.send([notice], now_ms)
        is_well &= isinstance(outcome, Delivered)
        print(f"{notice.action.value:8} {shown(_words(outcome))}")
    return ExitCode.OK if is_well else ExitCode.FAILURE


def notices(episode_id: str, now_ms: int, labels: dict[str, str]) -> Iterator[Notice]:
    """Yield a trigger, an update and a resolve of one alert with the cause `test`; class and name say so too."""
    plain = own_alert(Cause.TEST, SUMMARY, now_ms, labels=labels, extra={"test": "sent by `streamae alert --test`"})
    for sequence, (action, kind) in enumerate(STEPS.items()):
        alert: Alert = replace(
            plain,
            episode_id=episode_id,
            identity={**plain.identity, "detector": KEY, "key": KEY},
            sequence=sequence,
            event=_event(episode_id, kind, sequence, now_ms),
        )
        if action is Action.RESOLVE:
            alert = replace(alert, ended_ms=now_ms, close_reason="test")
        yield Notice(action, alert)


def _event(episode_id: str, kind: str, sequence: int, now_ms: int) -> dict[str, Any]:
    """Return an event as the output topic would hold it, with all that templates may look at."""
    start_ms = now_ms - len(STEPS) * WINDOW_MS
    return {
        "episode_id": episode_id,
        "kind": kind,
        "sequence": sequence,
        "key": KEY,
        "detector": KEY,
        "start_time_ms": start_ms,
        "peak_time_ms": start_ms,
        "end_time_ms": start_ms + (sequence + 1) * WINDOW_MS,
        "anomalous_windows": sequence + 1,
        "severity": 10.0,
        "confidence": 1.0,
        "score": 2.0,
        "threshold": 1.0,
        "peak_score": 2.0,
        "state": "ready",
        "state_progress": 1.0,
        "imputed_share": 0.0,
        "close_reason": "test" if kind == "closed" else None,
        "features": [{"name": "made_up", "share": 1.0, "actual": 2.0, "expected": 1.0, "direction": "above"}],
        "source": {"topic": KEY, "partition": 0, "offset": sequence},
    }


def _words(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Retry(why):
            return f"not now: {why}"
        case Refused(why):
            return f"refused: {why}"


def _receiver(name: str, alerts: AlertSettings) -> Receiver:
    for settings in alerts.receivers:
        if settings.name == name:
            return build_receiver(settings, alerts)
    known = ", ".join(settings.name for settings in alerts.receivers)
    raise FatalError(
        f"no receiver is called {shown(name)}: there {'are' if len(alerts.receivers) > 1 else 'is'} {known}"
    )
