"""What makes two alerts the same to a receiver, and how a change becomes an alert.

Must not know: routes, receivers, or what was told before.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from streamae.alerting.alert import Alert, Cause, Labels, SeverityClass
from streamae.alerting.change import LARGEST, Change
from streamae.alerting.safe_text import label_value, plain

ANOMALY = "StreamaeAnomaly"
OWN_NAMES = {
    Cause.DETECTOR_SILENT: "StreamaeDetectorSilent",
    Cause.DELIVERY_FAILED: "StreamaeDeliveryFailed",
    Cause.SUMMARY: "StreamaeSummary",
    Cause.WATCHDOG: "StreamaeWatchdog",
    Cause.TEST: "StreamaeTest",
}
OWN_CLASSES = {
    Cause.DETECTOR_SILENT: SeverityClass.CRITICAL,
    Cause.DELIVERY_FAILED: SeverityClass.WARNING,
    Cause.SUMMARY: SeverityClass.WARNING,
    Cause.WATCHDOG: SeverityClass.INFO,
    Cause.TEST: SeverityClass.INFO,
}
LINE = ("detector", "topic", "partition", "key", "cause")  # of one such there is one episode at a time
LONGEST_SUMMARY = 1_024
LONGEST_NAME = 200
NO_LABELS: Labels = MappingProxyType({})


def identity_of(change: Change, labels: Labels, owner: Labels) -> dict[str, str]:
    """Return the labels that stay with an episode, each bounded and without control characters.

    Args:
        change: any of the episode.
        labels: of every alert (`alerts.labels`).
        owner: labels of the key's owner; they go before `labels`, and both never before what the event says.
    """
    key_bytes = change.event.get("key_base64")  # only where the key is no text, whose look two keys may share
    return {
        **{name: label_value(value) for name, value in {**labels, **owner}.items()},
        "alertname": ANOMALY,
        "detector": label_value(change.detector),
        "topic": label_value(change.topic),
        "partition": str(change.partition),
        "key": label_value(change.key, salt=key_bytes if isinstance(key_bytes, str) else ""),
        "cause": label_value(change.cause),
    }


def alert_of(
    change: Change,
    identity: Labels,
    classes: tuple[SeverityClass, ...],
    started_ms: int,
    link: str = "",
) -> Alert:
    """Return the alert that tells `change`, as open.

    Args:
        change: the newest of the episode.
        identity: from `identity_of`, as it was when the episode was first told.
        classes: reached so far, the highest last.
        started_ms: wall clock.
        link: where to look.
    """
    return Alert(
        change.episode_id,
        identity,
        classes,
        change.sequence,
        change.event,
        summary_of(change, classes[-1]),
        started_ms,
        link=link,
    )


def own_alert(
    cause: Cause,
    summary: str,
    started_ms: int,
    *,
    name: str = "",
    labels: Labels = NO_LABELS,
    extra: Labels = NO_LABELS,
) -> Alert:
    """Return an alert of our own, which tells of no episode.

    Args:
        cause: what it is about; class and `alertname` follow from it.
        summary: one line for people.
        started_ms: wall clock.
        name: the detector or receiver that it is about, "" = none; alerts of one cause and name are the same one.
        labels: of every alert (`alerts.labels`).
        extra: more lines for people.
    """
    about = {"receiver" if cause is Cause.DELIVERY_FAILED else "detector": label_value(name)} if name else {}
    identity = {
        **{label: label_value(value) for label, value in labels.items()},
        **about,
        "alertname": OWN_NAMES[cause],
        "cause": cause.value,
    }
    episode_id = f"{cause.value}/{name}" if name else cause.value
    return Alert(episode_id, identity, (OWN_CLASSES[cause],), -1, {}, summary, started_ms, extra=dict(extra))


def is_own(alert: Alert) -> bool:
    """Tell whether an alert is of our own making, not one of an episode."""
    return alert.sequence < 0


def summary_of(change: Change, severity: SeverityClass) -> str:
    """Return an episode in one line: `machine-006: critical anomaly, load 63.55 (expected 297.7)`."""
    parts = change.event.get("features")
    guilty = _in_words(parts[0]) if isinstance(parts, list) and parts else ""
    text = f"{plain(change.key, LONGEST_NAME)}: {severity.word} {plain(change.cause, LONGEST_NAME)}"
    return plain(f"{text}, {guilty}" if guilty else text, LONGEST_SUMMARY)


def _in_words(part: Any) -> str:
    """Return the guiltiest feature with its values; "" where the event does not say it as this release does."""
    if not isinstance(part, Mapping):
        return ""
    if isinstance(described := part.get("description"), str) and described:
        return plain(described, LONGEST_NAME)
    name, actual, expected = (part.get(field) for field in ("name", "actual", "expected"))
    if not isinstance(name, str):
        return ""
    if not isinstance(actual, int | float) or not isinstance(expected, int | float):
        return plain(name, LONGEST_NAME)
    return f"{plain(name, LONGEST_NAME)} {_digits(actual)} (expected {_digits(expected)})"


def _digits(number: float) -> str:
    return f"{number:.4g}" if abs(number) < LARGEST else "?"
