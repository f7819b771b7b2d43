"""T12: the wall clock of a worker jumps by an hour forth and back, and by five minutes back.

libfaketime is loaded into the workers and reads the shift from a file at each look at the clock; the monotonic clock
stays true, as it does when an operator or NTP sets the time.
"""

from __future__ import annotations

import time
from pathlib import Path

from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result
from scripts.verify.torture.trial import Trial
from scripts.verify.torture.workers import Worker, wait_until

LIBRARIES = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
SHIFTS_S = (3_600, 0, -3_600, -300, 3_600, -3_600)
SLOTS = 3
SEEN_TOLERANCE_S = 30.0
WATCH_S = 2.0
MOVE_TIMEOUT_S = 120.0  # the harness itself may be kept from looking, by another test beside it


def library() -> Path:
    """Return libfaketime for threaded programs.

    Raises:
        FileNotFoundError: it is not installed.
    """
    for folder in LIBRARIES:
        for found in sorted(Path(folder).glob("**/faketime/libfaketimeMT.so.1")):
            return found
    raise FileNotFoundError("libfaketime is not installed: scripts/setup_system.sh, or apt-get install faketime")


def clocks(context: Context) -> Result:
    """Shift the clock of one worker after the other."""
    files = {slot: context.folder / f"{context.fresh('clock')}-{slot}" for slot in range(SLOTS)}
    seen = 0
    with context.trial() as trial:
        for slot, path in files.items():
            _shift(path, 0)
            trial.workers.env_of[slot] = _environment(path)
        trial.begin()
        trial.await_owned(SLOTS)
        trial.await_progress(range(trial.workload.partitions), trial.watch.newest(), MOVE_TIMEOUT_S)
        before = _retries(trial)  # members that gather may be told to wait
        for number in range(context.faults):
            slot, shift_s = number % SLOTS, SHIFTS_S[number % len(SHIFTS_S)]
            since = trial.watch.newest()
            _shift(files[slot], shift_s)
            worker = trial.workers[slot]
            seen += _follows(worker, shift_s)
            trial.await_progress(trial.partitions_of(slot), since, MOVE_TIMEOUT_S)
            trial.fault_done()
            context.show(number + 1, trial)
        result = _quiet(trial, before)
        trial.finish()
        judged = trial.judge()
    judged.figures |= {"jumps": context.faults, "jumps_seen": seen} | result.figures
    judged.take_findings(result, "the workers")
    judged.require(seen == context.faults, f"only {seen} of {context.faults} jumps reached the worker")
    return judged


def _environment(path: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(path),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # its older name
    }


def _shift(path: Path, seconds: int) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(f"{seconds:+d}\n", encoding="utf-8")
    scratch.replace(path)


def _follows(worker: Worker, shift_s: int) -> bool:
    """Tell whether the worker's wall clock, as its metrics show it, has jumped there."""

    def has_jumped() -> bool:
        ahead_s = worker.metric("loop_last_progress_timestamp_seconds") - time.time()
        return abs(ahead_s - shift_s) < SEEN_TOLERANCE_S

    wait_until(has_jumped, f"{worker.name} to see its clock {shift_s:+d} s off", MOVE_TIMEOUT_S)
    time.sleep(WATCH_S)
    return has_jumped()


def _retries(trial: Trial) -> float:
    return sum(worker.metric("retries_total") for worker in trial.workers)


def _quiet(trial: Trial, retries_before: float) -> Result:
    """Return what the jumps have stirred up: nothing should have."""
    result = Result()
    counted = {
        "evicted": sum(worker.metric("evicted_keys_total") for worker in trial.workers),
        "dead_letters": sum(worker.metric("dead_letters_total") for worker in trial.workers),
        "dropped": sum(worker.metric("dropped_records_total") for worker in trial.workers),
        "retries": _retries(trial) - retries_before,
        "not_live": sum("ok" not in worker.get("/livez").lower() for worker in trial.workers),
    }
    for name, count in counted.items():
        result.figures[name] = int(count)
        result.require(not count, f"{int(count)} {name} after clock jumps")
    lost = [line for line in trial.workers.logged("rebalanced") if line["revoked"]]
    settled = SLOTS  # each worker may hand something over while the group gathers
    result.require(len(lost) <= settled, f"{len(lost)} hand-overs: workers left the group")
    return result
