"""What exactly-once costs: the real engine on a real broker, with and without transactions, in turns on one topic.

Each turn is a group of its own that reads the topic from its beginning, so both sides do the same work. A pair gives
one ratio; the median over pairs counts, so that a busy neighbour hits both or neither.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from scripts.bench.embedded import NullModel
from scripts.bench.inputs import TOPIC, Traffic, untrained_bundle
from scripts.services import KafkaBroker
from streamae.assembly.build import Parts, build_engine
from streamae.batches import Partition, Record
from streamae.engine.stages import WindowModel
from streamae.model.bundle import Bundle
from streamae.observe.telemetry import Telemetry
from streamae.settings.connections import KafkaSettings, OutputSettings, StateSettings
from streamae.settings.data import InputSettings
from streamae.settings.serving import LimitSettings, ModelSettings
from streamae.settings.tree import Settings

WINDOW_SIZE, FEATURES, HIDDEN_SIZE, KEYS = 32, 8, 64, 1_000
EVENTS, DEAD_LETTERS = "bench-events", "bench-dead-letters"
TARGET_RATIO = 0.85
DELIVERIES = ("exactly_once", "at_least_once")
JOIN_TIMEOUT_S, READ_TIMEOUT_S = 30.0, 600.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Records a second of both sides, taken one after the other."""

    exactly_once: float
    at_least_once: float

    @property
    def ratio(self) -> float:
        """What is left of the speed with transactions."""
        return self.exactly_once / self.at_least_once


@dataclass(frozen=True, slots=True)
class Findings:
    """All pairs of one run."""

    with_network: list[Pair]
    without_network: list[Pair]

    def is_met(self) -> bool:
        """Whether the target is met with the network; without it the figure is the worst that can be."""
        return median(pair.ratio for pair in self.with_network) >= TARGET_RATIO

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [
            f"{'':14}{'pairs':>6}{'records/s, exactly : at least once':>38}{'ratio, median (lowest..highest)':>36}"
        ]
        for name, pairs in (("network", self.with_network), ("null model", self.without_network)):
            sides = (median(pair.exactly_once for pair in pairs), median(pair.at_least_once for pair in pairs))
            ratios = sorted(pair.ratio for pair in pairs)
            rates = f"{sides[0]:,.0f} : {sides[1]:,.0f}"
            spread = f"{median(ratios):.3f} ({ratios[0]:.3f}..{ratios[-1]:.3f})"
            lines.append(f"{name:14}{len(pairs):>6}{rates:>38}{spread:>36}")
        return "\n".join([*lines, f"target with the network: {TARGET_RATIO}"])


def measure(pairs: int, rows: int, threads: int) -> Findings:
    """Take `pairs` pairs with the network and as many without it, over `rows` records of each of the keys.

    Raises:
        ServiceUnavailableError: there is no broker on this machine.
        TimeoutError: an engine did not get through.
    """
    bundle = untrained_bundle(WINDOW_SIZE, FEATURES, HIDDEN_SIZE)
    with KafkaBroker() as broker:
        records = Traffic(KEYS, bundle.features).rows(rows)
        fill(broker.bootstrap_servers, records)
        bench = Turns(broker.bootstrap_servers, bundle, len(records), threads)
        bench.run("exactly_once", None)  # imports, first allocations, the brokers' caches
        return Findings(
            [bench.pair(turn, None) for turn in range(pairs)], [bench.pair(turn, NullModel()) for turn in range(pairs)]
        )


class Turns:
    """Takes turns over one topic that `fill` has filled up to `end`."""

    def __init__(self, servers: str, bundle: Bundle, end: int, threads: int) -> None:
        self._servers, self._bundle, self._end, self._threads, self._groups = servers, bundle, end, threads, 0

    def pair(self, turn: int, model: WindowModel | None) -> Pair:
        """Return both sides, in one order or the other."""
        order = DELIVERIES if turn % 2 == 0 else DELIVERIES[::-1]
        rates = {delivery: self.run(delivery, model) for delivery in order}
        return Pair(**rates)

    def run(self, delivery: str, model: WindowModel | None) -> float:
        """Return records a second from the start of the partition to the commit of its end."""
        self._groups += 1
        engine = build_engine(
            self._settings(delivery, f"bench-{self._groups}"), Telemetry(), Parts(bundle=self._bundle, runner=model)
        )
        partition = Partition(TOPIC, 0)
        try:
            deadline_s = time.monotonic() + JOIN_TIMEOUT_S
            while partition not in engine.partitions:
                engine.step(_now_ms())
                _check(deadline_s, "the group was not joined")
            started_s = time.perf_counter()
            deadline_s = time.monotonic() + READ_TIMEOUT_S
            while engine.partitions[partition].committed != self._end:
                engine.step(_now_ms())
                _check(deadline_s, "the topic was not read to its end")
            seconds = time.perf_counter() - started_s
            assert engine.source.span(partition).earliest == 0, "the broker has deleted what was to be read"
            return self._end / seconds
        finally:
            engine.close()

    def _settings(self, delivery: str, group: str) -> Settings:
        return Settings.model_validate(
            {
                "kafka": KafkaSettings(bootstrap_servers=self._servers, group_id=group),
                "input": InputSettings(topics=(TOPIC,), key_field="machine", time_field="time", time_unit="ms"),
                "output": OutputSettings.model_validate(
                    {"delivery": delivery, "topic": EVENTS, "dead_letter_topic": DEAD_LETTERS}
                ),
                "model": ModelSettings(device="cpu", threads=self._threads),
                "state": StateSettings(store="memory"),
                "limits": LimitSettings(max_keys=KEYS),
            }
        )


def fill(servers: str, records: list[Record]) -> None:
    """Create the topics and write all records."""
    from kafka import KafkaAdminClient, KafkaProducer
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        names = (TOPIC, EVENTS, DEAD_LETTERS)
        keep = {"retention.ms": "-1"}  # the records are years old by their own time
        admin.create_topics([NewTopic(name, 1, 1, topic_configs=keep) for name in names])
    finally:
        admin.close()
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=20, batch_size=262_144)
    try:
        for record in records:
            producer.send(TOPIC, record.value, record.key, partition=0, timestamp_ms=record.timestamp)
        producer.flush(READ_TIMEOUT_S)
    finally:
        producer.close()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _check(deadline_s: float, what: str) -> None:
    if time.monotonic() > deadline_s:
        raise TimeoutError(what)
