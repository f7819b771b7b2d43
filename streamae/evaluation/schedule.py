"""Which jobs an evaluation consists of, in which order, and how they run: in processes of one core each.

What is finished is kept and not done again. Must not know how a series is trained on or scored.
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

from streamae.errors import DataError, FatalError
from streamae.evaluation.detectors import SHIPPED, by_network, settings_of
from streamae.evaluation.jobs import Job, run
from streamae.evaluation.provenance import PACKAGE, code_digest, tell_outdated
from streamae.evaluation.results import Result
from streamae.evaluation.suite import Suite, SuiteSeries
from streamae.observe import logs
from streamae.observe.progress import JobProgress
from streamae.settings.tree import Settings

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
    entries = [entry for entry in chosen(suite, choice) if is_tested(entry)]
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
    """Yield the results of each job as it ends, those that are kept from before and still hold first.

    What is kept and does not hold any more is made again, and `progress` says so.

    Raises:
        FatalError: a process died; what is finished is kept.
    """
    kept = [(job, job.finished()) for job in jobs]
    rest = [job for job, found in kept if found is None]
    tell_outdated(sum(job.outdated() for job in rest), jobs[0].out, progress)
    yield from (found for _, found in kept if found is not None)
    done = zip(rest, map(run, rest), strict=True) if processes == 1 else _side_by_side(rest, processes)
    with JobProgress(progress, [job.rows + TRAINING_ROWS for job in rest], len(jobs) - len(rest)) as bar:
        for job, found in done:
            yield found  # first: what was said to be done is in the table, also when this is where it is interrupted
            bar.step(job.rows + TRAINING_ROWS, job.title, sum(bool(result.error) for result in found))


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
    code_digest(PACKAGE)  # of what was loaded just now
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    logs.configure("error", stream=sys.stderr)


def is_tested(entry: SuiteSeries) -> bool:
    """Tell whether a series has rows behind those that are trained on."""
    return entry.rows > entry.train_rows


def _is_chosen(entry: SuiteSeries, pattern: str | None) -> bool:
    names = (entry.name, f"{entry.group}/{entry.name}")
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)
