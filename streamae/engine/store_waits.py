"""Partitions that wait because the stored state of one of their keys cannot be read now.

Nothing is done with their records: the source goes back to the first of them and is held back, so that what waits
stays with the broker. All other partitions, whose keys are in memory, go on. This module must not know why a key is new.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from streamae.batches import Partition
from streamae.connectors.protocols import Source
from streamae.errors import MembershipError, RetryableError
from streamae.observe.logs import get_logger

RETRY_MS = 1_000


class StoreWaits:
    """Which partitions wait for the store. Mutated by the engine's thread only; times are the engine's `now_ms`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._since_ms: dict[Partition, int] = {}
        self._until_ms: dict[Partition, int] = {}  # held back; the others of `_since_ms` are being tried again
        self._log = get_logger()

    def __contains__(self, partition: object) -> bool:
        """Whether a partition waits, or has not got through since."""
        return partition in self._since_ms

    @property
    def failing_since_ms(self) -> int | None:
        """Since when the longest waiting one waits."""
        return min(self._since_ms.values(), default=None)

    def add(self, firsts: Mapping[Partition, int], error: RetryableError, now_ms: int) -> None:
        """Read these partitions again from these offsets, after a pause."""
        for partition, offset in firsts.items():
            self.read_again(partition, offset)
            if partition not in self._since_ms:
                self._since_ms[partition] = now_ms
                self._log.warning(
                    "partition_waits_for_store", topic=partition.topic, partition=partition.index, error=str(error)
                )
            self._until_ms[partition] = now_ms + RETRY_MS

    def read_again(self, partition: Partition, offset: int) -> None:
        """Read a partition again from an offset, at once."""
        with suppress(MembershipError):  # taken away meanwhile; the next poll will say so
            self._source.start_at(partition, offset)

    def waiting(self, now_ms: int) -> set[Partition]:
        """Return those whose pause is not over: they are to be held back."""
        self._until_ms = {partition: until for partition, until in self._until_ms.items() if now_ms < until}
        return set(self._until_ms)

    def settle(self, partitions: Collection[Partition], now_ms: int) -> None:
        """Note that the keys of these partitions' records are in memory."""
        for partition in self._since_ms.keys() & partitions:
            waited_ms = now_ms - self._since_ms[partition]
            self._log.info("partition_goes_on", topic=partition.topic, partition=partition.index, after_ms=waited_ms)
            self.abandon(partition)

    def abandon(self, partition: Partition) -> None:
        """Forget a partition: it goes on, begins anew, or is no longer ours."""
        self._since_ms.pop(partition, None)
        self._until_ms.pop(partition, None)
