"""A finished backtest: which alerts a history of one's own would have brought, by key, and against labels if there are any.

Must not know how scores come about, or who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamae.batches import Series
from streamae.core.thresholds.budget import rate_per_week
from streamae.core.thresholds.registry import rule_named
from streamae.evaluation.metrics import EventReport, event_report, pool
from streamae.replay.live_scores import LiveRun
from streamae.replay.what_if import Level, WhatIf

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class KeyAlerts:
    """What one key would have brought.

    Attributes:
        key: of the stream.
        alerts: episodes opened.
        per_week: alerts in a week of the key's scored windows, as a budget counts them; 0 without any.
        starts_ms: event time at which its first and its last alert begin; None without alerts.
    """

    key: str
    alerts: int
    per_week: float
    starts_ms: tuple[int, int] | None


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A finished backtest: all keys, what was thought of them, and what other levels would change.

    Attributes:
        series, live: as given to and returned by the engine.
        keys: one a series, those with most alerts first.
        per_week: alerts a key and week that were reached, as a budget counts them.
        budget: alerts a key and week that the settings aim at, if they do.
        knob: name of the rule's level.
        levels: what others would bring.
        rules: what the other rules would bring as they are set.
        unruled: what would come without the operator's rules of [alerts], where there are any.
        truth: alarms against labels, if that was asked for.
    """

    series: Sequence[Series]
    live: LiveRun
    keys: Sequence[KeyAlerts]
    per_week: float
    budget: float | None
    knob: str
    levels: Sequence[Level]
    rules: Sequence[Level]
    unruled: Level | None
    truth: EventReport | None

    @property
    def days(self) -> float:
        """Event time covered, at least one day."""
        first, last = (edge([edge(one.event_times_ms) for one in self.series]) for edge in (min, max))
        return max(1.0, float(last - first) / DAY_MS)


def look_back(tried: WhatIf, *, has_labels: bool) -> History:
    """Sum up a run through the engine, and judge its scores by other thresholds.

    Args:
        tried: the run, and what it was judged by.
        has_labels: hold its alarms against the labels of the series.
    """
    series, live, threshold = tried.series, tried.live, tried.settings.threshold
    return History(
        series,
        live,
        by_key(series, live, tried.step_ms),
        rate_per_week(len(live.episodes), sum(rows.scored for rows in live.rows), tried.step_ms),
        threshold.alert_budget_per_week,
        rule_named(threshold.rule).level,
        tried.levels(),
        tried.other_rules(),
        tried.without_alert_rules(),
        _truth(series, live) if has_labels else None,
    )


def _truth(series: Sequence[Series], live: LiveRun) -> EventReport:
    """Hold the alarms of all labelled keys against their labels."""
    both = zip(series, live.rows, strict=True)
    return pool(event_report(one.labels, rows.alarms) for one, rows in both if one.labels is not None)


def by_key(series: Sequence[Series], live: LiveRun, step_ms: float) -> list[KeyAlerts]:
    """Return the alerts of every key, those with most first, equal ones as they come; `step_ms` between two windows."""
    starts: dict[str, list[int]] = {one.key: [] for one in series}
    for episode in live.episodes:
        starts[episode.key].append(episode.start_ms)
    found = []
    for one, rows in zip(series, live.rows, strict=True):
        of = starts[one.key]
        rate = rate_per_week(len(of), rows.scored, step_ms)
        found.append(KeyAlerts(one.key, len(of), rate, (min(of), max(of)) if of else None))
    return sorted(found, key=lambda one: -one.alerts)
