"""`streamae bootstrap`: let keys learn from a history in files, before a daemon meets them.

The history goes through the live engine in memory; nothing is published. What keys know at its end is written to one
file, which a daemon gives to keys that it has no state of (`state.bootstrap_file`). Must not know what state means.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.batches import Series
from streamae.commands.invocation import Invocation
from streamae.commands.topic_records import kind_of_data, past_data
from streamae.connectors.learnt_keys import LearntKeys, check_place
from streamae.connectors.past_records import PastData, is_keyed
from streamae.engine.engine import Engine
from streamae.engine.standing import by_state, standings
from streamae.errors import DataError, ExitCode
from streamae.model.bundle import load_bundle
from streamae.observe import logs
from streamae.observe.logs import shown
from streamae.observe.progress import ReplayProgress
from streamae.replay.own_history import read_history
from streamae.replay.play import consume_all, embedded_engine
from streamae.reports.text import moment
from streamae.settings.tree import Settings
from streamae.training.data_doubts import order_doubts

NAMED_KEYS = 3  # in the summary, so that one sees whether they are called as in the stream


def bootstrap(
    settings: Settings,
    data: PastData,
    out: Path,
    stream: TextIO | None = None,
    progress: TextIO | None = None,
    now_ms: int | None = None,
) -> ExitCode:
    """Let the keys of a history learn, and write what they know.

    Args:
        settings: those of the daemon: model, window, threshold; the input section says how to read the files.
        data: files, folders of them, or records of a topic.
        out: file to write.
        stream: gets one line about the result; standard output by default.
        progress: standard error by default.
        now_ms: wall clock, by which rows of the future are refused; None = that of the machine.

    Raises:
        BundleError, DataError: the bundle or the data cannot be used, or the file not be written.
        ConfigError: settings do not fit the bundle.
    """
    stream, progress = stream or sys.stdout, progress or sys.stderr
    logs.configure("error", stream=progress)
    check_place(out)
    bundle = load_bundle(settings.model.bundle)
    series = read_history(
        settings.input, settings.window, settings.features, data, bundle, partial(print, file=progress)
    )
    _refuse_future(series, settings.input.max_future_ms, time.time_ns() // 1_000_000 if now_ms is None else now_ms)
    for doubt in order_doubts(series, settings.window, is_keyed=is_keyed(data, settings.input)):
        print(doubt, file=progress)
    engine, _ = embedded_engine(series, bundle, settings)
    consume_all(engine, ReplayProgress(progress, sum(map(len, series))))
    learnt = LearntKeys(engine.recovery.fingerprint, _known(engine), engine.states.layout)
    learnt.write(out)
    print(f"{out}: {_summary(engine, learnt, series)}, bundle {bundle.version}", file=stream)
    return ExitCode.OK


def _refuse_future(series: Sequence[Series], max_future_ms: int, now_ms: int) -> None:
    """Raise where a row is further ahead than the daemon would let pass: all its live records would be late."""
    for one in series:
        row = int(np.argmax(one.event_times_ms))
        if one.event_times_ms[row] > now_ms + max_future_ms:
            when = moment(int(one.event_times_ms[row]))
            raise DataError(
                f"key {one.key!r}, row {row + 1}: {when} lies in the future: correct the row or leave it out"
            )


def _known(engine: Engine) -> dict[bytes, bytes]:
    """Return the packed state of all keys, without what the daemon would still have to tell of the history.

    That is an open episode, of which nobody was told; and with a grid the bucket that is not over: its row would be
    judged when the first live record completes it, and so the window begins anew.
    """
    slots, stages = engine.states.table.resident(), engine.stages
    stages.episodes.columns.reset(slots)
    if stages.grid.grid_ms is not None:
        stages.grid.forget_open(slots)
        stages.windows.restart(slots)
    return dict(engine.states.packed(slots))


def _summary(engine: Engine, learnt: LearntKeys, series: Sequence[Series]) -> str:
    counts = by_state(standings(engine.stages, engine.states))
    kinds = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    names = [shown(key) for key in itertools.islice(learnt, NAMED_KEYS)]
    some = ", ".join([*names, "..."] if len(learnt) > NAMED_KEYS else names)
    until = moment(max(int(one.event_times_ms.max()) for one in series))
    return f"{len(learnt)} keys ({some}) from {sum(map(len, series))} rows until {until} ({kinds})"


def main(invocation: Invocation) -> int:
    """Do what `streamae bootstrap` was asked for."""
    of = invocation.options
    settings = invocation.load_with(invocation.bundle(), kind_of_data(of.data)).settings
    return bootstrap(settings, past_data(of.data, settings.kafka, sys.stderr), of.out)
