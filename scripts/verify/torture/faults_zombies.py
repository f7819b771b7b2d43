"""T3: workers that stand still until the group has given them up, and then go on as if nothing had happened.

freeze       SIGSTOP at a random moment, 0.5 to 3 session timeouts
transaction  stopped right before a transaction, with outputs of partitions that others own by then (hazard H1:
             its client then offers a membership that the broker would not check)
checkpoint   stopped right before saving state, until others own its partitions
stall        only the main thread stands still, beyond the longest time between polls
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from scripts.verify.torture.context import Context
from scripts.verify.torture.oracle import WINDOW
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.trial import Trial
from scripts.verify.torture.workers import TimedOutError, Worker, wait_until

SESSION_S, MAX_POLL_S = 4.0, 6.0
SETTINGS = {
    "kafka": {
        "session_timeout_ms": int(SESSION_S * 1_000),
        "max_poll_interval_ms": int(MAX_POLL_S * 1_000),
        "transaction_timeout_ms": 5_000,
    }
}
STALL_S = 2 * MAX_POLL_S
HOLDS = {
    "transaction": "before_transaction:0:3",
    "checkpoint": "before_checkpoint:0:0",
    "stall": f"before_poll:0:{STALL_S}:stall",
}
ARGUMENTS = [argument for hold in HOLDS.values() for argument in ("--hold", hold)]
CYCLE = ("freeze", "transaction", "freeze", "checkpoint", "transaction", "stall")
SLOTS = 3
ARM_TIMEOUT_S = 20.0
LONGEST_RECOVERY_S = 60.0
FULL_SHARE = 1.5  # of the records that fill every key's window if they come evenly
FENCED_SHARE = 1 / 3  # of the pauses, at least


@dataclass
class Tally:
    """What happened to the zombies."""

    kinds: Counter[str] = field(default_factory=Counter)
    expelled: int = 0
    refused: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def refusals(worker: Worker) -> int:
    """Return how often group or store refused what the worker brought."""
    refused = worker.logged("retrying", kind="MembershipError")
    outdated = [line for line in refused if "rebalancing" not in line["error"]]  # that is only a reason to wait
    return len(outdated) + len(worker.logged("checkpoint_stale"))


def zombies(context: Context) -> Result:
    """Pause workers one after the other, each kind in turn."""
    tally = Tally()
    with context.trial(sections=SETTINGS, arguments=ARGUMENTS) as trial:
        trial.begin()
        for number in range(context.faults):
            kind = CYCLE[number % len(CYCLE)]
            if kind == "transaction" and trial.producer.written < FULL_SHARE * WINDOW * trial.workload.keys:
                kind = "freeze"  # no window is full yet: no transaction has outputs
            worker = trial.workers[context.rng.randrange(SLOTS)]
            _pause(trial, worker, kind, context.rng.uniform(0.5, 3.0) * SESSION_S, tally)
            trial.fault_done()
            context.show(number + 1, trial)
        fenced = sum(worker.metric("transactions_total", outcome="fenced") for worker in trial.workers)
        trial.finish()
        result = trial.judge()
    result.figures |= {
        "pauses": sum(tally.kinds.values()),
        **dict(sorted(tally.kinds.items())),
        "expelled": tally.expelled,
        "refused": tally.refused,
        "fenced_transactions": -1 if math.isnan(fenced) else int(fenced),
        "recovery_p95_s": percentile(tally.recoveries_s, 0.95),
    }
    result.complaints += tally.complaints
    least = math.ceil(FENCED_SHARE * context.faults)
    result.expect(tally.expelled >= least, f"only {tally.expelled} zombies were expelled, {least} wanted")
    result.expect(tally.refused > 0, "nothing a zombie brought was ever refused")
    return result


def _pause(trial: Trial, worker: Worker, kind: str, pause_s: float, tally: Tally) -> None:
    """Pause one worker, let it go on, and wait until the group shares the input again and moves."""
    trial.await_owned(SLOTS)
    owned, before, since = worker.owned(), refusals(worker), trial.watch.newest()
    losses = len(worker.logged("rebalanced"))
    try:
        if kind == "freeze":
            worker.freeze()
            time.sleep(pause_s)
        elif kind == "stall":
            worker.arm(list(HOLDS).index(kind))
            time.sleep(STALL_S + 1)
        else:
            worker.arm(list(HOLDS).index(kind))
            wait_until(worker.is_frozen, f"{worker.name} to stop for its {kind}", ARM_TIMEOUT_S)
            time.sleep(max(pause_s, 1.5 * SESSION_S))
            others = [other for other in trial.workers if other is not worker]
            wait_until(
                lambda: owned <= set().union(*(other.owned() for other in others)),
                f"others to take over from {worker.name}",
                LONGEST_RECOVERY_S,
                0.1,
            )
        worker.thaw()
        thawed_s = time.monotonic()
        indexes = [int(name.rpartition("-")[2]) for name in owned]
        trial.await_progress(indexes, since, LONGEST_RECOVERY_S)
        trial.await_owned(SLOTS)
        tally.recoveries_s.append(time.monotonic() - thawed_s)
    except TimedOutError as error:
        tally.complaints.append(f"{kind}: {error}")
        if kind in {"transaction", "checkpoint"}:
            with suppress(TimedOutError):  # armed, it may still stop, and nobody would let it go on
                wait_until(worker.is_frozen, f"{worker.name} to stop late", ARM_TIMEOUT_S)
        worker.thaw()
    tally.kinds[kind] += 1
    tally.expelled += any(set(line["revoked"]) & owned for line in worker.logged("rebalanced")[losses:])
    tally.refused += refusals(worker) - before
