"""The report of a backtest: alerts by day and by key, other levels of the threshold, and curves.

It takes a finished backtest and must not know how it was made.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from streamae.batches import Series
from streamae.evaluation.backtest import DAY_MS, History
from streamae.replay.live_scores import RowScores
from streamae.replay.what_if import Level
from streamae.reports.curves import bars, score_curve
from streamae.reports.page import render
from streamae.reports.text import moment, text

MOST_KEYS, MOST_ALERTS, MOST_DAYS = 20, 500, 400


def write_backtest(path: Path, history: History, subtitle: str) -> None:
    """Write the report of a backtest to `path`."""
    episodes = history.live.episodes
    by_key = Counter(one.key for one in episodes)
    order = sorted(range(len(history.series)), key=lambda number: -by_key[history.series[number].key])
    render(
        "backtest.html",
        path,
        title="streamae: backtest",
        subtitle=subtitle,
        summary=text(history).partition("\n")[0],
        per_day=Markup(_per_day(history)),  # noqa: S704 - numbers and dates, made by us
        knob=history.knob,
        levels=[_level(one, history.days) for one in history.levels],
        rules=[_level(one, history.days) for one in history.rules],
        unruled=_level(history.unruled, history.days) if history.unruled else None,
        keys=[_key(history.series[i], history.live.rows[i], by_key) for i in order[:MOST_KEYS]],
        alerts=[
            {
                "key": one.key,
                "start": moment(one.start_ms),
                "end": moment(one.end_ms),
                "severity": f"{one.severity:.0f}",
                "features": ", ".join(one.features),
            }
            for one in episodes[:MOST_ALERTS]
        ],
        left_out=max(0, len(episodes) - MOST_ALERTS),
    )


def _level(one: Level, days: float) -> dict[str, Any]:
    """Return the cells of a row of the tables of other thresholds."""
    return {
        "rule": one.rule,
        "knob": one.knob,
        "value": f"{one.value:.3g}",
        "is_set": one.is_set,
        "alerts": one.alerts,
        "rate": f"{one.alerts / days:.2f}",
        "noisy": one.keys,
        "share": f"{one.alarm_share:.2%}",
    }


def _per_day(history: History) -> str:
    """Return bars, one a day of event time (the newest `MOST_DAYS`)."""
    last = max(int(one.event_times_ms.max()) for one in history.series) // DAY_MS
    first = max(min(int(one.event_times_ms.min()) for one in history.series) // DAY_MS, last - MOST_DAYS + 1)
    days = np.array([one.start_ms // DAY_MS for one in history.live.episodes], dtype=np.int64)
    counts = np.bincount(days[days >= first] - first, minlength=last - first + 1).astype(np.int64)
    return bars(counts, [moment(day * DAY_MS)[:10] for day in range(first, last + 1)])


def _key(one: Series, rows: RowScores, by_key: Counter[str]) -> dict[str, Any]:
    """Return a key's heading, figures and curve."""
    ticks = [
        (row, moment(int(one.event_times_ms[row]))[:16]) for row in range(len(one) // 12, len(one), len(one) // 6 or 1)
    ]
    curve = score_curve(rows.judged, rows.thresholds, rows.alarms, one.labels, ticks)
    return {
        "name": one.key,
        "figures": f"{by_key[one.key]} alerts, {len(one):,} rows, {rows.scored:,} of them scored",
        "svg": Markup(curve),  # noqa: S704 - numbers and dates, made by us
    }
