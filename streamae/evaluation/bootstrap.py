"""`streamae bootstrap`: let keys learn from a history in files, before a daemon meets them.

The history goes through the live engine in memory; nothing is published. What keys know at its end is written to one
file, which a daemon gives to keys that it has no state of (`state.bootstrap_file`). Must not know what state means.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.batches import Series
from streamae.config import Settings
from streamae.connectors.learnt_keys import LearntKeys
from streamae.connectors.memory_store import MemoryStore
from streamae.errors import ExitCode
from streamae.evaluation.live_scores import prepare
from streamae.evaluation.own_history import read_history
from streamae.evaluation.replay import consume_all
from streamae.evaluation.replay_progress import ReplayProgress
from streamae.model.bundle import load_bundle
from streamae.runtime import logs
from streamae.runtime.commands import doubt_single_keys
from streamae.runtime.engine import Engine
from streamae.runtime.standing import by_state, standings


def bootstrap(
    settings: Settings,
    data: Sequence[Path],
    out: Path,
    stream: TextIO | None = None,
    progress: TextIO | None = None,
) -> ExitCode:
    """Let the keys of a history learn, and write what they know.

    Args:
        settings: those of the daemon: model, window, threshold; the input section says how to read the files.
        data: CSV or Parquet files, or folders of them.
        out: file to write.
        stream: gets one line about the result; standard output by default.
        progress: standard error by default.

    Raises:
        BundleError, DataError: the bundle or the data cannot be used, or the file not be written.
        ConfigError: settings do not fit the bundle.
    """
    stream, progress = stream or sys.stdout, progress or sys.stderr
    logs.configure("error", stream=progress)
    bundle = load_bundle(settings.model.bundle)
    series = read_history(settings, data, bundle)
    if settings.input.key_field is None:
        doubt_single_keys(series, progress)
    store = MemoryStore()
    engine, _ = prepare(series, bundle, settings, store)
    consume_all(engine, ReplayProgress(progress, sum(map(len, series))))
    learnt = LearntKeys(engine.recovery.fingerprint, _states(engine, store))
    learnt.write(out)
    print(f"{out}: {_summary(engine, learnt, series)}, bundle {bundle.version}", file=stream)
    return ExitCode.OK


def _states(engine: Engine, store: MemoryStore) -> dict[bytes, bytes]:
    """Return the packed state of all keys, as if no episode were open: nobody was told of it."""
    episodes = engine.stages.episodes.columns
    assert engine.stages.state[-1] is episodes  # so that their part comes last
    episodes.reset(np.zeros(1, dtype=np.int32))
    none_open = episodes.export(np.zeros(1, dtype=np.int32))[0].tobytes()
    return {
        key: packed[: len(packed) - len(none_open)] + none_open
        for stored in store.snapshot().values()
        for bucket in stored.buckets
        for key, packed in bucket.items()
    }


def _summary(engine: Engine, learnt: LearntKeys, series: Sequence[Series]) -> str:
    counts = by_state(standings(engine.stages, engine.states))
    kinds = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    last = np.datetime64(max(int(one.event_times_ms.max()) for one in series), "ms")
    until = f"{np.datetime_as_string(last, unit='s')}Z"
    return f"{len(learnt)} keys from {sum(map(len, series))} rows until {until} ({kinds})"
