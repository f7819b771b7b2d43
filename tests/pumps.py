"""Pumps that send a wave each, the daemon that reads them, and what must come out whatever happened meanwhile.

What must come out is computed by an engine on the embedded connectors, with the same bundle and settings, from the
same records; nothing of it passes through a broker or a store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaProducer
from redis import Redis

from streamae.assembly.build import Parts, build_engine
from streamae.batches import Partition, Series
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.model.bundle import load_bundle
from streamae.observe.telemetry import Telemetry
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.daemons import Daemon, Sections
from tests.kafka_io import committed_offset, read_all
from tests.waiting import wait_until

FEATURES = ("temp", "load")
PARTITIONS = 2
START_MS, STEP_MS = 1_700_000_000_000, 1_000
PATIENCE_S = 120.0

Found = tuple[list[str], dict[tuple[int, bytes], bytes]]


def row(key: int, number: int) -> list[float]:
    """Return one row of a pump: a noisy wave, with a spike now and then."""
    phase = number / 9 + key + np.arange(len(FEATURES))
    values = (np.sin(phase) + np.random.default_rng((key, number)).normal(0, 0.1, len(FEATURES))).round(4)
    if number % 61 == 50 + key:
        values[0] = 25.0
    return [float(value) for value in values]


def train_pumps(directory: Path) -> Path:
    """Train a small network on quiet pumps and return its bundle."""
    times = START_MS + STEP_MS * np.arange(400, dtype=np.int64)
    quiet = np.sin(np.arange(400)[:, None] / 9 + np.arange(len(FEATURES)))
    series = [
        Series(
            f"p{seed}", FEATURES, times, (quiet + np.random.default_rng(seed).normal(0, 0.1, quiet.shape)).astype("f4")
        )
        for seed in range(3)
    ]
    options = TrainOptions(
        TrainSettings(window_size=8, hidden_size=8, recent_steps=2, max_steps=120),
        model=ModelSettings(device="cpu", threads=1),
    )
    train(series, options).save(directory)
    return directory


class Pumps:
    """A stream written in parts. The number of a pump decides its partition.

    Args:
        servers, redis_url: the services.
        name: of the input topic, the group and the key prefix; outputs go to `<name>-events` and `<name>-dead`.
        bundle: from `train_pumps`.
        folder: for settings and log of the daemon.
        overrides: settings by section.
    """

    def __init__(
        self, servers: str, redis_url: str, name: str, bundle: Path, folder: Path, **overrides: dict[str, Any]
    ) -> None:
        self.servers, self.redis_url, self.name, self.folder = servers, redis_url, name, folder
        self.sections: Sections = {
            "kafka": {
                "bootstrap_servers": servers,
                "group_id": name,
                "session_timeout_ms": 6_000,
                "request_timeout_ms": 3_000,
                "transaction_timeout_ms": 4_000,
            },
            "input": {"topics": [name], "time_field": "ts", "max_poll_records": 60},
            "output": {"topic": f"{name}-events", "dead_letter_topic": f"{name}-dead", "commit_interval_ms": 20},
            "model": {"bundle": bundle, "device": "cpu", "threads": 1},
            "threshold": {"min_windows": 40},
            "episode": {"merge_gap_windows": 5},
            "state": {
                "redis_url": redis_url,
                "redis_timeout_ms": 300,
                "key_prefix": name,
                "checkpoint_interval_ms": 300,
            },
            "service": {"store_grace_ms": 1_500},
        }
        for section, values in overrides.items():
            self.sections[section] = self.sections.get(section, {}) | values
        self.written: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]

    def daemon(self) -> Daemon:
        """Return the program, not started yet."""
        return Daemon(self.folder, self.sections)

    def write(self, keys: Iterable[int], rows: range) -> None:
        """Send these rows of these pumps, in turn."""
        keys = list(keys)
        producer = KafkaProducer(bootstrap_servers=self.servers, linger_ms=50)
        for number in rows:
            for key in keys:
                content = dict(zip(FEATURES, row(key, number), strict=True)) | {"ts": START_MS + number * STEP_MS}
                entry = b"pump-%d" % key, json.dumps(content).encode()
                producer.send(self.name, key=entry[0], value=entry[1], partition=key % PARTITIONS)
                self.written[key % PARTITIONS].append(entry)
        producer.flush(60)
        producer.close(5)

    def committed(self, partition: int) -> int:
        """Return how far the group has come."""
        return committed_offset(self.servers, self.name, self.name, partition) or 0

    def wait_until_committed(self, daemon: Daemon, partitions: Iterable[int] = range(PARTITIONS)) -> None:
        """Wait until all that was written is processed and committed."""
        for partition in partitions:
            self.wait(
                daemon,
                lambda at=partition: self.committed(at) == len(self.written[at]),
                f"partition {partition} to be committed",
            )

    def wait_until_saved(self, daemon: Daemon) -> None:
        """Wait until all that was written is processed, committed and in the stored state."""
        self.wait_until_committed(daemon)
        ends = {index: len(entries) for index, entries in enumerate(self.written) if entries}
        self.wait(daemon, lambda: self.saved() == ends, f"state to be saved up to {ends}")

    @staticmethod
    def wait(daemon: Daemon, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition, and fail with the log when the daemon ends meanwhile."""

        def holds() -> object:
            daemon.assert_runs()
            return condition()

        wait_until(holds, what, PATIENCE_S, interval_s=0.2)

    def saved(self) -> dict[int, int]:
        """Return the offset that the stored state of each partition reflects."""
        client = Redis.from_url(self.redis_url)
        found = {}
        for partition in range(PARTITIONS):
            offset = client.hget(self.place(partition) + b"m", "off")
            if offset is not None:
                found[partition] = int(offset)
        client.close()
        return found

    def place(self, partition: int) -> bytes:
        """Return what the Redis keys of a partition begin with."""
        return f"{self.name}:{{{self.name}:{self.name}:{partition}}}:".encode()

    def event_ids(self) -> list[str]:
        """Return the sorted ids of the published events; every one of them is whole."""
        records = read_all(self.servers, f"{self.name}-events")
        for record in records:
            json.loads(record.value)
        return sorted(dict(record.headers)["ce_id"].decode() for record in records)

    def found(self) -> Found:
        """Return the ids of the published events, and all stored key state by partition and key."""
        client = Redis.from_url(self.redis_url)
        state: dict[tuple[int, bytes], bytes] = {}
        for partition in range(PARTITIONS):
            for bucket in range(256):
                held = client.hgetall(self.place(partition) + b"b:%d" % bucket)
                state |= {(partition, key): packed for key, packed in held.items()}
        client.close()
        return self.event_ids(), state

    def expected(self) -> Found:
        """Return the same of a run in which nothing ever failed."""
        broker, store = MemoryBroker(PARTITIONS), MemoryStore()
        for partition, entries in enumerate(self.written):
            for key, value in entries:
                broker.produce(self.name, key, value, timestamp=START_MS, partition=partition)
        settings = Settings.model_validate(self.sections)
        source = MemorySource(broker, self.name, (self.name,), 1_000)
        parts = Parts(source=source, sink=MemorySink(broker), store=store, bundle=load_bundle(settings.model.bundle))
        engine = build_engine(settings, Telemetry(), parts)
        now_ms = 0
        while now_ms < 10 or any(source.lag().values()):
            now_ms += 5
            engine.step(now_ms)
        engine.drain(now_ms + 5)
        ids = sorted(
            next(value for name, value in record.headers if name == "ce_id").decode()  # type: ignore[union-attr]
            for record in broker.records(settings.output.topic)
        )
        state = {
            (partition.index, key): packed
            for partition, stored in store.snapshot().items()
            for bucket in stored.buckets
            for key, packed in bucket.items()
        }
        assert set(store.snapshot()) == {Partition(self.name, index) for index in range(PARTITIONS)}
        return ids, state
