"""A whole engine on the embedded connectors, with a stand-in for the network, and streams to feed it.

The stand-in's error is the squared distance of a value from its usual level: exact, instant, and enough to make
episodes where the test puts them. Everything else is the real thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamae.assembly.build import Parts, build_engine
from streamae.assembly.tuning import build_tuning
from streamae.batches import ErrorBatch, Floats, Partition, Record
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration
from streamae.engine.engine import Engine
from streamae.model.architecture import Architecture
from streamae.model.bundle import Bundle
from streamae.observe.telemetry import Telemetry
from streamae.settings.tree import Settings

FEATURES = ("temp", "load")
START_MS = 1_700_000_000_000
STEP_MS = 1_000
WINDOW = 8
TOPIC, EVENTS, DEAD = "sensors", "anomalies", "anomalies-dead-letters"


class SquareModel:
    """A `WindowModel`: error = value squared, on values around 0 with deviation 1."""

    def run(self, values: Floats) -> ErrorBatch:
        """Return the square of the newest row, twice, and 0 as expectation."""
        squares = values[:, -1] ** 2
        return ErrorBatch(squares, squares, np.zeros_like(squares))


def tiny_bundle(window_size: int = WINDOW, features: tuple[str, ...] = FEATURES) -> Bundle:
    """Return a bundle whose weights are zero: its description counts here, not its network."""
    architecture = Architecture("lstm", window_size, len(features), 2, 1, 2)
    ones = np.ones(len(features))
    return Bundle(
        architecture,
        features,
        Scaling(0 * ones, ones),
        Calibration(ones, ones, 1.0, 0.5),
        {name: np.zeros(shape, dtype=np.float32) for name, shape in architecture.shapes().items()},
        step_ms=STEP_MS,
    )


def settings(**sections: dict[str, Any]) -> Settings:
    """Return settings that learn quickly; `sections` override, e.g. `window={"stride": 2}`."""
    base: dict[str, dict[str, Any]] = {
        "input": {"topics": (TOPIC,), "time_field": "ts"},
        "output": {"topic": EVENTS, "dead_letter_topic": DEAD, "commit_interval_ms": 1},
        "window": {"max_gap_ms": 60_000},
        "model": {"max_batch_size": 64, "max_wait_ms": 0},
        "threshold": {"rule": "sigma", "min_windows": 20},
        "episode": {"merge_gap_windows": 5},
        "state": {"checkpoint_interval_ms": 10},
        "limits": {"max_keys": 1_000},
    }
    for name, values in sections.items():
        base[name] = base.get(name, {}) | values
    return Settings.model_validate(base)


def stream(
    keys: int = 3, rows: int = 120, seed: int = 0, spikes: Iterable[tuple[int, int]] = ((1, 60), (1, 61), (2, 90))
) -> list[tuple[bytes, bytes]]:
    """Return (key, JSON value) in event-time order: noise, with a value of 40 at each (key, row) of `spikes`."""
    values = np.random.default_rng(seed).normal(size=(rows, keys, len(FEATURES))).clip(-2, 2).round(4)
    for key, row in spikes:
        values[row, key, 0] = 40.0
    return [
        (
            b"machine-%d" % key,
            json.dumps(
                {"ts": START_MS + row * STEP_MS} | dict(zip(FEATURES, values[row, key].tolist(), strict=True))
            ).encode(),
        )
        for row in range(rows)
        for key in range(keys)
    ]


def broker_with(records: Iterable[tuple[bytes, bytes]], partitions: int = 2) -> MemoryBroker:
    """Return a broker whose input topic holds `records`, partitioned by key."""
    broker = MemoryBroker(partitions)
    for topic in (TOPIC, EVENTS, DEAD):
        broker.create_topic(topic, partitions)
    for key, value in records:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=sum(key) % partitions)
    return broker


@dataclass
class Rig:
    """One process's worth: an engine on a shared broker and store, and a clock moved by hand."""

    broker: MemoryBroker
    store: MemoryStore = field(default_factory=MemoryStore)
    settings: Settings = field(default_factory=settings)
    max_poll_records: int = 40
    bundle: Bundle = field(default_factory=tiny_bundle)
    parts: dict[str, Any] = field(default_factory=dict)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.telemetry = Telemetry(clock=lambda: self.now_ms / 1_000)
        self.engine = self.build()

    def build(self) -> Engine:
        """Start a process: everything in memory is new."""
        parts = {
            "source": MemorySource(self.broker, "group", (TOPIC,), self.max_poll_records),
            "sink": MemorySink(self.broker),
            "store": self.store,
            "bundle": self.bundle,
            "runner": SquareModel(),
        }
        return build_engine(self.settings, self.telemetry, Parts(**(parts | self.parts)))

    def retune(self, of: Settings) -> None:
        """Judge by other settings from now on."""
        self.engine.adopt(build_tuning(of, self.bundle))

    def step(self, times: int = 1) -> None:
        """Take turns, 5 ms of the clock each."""
        for _ in range(times):
            self.now_ms += 5
            self.engine.step(self.now_ms)

    def run_dry(self) -> None:
        """Take turns until every record is read, then drain."""
        self.step(2)
        while any(self.engine.source.lag().values()):
            self.step()
        self.engine.drain(self.now_ms + 5)

    def events(self) -> list[Record]:
        """Return what a consumer of the output topic sees."""
        return self.broker.records(EVENTS)

    def dead_letters(self) -> list[Record]:
        """Return what a consumer of the dead-letter topic sees."""
        return self.broker.records(DEAD)

    def state(self) -> dict[tuple[Partition, bytes], bytes]:
        """Return the packed state of every stored key."""
        found = {}
        for partition, stored in self.store.snapshot().items():
            for bucket in stored.buckets:
                found |= {(partition, key): packed for key, packed in bucket.items()}
        return found


def header(record: Record, name: str) -> str | None:
    """Return a header of a record as text."""
    return next((value.decode() for key, value in record.headers if key == name and value is not None), None)


def ids(records: Iterable[Record]) -> list[str | None]:
    """Return the event ids of records, sorted."""
    return sorted(header(record, "ce_id") or "" for record in records)
