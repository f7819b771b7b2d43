"""T7: workers join and leave, one to four of them, in storms and one at a time.

Once for each assignor, with members the group forgets when they leave and with members it knows by name (which leave
without a word: their partitions wait for them, or for the session timeout).
Must not know: how workers hand partitions over.
"""

from __future__ import annotations

import time
from itertools import product
from random import Random
from typing import NamedTuple

from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.trial import START_TIMEOUT_S, Trial
from scripts.verify.torture.workers import Worker, wait_until

ASSIGNORS = ("cooperative_sticky", "range")
SLOTS = 4
FIRST_WORKERS = 2
STORM_SHARE = 0.5  # of the changes are followed at once by the next one
LONGEST_STORM_PAUSE_S = 1.5


class Group(NamedTuple):
    """One way to be a group."""

    assignor: str
    is_static: bool


class Crowd:
    """The workers of one trial, coming and going."""

    def __init__(self, trial: Trial, rng: Random) -> None:
        self.trial, self.rng = trial, rng
        self.joins, self.leaves = 0, 0
        self.settled_s: list[float] = []
        self._leaving: dict[int, Worker] = {}

    def change(self, storm_share: float = STORM_SHARE) -> None:
        """Let a worker come or go, and perhaps the next one before the group has settled."""
        present = sorted(self.trial.workers.current)
        absent = sorted(set(range(SLOTS)) - set(present))
        if len(present) == 1 or (absent and self.rng.random() < 0.5):
            self._join(self.rng.choice(absent))
        else:
            self._leave(self.rng.choice(present))
        if self.rng.random() < storm_share:
            time.sleep(self.rng.uniform(0, LONGEST_STORM_PAUSE_S))
        else:
            self.settle()

    def settle(self) -> None:
        """Wait until those present share all partitions and all partitions move."""
        started_s = time.monotonic()
        self.trial.await_owned(len(self.trial.workers.current))
        self.settled_s.append(time.monotonic() - started_s)
        since = self.trial.watch.newest()
        self.trial.await_progress(range(self.trial.workload.partitions), since, START_TIMEOUT_S)

    def disperse(self) -> None:
        """Wait for the end of all that leave, and note how it went."""
        for slot in list(self._leaving):
            self._await_end(slot)

    def _join(self, slot: int) -> None:
        self._await_end(slot)  # two processes of one name are another fault
        self.trial.workers.start(slot)
        self.joins += 1

    def _leave(self, slot: int) -> None:
        worker = self.trial.workers.current.pop(slot)
        wait_until(lambda: worker.logged("started"), f"{worker.name} to start", START_TIMEOUT_S)
        worker.terminate()
        self._leaving[slot] = worker
        self.leaves += 1

    def _await_end(self, slot: int) -> None:
        if slot in self._leaving:
            self.trial.exit_codes.append(self._leaving.pop(slot).wait())


def rebalances(context: Context) -> Result:
    """T7: the same for each way to be a group."""
    total, done = Result(), 0
    groups = [Group(*each) for each in product(ASSIGNORS, (False, True))]
    for number, group in enumerate(groups):
        faults = context.faults // len(groups) + (number < context.faults % len(groups))
        result = _rebalances(context, group, faults, done)
        done += faults
        kind = f"{group.assignor}, {'static' if group.is_static else 'dynamic'}"
        total.take_findings(result, kind)
        for name, value in result.figures.items():
            assert not isinstance(value, str)
            former = total.figures.get(name, 0)
            assert not isinstance(former, str)
            total.figures[name] = max(former, value) if name.endswith("_s") else former + value
    return total


def _rebalances(context: Context, group: Group, faults: int, before: int) -> Result:
    with context.trial(
        faults=faults,
        workers=FIRST_WORKERS,
        stable=frozenset(range(SLOTS)) if group.is_static else frozenset(),
        sections={"kafka": {"assignor": group.assignor}},
    ) as trial:
        crowd = Crowd(trial, context.rng)
        trial.begin()
        moved_at_first = _moved(trial)
        for done in range(1, faults + 1):
            crowd.change()
            trial.fault_done()
            context.show(before + done, trial)
        crowd.settle()
        extra = 0  # of two that follow at once the second may undo the first: then some more that each count
        while (moved := _moved(trial) - moved_at_first) < faults and extra < faults:
            crowd.change(storm_share=0.0)
            extra += 1
        crowd.disperse()
        trial.finish()
        result = trial.judge()
    result.figures |= {
        "joins": crowd.joins,
        "leaves": crowd.leaves,
        "extra_changes": extra,
        "moved_partitions": moved,
        "settled_p95_s": percentile(crowd.settled_s, 0.95),
        "settled_longest_s": max(crowd.settled_s, default=0.0),
    }
    result.require(crowd.joins + crowd.leaves == faults + extra, "not every change was carried out")
    result.expect(moved >= faults, f"{faults} changes moved only {moved} partitions")
    return result


def _moved(trial: Trial) -> int:
    return sum(len(line["assigned"]) for line in trial.workers.logged("rebalanced"))
