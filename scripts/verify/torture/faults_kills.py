"""T1 and T1b: `kill -9` of one worker of three, at random times and at the named fail points of the product.

A worker that was killed is started again at once, armed with the next fail point if the next kill is one, and then kills
itself there. Recovery is the time from a death until the committed offset of each partition that the dead worker owned
has moved again. Slots 0 and 1 have an instance id, slot 2 is anonymous: its open transaction blocks its partitions until
the broker's time limit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from scripts.verify.torture.context import Context
from scripts.verify.torture.oracle import WINDOW, expected_audit
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.trial import Golden, Leftovers, Trial
from scripts.verify.torture.workers import TimedOutError, Worker, wait_until
from scripts.verify.torture.workload import FEATURES, LARGEST_QUIET, START_MS, STEP_MS, Workload
from streamae.fail_points import POINTS, VARIABLE

SLOTS, STABLE = 3, frozenset({0, 1})
POINT_SHARE = 0.4
RECOVERY_LIMIT_S = 15.0
LONGEST_RECOVERY_S = 60.0
POINT_TIMEOUT_S = 30.0
REPLAY_TRIES = 4
EXTRA_SLOTS = range(SLOTS, 2 * SLOTS)  # as many again: every worker must give something up
HITS = {"in_assigned": 1, "in_revoked": 1, "in_shadow_replay": 1, "in_checkpoint": 4, "after_checkpoint": 4}
MOST_HITS = 25
REAL_KEYS, REAL_KEYS_QUICK = 1_000, 200
TOLERANCE = 1e-5


class Kill(NamedTuple):
    """One kill: the slot, and the fail point with its passage, or nothing for a random time."""

    slot: int
    point: str | None = None
    passage: int = 1

    @property
    def env(self) -> dict[str, str]:
        """What arms the worker."""
        return {VARIABLE: f"{self.point}:{self.passage}"} if self.point else {}


def schedule(faults: int, rng: Random) -> list[Kill]:
    """Return the kills in order. One at a fail point follows a kill of the same slot, whose restart is armed.

    Of fewer kills than are needed to meet every fail point after a random one, all are at random times.
    """
    wanted = max(len(POINTS), int(faults * POINT_SHARE))
    points = [POINTS[number % len(POINTS)] for number in range(wanted if faults >= 2 * wanted else 0)]
    rng.shuffle(points)
    kills: list[Kill] = []
    for number in range(faults - len(points)):
        kills.append(Kill(slot := rng.randrange(SLOTS)))
        mine = points[number :: max(1, faults - len(points))]
        kills += [Kill(slot, point, rng.randint(1, HITS.get(point, MOST_HITS))) for point in mine]
    return kills


class Killer:
    """Kills workers of one trial and measures how the group recovers."""

    def __init__(self, trial: Trial, rng: Random) -> None:
        self.trial, self.rng = trial, rng
        self.recoveries_s: dict[bool, list[float]] = {True: [], False: []}  # by whether the slot is stable
        self.points: Counter[str] = Counter()
        self.complaints: list[str] = []

    def play(self, kills: list[Kill]) -> Iterator[int]:
        """Carry out the kills; yield how many are done after each."""
        for number, kill in enumerate(kills):
            worker = self.trial.workers[kill.slot]
            owned = self.trial.partitions_of(kill.slot)
            if kill.point is None:
                time.sleep(self.rng.uniform(0.1, 1.0))
                owned = self.trial.partitions_of(kill.slot)
                worker.kill()
            else:
                owned = self._await_point(kill, worker) or owned
            self.points[kill.point or "random"] += 1
            following = kills[number + 1] if number + 1 < len(kills) else None
            is_armed = following is not None and following.slot == kill.slot
            self._restart(kill.slot, owned, following if is_armed else None)
            self.trial.fault_done()
            yield number + 1

    def _await_point(self, kill: Kill, worker: Worker) -> list[int]:
        """Wait until the worker has killed itself; return what it owned."""
        worker.is_doomed = True
        if kill.point == "in_revoked":
            self.trial.await_owned(SLOTS)  # as many as there are: whoever owns two must give one up
            for slot in EXTRA_SLOTS:
                self.trial.workers.start(slot)
        tries = REPLAY_TRIES if kill.point == "in_shadow_replay" else 1
        while not self._dies(worker, POINT_TIMEOUT_S / tries):
            worker.kill()
            tries -= 1
            if not tries:
                self.complaints.append(f"{worker.name} did not die at {kill.point}")
                break
            worker = self.trial.workers.start(kill.slot, env=kill.env)  # all was saved: nothing to replay that time
            worker.is_doomed = True
        if kill.point == "in_revoked":
            self._remove_extras()
        return self.trial.partitions_of(kill.slot)

    def _dies(self, worker: Worker, timeout_s: float) -> bool:
        try:
            wait_until(lambda: not worker.is_alive(), f"{worker.name} to die", timeout_s)
        except TimedOutError:
            return False
        return True

    def _remove_extras(self) -> None:
        extras = [self.trial.workers.current.pop(slot) for slot in EXTRA_SLOTS]
        for extra in extras:
            extra.terminate()
        for extra in extras:
            extra.wait()

    def _restart(self, slot: int, owned: list[int], following: Kill | None) -> None:
        """Start the slot again and wait until what it owned moves, or until it dies again as it should."""
        died_s, since = time.monotonic(), self.trial.watch.newest() | self.trial.watch.committed()
        worker = self.trial.workers.start(slot, env=following.env if following else None)
        worker.is_doomed = following is not None

        def is_over() -> bool:
            newest = self.trial.watch.newest()
            return not worker.is_alive() or all(newest.get(index, 0) > since.get(index, 0) for index in owned)

        try:
            wait_until(is_over, f"partitions {owned} of slot {slot} to go on", LONGEST_RECOVERY_S, 0.02)
        except TimedOutError as error:
            self.complaints.append(str(error))
        if worker.is_alive():
            self.recoveries_s[slot in STABLE].append(time.monotonic() - died_s)


def kills(context: Context) -> Result:
    """T1: with the stand-in model."""
    return _kills(context, context.trial(stable=STABLE))


def kills_of_the_real_model(context: Context) -> Result:
    """T1b: with a small trained network; scores depend on who shares a batch, by less than the tolerance."""
    workload = Workload(keys=REAL_KEYS_QUICK if context.is_quick else REAL_KEYS, seed=context.seed)
    bundle = trained_bundle(context.folder / context.fresh("bundle"))
    setup: dict[str, Any] = {"sections": {"model": {"bundle": bundle}}, "arguments": ("--real-model",)}
    with context.trial(workload, compares=False, faults=0, **setup) as undisturbed:
        undisturbed.begin()
        undisturbed.finish()
        left = Leftovers.of(undisturbed)
    windows = {output.identity for output in expected_audit(workload)}
    result = _kills(
        context, context.trial(workload, golden=Golden(left.audit, left.events, left.state), **setup), TOLERANCE
    )
    result.require({output.identity for output in left.audit} == windows, "the undisturbed run has other windows")
    openings = sum(output.identity[2] == "opened" for output in left.events)
    result.require(openings >= len(workload.spikes), f"{openings} episodes of {len(workload.spikes)} anomalies")
    return result


def trained_bundle(folder: Path) -> Path:
    """Train a small network on quiet values and save it."""
    from streamae.batches import Series  # only here: training loads torch
    from streamae.settings.serving import ModelSettings
    from streamae.settings.training import TrainSettings
    from streamae.training.options import TrainOptions
    from streamae.training.run import train

    quiet = Workload(keys=3, rows=400, seed=1)
    values = quiet.values.clip(-LARGEST_QUIET, LARGEST_QUIET).astype(np.float32)
    times = START_MS + STEP_MS * np.arange(quiet.rows, dtype=np.int64)
    series = [Series(f"k{key}", FEATURES, times, np.ascontiguousarray(values[:, key])) for key in range(quiet.keys)]
    options = TrainOptions(
        TrainSettings(window_size=WINDOW, hidden_size=8, recent_steps=2, max_steps=120),
        model=ModelSettings(device="cpu", threads=1),
    )
    train(series, options).save(folder)
    return folder


def _kills(context: Context, trial: Trial, tolerance: float = 0.0) -> Result:
    with trial:
        killer = Killer(trial, context.rng)
        trial.begin()
        for done in killer.play(schedule(context.faults, context.rng)):
            context.show(done, trial)
        trial.finish()
        result = trial.judge(tolerance)
        replays = [line for line in trial.workers.logged("partition_started") if line["reason"] == "replay"]
    stable, anonymous = killer.recoveries_s[True], killer.recoveries_s[False]
    result.figures |= {
        "kills": sum(killer.points.values()),
        "at_points": sum(killer.points.values()) - killer.points["random"],
        "fewest_per_point": min((killer.points[point] for point in POINTS), default=0),
        "recovery_p50_s": percentile(stable + anonymous, 0.5),
        "recovery_p95_s": percentile(stable + anonymous, 0.95),
        "recovery_p95_stable_s": percentile(stable, 0.95),
        "recovery_p95_anonymous_s": percentile(anonymous, 0.95),
        "recovery_longest_s": max(stable + anonymous, default=0.0),
        "replays": len(replays),
        "replayed_records": sum(line["replay_until"] - line["offset"] for line in replays),
    }
    result.complaints += killer.complaints
    result.require(sum(killer.points.values()) == context.faults, "not every kill was carried out")
    if context.size != "smoke":
        result.require(
            result.figures["recovery_p95_s"] < RECOVERY_LIMIT_S, f"recovery p95 is not below {RECOVERY_LIMIT_S} s"
        )
    is_exhaustive = killer.points["random"] < context.faults
    result.expect(result.figures["aborted"] or not is_exhaustive, "no transaction was aborted: the kills met none")
    result.expect(replays, "nothing was replayed: the kills met no unsaved state")
    return result
