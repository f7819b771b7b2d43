"""What a terminal shows of a finished backtest. Must not know how it was made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamae.evaluation.backtest import History, KeyAlerts
from streamae.replay.what_if import Level

MOST_KEYS = 10  # in the summary


def text(history: History) -> str:
    """Return the summary for a terminal."""
    episodes, rows = history.live.episodes, sum(map(len, history.series))
    scored = sum(rows.scored for rows in history.live.rows)
    span = f"{rows:,} rows of {len(history.series)} keys over {history.days:.1f} days, {scored:,} windows scored"
    lines = [f"{span}: {len(episodes)} alerts, {len(episodes) / history.days:.2f} a day"]
    if history.budget is not None:
        lines.append(
            f"reached {history.per_week:.3g} alerts a key and week, true ones included; the budget is {history.budget:.3g} false ones"
        )
    if history.truth is not None:
        found = history.truth
        lines.append(f"{found.found} of {found.events} labelled events found, {found.false_episodes} false alerts")
    if history.levels:
        lines.append(f"threshold.{history.knob:20}{'alerts':>8}{'a day':>8}{'keys':>6}{'windows in alarm':>18}")
    lines += [
        _row(f"{one.value:.3g}", one, history.days) + ("  as set" if one.is_set else "") for one in history.levels
    ]
    if history.unruled is not None:
        lines.append(_row("without the rules of [alerts]", history.unruled, history.days))
    if history.rules:
        lines.append("other rules, as they are set")
    lines += [_row(f"{one.rule}, {one.knob} {one.value:.3g}", one, history.days) for one in history.rules]
    return "\n".join([*lines, *_noisiest(history.keys)])


def _row(title: str, one: Level, days: float) -> str:
    return f"{title:<30}{one.alerts:>8}{one.alerts / days:>8.2f}{one.keys:>6}{one.alarm_share:>18.2%}"


def _noisiest(keys: Sequence[KeyAlerts]) -> list[str]:
    """Return a table of the first keys with alerts; what a terminal would obey in their names is escaped."""
    noisy = [one for one in keys if one.alerts]
    if not noisy:
        return []
    lines = [f"{'alerts':>8}{'a week':>10}  key"]
    for one in noisy[:MOST_KEYS]:
        name = one.key if one.key.isprintable() else ascii(one.key)
        lines.append(f"{one.alerts:>8}{one.per_week:>10.3g}  {name}")
    more = len(noisy) - MOST_KEYS
    return [*lines, f"and {more} more key{'s' * (more > 1)} with alerts"] if more > 0 else lines


def moment(time_ms: int) -> str:
    """Return event time as text, UTC."""
    return f"{np.datetime_as_string(np.datetime64(time_ms, 'ms'), unit='s')}Z"
