"""How the jobs of an evaluation run: in processes of one core each.

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
from typing import TextIO

from streamae.errors import FatalError
from streamae.evaluation.jobs import Job, run
from streamae.evaluation.provenance import PACKAGE, code_digest, tell_outdated
from streamae.evaluation.results import Result
from streamae.observe import logs
from streamae.observe.progress import JobProgress

TRAINING_ROWS = 20_000  # about what a training costs, in rows that are scored; for the estimate of the time only


def perform(jobs: Sequence[Job], processes: int, progress: TextIO) -> Iterator[list[Result]]:
    """Yield the results of each job as it ends, those that are kept from before and still hold first.

    What is kept and does not hold any more is made again, and `progress` says so.

    Raises:
        FatalError: a process died; what is finished is kept.
    """
    kept = [(job, job.finished()) for job in jobs]
    rest = [job for job, found in kept if found is None]
    if rest:
        tell_outdated(sum(job.outdated() for job in rest), rest[0].out, progress)
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
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code_digest(PACKAGE)  # of the code as it was loaded just now, whatever it is edited to while jobs run
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    logs.configure("error", stream=sys.stderr)
