"""The real engine on embedded connectors, fed and turned by a bench."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from scripts.bench.inputs import TOPIC
from streamae.assembly.build import Parts, build_engine
from streamae.batches import ErrorBatch, Floats, Partition, Record
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.protocols import Sink, Source, StateStore
from streamae.engine.engine import Engine
from streamae.engine.stages import WindowModel
from streamae.model.bundle import Bundle
from streamae.observe.telemetry import Telemetry
from streamae.settings.connections import StateSettings
from streamae.settings.data import InputSettings
from streamae.settings.section import Section
from streamae.settings.serving import LimitSettings, ModelSettings
from streamae.settings.tree import Settings, ThresholdSettings


class NullModel:
    """A model that costs nothing: each feature's mean square over the window."""

    def run(self, values: Floats) -> ErrorBatch:
        """Return errors of (B, W, F) windows without a network."""
        errors = np.einsum("bwf,bwf->bf", values, values) / np.float32(values.shape[1])
        return ErrorBatch(errors, errors, values[:, -1])


def make_engine(
    bundle: Bundle,
    keys: int,
    threads: int,
    source: Source,
    sink: Sink,
    store: StateStore,
    model: WindowModel | None,
    rule: str | None = None,
    **sections: Section,
) -> Engine:
    """Assemble an engine for `keys` keys at stride 1.

    Args:
        bundle, keys, threads, source, sink, store: what it works with.
        model: replaces the bundle's network; None = that network.
        rule: replaces the default threshold rule.
        sections: further sections of the settings, by name.
    """
    own: dict[str, Section] = {
        "input": InputSettings(topics=(TOPIC,), key_field="machine", time_field="time", time_unit="ms"),
        "model": ModelSettings(device="cpu", threads=threads),
        "state": StateSettings(store="memory"),
        "limits": LimitSettings(max_keys=keys),
        "threshold": ThresholdSettings() if rule is None else ThresholdSettings.model_validate({"rule": rule}),
    }
    settings = Settings.model_validate(own | sections)
    parts = Parts(source=source, sink=sink, store=store, bundle=bundle, runner=model)
    return build_engine(settings, Telemetry(), parts)


class EmbeddedEngine:
    """An engine with its broker in memory; `consume` is what gets timed."""

    def __init__(
        self,
        bundle: Bundle,
        keys: int,
        threads: int,
        store: StateStore,
        model: WindowModel | None,
        rule: str | None = None,
        **sections: Section,
    ) -> None:
        self.broker = MemoryBroker()
        self.broker.create_topic(TOPIC, 1)
        source = MemorySource(self.broker, "bench", (TOPIC,), InputSettings().max_poll_records)
        self.engine = make_engine(
            bundle, keys, threads, source, MemorySink(self.broker), store, model, rule, **sections
        )
        self._partition = Partition(TOPIC, 0)

    def produce(self, records: Sequence[Record]) -> None:
        """Forget what was consumed; put records into the broker, where they wait."""
        self.broker.delete_before(self._partition, self.engine.source.span(self._partition).end)
        for record in records:
            self.broker.produce(TOPIC, record.key, record.value, record.timestamp)

    def consume(self) -> None:
        """Turn the engine until everything produced is read, scored and committed."""
        end = self.engine.source.span(self._partition).end
        while self.broker.committed("bench", self._partition) != end:
            now_ms = time.monotonic_ns() // 1_000_000
            self.engine.step(now_ms)
            if not any(self.engine.source.lag().values()):
                self.engine.commit(now_ms)
