"""What `streamae alert --dry-run` does: read past changes and print who would have been told how much of them.

The output topic is read without a group. Nothing is sent, committed or remembered. Must not know how it is decided who
is told what.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from streamae.alerting.owners import Owners
from streamae.alerting.rehearsal import ALL_TEAMS, HOUR_MS, Rehearsal, Row
from streamae.commands.alert_arguments import DRY_RUN_SPAN
from streamae.commands.alert_settings import load_alerting
from streamae.commands.invocation import Invocation
from streamae.commands.operator import shown
from streamae.commands.past_data import age_or_time
from streamae.connectors.kafka import TopicHistory
from streamae.errors import ExitCode
from streamae.observe.progress import ReplayProgress
from streamae.reports.text import moment
from streamae.settings.alerts import AlertSettings
from streamae.settings.connections import KafkaSettings

DAY_MS = 24 * HOUR_MS
SHOWN_KEYS = 10
HEAD = f"{'receiver':<16}{'team':<16}{'messages a day':>15}{'alerts a day':>14}{'open now':>10}  worst hour"


def main(invocation: Invocation) -> int:
    """Do what `streamae alert --dry-run` was asked for."""
    settings = load_alerting(invocation).settings
    asked = invocation.options.since
    since_ms = age_or_time(DRY_RUN_SPAN) if asked is None else asked
    end_ms = time.time_ns() // 1_000_000
    owners = Owners.read(settings.alerts.owners, settings.alerts.default_owner)
    rehearsal = rehearse(settings.alerts, owners, settings.kafka, settings.output.topic, since_ms, sys.stderr)
    print(describe(rehearsal, since_ms, end_ms))
    if count := owners.without_owner.count:
        examples = ", ".join(map(shown, owners.without_owner.examples[:SHOWN_KEYS]))
        print(f"\n{count:,} key{'s' * (count > 1)} without an owner: {examples}")
    return ExitCode.OK


def rehearse(
    alerts: AlertSettings, owners: Owners, kafka: KafkaSettings, topic: str, since_ms: int, progress: TextIO
) -> Rehearsal:
    """Read the topic from `since_ms` (Kafka timestamp) to its end.

    Raises:
        DataError: there is no such topic, it may not be read, or it holds nothing since then.
        ConfigError, RetryableError: the cluster cannot be reached.
    """
    rehearsal = Rehearsal(alerts, owners)
    with TopicHistory(topic, kafka) as history:
        parts = history.newest(sys.maxsize, since_ms)
        asked = sum(part.size for part in parts.values())
        partition = None
        for batch in history.read(parts, ReplayProgress(progress, asked, "offsets")):
            for at, records in batch.items():
                if at != partition:
                    rehearsal.begin_partition()
                    partition = at
                rehearsal.take(records)
    return rehearsal


def describe(rehearsal: Rehearsal, since_ms: int, end_ms: int) -> str:
    """Return what came of it as text. Its days go from the first change, where that is later than `since_ms`."""
    start_ms = since_ms if rehearsal.first_ms is None else max(since_ms, rehearsal.first_ms)
    days = max(end_ms - start_ms, HOUR_MS) / DAY_MS
    length = _length(end_ms - start_ms)
    span = f"{moment(start_ms)} to {moment(end_ms)} ({length})"
    lines = [f"{rehearsal.changes:,} changes of {rehearsal.episodes:,} episodes, {span}; nothing was sent"]
    lines += [f"{count:,} records are no change: {reason}" for reason, count in sorted(rehearsal.unreadable.items())]
    return "\n".join([*lines, "", HEAD, *_rows(rehearsal.rows(end_ms), days)])


def _length(span_ms: int) -> str:
    if span_ms >= DAY_MS:
        return f"{span_ms / DAY_MS:.1f} days"
    short = f"{span_ms / HOUR_MS:.1f} hours" if span_ms >= HOUR_MS else "less than an hour, counted as one"
    return f"{short}: too short to tell what a day brings"


def _rows(rows: Mapping[tuple[str, str], Row], days: float) -> list[str]:
    lines = []
    for (receiver, team), row in rows.items():
        name = "(all)" if team == ALL_TEAMS else shown(team)
        rates = f"{row.messages / days:>15,.1f}{row.alerts / days:>14,.1f}{row.open:>10,}"
        lines.append(f"{receiver:<15} {name:<15} {rates}  {_worst_hour(row)}".rstrip())
        if row.keys:
            keys = ", ".join(f"{shown(key)} {count:,}" for key, count in row.keys.most_common(SHOWN_KEYS))
            lines.append(f"  noisiest: {keys}")
    return lines


def _worst_hour(row: Row) -> str:
    if not row.hours:
        return ""
    hour, count = min(row.hours.items(), key=lambda each: (-each[1], each[0]))
    return f"{count:,} from {moment(hour * HOUR_MS)}"
