"""What a receiver is told of: one episode, as people should see it now.

Must not know: receivers, routes, or what was told before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

Labels = Mapping[str, str]


class SeverityClass(IntEnum):
    """How bad, in the words that routes and pagers use."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """As it stands in labels."""
        return self.name.lower()

    @classmethod
    def of(cls, severity: float, warning_from: float, critical_from: float) -> SeverityClass:
        """Return the class of a severity (0 to 100); a bound belongs to the class above it.

        Example:
            >>> [SeverityClass.of(severity, 50, 90).word for severity in (49.9, 50, 90)]
            ['info', 'warning', 'critical']
        """
        if severity >= critical_from:
            return cls.CRITICAL
        return cls.WARNING if severity >= warning_from else cls.INFO


class Cause(StrEnum):
    """What an alert is about: the label `cause`. An event may bring causes of its own, which stay as they are."""

    ANOMALY = "anomaly"
    DETECTOR_SILENT = "detector_silent"  # nothing is heard of a detector
    DELIVERY_FAILED = "delivery_failed"  # alerts went to the dead-letter topic
    SUMMARY = "summary"  # what was not told one by one
    WATCHDOG = "watchdog"  # always firing, while alerts can be delivered
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Alert:
    """An episode as a receiver is told of it; times are wall clock, milliseconds since the epoch.

    Attributes:
        episode_id: of the episode; of what is no episode a name that stays the same.
        identity: labels fixed when it was first told, without the class: `alertname`, `detector`, `topic`,
            `partition`, `key`, `cause`, those of `alerts.labels` and of the key's owner. Two alerts of one identity
            are never open at once.
        classes: severity classes that were reached, in the order in which they were; the last is the highest.
        sequence: of the newest change that it tells, -1 where there are none.
        event: the newest change as its JSON object; {} where it is no episode.
        summary: one line for people.
        started_ms: when it was first told.
        ended_ms: when it ended, None = it is open.
        close_reason: why it ended, "" while it is open.
        link: where to look, "" = nowhere.
        extra: more lines for people, such as what a summary counts.
    """

    episode_id: str
    identity: Labels
    classes: tuple[SeverityClass, ...]
    sequence: int
    event: Mapping[str, Any]
    summary: str
    started_ms: int
    ended_ms: int | None = None
    close_reason: str = ""
    link: str = ""
    extra: Labels = field(default_factory=dict)

    @property
    def severity(self) -> SeverityClass:
        """The highest class so far."""
        return self.classes[-1]

    @property
    def labels(self) -> dict[str, str]:
        """The identity with the highest class as `severity`."""
        return {**self.identity, "severity": self.severity.word}

    @property
    def dedup_key(self) -> str:
        """64 hex digits of the identity: the same for all alerts of one identity, whatever their class."""
        text = "\n".join(f"{name}={value}" for name, value in sorted(self.identity.items()))
        return hashlib.sha256(text.encode()).hexdigest()


class Action(StrEnum):
    """What a notice asks for."""

    TRIGGER = "trigger"  # first news of it
    UPDATE = "update"  # it goes on, or its class rose
    RESOLVE = "resolve"  # it is over
    REPEAT = "repeat"  # nothing new: for receivers that forget


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert for one receiver, with what is asked for."""

    action: Action
    alert: Alert
