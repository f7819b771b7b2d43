"""How long a checkpoint of many keys keeps Redis from serving others: the longest single command, on a real server.

Measured as processor time of the server, which does nothing else meanwhile, so that busy neighbours do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from redis import Redis

from scripts.services import RedisServer
from streamae.batches import Partition
from streamae.connectors.protocols import Stamp
from streamae.connectors.redis_store import RedisStore
from streamae.settings.connections import StateSettings

STATE_BYTES = 1_000
SIZES = (100, 1_000, 2_000, 5_000, 50_000)
TARGET_MS = 20.0
PARTITION, STAMP = Partition("bench", 0), Stamp("bench")


@dataclass(frozen=True, slots=True)
class Figures:
    """By operation and number of keys: whole duration in ms, round trips, longest command in ms of the server."""

    taken: dict[tuple[str, int], tuple[float, int, float]]

    def is_met(self) -> bool:
        """Whether no command keeps the server busy for longer than the target."""
        return max(longest for _, _, longest in self.taken.values()) <= TARGET_MS

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'':16}{'keys':>8}{'whole ms':>12}{'round trips':>14}{'longest ms':>12}{'target':>8}"]
        for (name, keys), (whole, trips, longest) in self.taken.items():
            lines.append(f"{name:16}{keys:>8,}{whole:>12.1f}{trips:>14}{longest:>12.1f}{TARGET_MS:>8.0f}")
        return "\n".join(lines)


class Meter:
    """Processor time of a server between one command of a store and the next; a pipeline counts as one."""

    def __init__(self, store: RedisStore, process: int) -> None:
        self._schedule = Path(f"/proc/{process}/schedstat")
        self._take = store._client.connection_pool.get_connection  # noqa: SLF001 - each command takes one
        store._client.connection_pool.get_connection = self._mark  # noqa: SLF001 - as above
        self._marks: list[float] = []

    def take(self) -> tuple[int, float]:
        """Return (round trips, longest in ms) since the last call."""
        marks, self._marks = [*self._marks, self._busy_ms()], []
        return len(marks) - 1, max((after - before for before, after in pairwise(marks)), default=0.0)

    def _mark(self, *arguments: Any) -> Any:
        self._marks.append(self._busy_ms())
        return self._take(*arguments)

    def _busy_ms(self) -> float:
        time.sleep(0.002)  # the server frees memory after it has answered: that counts too
        return int(self._schedule.read_text().split()[0]) / 1e6


def measure(sizes: tuple[int, ...] = SIZES) -> Figures:
    """Save, load and drop states of so many keys.

    Raises:
        ServiceUnavailableError: there is no Redis on this machine.
    """
    taken: dict[tuple[str, int], tuple[float, int, float]] = {}
    with RedisServer() as server:
        process = int(Redis.from_url(server.url).info("server")["process_id"])
        store = RedisStore(StateSettings(redis_url=server.url, redis_timeout_ms=30_000, key_prefix="bench"), "bench")
        meter = Meter(store, process)
        for keys in sizes:
            before, after = _states(keys, b"a"), _states(keys, b"b")
            store.checkpoint(PARTITION, None, 1, STAMP, before)
            operations: dict[str, Callable[[], object]] = {
                "changed keys": partial(store.checkpoint, PARTITION, 1, 2, STAMP, after),
                "whole state": partial(store.checkpoint, PARTITION, 2, 3, STAMP, before, whole=True),
                "load": partial(store.load, PARTITION, [key for key, _ in before], 3),
                "manifest": partial(store.manifest, PARTITION),
                "drop": partial(store.drop, PARTITION),
            }
            for name, operation in operations.items():
                meter.take()
                started = time.perf_counter()
                assert operation(), name
                whole_ms = (time.perf_counter() - started) * 1_000
                taken[name, keys] = (whole_ms, *meter.take())
        store.close()
    return Figures(taken)


def _states(keys: int, letter: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"key-%d" % number, letter * STATE_BYTES) for number in range(keys)]
