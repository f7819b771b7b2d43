"""Metrics of the process that tells people: one registry, labels from the settings and from closed sets.

Must not know: what makes an alert, or who calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

OUTCOMES = ("delivered", "retried", "refused")
DROPS = ("not_newer", "not_routed", "old", "silenced", "other_detector")
CLASSES = ("info", "warning", "critical")


class AlertMetrics:
    """All metrics of `streamae alert`. Any thread may call; values start at zero with the process.

    Args:
        receivers: their names, so that every series is there from the start.
    """

    def __init__(self, receivers: Sequence[str]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per counter that nobody reads
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        one = ["receiver"]
        self._deliveries = self._counter("deliveries_total", "Alerts sent, by what came of it.", [*one, "outcome"])
        self._drops = self._counter("dropped_total", "Changes that were not told, by why.", [*one, "reason"])
        self._letters = self._counter("dead_letters_total", "Changes sent to the dead-letter topic.", one)
        self._lag = self._gauge("lag_seconds", "Age of the newest change read, 0 where none is waiting.", one)
        self._oldest = self._gauge("oldest_undelivered_seconds", "Age of the oldest alert that waits.", one)
        self._firing = self._gauge("firing", "Alerts that are open at the receiver.", [*one, "severity"])
        self._success = self._gauge("last_success_timestamp_seconds", "When an alert was accepted last.", one)
        self._failing = self._gauge("failing", "Whether the receiver takes nothing now.", one)
        self._stateless = self._gauge("stateless", "Whether what was told cannot be kept now.")
        self._without_owner = self._gauge("without_owner", "Keys that no owner's pattern matches.")
        self._silent = self._gauge("detectors_silent", "Detectors without a sign of life.")
        self._silences = self._gauge("silences", "Silences in force.")
        for receiver in receivers:
            for outcome in OUTCOMES:
                self._deliveries.labels(receiver, outcome)
            for reason in DROPS:
                self._drops.labels(receiver, reason)
            for severity in CLASSES:
                self._firing.labels(receiver, severity)
            for metric in (self._letters, self._lag, self._oldest, self._success, self._failing):
                metric.labels(receiver)

    def sent(self, receiver: str, outcome: str, alerts: int, wall_ms: int) -> None:
        """So many alerts came to one of `OUTCOMES`."""
        self._deliveries.labels(receiver, outcome).inc(alerts)
        if outcome == "delivered":
            self._success.labels(receiver).set(wall_ms / 1_000)

    def dropped(self, receiver: str, reason: str, changes: int = 1) -> None:
        """Changes were not told for one of `DROPS`."""
        self._drops.labels(receiver, reason).inc(changes)

    def dead_letter(self, receiver: str) -> None:
        """A change went to the dead-letter topic."""
        self._letters.labels(receiver).inc()

    def waiting(self, receiver: str, lag_ms: int, oldest_ms: int) -> None:
        """How far reading and telling are behind, in milliseconds."""
        self._lag.labels(receiver).set(lag_ms / 1_000)
        self._oldest.labels(receiver).set(oldest_ms / 1_000)

    def firing(self, receiver: str, by_class: Mapping[str, int]) -> None:
        """How many alerts are open at a receiver, by class."""
        for severity in CLASSES:
            self._firing.labels(receiver, severity).set(by_class.get(severity, 0))

    def failing(self, receiver: str, *, is_failing: bool) -> None:
        """Whether a receiver takes nothing now."""
        self._failing.labels(receiver).set(is_failing)

    def standing(self, *, is_stateless: bool, without_owner: int, silent: int, silences: int) -> None:
        """What concerns all receivers."""
        self._stateless.set(is_stateless)
        self._without_owner.set(without_owner)
        self._silent.set(silent)
        self._silences.set(silences)

    def render(self) -> tuple[bytes, str]:
        """Return the exposition text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"streamae_alerts_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"streamae_alerts_{name}", text, labels, registry=self._registry)
