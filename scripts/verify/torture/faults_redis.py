"""T6 and T6b: what happens to the store of the key state, from a restart to lost writes, and a store that is away.

Two durable servers, the second a replica of the first, stand behind one address. Every fault begins when everything
committed before is stored; so it is known which partitions lose something, and each of them must be noticed as a loss,
and no other. Every second loss of everything meets a worker that has just been killed: nobody has the state in memory
then, and it must be rebuilt from the records.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import NamedTuple

from redis import Redis

from scripts.services import RedisPair
from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.trial import Trial
from scripts.verify.torture.workers import TimedOutError, wait_until

SLOTS = 2
EVERYTHING = 10_000_000  # state.rebuild_max_records: more than any stream holds
FAULT_TIMEOUT_S = 90.0
LONGEST_DOWN_S = 1.5
OUT_OF_MEMORY_S = 2.5  # a few checkpoints must fail; as much longer as it takes until one has
TRAVEL_S = 2.0  # how far back in time, at least
LONGEST_SILENCE_S = 5.0  # between two commits while the store is away
LOSS_REASONS = {"no_state", "incomplete"}  # of a start: the store had lost what was there
SHARES = {
    "restart": 40,
    "kill": 20,
    "flush": 20,
    "time travel": 20,
    "bucket deleted": 10,
    "out of memory": 5,
    "fail-over after a crash": 5,
    "fail-over in order": 5,
}


class Loss(NamedTuple):
    """What a fault took away: the partitions that must be noticed, None = whatever a replica lacked."""

    partitions: frozenset[int] | None = frozenset()


def schedule(faults: int, rng: Random) -> list[str]:
    """Return the names of the faults in random order: each at least once, the shares as in `SHARES`."""
    total = sum(SHARES.values())
    counts = {name: max(1, faults * share // total) for name, share in SHARES.items()}
    counts["restart"] += faults - sum(counts.values())
    if counts["restart"] < 1:
        raise ValueError(f"{faults} faults cannot hold all {len(SHARES)} kinds")
    names = [name for name, count in counts.items() for _ in range(count)]
    rng.shuffle(names)
    return names


class StoreFaults:
    """Does harm to the store of one trial, and looks whether the workers noticed what they had to."""

    def __init__(self, trial: Trial, pair: RedisPair, rng: Random) -> None:
        self.trial, self.pair, self.rng = trial, pair, rng
        self.done: Counter[str] = Counter()
        self.lost = self.noticed = self.noticed_after_fail_over = self.worker_kills = 0
        self.recoveries_s: list[float] = []
        self.complaints: list[str] = []
        self._read: dict[str, int] = {}
        self._acts: dict[str, Callable[[], Loss]] = {
            "restart": self._restart,
            "kill": self._kill,
            "flush": self._flush,
            "time travel": self._travel,
            "bucket deleted": self._delete_bucket,
            "out of memory": self._run_out_of_memory,
            "fail-over after a crash": lambda: self._fail_over(is_crash=True),
            "fail-over in order": lambda: self._fail_over(is_crash=False),
        }

    def inject(self, name: str) -> None:
        """Carry out one fault and wait until it is noticed and everything is stored again."""
        self.await_stored(f"before: {name}")
        self._read = {worker.name: len(worker.lines()) for worker in self.trial.workers.all}
        loss = self._acts[name]()
        started = time.monotonic()
        lost = loss.partitions or frozenset()
        try:
            wait_until(lambda: self._losses_noticed() >= lost, f"losses of {name}", FAULT_TIMEOUT_S, 0.1)
        except TimedOutError as error:
            self.complaints.append(f"{error}: {sorted(lost)} lost, {sorted(self._losses_noticed())} noticed")
        self.await_stored(f"after: {name}")
        self.recoveries_s.append(time.monotonic() - started)
        self._count(name, loss)
        self.trial.fault_done()

    def await_stored(self, when: str) -> None:
        """Wait until everything that is committed now is in the store.

        Raises:
            TimedOutError: it is not.
        """
        committed = self.trial.watch.committed()
        stored = self.trial.state.offsets

        def is_stored() -> bool:
            offsets = stored()
            return all(offsets.get(index, 0) >= offset for index, offset in committed.items())

        wait_until(is_stored, f"{committed} to be stored, {when}", FAULT_TIMEOUT_S, 0.1)

    def _count(self, name: str, loss: Loss) -> None:
        self.done[name] += 1
        noticed = self._losses_noticed()
        if loss.partitions is None:
            self.noticed_after_fail_over += len(noticed)
            return
        self.lost += len(loss.partitions)
        self.noticed += len(noticed)
        if noticed != loss.partitions:
            self.complaints.append(f"{name}: {sorted(loss.partitions)} lost something, noticed: {sorted(noticed)}")

    def _losses_noticed(self) -> frozenset[int]:
        """Return the partitions that the workers have said to be incomplete in the store since the fault began."""
        found: set[int] = set()
        for worker in self.trial.workers.all:
            for line in worker.lines()[self._read.get(worker.name, 0) :]:
                event, reason = line["event"], line.get("reason")
                if event in {"state_store_rollback", "state_written_anew"} or (
                    event == "partition_started" and reason in LOSS_REASONS
                ):
                    found.add(line["partition"])
                elif event == "state_lost":
                    found |= {int(name.rpartition("-")[2]) for name in line["partitions"]}
        return frozenset(found)

    def _restart(self) -> Loss:
        """Stop the primary in order; it comes back with everything."""
        self.pair.primary.stop()
        time.sleep(self.rng.uniform(0, LONGEST_DOWN_S))
        self.pair.primary.start()
        return Loss()

    def _kill(self) -> Loss:
        """Kill the primary; it was durable."""
        self.pair.primary.kill()
        time.sleep(self.rng.uniform(0, LONGEST_DOWN_S))
        self.pair.primary.start()
        return Loss()

    def _flush(self) -> Loss:
        """Delete everything; every second time a worker is killed with it."""
        everything = Loss(frozenset(range(self.trial.workload.partitions)))
        if not self.done["flush"] % 2:
            self.pair.primary.tell("FLUSHALL")
            return everything
        slot = self.rng.randrange(SLOTS)
        self.trial.await_owned(SLOTS)  # or there would be nothing to rebuild
        self.trial.workers[slot].kill()
        self.pair.primary.tell("FLUSHALL")
        self.worker_kills += 1
        self.trial.workers.start(slot)
        return everything

    def _travel(self) -> Loss:
        """Bring the data back that the primary had a while ago.

        Nobody relies on a checkpoint whose answer was lost: only one that stands on it proves that it was heard of.
        """
        copy = self.pair.primary.copy_data()
        partitions, old = range(self.trial.workload.partitions), self.trial.state.offsets()
        seen = {index: {old.get(index, 0)} for index in partitions}
        time.sleep(TRAVEL_S)

        def have_all_gone_on() -> bool:
            now = self.trial.state.offsets()
            for index in partitions:
                seen[index].add(now.get(index, 0))
            return all(len(offsets) > 2 for offsets in seen.values())

        wait_until(have_all_gone_on, "all partitions to be stored anew, twice", FAULT_TIMEOUT_S, 0.1)
        self.pair.primary.go_back_to(copy)
        return Loss(frozenset(partitions))

    def _delete_bucket(self) -> Loss:
        """Delete the largest bucket of one partition, as an eviction would."""
        index = self.rng.randrange(self.trial.workload.partitions)
        setup = self.trial.setup
        client = Redis.from_url(self.pair.url, socket_timeout=10)
        try:
            names = [f"torture:{{{setup.name}:{setup.name}:{index}}}:b:{bucket}" for bucket in range(256)]
            largest = max(names, key=client.hlen)
            if not client.delete(largest):
                self.complaints.append(f"there was no bucket to delete in partition {index}")
        finally:
            client.close()
        return Loss(frozenset({index}))

    def _run_out_of_memory(self) -> Loss:
        """Let the primary refuse writes for a while."""
        self.pair.primary.limit_memory(1)
        try:
            time.sleep(OUT_OF_MEMORY_S)
            wait_until(self._is_refused, "a checkpoint to be refused", FAULT_TIMEOUT_S, 0.1)
        except TimedOutError as error:
            self.complaints.append(f"out of memory: {error}")
        finally:
            self.pair.primary.limit_memory(0)
        return Loss()

    def _is_refused(self) -> bool:
        return any(
            line["event"] == "checkpoint_failed" and "maxmemory" in str(line.get("error"))
            for worker in self.trial.workers.all
            for line in worker.lines()[self._read.get(worker.name, 0) :]
        )

    def _fail_over(self, *, is_crash: bool) -> Loss:
        """Let the replica take over; what it had not got yet is lost."""
        self.pair.fail_over(is_crash=is_crash)
        return Loss(None)


def redis_faults(context: Context) -> Result:
    """T6: restarts, kills, lost writes, no memory and fail-overs of the store."""
    sections = {"state": {"rebuild_max_records": EVERYTHING}}
    with RedisPair() as pair, context.trial(redis_url=pair.url, workers=SLOTS, sections=sections) as trial:
        faults = StoreFaults(trial, pair, context.rng)
        trial.begin()
        for done, name in enumerate(schedule(context.faults, context.rng), 1):
            faults.inject(name)
            context.show(done, trial)
        trial.finish()
        result = trial.judge()
        starts = trial.workers.logged("partition_started")
        failed = len(trial.workers.logged("checkpoint_failed"))
        anew = len(trial.workers.logged("state_written_anew"))
    rebuilt = [line for line in starts if line["reason"] in LOSS_REASONS]
    result.figures |= {
        "faults": sum(faults.done.values()),
        "lost_partitions": faults.lost,
        "noticed": faults.noticed,
        "noticed_after_fail_over": faults.noticed_after_fail_over,
        "written_anew": anew,
        "rebuilt": len(rebuilt),
        "rebuilt_from_records": sum(line["replay_until"] - line["offset"] for line in rebuilt),
        "failed_checkpoints": failed,
        "recovery_p95_s": percentile(faults.recoveries_s, 0.95),
    }
    result.complaints += faults.complaints
    result.require(sum(faults.done.values()) == context.faults, "not every fault was carried out")
    result.require(set(faults.done) == set(SHARES), f"faults that never happened: {set(SHARES) - set(faults.done)}")
    result.require(faults.lost == faults.noticed, "losses in the store were not noticed, or invented")
    result.expect(failed, "no checkpoint ever failed: the workers never met a store that was away")
    result.expect(faults.worker_kills, "no worker was killed with a flush")
    result.expect(rebuilt, "nothing was rebuilt from records")
    return result


def store_away(context: Context) -> Result:
    """T6b: the store is gone for half of the time and frozen for the other half, while the stream goes on.

    `context.faults` is the time in seconds. All keys are in memory by then, so their outputs must go on.
    """
    parts = max(2, context.faults // 2)
    with RedisPair() as pair, context.trial(redis_url=pair.url, workers=SLOTS, faults=parts) as trial:
        trial.begin()
        keys_seen = trial.workload.keys * 3 // 2
        while sum(trial.watch.committed().values()) < keys_seen:
            trial.producer.allow(2 * keys_seen / trial.workload.records)
            time.sleep(0.2)
        committed, silences = [sum(trial.watch.committed().values())], []
        errors = sum(worker.metric("store_errors_total") for worker in trial.workers)
        for part in range(parts):
            if part == 0:
                pair.primary.kill()
            elif part == parts // 2:
                pair.primary.start()
                pair.primary.pause()
            silences.append(_silence(trial, context.faults / parts))
            committed.append(sum(trial.watch.committed().values()))
            trial.fault_done()
        errors = sum(worker.metric("store_errors_total") for worker in trial.workers) - errors
        pair.primary.resume()
        trial.finish()
        result = trial.judge()
    result.figures |= {
        "away_s": context.faults,
        "committed_meanwhile": committed[-1] - committed[0],
        "longest_silence_s": max(silences),
        "store_errors": int(errors),
    }
    result.require(errors > 0, "no worker noticed that the store was away")
    result.require(
        all(later > earlier for earlier, later in pairwise(committed)),
        f"outputs stood still while the store was away: {committed} records committed",
    )
    result.require(max(silences) < LONGEST_SILENCE_S, f"no commit for {max(silences):.1f} s while the store was away")
    return result


def _silence(trial: Trial, duration_s: float) -> float:
    """Watch for that long; return the longest time between two commits of the group, in seconds."""
    end_s = time.monotonic() + duration_s
    last, since_s, longest_s = trial.watch.committed(), time.monotonic(), 0.0
    while time.monotonic() < end_s:
        time.sleep(0.05)
        now = trial.watch.committed()
        if now != last:
            last, since_s = now, time.monotonic()
        longest_s = max(longest_s, time.monotonic() - since_s)
    return longest_s
