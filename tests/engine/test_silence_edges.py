"""Silence where something else happens at the same time: wild stamps, little room, a store that is away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.memory_store import MemoryStore
from tests.engines import FEATURES, START_MS, STEP_MS, TOPIC, Rig, broker_with, header, settings

HOUR_MS = 3_600_000
PARTITION = Partition(TOPIC, 0)


def record(key: bytes, second: int, ahead_ms: int = 0) -> tuple[bytes, bytes]:
    """Return a record of a second, of a clock that may run ahead."""
    values = dict.fromkeys(FEATURES, 0.5 + second % 2)
    return key, json.dumps({"ts": START_MS + second * STEP_MS + ahead_ms} | values).encode()


def records() -> list[tuple[bytes, bytes]]:
    """Return two steady keys, and one that is forgotten, comes back with a wild stamp, and confirms it much later."""
    found = []
    for second in range(130):
        found += [record(b"steady-0", second), record(b"steady-1", second)]
        if second < 20:
            found.append(record(b"gone", second))
        if second in {90, 110}:
            found.append(record(b"gone", second, 20 * HOUR_MS))
    return found


def rig(poll: int, checkpoint_ms: int, of: list[tuple[bytes, bytes]] | None = None) -> Rig:
    """Return a process for which five seconds are a silence, and a minute is for ever."""
    chosen = settings(
        window={"max_jump_ms": HOUR_MS},
        silence={"after_ms": 5_000, "forget_ms": 60_000},
        state={"checkpoint_interval_ms": checkpoint_ms},
    )
    return Rig(broker_with(records() if of is None else of, 1), MemoryStore(), chosen, poll)


def produce(process: Rig, more: list[tuple[bytes, bytes]]) -> None:
    """Let more records come."""
    for key, value in more:
        process.broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)


def outcome(process: Rig) -> Any:
    """Return events, dead letters, and all that is stored."""
    events = [json.loads(one.value or b"") for one in process.events()]
    letters = [(header(one, "streamae-source-offset"), one.value) for one in process.dead_letters()]
    roster = [sorted(bucket.items()) for bucket in process.store.snapshot()[PARTITION].roster]
    return events, letters, process.state(), roster


@pytest.mark.parametrize("poll", [1, 7, 220])
def test_a_forgotten_key_that_comes_back_ahead_is_the_same_in_any_polls(poll: int) -> None:
    """What is refused of a key behind the point at which it is forgotten belongs to the new key, not to the old one."""
    process, other = rig(poll, 10), rig(40, 10)
    process.run_dry()
    other.run_dry()
    assert len(outcome(process)[1]) == 1  # the second one confirms the first
    assert outcome(process) == outcome(other)


@pytest.mark.parametrize("poll", [1, 1_024])
def test_the_silence_of_a_forgotten_key_ends_once(poll: int) -> None:
    """What the store still says of a forgotten key goes with the next checkpoint, also where the key is back by then."""
    every, process = records(), rig(poll, 1_000_000, of=[])
    for stretch in (every[:160], every[160:230]):  # its silence is open; it is forgotten, and back
        produce(process, stretch)
        process.run_dry()
    process.broker.expel(process.engine.source)  # type: ignore[arg-type]
    process.engine = process.build()
    produce(process, every[230:236])
    process.run_dry()
    kinds = [(event["kind"], event["close_reason"]) for event in outcome(process)[0] if event["key"] == "gone"]
    assert kinds == [("opened", None), ("closed", "ended")]


def test_a_silent_key_that_was_brought_in_stays_until_it_is_told_of() -> None:
    """Another partition needs room in the same poll: a key that nobody waits for leaves, not the one that is due."""
    idle, steady = b"idle", (b"a", b"c", b"b", b"d")  # the first two in partition 1, the others in 0
    due = (b"due-0", b"due-1")
    before = [record(key, second) for second in range(20) for key in (*steady, *due)]
    between = [record(key, second) for second in range(20, 22) for key in (*steady, idle)]
    after = [record(key, second) for second in range(22, 34) for key in steady]
    found = []
    for keys in (1_000, 6):
        sections: dict[str, dict[str, Any]] = {
            "silence": {"after_ms": 5_000, "overrides": ({"keys": "idle", "off": True},)},
            "limits": {"max_keys": keys, "key_idle_ms": 1_000},
        }
        process = Rig(broker_with(before), MemoryStore(), settings(**sections), 1_024)
        process.run_dry()
        process.broker.expel(process.engine.source)  # type: ignore[arg-type]
        process.engine = process.build()
        for more in (between, after):
            for key, value in more:
                process.broker.produce(TOPIC, key, value, timestamp=START_MS, partition=sum(key) % 2)
            process.run_dry()
        found.append(sorted(one.value or b"" for one in process.events()))
        assert ("streamae_evicted_keys_total 1.0" in process.telemetry.render()[0].decode()) == (keys == 6)
    assert len(found[0]) == 2
    assert found[0] == found[1]
