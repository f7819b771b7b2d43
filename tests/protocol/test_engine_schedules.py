"""Random schedules on the whole engine: two processes, two partitions, every fault; what comes out never changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import pytest

from streamae.connectors.memory import MemoryBroker, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.engine.store_waits import RETRY_MS
from streamae.errors import OutcomeUnknownError, RetryableError
from tests.engines import TOPIC, Rig, broker_with, ids, settings, stream
from tests.late import late

pytestmark = pytest.mark.slow

MOVES, SEEDS = 60, 60
SCORES = "scores"
SETTINGS = settings(state={"checkpoint_interval_ms": 15}, output={"scores_topic": SCORES})
RECORDS = stream(4, 60, spikes=[(0, 25), (1, 40), (1, 41), (2, 30), (3, 50)])


class Process:
    """An engine that can be killed and started again."""

    def __init__(self, broker: MemoryBroker, store: MemoryStore, looks: Callable[[], int] | None) -> None:
        self.source = MemorySource(broker, "group", (TOPIC,), 13)
        parts = {"source": self.source, "run_in_background": late(looks) if looks else None}
        self.rig = Rig(broker, store, SETTINGS, parts=parts)

    def turn(self) -> None:
        try:
            self.rig.step()
        except RetryableError:
            return


@cache
def golden() -> Rig:
    """Return the undisturbed run."""
    rig = Rig(topics(), settings=SETTINGS)
    rig.run_dry()
    return rig


def topics() -> MemoryBroker:
    """Return a broker that holds the stream and takes the curve."""
    broker = broker_with(RECORDS)
    broker.create_topic(SCORES, 2)
    return broker


def curve(broker: MemoryBroker) -> list[bytes]:
    """Return every point of the curve: a window lost or scored twice shows here, also where nothing is anomalous."""
    return sorted(record.value or b"" for record in broker.records(SCORES))


def strike(
    chance: random.Random,
    broker: MemoryBroker,
    store: MemoryStore,
    processes: list[Process],
    looks: Callable[[], int] | None,
) -> None:
    """Let one fault happen."""
    number = chance.randrange(len(processes))
    match chance.randrange(7):
        case 0:
            broker.leave("group", processes[number].source.member)
            processes[number] = Process(broker, store, looks)
        case 1:
            broker.expel(processes[number].source)
        case 2:
            broker.fail_at(chance.choice(["poll", "before_begin", "after_send", "before_commit"]), RetryableError("no"))
        case 3:
            broker.fail_at(chance.choice(["before_commit", "after_commit"]), OutcomeUnknownError("no answer"))
        case 4:
            store.fail_at(chance.choice(store.points), RetryableError("no answer"))
        case 5:
            store.flush()
        case 6:
            held = [(at, key) for at, kept in store.snapshot().items() for bucket in kept.buckets for key in bucket]
            for at, key in held[:1]:
                store.lose_keys(at, [key])


@pytest.mark.parametrize("is_aside", [False, True])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_schedule_leaves_no_trace(seed: int, is_aside: bool) -> None:
    """Kills, expulsions, lost answers and lost state in any order: events and states end as if there were none.

    Also with transactions that end steps later than they began.
    """
    chance = random.Random(seed)
    looks = (lambda: chance.randrange(4)) if is_aside else None
    broker, store = topics(), MemoryStore()
    processes = [Process(broker, store, looks), Process(broker, store, looks)]
    for _ in range(MOVES):
        if chance.random() < 0.7:
            chance.choice(processes).turn()
        else:
            strike(chance, broker, store, processes, looks)
    broker._waiting.clear()
    store._waiting.clear()
    for process in processes:
        process.rig.now_ms += RETRY_MS  # what was put off is due
    for _ in range(60):
        for process in processes:
            process.turn()
    for process in processes:
        process.rig.engine.drain(process.rig.now_ms + 5)
    assert curve(broker) == curve(golden().broker)
    assert ids(processes[0].rig.events()) == ids(golden().events())
    found = processes[0].rig.state()
    assert found.items() <= golden().state().items()  # a key lost after its last record is missed at its next one
