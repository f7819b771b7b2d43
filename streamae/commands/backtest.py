"""`streamae backtest`: a history of one's own through the live engine: which alerts it would have brought, and when.

Needs no labels. Must not know how scores come about.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from streamae.commands.invocation import Invocation
from streamae.commands.topic_records import kind_of_data, past_data
from streamae.connectors.past_records import PastData, is_keyed
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.evaluation.backtest import KeyAlerts, look_back
from streamae.evaluation.suite import check_labels
from streamae.model.bundle import load_bundle
from streamae.observe import logs
from streamae.observe.progress import ReplayProgress
from streamae.replay.live_scores import score_live
from streamae.replay.own_history import read_history
from streamae.replay.play import Episode, play
from streamae.replay.what_if import WhatIf
from streamae.reports.text import moment, text
from streamae.settings.tree import Settings
from streamae.training.data_doubts import order_doubts

ALERTS_FILE, KEYS_FILE, REPORT_FILE = "alerts.csv", "keys.csv", "report.html"


def backtest(
    settings: Settings,
    data: PastData,
    directory: Path,
    out: Path,
    *,
    has_labels: bool = False,
    stream: TextIO | None = None,
) -> ExitCode:
    """Run a history through the engine; print a summary, write `alerts.csv`, `keys.csv` and `report.html`.

    Args:
        settings: the input section says how to read the files; window, threshold and episode how to judge.
        data: files, folders of them, or records of a topic.
        directory: of the bundle.
        out: for results.
        has_labels: hold the alarms against the labels: `input.label_field`, else the column `is_anomaly`.
        stream: for the summary; standard output by default.

    Raises:
        BundleError, DataError: the bundle or the data cannot be used.
        ConfigError: settings do not fit, or what the report needs is not installed.
    """
    stream = stream or sys.stdout
    logs.configure("error", stream=sys.stderr)
    try:
        from streamae.reports.backtest import write_backtest
    except ModuleNotFoundError as error:
        raise ConfigError([f"{REPORT_FILE} needs {error.name}: install streamae[report]"]) from error
    bundle = load_bundle(directory)
    series = read_history(
        settings.input, settings.window, settings.features, data, bundle, partial(print, file=sys.stderr)
    )
    for doubt in order_doubts(series, settings.window, is_keyed=is_keyed(data, settings.input)):
        print(doubt, file=sys.stderr)
    if has_labels and all(one.labels is None for one in series):
        raise DataError("--labels: no column is_anomaly in the data: name the field of labels with input.label_field")
    if has_labels:
        check_labels(series, "--labels")
    played = play(series, bundle, settings, ReplayProgress(sys.stderr, sum(map(len, series))))
    if played.unscored:
        raise DataError(f"0 windows scored: {played.unscored}")
    for warning in played.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    live = score_live(series, played)
    history = look_back(WhatIf(settings, bundle, series, live), has_labels=has_labels)
    out.mkdir(parents=True, exist_ok=True)
    write_alerts(out / ALERTS_FILE, live.episodes)
    write_keys(out / KEYS_FILE, history.keys)
    write_backtest(out / REPORT_FILE, history, f"bundle {bundle.version}, {settings.threshold.rule} threshold")
    print(text(history), file=stream)
    print(f"alerts: {out / ALERTS_FILE}\nkeys:   {out / KEYS_FILE}\nreport: {out / REPORT_FILE}", file=stream)
    return ExitCode.OK


def write_alerts(path: Path, episodes: Sequence[Episode]) -> None:
    """Write one line an alert: key, start and end in UTC, severity, guilty features, whether it was over at the end."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["key", "start", "end", "severity", "features", "is_closed"])
        for one in episodes:
            cells = [one.key, moment(one.start_ms), moment(one.end_ms), one.severity, " ".join(one.features)]
            writer.writerow([*cells, int(one.is_closed)])


def write_keys(path: Path, keys: Sequence[KeyAlerts]) -> None:
    """Write one line a key, also without alerts: how many, how many a week, when the first and the last began (UTC)."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["key", "alerts", "alerts_per_week", "first", "last"])
        for one in keys:
            first, last = ("", "") if one.starts_ms is None else map(moment, one.starts_ms)
            writer.writerow([one.key, one.alerts, round(one.per_week, 4), first, last])


def main(invocation: Invocation) -> int:
    """Do what `streamae backtest` was asked for."""
    of = invocation.options
    settings = invocation.load_with(invocation.bundle(of.bundle), kind_of_data(of.data)).settings
    return backtest(settings, past_data(of.data, settings.kafka, sys.stderr), of.bundle, of.out, has_labels=of.labels)
