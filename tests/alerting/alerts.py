"""Made-up alerts and notices."""

from __future__ import annotations

from streamae.alerting.alert import Action, Alert, Notice, SeverityClass

START_MS = 1_700_000_000_000


def alert(
    number: int = 0,
    *,
    severity: float = 95.0,
    classes: tuple[SeverityClass, ...] = (SeverityClass.CRITICAL,),
    started_ms: int = START_MS,
    **labels: str,
) -> Alert:
    """Return an open alert of the episode and key of this number."""
    identity = {"alertname": "StreamaeAnomaly", "detector": "d", "cause": "anomaly", "key": f"key-{number}", **labels}
    event = {"severity": severity}
    return Alert(f"episode-{number}", identity, classes, 0, event, f"key-{number} is odd", started_ms)


def notice(number: int = 0, action: Action = Action.TRIGGER, **more: object) -> Notice:
    """Return a notice of such an alert."""
    return Notice(action, alert(number, **more))  # type: ignore[arg-type]
