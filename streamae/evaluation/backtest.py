"""`streamae backtest`: a history of one's own through the live engine: which alerts it would have brought, and when.

Then the same scores are judged again with the threshold rule at other levels, and with the other rules, so that a level
can be chosen before anybody is paged. Needs no labels. Must not know how scores come about.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.assembly.build import build_decision, build_tuning, window_ms, with_budget_solved
from streamae.batches import ChangeKind, Series, Status
from streamae.core.episodes import Episodes
from streamae.core.key_table import NO_SLOT
from streamae.core.thresholds.budget import rate_per_week
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.evaluation.live_scores import LiveRun, RowScores, score_live
from streamae.evaluation.metrics import EventReport, event_report, pool
from streamae.evaluation.own_history import read_history
from streamae.evaluation.replay import Episode
from streamae.evaluation.replay_progress import ReplayProgress
from streamae.model.bundle import Bundle, load_bundle
from streamae.observe import logs
from streamae.settings.alerts import AlertSettings
from streamae.settings.tree import Settings
from streamae.training.data_doubts import order_doubts

ALERTS_FILE, KEYS_FILE, REPORT_FILE = "alerts.csv", "keys.csv", "report.html"
KNOBS = {  # of each rule: its level
    "sigma": "k",
    "mad": "k",
    "static": "value",
    "quantile": "margin",
    "conformal": "margin",
    "block_maxima": "block_level",
    "pot": "probability",
    "dspot": "probability",
}
FACTORS = (0.6, 0.8, 1.0, 1.3, 1.7)  # of the level set
DAY_MS = 86_400_000
MOST_KEYS = 10  # in the summary


@dataclass(frozen=True, slots=True)
class Level:
    """What would come of a threshold rule at a level.

    Attributes:
        rule: its name.
        value: of the rule's level.
        is_set: both are those in the settings.
        alerts: episodes opened.
        keys: with at least one.
        alarm_share: share of windows in alarm, in [0, 1].
    """

    rule: str
    value: float
    is_set: bool
    alerts: int
    keys: int
    alarm_share: float


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
        levels: what others would bring; empty where the rule has none.
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


def backtest(
    settings: Settings,
    data: Sequence[Path],
    directory: Path,
    out: Path,
    *,
    has_labels: bool = False,
    stream: TextIO | None = None,
) -> ExitCode:
    """Run a history through the engine; print a summary, write `alerts.csv`, `keys.csv` and `report.html`.

    Args:
        settings: the input section says how to read the files; window, threshold and episode how to judge.
        data: CSV or Parquet files, or folders of them.
        directory: of the bundle.
        out: for results.
        has_labels: hold the alarms against the column `is_anomaly`.
        stream: for the summary; standard output by default.

    Raises:
        BundleError, DataError: the bundle or the data cannot be used.
        ConfigError: settings do not fit, or what the report needs is not installed.
    """
    stream = stream or sys.stdout
    logs.configure("error", stream=sys.stderr)
    try:
        from streamae.evaluation.backtest_html import write_backtest
    except ModuleNotFoundError as error:
        raise ConfigError([f"{REPORT_FILE} needs {error.name}: install streamae[report]"]) from error
    bundle = load_bundle(directory)
    series = read_history(settings, data, bundle)
    for doubt in order_doubts(series, grid_ms=settings.window.grid_ms, is_keyed=settings.input.key_field is not None):
        print(doubt, file=sys.stderr)  # noqa: T201 - a warning to whoever typed the command
    if has_labels and all(one.labels is None for one in series):
        raise DataError("--labels: there is no column is_anomaly in the data")
    live = score_live(series, bundle, settings, ReplayProgress(sys.stderr, sum(map(len, series))))
    step_ms, windows = window_ms(settings, bundle), sum(_windows(rows) for rows in live.rows)
    history = History(
        series,
        live,
        by_key(series, live, step_ms),
        rate_per_week(len(live.episodes), windows, step_ms),
        settings.threshold.alert_budget_per_week,
        KNOBS.get(settings.threshold.rule, ""),
        levels(settings, bundle, live, series),
        other_rules(settings, bundle, live, series),
        without_alert_rules(settings, bundle, live, series),
        _truth(series, live) if has_labels else None,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_alerts(out / ALERTS_FILE, live.episodes)
    write_keys(out / KEYS_FILE, history.keys)
    write_backtest(out / REPORT_FILE, history, f"bundle {bundle.version}, {settings.threshold.rule} threshold")
    print(text(history), file=stream)
    print(f"alerts: {out / ALERTS_FILE}\nkeys:   {out / KEYS_FILE}\nreport: {out / REPORT_FILE}", file=stream)
    return ExitCode.OK


def _truth(series: Sequence[Series], live: LiveRun) -> EventReport:
    """Hold the alarms of all labelled keys against their labels."""
    both = zip(series, live.rows, strict=True)
    return pool(event_report(one.labels, rows.alarms) for one, rows in both if one.labels is not None)


def levels(settings: Settings, bundle: Bundle, live: LiveRun, series: Sequence[Series]) -> list[Level]:
    """Judge the recorded scores again, as a new key would be, at several levels of the rule that is set."""
    settings = with_budget_solved(settings, bundle)
    knob = KNOBS.get(settings.threshold.rule)
    if knob is None:
        return []
    usual = getattr(settings.threshold, knob)
    return [
        _judged_again(_with_threshold(settings, **{knob: usual * factor}), bundle, live, series, is_set=factor == 1.0)
        for factor in FACTORS
    ]


def other_rules(settings: Settings, bundle: Bundle, live: LiveRun, series: Sequence[Series]) -> list[Level]:
    """Judge the recorded scores again by each other rule at the level it has in the settings; one that cannot meet an
    alert budget is left out.
    """
    found = []
    for rule in KNOBS:
        if rule == settings.threshold.rule:
            continue
        try:
            tried = with_budget_solved(_with_threshold(settings, rule=rule), bundle)
        except ConfigError:
            continue
        found.append(_judged_again(tried, bundle, live, series, is_set=False))
    return found


def without_alert_rules(settings: Settings, bundle: Bundle, live: LiveRun, series: Sequence[Series]) -> Level | None:
    """Judge the recorded scores again without [alerts]: what is muted, in maintenance or too small would be heard."""
    if settings.alerts == AlertSettings():
        return None
    unruled = with_budget_solved(settings, bundle).model_copy(update={"alerts": AlertSettings()})
    return _judged_again(unruled, bundle, live, series, is_set=False)


def _with_threshold(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"threshold": settings.threshold.model_copy(update=changes)})


def _judged_again(
    settings: Settings, bundle: Bundle, live: LiveRun, series: Sequence[Series], *, is_set: bool
) -> Level:
    """Return what the recorded scores bring under other settings of the threshold."""
    keys, threshold = max(1, len(live.slots)), settings.threshold
    settings = settings.model_copy(update={"limits": settings.limits.model_copy(update={"max_keys": keys})})
    tuning = build_tuning(settings, bundle)
    decision, merged = build_decision(settings, bundle, tuning), Episodes(keys, len(bundle.features), tuning.episodes)
    for columns in (decision.columns, merged.columns):
        columns.reset(np.arange(keys, dtype=np.int32))  # as the engine does for a key that is new
    for slot, one in zip(live.slots, series, strict=True):
        if slot != NO_SLOT:
            decision.key_rules.admit(slot, one.key.encode())
    opened: Counter[int] = Counter()
    windows = alarms = 0
    for batch, scores in zip(live.recording.windows, live.recording.scores, strict=True):
        verdicts = decision.judge(scores, batch)
        changes = merged.advance(verdicts, scores, batch)
        opened.update(change.slot for change in changes if change.kind is ChangeKind.OPENED)
        windows, alarms = windows + len(batch), alarms + int((verdicts.statuses == Status.ANOMALOUS).sum())
    value = float(getattr(threshold, KNOBS[threshold.rule]))
    return Level(threshold.rule, value, is_set, opened.total(), len(opened), alarms / max(windows, 1))


def by_key(series: Sequence[Series], live: LiveRun, step_ms: float) -> list[KeyAlerts]:
    """Return the alerts of every key, those with most first, equal ones as they come; `step_ms` between two windows."""
    starts: dict[str, list[int]] = {one.key: [] for one in series}
    for episode in live.episodes:
        starts[episode.key].append(episode.start_ms)
    found = []
    for one, rows in zip(series, live.rows, strict=True):
        of = starts[one.key]
        rate = rate_per_week(len(of), _windows(rows), step_ms)
        found.append(KeyAlerts(one.key, len(of), rate, (min(of), max(of)) if of else None))
    return sorted(found, key=lambda one: -one.alerts)


def write_alerts(path: Path, episodes: Sequence[Episode]) -> None:
    """Write one line an alert: key, start and end in UTC, severity, guilty features, whether it was over at the end."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["key", "start", "end", "severity", "features", "is_closed"])
        for one in episodes:
            cells = [one.key, moment(one.start_ms), moment(one.end_ms), one.severity, " ".join(one.features)]
            writer.writerow([*cells, int(one.is_closed)])


def write_keys(path: Path, keys: Sequence[KeyAlerts]) -> None:
    """Write one line a key, also those without alerts: alerts, alerts a week, when the first and the last began in UTC."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["key", "alerts", "alerts_per_week", "first", "last"])
        for one in keys:
            first, last = ("", "") if one.starts_ms is None else map(moment, one.starts_ms)
            writer.writerow([one.key, one.alerts, round(one.per_week, 4), first, last])


def text(history: History) -> str:
    """Return the summary for a terminal."""
    episodes, rows = history.live.episodes, sum(map(len, history.series))
    scored = sum(map(_windows, history.live.rows))
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
    lines += [_row(f"{one.rule}, {KNOBS[one.rule]} {one.value:.3g}", one, history.days) for one in history.rules]
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


def _windows(rows: RowScores) -> int:
    """Return how many windows of a key were scored."""
    return int((~np.isnan(rows.scores)).sum())


def moment(time_ms: int) -> str:
    """Return event time as text, UTC."""
    return f"{np.datetime_as_string(np.datetime64(time_ms, 'ms'), unit='s')}Z"
