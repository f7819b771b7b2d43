"""T4 and T5: brokers fail under the workers: one that is alone, and leaders and coordinators of a cluster.

The gap of a fault is the time from its beginning until the group has committed further in every partition: broker,
input producer and workers are all through with it by then.
Must not know: how workers get over it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import NamedTuple

from confluent_kafka import KafkaException

from scripts.services import KafkaBroker, KafkaCluster
from scripts.verify.torture import outputs
from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.trial import Trial, seconds_since
from scripts.verify.torture.workers import TimedOutError, Worker, wait_until

LONGEST_GAP_S = 120.0
IN_SYNC_TIMEOUT_S = 120.0
LONGEST_ABSENCE_S = 8.0  # of the lone broker: around the workers' session and request timeouts
LONGEST_UNNOTICED_S = 25.0  # of one that is to be noticed: the input's client takes longer ones for its own fault
KILL_SHARE = 0.6
WARM_FAULTS = 2  # after these the memory counts as the usual
MAX_RSS_GROWTH_BYTES = 50_000_000
GAP_LIMIT_S = 30.0
ROLES = ("input", "output", "group", "transactions")
STABLE_SLOT = 0  # its transactional id is known, and with it the coordinator


class Memory:
    """Resident memory of workers now against that of an earlier moment."""

    def __init__(self) -> None:
        self._usual: dict[Worker, int] = {}

    def note(self, trial: Trial) -> None:
        """Take what the workers use now as the usual, unless that is known."""
        for worker in trial.workers:
            self._usual.setdefault(worker, worker.rss_bytes())

    def growth_bytes(self) -> int:
        """Return by how much the worker grew that grew most; ask while they live."""
        return max(worker.rss_bytes() - usual for worker, usual in self._usual.items())


def retries(trial: Trial) -> dict[Worker, float]:
    """Return the number of failed steps of each worker so far."""
    return {worker: worker.metric("retries_total") for worker in trial.workers}


class Absence(NamedTuple):
    """One absence of the lone broker: how it begins, how long it lasts, and whether until a step has failed as well."""

    is_kill: bool
    seconds: float
    is_long: bool

    def happen(self, broker: KafkaBroker, is_noticed: Callable[[], bool]) -> None:
        """Take the broker away and bring it back; a step may never fail, where nobody had anything to do."""
        broker.kill() if self.is_kill else broker.stop()
        self.last(is_noticed)
        broker.start()

    def last(self, is_noticed: Callable[[], bool], longest_s: float = LONGEST_UNNOTICED_S) -> None:
        """Wait until it may end."""
        time.sleep(self.seconds)
        if self.is_long:
            with suppress(TimedOutError):
                wait_until(is_noticed, "a step to fail", longest_s - self.seconds, 0.2)


def schedule(faults: int, rng: Random) -> list[Absence]:
    """Return the absences in order; more than half of them are long."""
    kills = [number < KILL_SHARE * faults for number in range(faults)]
    are_long = [2 * number <= faults for number in range(faults)]
    rng.shuffle(kills)
    rng.shuffle(are_long)
    return [
        Absence(is_kill, rng.uniform(0, LONGEST_ABSENCE_S), is_long)
        for is_kill, is_long in zip(kills, are_long, strict=True)
    ]


def one_broker(context: Context) -> Result:
    """T4: a lone broker is killed, or stopped in order, and comes back on the same data.

    It stays away for a random time. The client rides out a short absence by itself, the sooner the faster the machine:
    so more than half of the absences last until a step has failed as well.
    """
    absences = schedule(context.faults, context.rng)
    gaps_s: list[float] = []
    replaced, noticed, memory = 0, 0, Memory()
    with KafkaBroker() as broker, context.trial(servers=broker.bootstrap_servers) as trial:
        trial.begin()
        for done, absence in enumerate(absences, 1):
            before, pid = retries(trial), broker.process.pid

            def is_noticed(before: dict[Worker, float] = before) -> bool:
                return any(count > before[worker] for worker, count in retries(trial).items())

            gaps_s.append(gap_s(trial, partial(absence.happen, broker, is_noticed)))
            noticed += is_noticed()
            replaced += broker.process.pid not in {pid, None}
            if done >= min(WARM_FAULTS, context.faults):
                memory.note(trial)
            trial.fault_done()
            context.show(done, trial)
        growth_bytes = memory.growth_bytes()
        trial.finish()
        result = trial.judge()
    kills = sum(absence.is_kill for absence in absences)
    result.figures |= {"kills": kills, "stops": context.faults - kills, "noticed": noticed}
    result.figures |= gap_figures(gaps_s) | {"rss_growth_mb": growth_bytes / 1e6}
    result.figures["input_clients_replaced"] = trial.producer.renewals
    result.require(
        replaced == context.faults, f"only {replaced} of {context.faults} times the broker was another process"
    )
    least = sum(absence.is_long for absence in absences)
    result.expect(noticed >= least, f"only {noticed} of {context.faults} faults made a step fail")
    result.require(growth_bytes < MAX_RSS_GROWTH_BYTES, f"a worker grew by {growth_bytes / 1e6:.0f} MB")
    return result


def leaders(context: Context) -> Result:
    """T5: of three brokers, the one is killed that leads input, leads outputs, or coordinates group or transactions."""
    roles = [ROLES[number % len(ROLES)] for number in range(context.faults)]
    context.rng.shuffle(roles)
    gaps_s: list[float] = []
    killed: Counter[int] = Counter()
    moved = 0
    with KafkaCluster() as cluster:
        changes = {"servers": cluster.bootstrap_servers, "replication": 3, "stable": frozenset({STABLE_SLOT})}
        with context.trial(**changes) as trial:
            trial.begin()
            for done, role in enumerate(roles, 1):
                who = _asker(cluster, trial, role, context.rng)
                node_id = _answer(who, role)
                killed[node_id] += 1
                gaps_s.append(gap_s(trial, cluster.nodes[node_id].kill))
                moved += has_moved(who, node_id)
                cluster.start()
                wait_until(cluster.is_in_sync, f"node {node_id} to catch up", IN_SYNC_TIMEOUT_S, 0.2)
                trial.fault_done()
                context.show(done, trial)
            trial.finish()
            result = trial.judge()
    result.figures |= {"kills": killed.total(), "nodes": len(killed), "moved": moved} | gap_figures(gaps_s)
    result.expect(moved == context.faults, f"only {moved} of {context.faults} roles moved: the others were not hit")
    result.require(result.figures["gap_p95_s"] < GAP_LIMIT_S, f"gap p95 is not below {GAP_LIMIT_S} s")
    return result


def gap_s(trial: Trial, fault: Callable[[], object]) -> float:
    """Do harm; return the seconds until every partition has moved on from where it stood after that."""
    started_s = time.monotonic()
    fault()
    found: list[dict[int, int]] = []

    def is_answered() -> bool:
        with suppress(KafkaException, TimeoutError):
            found.append(trial.watch.committed())
        return bool(found)

    wait_until(is_answered, "the group to tell its offsets", LONGEST_GAP_S, 0.1)
    try:
        trial.await_progress(range(trial.workload.partitions), found[0], LONGEST_GAP_S)
    except TimedOutError as error:
        held = outputs.ends(trial.setup.checked_servers, trial.setup.name)
        raise TimedOutError(f"{error}; the input ends at {held}, {trial.producer.written} records written") from error
    return seconds_since(started_s)


def _asker(cluster: KafkaCluster, trial: Trial, role: str, rng: Random) -> Callable[[], int | None]:
    """Return a question: which node has this role?"""
    setup, partition = trial.setup, rng.randrange(trial.workload.partitions)
    questions: dict[str, Callable[[], int | None]] = {
        "input": lambda: cluster.leader(setup.name, partition),
        "output": lambda: cluster.leader(setup.scores_topic),
        "group": lambda: cluster.group_coordinator(setup.name),
        "transactions": lambda: cluster.transaction_coordinator(f"{setup.name}-slot-{STABLE_SLOT}"),
    }
    return questions[role]


def _answer(who: Callable[[], int | None], role: str) -> int:
    """Return the node that has a role, once there is one."""
    found: list[int] = []

    def is_known() -> bool:
        node_id = who()
        found.extend([node_id] if node_id is not None else [])
        return bool(found)

    wait_until(is_known, f"a leader of {role}", IN_SYNC_TIMEOUT_S, 0.2)
    return found[0]


def has_moved(who: Callable[[], int | None], node_id: int, timeout_s: float = IN_SYNC_TIMEOUT_S) -> bool:
    """Tell whether another node gets the role in time; for a while the others still name the one that is dead."""
    with suppress(TimedOutError):
        wait_until(lambda: who() not in {None, node_id}, f"the role of node {node_id} to move", timeout_s, 0.2)
        return True
    return False


def gap_figures(gaps_s: list[float]) -> dict[str, float]:
    """Return the figures of gaps."""
    return {
        "gap_p50_s": percentile(gaps_s, 0.5),
        "gap_p95_s": percentile(gaps_s, 0.95),
        "gap_longest_s": max(gaps_s, default=0.0),
    }
