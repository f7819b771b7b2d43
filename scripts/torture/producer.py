"""Writes a workload to its input topic, at the pace of the faults: they decide how long the stream lasts.

Must not know: product code. The client is confluent-kafka, idempotent, so that offsets are those of the workload.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import KafkaError, Producer

from scripts.torture.outputs import CLIENT
from scripts.torture.workload import Workload

TICK_S = 0.05
PACE_S = 4.0  # time in which about 63 % of what may be written is written
CHUNK = 2_000
FLUSH_TIMEOUT_S = 120.0


class PacedProducer:
    """Writes records in a thread. Up to the limit it slows down more and more, but never stops: faults meet traffic.

    Args:
        servers, topic: where to.
        workload: what.
    """

    def __init__(self, servers: str, topic: str, workload: Workload) -> None:
        self.workload, self._topic = workload, topic
        self.written = 0
        self.failures: list[str] = []
        self._limit = 0
        self._is_free = False
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 0,  # broker faults may last: never give a record up
                "queue.buffering.max.messages": 1_000_000,
                **CLIENT,
                # The address stays: starting from it again every second while the broker is away left the client
                # with records that it never sent (seen once in 50 absences).
                "metadata.recovery.rebootstrap.trigger.ms": 300_000,
                "error_cb": self._noticed,
            }
        )
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write_to(self, count: int) -> None:
        """Write, instead of a thread, up to `count` records of the stream and wait until the broker has them."""
        while self.written < min(count, self.workload.records):
            self._write(min(CHUNK, count - self.written))
        self._flush()

    def allow(self, share: float) -> None:
        """Let the stream go on up to this share of its records, in [0, 1]."""
        self._limit = int(share * self.workload.records)

    def finish(self) -> None:
        """Write all the rest as fast as possible and wait until the broker has it."""
        self._is_free = True
        if self._thread.is_alive():
            self._thread.join()
        self.write_to(self.workload.records)

    def _flush(self) -> None:
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        if left:
            self.failures.append(f"{left} input records were not confirmed")

    def close(self) -> None:
        """Stop writing, wherever the stream is."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self.written < self.workload.records and not self._stop.is_set():
            if self._is_free:
                count = CHUNK
            else:
                time.sleep(TICK_S)
                count = max(1, int((self._limit - self.written) * TICK_S / PACE_S))
            self._write(count)

    def _write(self, count: int) -> None:
        for partition, key, value in self.workload.produced(self.written, self.written + count):
            while True:
                try:
                    self._producer.produce(self._topic, value, key, partition, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self.written += 1
        self._producer.poll(0)

    def _noticed(self, error: KafkaError) -> None:
        if error.fatal():
            self.failures.append(f"the producer gave up: {error}")

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self.failures.append(f"an input record was not written: {error}")
