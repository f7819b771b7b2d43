"""Writes a workload to its input topic, at the pace of the faults: they decide how long the stream lasts.

Must not know: product code. The client is confluent-kafka, idempotent, so that offsets are those of the workload.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Producer

from scripts.verify.torture.outputs import CLIENT, ends
from scripts.verify.torture.workload import Stream

TICK_S = 0.05
PACE_S = 4.0  # time in which about 63 % of what may be written is written
CHUNK = 2_000
FLUSH_TIMEOUT_S = 120.0
STUCK_S = 30.0  # without a confirmation while records wait: longer than any broker is away
SETTLED_S = 1.0
PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001 - their only names


class PacedProducer:
    """Writes records in a thread. Up to the limit it slows down more and more, but never stops: faults meet traffic.

    Args:
        servers, topic: where to.
        workload: what.
        stuck_s: seconds without any confirmation after which the client is begun anew.
    """

    def __init__(self, servers: str, topic: str, workload: Stream, stuck_s: float = STUCK_S) -> None:
        self.workload, self._servers, self._topic, self.stuck_s = workload, servers, topic, stuck_s
        self.written = 0
        self.renewals = 0
        self.failures: list[str] = []
        self._limit = 0
        self._is_free = False
        self._stop = threading.Event()
        self._moved_s = time.monotonic()
        self._producer = self._client()
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
        deadline_s = time.monotonic() + FLUSH_TIMEOUT_S
        while (left := self._producer.flush(1.0)) and time.monotonic() < deadline_s:
            self._begin_anew_if_stuck()
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
        end = min(self.written + count, self.workload.records)
        self._produce(self.written, end, {})
        self.written = end
        self._producer.poll(0)
        self._begin_anew_if_stuck()

    def _produce(self, start: int, end: int, held: dict[int, int]) -> None:
        """Hand over the records [start, end) of the stream but those whose offset is below that `held` already."""
        for number, (partition, key, value) in enumerate(self.workload.produced(start, end), start):
            if self.workload.offsets[number] < held.get(partition, 0):
                continue
            while True:
                try:
                    self._producer.produce(self._topic, value, key, partition, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)

    def _begin_anew_if_stuck(self) -> None:
        """Replace a client that does nothing any more: after a broker was killed that happens to it now and then.

        Seen twice in 100 absences, for two minutes at least, while the broker and everybody else went on.
        """
        now_s = time.monotonic()
        if not len(self._producer):
            self._moved_s = now_s
        elif now_s - self._moved_s > self.stuck_s:
            self._moved_s = now_s
            with suppress(KafkaException):  # the broker is away after all: later
                ends(self._servers, self._topic)
                self._begin_anew()

    def _begin_anew(self) -> None:
        self._producer.purge()
        self._producer.poll(0)
        self._producer = self._client()  # the old one is closed with its last reference
        held = ends(self._servers, self._topic)
        while True:  # what the old one had sent may still arrive
            time.sleep(SETTLED_S)
            newer = ends(self._servers, self._topic)
            if newer == held:
                break
            held = newer
        self.renewals += 1
        self._produce(0, self.written, held)

    def _client(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 0,  # broker faults may last: never give a record up
                "queue.buffering.max.messages": 1_000_000,
                **CLIENT,
            }
        )

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        self._moved_s = time.monotonic()
        if error is not None and error.code() not in PURGED:
            self.failures.append(f"an input record was not written: {error}")
