"""What a transaction costs: a real source and a real sink on a broker started here, at the product's own defaults."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scripts.services import KafkaBroker
from streamae.batches import Cause, Partition
from streamae.connectors.kafka import KafkaSink, KafkaSource
from streamae.connectors.protocols import Message
from streamae.settings.connections import KafkaSettings
from streamae.settings.data import InputSettings

INPUT, OUTPUT, GROUP = "bench-input", "bench-output", "bench"
MESSAGES, MESSAGE_BYTES = 20, 700  # events of a busy step
TARGET_P50_MS = 30.0
POLL_TIMEOUT_MS = 50  # as the engine's
JOIN_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of one transaction each."""

    in_a_row: list[float]  # the next begins at once: the brokers have not finished the one before
    one_a_step: list[float]  # a poll in between, as in the engine

    def is_met(self) -> bool:
        """Whether the target is met, in a row too."""
        return max(quantile(self.in_a_row, 0.5), quantile(self.one_a_step, 0.5)) <= TARGET_P50_MS

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'':14}{'transactions':>14}{'p50 ms':>10}{'p95 ms':>10}{'max ms':>10}{'target p50':>12}"]
        for name, taken in (("in a row", self.in_a_row), ("one a step", self.one_a_step)):
            quantiles = "".join(f"{quantile(taken, share):>10.1f}" for share in (0.5, 0.95, 1.0))
            lines.append(f"{name:14}{len(taken):>14}{quantiles}{TARGET_P50_MS:>12.0f}")
        return "\n".join(lines)


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    return sorted(values)[max(0, round(share * len(values)) - 1)]


def measure(count: int) -> Figures:
    """Run `count` transactions of either kind, after some that do not count.

    Raises:
        ServiceUnavailableError: there is no broker on this machine.
        TimeoutError: the group was not joined.
    """
    with KafkaBroker() as broker:
        _create_topics(broker.bootstrap_servers)
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, group_id=GROUP)
        source = KafkaSource([INPUT], settings, InputSettings().max_poll_records)
        sink = KafkaSink(settings)
        try:
            bench = _Transactions(source, sink)
            for polls in (False, True):
                bench.run(count // 10, polls=polls)
            return Figures(bench.run(count, polls=False), bench.run(count, polls=True))
        finally:
            source.close()
            sink.close()


class _Transactions:
    def __init__(self, source: KafkaSource, sink: KafkaSink) -> None:
        self._source, self._sink, self._offset = source, sink, 0
        self._partition = Partition(INPUT, 0)
        value = b"x" * MESSAGE_BYTES
        self._messages = [Message(OUTPUT, b"key", value, (), Cause(self._partition, 0))] * MESSAGES
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        while self._partition not in source.poll(POLL_TIMEOUT_MS).assigned:
            if time.monotonic() > deadline_s:
                raise TimeoutError("the group was not joined")
        source.start_at(self._partition, 0)

    def run(self, count: int, *, polls: bool) -> list[float]:
        taken = []
        for _ in range(count):
            if polls:
                self._source.poll(POLL_TIMEOUT_MS)
            self._offset += 1
            membership, started_s = self._source.membership(), time.perf_counter()
            with self._sink.transaction() as transaction:
                transaction.send(self._messages)
                transaction.send_offsets({self._partition: self._offset}, membership)
            taken.append((time.perf_counter() - started_s) * 1_000)
        return taken


def _create_topics(servers: str) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1) for name in (INPUT, OUTPUT)])
    finally:
        admin.close()
