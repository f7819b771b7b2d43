"""`streamae train`: from files to a bundle, with valid settings.

Must not know how arguments were given, nor end the process.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from streamae.assembly.connectors import required_inputs
from streamae.commands.first_look import learnt_settings
from streamae.commands.invocation import Invocation
from streamae.commands.topic_records import kind_of_data, past_data
from streamae.connectors.past_records import PastData, is_keyed, read_past
from streamae.errors import ConfigError, ExitCode
from streamae.model.bundle import load_bundle
from streamae.observe import logs
from streamae.observe.progress import TrainingProgress
from streamae.settings.contract import contract_of, learnt_reading
from streamae.settings.tree import Settings
from streamae.training.data_doubts import order_doubts
from streamae.training.options import TrainOptions
from streamae.training.outcome import Training
from streamae.training.run import run_training


def train(
    settings: Settings,
    data: PastData,
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
        data: files, folders of them, or records of a topic.
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
    of, begin = learnt_reading(settings.input), None if start is None else load_bundle(start)
    progress = progress or sys.stderr
    series = read_past(
        data,
        of,
        settings.features.category_fields,
        partial(print, file=progress),
        requires=partial(required_inputs, settings.window),
        sorts=True,
    )
    for doubt in order_doubts(series, settings.window, is_keyed=is_keyed(data, settings.input)):
        print(doubt, file=progress)
    options = TrainOptions(settings.train, settings.window, settings.features, settings.model)
    done = run_training(series, options, TrainingProgress(progress), begin, tune=tune)
    contract = contract_of(of, settings.window, settings.features, kind_of_data(data))
    bundle = dataclasses.replace(done.bundle, contract=contract.plain())
    bundle.save(directory)
    rows, features = sum(map(len, series)), len(bundle.features)
    print(
        f"{directory}: bundle {bundle.version} from {rows} rows of {len(series)} keys with {features} features",
        file=out or sys.stdout,
    )
    if report is not None:
        report(dataclasses.replace(done, bundle=bundle))
    return ExitCode.OK


def main(invocation: Invocation) -> int:
    """Do what `streamae train` was asked for."""
    logs.configure("error", stream=sys.stderr)
    of = invocation.options
    report = _training_report(of.report, of.bundle)
    settings = learnt_settings(invocation.load(), of.data, sys.stderr).settings
    data = past_data(of.data, settings.kafka, sys.stderr)
    return train(settings, data, of.bundle, start=of.start, tune=of.tune, report=report)


def _training_report(asked: Path | None, bundle: Path) -> Callable[[Training], None] | None:
    """Return what writes the report beside the bundle, which holds nothing but itself.

    Raises:
        ConfigError: it was asked for and cannot be written; else a training does without, and says so.
    """
    path = asked or bundle.resolve().with_name(f"{bundle.resolve().name}.html")
    try:
        from streamae.reports.training import write_training
    except ModuleNotFoundError as error:
        text = f"{path}: the report needs {error.name}: install streamae[report]"
        if asked is not None:
            raise ConfigError([text]) from error
        print(text, file=sys.stderr)
        return None

    def write(training: Training) -> None:
        write_training(path, training)
        print(f"{path}: report", file=sys.stderr)

    return write
