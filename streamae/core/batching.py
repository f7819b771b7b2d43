"""Micro-batch policy: windows wait until a batch is full or the oldest has waited long enough.

Order is kept, so windows of one key are always scored in event-time order. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamae.batches import Slots, WindowBatch
from streamae.core.windowing import join, select


class MicroBatcher:
    """Collects windows of many keys and partitions into batches for the device."""

    def __init__(self, max_size: int, max_wait_ms: int) -> None:
        """Set the limits.

        Args:
            max_size: most windows of a batch.
            max_wait_ms: processing time after which a batch goes out although it is not full.
        """
        self.max_size, self.max_wait_ms = max_size, max_wait_ms
        self._waiting: list[WindowBatch] = []
        self._count = 0
        self._oldest_ms = 0

    def __len__(self) -> int:
        """Windows waiting."""
        return self._count

    def add(self, windows: WindowBatch, now_ms: int) -> None:
        """Take windows in; the wait of a batch counts from its first."""
        if not len(windows):
            return
        if not self._count:
            self._oldest_ms = now_ms
        self._waiting.append(windows)
        self._count += len(windows)

    def ready(self, now_ms: int) -> Iterator[WindowBatch]:
        """Yield full batches, then the rest if it has waited `max_wait_ms`."""
        if self._count >= self.max_size or (self._count and now_ms - self._oldest_ms >= self.max_wait_ms):
            yield from self._cut(self._count if now_ms - self._oldest_ms >= self.max_wait_ms else self.max_size)

    def flush(self) -> Iterator[WindowBatch]:
        """Yield everything that waits."""
        yield from self._cut(self._count)

    def drop(self, slots: Slots) -> None:
        """Forget the windows of these slots: their partition is no longer ours."""
        if self._count:
            kept = [select(windows, ~np.isin(windows.slots, slots)) for windows in self._waiting]
            self._waiting = [windows for windows in kept if len(windows)]
            self._count = sum(map(len, self._waiting))

    def _cut(self, at_least: int) -> Iterator[WindowBatch]:
        """Yield batches of `max_size` until fewer than `max_size` wait, or none if `at_least` is all of them."""
        if not self._count:
            return
        everything, take_all = join(self._waiting), at_least >= self._count
        stop = self._count if take_all else self._count - self._count % self.max_size
        self._waiting = [select(everything, slice(stop, None))] if stop < self._count else []
        self._count -= stop
        for start in range(0, stop, self.max_size):
            yield select(everything, slice(start, min(start + self.max_size, stop)))
