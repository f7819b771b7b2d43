"""Damaged key state, in memory and in real Redis: whatever stands there costs the key it stands under, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from redis import Redis

from scripts.services import RedisServer
from streamae.batches import Partition, RecordBatch
from streamae.connectors.buckets import bucket_of
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Outcome, Span, StateStore
from streamae.connectors.redis_store import RedisStore
from streamae.core.key_table import KeyTable
from streamae.engine.key_states import KeyStates
from streamae.engine.partitions import Partitions, Plan
from streamae.observe.listener import Listener
from streamae.settings.connections import StateSettings
from tests.engines import START_MS, Rig, broker_with, settings, stream

HERE, ELSEWHERE = Partition("sensors", 0), Partition("sensors", 1)
SPOILT, WHOLE = 100, 20  # keys of a round
KEYS = [b"key-%d" % number for number in range(SPOILT + WHOLE)]
Spoil = Callable[[random.Random, bytes, bytes, bytes], bytes]


def flipped(rng: random.Random, value: bytes, _key: bytes, _place: bytes) -> bytes:
    """Turn one to eight bits over."""
    found = bytearray(value)
    for _ in range(rng.randint(1, 8)):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def moved(rng: random.Random, value: bytes, _key: bytes, _place: bytes) -> bytes:
    """Move a stretch to another place."""
    start, stop = sorted(rng.sample(range(len(value)), 2))
    rest = value[:start] + value[stop:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + value[start:stop] + rest[at:]


def overwritten(rng: random.Random, value: bytes, _key: bytes, _place: bytes) -> bytes:
    """Write zeros, ones or noise over a stretch."""
    start, stop = sorted(rng.sample(range(len(value) + 1), 2))
    noise = rng.choice([bytes(stop - start), b"\xff" * (stop - start), rng.randbytes(stop - start)])
    return value[:start] + noise + value[stop:]


SPOILS: list[Spoil] = [
    flipped,
    moved,
    overwritten,
    lambda rng, value, _key, _place: value[: rng.randrange(len(value))],
    lambda rng, value, _key, _place: value[rng.randrange(1, len(value)) :],
    lambda rng, value, _key, _place: value + rng.randbytes(rng.choice([1, 8, 64])),
    lambda rng, value, _key, _place: rng.randbytes(len(value)),
    lambda rng, _value, _key, _place: rng.randbytes(rng.randrange(2_000)),
    lambda rng, _value, _key, _place: rng.choice([b"", b"null", b'{"a": 1}', b"\x80\x04K\x01.", "ключ".encode()]),
    lambda _rng, value, _key, _place: value[:-8],  # as the release before stored it
    lambda _rng, _value, key, _place: key,  # of another key
    lambda _rng, _value, _key, place: place,  # of another partition
]


class Counted(Listener):
    """Counts keys that began anew."""

    def __init__(self) -> None:
        self.corrupt = 0

    def corrupt_states(self, keys: int) -> None:
        self.corrupt += keys


class Scene:
    """Values of keys that know random things, as a real engine packs them, and processes that load them."""

    def __init__(self, store: StateStore) -> None:
        engine = Rig(broker_with([]), MemoryStore(), settings=settings(limits={"max_keys": len(KEYS)})).engine
        self.store, self.parts = store, engine.stages.state
        self.states = self.process()
        slots = self.admitted(self.states, None)
        self.initial = dict(self.states.packed(slots))
        for part in self.parts:
            part.restore(slots, np.random.default_rng(5).integers(0, 256, (len(slots), part.size_bytes), np.uint8))
        self.packed, self.values = dict(self.states.packed(slots)), dict(self.states.pack(slots))
        self.states.release(HERE)
        slots = self.admitted(self.states, None, ELSEWHERE)
        self.elsewhere = dict(self.states.pack(slots))
        self.states.release(ELSEWHERE)

    def process(self) -> KeyStates:
        """Return the key states of another process."""
        return KeyStates(KeyTable(len(KEYS), 1), self.parts, self.store)

    def admitted(
        self, states: KeyStates, base: int | None, partition: Partition = HERE
    ) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Let a record of each key come; return their slots."""
        partitions, size = Partitions(), len(KEYS)
        found = None if base is None else self.store.manifest(partition)
        partitions.take(partition, Plan(0, 0, base, False, "clean"), Span(0, 0, 0), found)
        zeros = np.zeros(size, dtype=np.int64)
        batch = RecordBatch([], [partition] * size, KEYS, zeros, zeros, np.zeros((size, 1)))
        self.progress = partitions[partition]
        return states.admit(batch, partitions).slots

    def save(self, states: KeyStates, values: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values as a process does."""
        partitions = Partitions()
        partitions.take(HERE, Plan(0, 0, None, False, "first"), Span(0, 0, 0), None)
        stamp = partitions[HERE].stamp("f", states.layouts(partitions[HERE], whole=False))
        self.store.drop(HERE)
        assert self.store.checkpoint(HERE, None, 10, stamp, values) is Outcome.OK

    def spoilt(self, rng: random.Random, number: int) -> list[tuple[bytes, bytes]]:
        """Return the values of a round, all but the last ones spoilt."""
        found = []
        for place, key in enumerate(KEYS):
            value = self.values[key]
            if place < SPOILT:
                spoil = SPOILS[(number + place) % len(SPOILS)]
                value = spoil(
                    rng, value, self.values[rng.choice([one for one in KEYS if one != key])], self.elsewhere[key]
                )
            found.append((key, value))
        return found

    def judge(self, stored: Sequence[tuple[bytes, bytes]]) -> int:
        """Load what is stored; return how many keys began anew, each of them rightly, and no other."""
        states, counted = self.process(), Counted()
        states.attach(counted)
        slots = self.admitted(states, 10)
        known, damaged = (
            dict(states.packed(slots)),
            {KEYS.index(states.table.keys[one]) for one in states.take_damaged()},
        )
        changed = {place for place, (key, value) in enumerate(stored) if value != self.values[key]}
        assert damaged == changed
        assert counted.corrupt == len(changed)
        for place, key in enumerate(KEYS):
            assert known[key] == (self.initial if place in changed else self.packed)[key]
        assert set(states.table.dirty(HERE).tolist()) == {slots[place] for place in changed}
        assert self.progress.unread == 0
        states.release(HERE)
        return len(changed)


def test_ten_thousand_mutations_cost_the_keys_they_met_and_no_other() -> None:
    """Bits, stretches, lengths, foreign values, garbage: none is taken for state, none ends the process."""
    scene, rng, done = Scene(MemoryStore()), random.Random(17), 0
    for number in range(101):
        stored = scene.spoilt(rng, number)
        scene.save(scene.states, stored)
        done += scene.judge(stored)
    assert done >= 10_000


@pytest.mark.integration
def test_mutations_in_redis_cost_the_keys_they_met_and_no_other(
    redis_server: RedisServer, fresh_name: Callable[[str], str]
) -> None:
    """The same in a real server, into whose hashes somebody else has written."""
    prefix, rng = fresh_name("sae"), random.Random(18)
    store, raw = (
        RedisStore(StateSettings(redis_url=redis_server.url, key_prefix=prefix), "group"),
        Redis.from_url(redis_server.url),
    )
    scene = Scene(store)
    for number in range(3):
        scene.save(scene.states, list(scene.values.items()))
        stored = scene.spoilt(rng, number)
        for key, value in stored:
            raw.hset(f"{prefix}:{{group:sensors:0}}:b:{bucket_of(key)}", key.decode(), value)
        assert scene.judge(stored) >= SPOILT - 2
    raw.close()
    store.close()


def test_a_process_goes_on_over_damage_and_writes_it_over() -> None:
    """Its records are scored, other keys publish what they would have, and the next process finds nothing damaged."""
    records = stream(3, 160, spikes=[(1, 130), (1, 131), (2, 140)])
    half = len(records) * 2 // 3

    def halves(spoil: Callable[[MemoryStore], object]) -> Rig:
        broker, store = broker_with(records[:half]), MemoryStore()
        first = Rig(broker, store)
        first.run_dry()
        first.engine.close()
        spoil(store)
        for key, value in records[half:]:
            broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
        second = Rig(broker, store)
        second.run_dry()
        second.engine.close()
        return second

    def spoil(store: MemoryStore) -> None:
        held = store.snapshot()
        for stored in held.values():
            for bucket in stored.buckets:
                if b"machine-0" in bucket:
                    bucket[b"machine-0"] = b"\xff" * len(bucket[b"machine-0"])
        store.restore(held)

    damaged, calm = halves(spoil), halves(lambda _: None)
    assert b"streamae_corrupt_states_total 1.0" in damaged.telemetry.render()[0]
    assert [one.value for one in damaged.events() if one.key != b"machine-0"] == [one.value for one in calm.events()]
    different = [place for place, packed in damaged.state().items() if packed != calm.state()[place]]
    assert [key for _, key in different] == [b"machine-0"]
    again = Rig(damaged.broker, damaged.store)
    for key, value in stream(3, 170)[len(records) :]:
        damaged.broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
    again.run_dry()
    assert b"streamae_corrupt_states_total 0.0" in again.telemetry.render()[0]
