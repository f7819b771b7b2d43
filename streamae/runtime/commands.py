"""What the offline commands do, from valid settings on.

This module must not know how arguments were given, nor end the process.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.batches import Series
from streamae.connectors.files import read_series
from streamae.core.encoding import FeatureOptions
from streamae.core.grid import longest_gap_ms
from streamae.errors import ExitCode
from streamae.model.bundle import load_bundle
from streamae.runtime import edges
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions
from streamae.training.outcome import Training
from streamae.training.progress import StreamProgress
from streamae.training.run import run_training


def train(
    settings: Settings,
    data: Sequence[Path],
    directory: Path,
    out: TextIO | None = None,
    progress: TextIO | None = None,
    start: Path | None = None,
    *,
    tune: bool = False,
    report: Callable[[Training], None] | None = None,
) -> ExitCode:
    """Train on files and write the bundle.

    Args:
        settings: the input section says how to read the files, train, window and model how to train.
        data: CSV or Parquet files, or folders of them.
        directory: of the bundle; one that is there is replaced.
        out: gets one line about the result; standard output by default.
        progress: gets warnings and the progress; standard error by default.
        start: of a bundle whose weights are trained further; may be the same directory.
        tune: look for the size of the bottleneck first.
        report: is handed the training once its bundle is written.

    Raises:
        DataError: the files cannot be used.
        ConfigError: the settings do not fit together or ask for a device that is not there.
        BundleError: the bundle cannot be written, or the one to start from not be read.
    """
    of, begin = settings.input, None if start is None else load_bundle(start)
    progress = progress or sys.stderr
    series = read_series(
        data,
        of.key_field,
        of.time_field,
        of.value_fields,
        settings.features.category_fields,
        tell=partial(print, file=progress),
        time_unit=of.time_unit,
    )
    edges.policies_by_input(
        settings, (*series[0].features, *series[0].categories)
    )  # what `run` would refuse must not cost a training first
    doubt_order(series, progress, settings)
    done = run_training(series, train_options(settings), StreamProgress(progress), begin, tune=tune)
    bundle = done.bundle
    bundle.save(directory)
    rows, features = sum(map(len, series)), len(bundle.features)
    print(
        f"{directory}: bundle {bundle.version} from {rows} rows of {len(series)} keys with {features} features",
        file=out or sys.stdout,
    )
    if report is not None:
        report(done)
    return ExitCode.OK


def doubt_order(series: Sequence[Series], progress: TextIO, settings: Settings) -> None:
    """Warn of rows that are left out because they are not newer than an earlier row of their key.

    With a grid rows of one bucket are merged: only those of an older bucket are left out.
    Of files that are taken for one key each, that is what several keys in one look like: each is named.
    """
    stale, grid_ms = {}, settings.window.grid_ms
    for one in series:
        times = one.event_times_ms // (grid_ms or 1)
        newest = np.maximum.accumulate(times)[:-1] + (grid_ms is None)
        stale[one.key] = int(np.count_nonzero(times[1:] < newest))
    if settings.input.key_field is not None and any(stale.values()):
        worst = max(stale, key=lambda key: stale[key])
        rows = (
            f"{sum(stale.values()):,} of {sum(map(len, series)):,} rows are not newer than an earlier row of their key"
        )
        print(f"{rows} and are left out, most of {worst!r}; sort each key's rows by time", file=progress)
        return
    for one in series:
        if stale[one.key]:
            print(
                f"{one.key}: {stale[one.key]} of {len(one)} rows are not newer than an earlier row and are left out; "
                "if the file holds several keys, name their column with --input.key_field",
                file=progress,
            )


def train_options(settings: Settings) -> TrainOptions:
    """Pick what training needs out of the settings, so that it makes windows as the live stream does."""
    values = settings.window.model_dump() | settings.train.model_dump() | settings.model.model_dump()
    values["max_gap_ms"] = longest_gap_ms(
        settings.window.max_gap_ms, settings.window.grid_ms, settings.train.window_size
    )
    values |= {"features": feature_options(settings), "scaling": settings.features.scaling}
    return TrainOptions(**{field.name: values[field.name] for field in dataclasses.fields(TrainOptions)})


def feature_options(settings: Settings) -> FeatureOptions:
    """Pick what is derived from the fields out of the settings."""
    values = settings.features.model_dump()
    values["log_fields"] = tuple(name.replace("\\.", ".") for name in values["log_fields"])  # as columns of files
    return FeatureOptions(**{field.name: values[field.name] for field in dataclasses.fields(FeatureOptions)})
