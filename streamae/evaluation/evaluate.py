"""`streamae evaluate`: hold detectors against a suite of labelled series, as they would have run live.

Plans the jobs, runs them in processes of one core each, shows how far they are, and prints and writes what came
of them. What is finished is kept and not done again. Must not know how a series is trained on or scored.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TextIO

from streamae.errors import ConfigError, DataError, ExitCode, FatalError
from streamae.evaluation import summary
from streamae.evaluation.detectors import SHIPPED, by_network, settings_of
from streamae.evaluation.job_progress import JobProgress
from streamae.evaluation.jobs import Job, run
from streamae.evaluation.nab_corpus import corpus_scores, corpus_text, write_corpus_scores
from streamae.evaluation.results import Result, write_table
from streamae.evaluation.suite import Suite, SuiteSeries
from streamae.observe import logs
from streamae.settings.tree import Settings

TABLE_FILE, CORPUS_FILE, REPORT_FILE = "metrics.csv", "nab.csv", "report.html"
TRAINING_ROWS = 20_000  # about what a training costs, in rows that are scored; for the estimate of the time only


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a suite is evaluated, and how.

    Attributes:
        groups: names, none = all.
        detectors: names, see `detectors`.
        seeds: trainings of each, with seeds 0, 1, ...
        pattern: of the series' names, alone or as `group/name`, with `*`, `?` and `[]`; None = all.
        is_fleet: one bundle for the series of a group that have the same channels, instead of one each.
        processes: side by side, one core each.
    """

    groups: tuple[str, ...] = ()
    detectors: tuple[str, ...] = SHIPPED
    seeds: int = 1
    pattern: str | None = None
    is_fleet: bool = False
    processes: int = 1


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
        settings: train, window, threshold and episode sections; detectors change some of it.
        folder: of the suite.
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
    suite = Suite.open(folder)
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
        if not _is_tested(entry):
            print(f"left out: {entry.group}/{entry.name}: all of its rows are train rows", file=stream)
    for result in results:
        if result.error:
            print(f"failed: {result.group}/{result.series} {result.detector}: {result.error}", file=stream)
    _write_report(out, results, hardware)
    print(f"figures: {out / TABLE_FILE}\nreport:  {out / REPORT_FILE}", file=stream)
    return ExitCode.OK if any(not result.error for result in results) else ExitCode.FAILURE


def plan(settings: Settings, suite: Suite, out: Path, choice: Choice) -> list[Job]:
    """Return the jobs in the order they are done: all series with the first seed, then with the next.

    Raises:
        DataError: a group is not there, or no series is left.
        ConfigError: a detector does not fit the settings.
    """
    networks = by_network(choice.detectors)
    for name in choice.detectors:
        settings_of(name, settings, seed=0)
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"threads": 1})})
    entries = [entry for entry in chosen(suite, choice) if _is_tested(entry)]
    if not entries:
        raise DataError(f"{suite.folder}: none of the series has rows behind its train rows")
    units: list[tuple[SuiteSeries, ...]] = [(entry,) for entry in entries]
    if choice.is_fleet:
        fleets: dict[tuple[str, int], list[SuiteSeries]] = {}
        for entry in entries:
            fleets.setdefault((entry.group, entry.channels), []).append(entry)
        units = [tuple(fleet) for fleet in fleets.values()]
    return [
        Job(unit, members, seed, settings, out, choice.is_fleet)
        for seed in range(choice.seeds)
        for unit in units
        for members in networks.values()
    ]


def chosen(suite: Suite, choice: Choice) -> list[SuiteSeries]:
    """Return the series that a choice names.

    Raises:
        DataError: there is none.
    """
    entries = [entry for entry in suite.select(choice.groups).series if _is_chosen(entry, choice.pattern)]
    if not entries:
        raise DataError(f"{suite.folder}: no series is called {choice.pattern}")
    return entries


def perform(jobs: Sequence[Job], processes: int, progress: TextIO) -> Iterator[list[Result]]:
    """Yield the results of each job as it ends, those that are kept from before first.

    Raises:
        FatalError: a process died; what is finished is kept.
    """
    kept = [(job, job.finished()) for job in jobs]
    rest = [job for job, found in kept if found is None]
    yield from (found for _, found in kept if found is not None)
    bar = JobProgress(progress, [job.rows + TRAINING_ROWS for job in rest], len(jobs) - len(rest))
    done = zip(rest, map(run, rest), strict=True) if processes == 1 else _side_by_side(rest, processes)
    for job, found in done:
        yield found  # first: what was said to be done is in the table, also when this is where it is interrupted
        bar.step(job.rows + TRAINING_ROWS, job.title, sum(bool(result.error) for result in found))
    bar.finish()


def _side_by_side(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, list[Result]]]:
    """Run jobs in processes of their own; whoever stops reading ends them at once."""
    context = multiprocessing.get_context("spawn")  # torch and threads do not survive a fork
    executor = ProcessPoolExecutor(processes, context, _begin_process)
    try:
        futures = {executor.submit(run, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise FatalError("a process died, perhaps for lack of memory: give fewer --jobs and start again") from error
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    executor.shutdown()


def _begin_process() -> None:
    """A job's process: Ctrl-C ends it without a word, its parent tells what is left."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    logs.configure("error", stream=sys.stderr)


def _is_tested(entry: SuiteSeries) -> bool:
    return entry.rows > entry.train_rows


def _is_chosen(entry: SuiteSeries, pattern: str | None) -> bool:
    names = (entry.name, f"{entry.group}/{entry.name}")
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


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
    from streamae.evaluation.report_html import write_evaluation

    write_evaluation(out / REPORT_FILE, out, results, hardware)
