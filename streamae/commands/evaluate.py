"""`streamae evaluate`: hold detectors against a suite of labelled series, as they would have run live.

Prints and writes what comes of the jobs. Must not know how they are planned or run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from streamae.commands.invocation import Invocation
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.evaluation import summary
from streamae.evaluation.choice import Choice, chosen, is_tested
from streamae.evaluation.detectors import SHIPPED
from streamae.evaluation.jobs import Job, plan
from streamae.evaluation.labelled_file import open_file
from streamae.evaluation.nab_corpus import corpus_scores, corpus_text, write_corpus_scores
from streamae.evaluation.results import Result, write_table
from streamae.evaluation.schedule import perform
from streamae.evaluation.suite import Suite
from streamae.observe import logs
from streamae.settings.contract import learnt_reading
from streamae.settings.tree import Settings

TABLE_FILE, CORPUS_FILE, REPORT_FILE = "metrics.csv", "nab.csv", "report.html"


def evaluate(
    settings: Settings,
    folder: Path,
    out: Path,
    choice: Choice,
    stream: TextIO | None = None,
    progress: TextIO | None = None,
) -> ExitCode:
    """Evaluate, print the table, write `metrics.csv`, `nab.csv` and `report.html`.

    Args:
        settings: input, train, window, threshold and episode sections; detectors change some of it.
        folder: of the suite, or one labelled file.
        out: for results; what is there from before and still holds is not done again.
        choice: what of the suite, and how.
        stream: for the table; standard output by default.
        progress: standard error by default.

    Returns:
        0, or 1 if there is not one series without a failure.

    Raises:
        DataError: the suite cannot be read, or nothing of it is chosen.
        ConfigError: detectors do not fit the settings, or what the report needs is not installed.
    """
    stream, progress = stream or sys.stdout, progress or sys.stderr
    _load_report_extra()
    logs.configure("error", stream=progress)
    suite = _suite(settings, folder, choice, stream)
    jobs = plan(settings, suite, out, choice)
    out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    try:
        for found in perform(jobs, choice.processes, progress):
            results += found
    finally:
        results = _in_order(results, jobs)
        write_table(out / TABLE_FILE, results)
    hardware = summary.hardware(choice.processes)
    print(f"{summary.text(results)}\n", file=stream)
    if scores := corpus_scores(results, out):
        write_corpus_scores(out / CORPUS_FILE, scores)
        print(f"{corpus_text(scores)}\n", file=stream)
    print(hardware, file=stream)
    for entry in chosen(suite, choice):
        if not is_tested(entry):
            print(f"left out: {entry.group}/{entry.name}: all of its rows are train rows", file=stream)
    for name, differences in {f"{result.group}/{result.series}": result.differences for result in results}.items():
        if differences:
            print(f"differs: {name}: {'; '.join(differences)}", file=stream)
    for result in results:
        if result.error:
            print(f"failed: {result.group}/{result.series} {result.detector}: {result.error}", file=stream)
    _write_report(out, results, hardware)
    print(f"figures: {out / TABLE_FILE}\nreport:  {out / REPORT_FILE}", file=stream)
    return ExitCode.OK if any(not result.error for result in results) else ExitCode.FAILURE


def _suite(settings: Settings, folder: Path, choice: Choice, stream: TextIO) -> Suite:
    """Open what is evaluated, read as `train` reads it."""
    reading = learnt_reading(settings.input)
    if folder.is_file():
        return open_file(folder, reading, choice.train_rows, partial(print, file=stream))
    if choice.train_rows is not None:
        raise DataError(f"--train-rows is for one labelled file: {folder} says itself where its series are split")
    return Suite.open(folder, reading)


def _in_order(results: Sequence[Result], jobs: Sequence[Job]) -> list[Result]:
    """Sort by the suite's order of series, then by detector and seed as asked for."""
    series = {(entry.group, entry.name): None for job in jobs for entry in job.entries}
    detectors = {name: None for job in jobs for name in job.names}
    by_series = {key: number for number, key in enumerate(series)}
    by_detector = {name: number for number, name in enumerate(detectors)}
    return sorted(results, key=lambda one: (by_series[one.group, one.series], by_detector[one.detector], one.seed))


def _load_report_extra() -> None:
    """Raise before hours of work if the report cannot be written behind them."""
    try:
        import jinja2  # noqa: F401 - only whether it is there
    except ModuleNotFoundError as error:
        raise ConfigError([f"{REPORT_FILE} needs {error.name}: install streamae[report]"]) from error


def _write_report(out: Path, results: Sequence[Result], hardware: str) -> None:
    from streamae.reports.evaluation import write_evaluation

    write_evaluation(out / REPORT_FILE, out, results, hardware)


def main(invocation: Invocation) -> int:
    """Do what `streamae evaluate` was asked for."""
    settings, of = invocation.load().settings, invocation.options
    choice = Choice(of.groups, of.detectors or SHIPPED, of.seeds, of.series, of.fleet, of.jobs, of.train_rows)
    return evaluate(settings, of.suite, of.out, choice)
