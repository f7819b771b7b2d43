"""Micro-batch policy: windows wait until a batch is full or the oldest has waited long enough.

Order is kept, so windows of one key are always scored in event-time order. Time is an argument.
"""

from __future__ import annotations

from collections import deque
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
        self._waiting: deque[tuple[int, WindowBatch]] = deque()  # with the time each came in, oldest first
        self._count = 0

    def __len__(self) -> int:
        """Windows waiting."""
        return self._count

    def add(self, windows: WindowBatch, now_ms: int) -> None:
        """Take windows in; the wait of a batch counts from its first."""
        if len(windows):
            self._waiting.append((now_ms, windows))
            self._count += len(windows)

    def ready(self, now_ms: int) -> Iterator[WindowBatch]:
        """Yield full batches, then the rest if it has waited `max_wait_ms`."""
        yield from self._take(self._count - self._count % self.max_size)
        if self._waiting and now_ms - self._waiting[0][0] >= self.max_wait_ms:
            yield from self._take(self._count)

    def flush(self) -> Iterator[WindowBatch]:
        """Yield everything that waits."""
        yield from self._take(self._count)

    def drop(self, slots: Slots) -> None:
        """Forget the windows of these slots: their partition is no longer ours."""
        kept = [(came_ms, select(windows, ~np.isin(windows.slots, slots))) for came_ms, windows in self._waiting]
        self._waiting = deque((came_ms, windows) for came_ms, windows in kept if len(windows))
        self._count = sum(len(windows) for _, windows in self._waiting)

    def _take(self, count: int) -> Iterator[WindowBatch]:
        """Yield the `count` oldest windows in batches of `max_size`."""
        while count:
            size = min(count, self.max_size)
            count -= size
            yield self._cut(size)

    def _cut(self, size: int) -> WindowBatch:
        """Remove the `size` oldest windows as one batch; copies only where it joins several arrivals."""
        pieces, missing = [], size
        while missing:
            came_ms, windows = self._waiting.popleft()
            if len(windows) > missing:
                self._waiting.appendleft((came_ms, select(windows, slice(missing, None))))
                windows = select(windows, slice(missing))
            pieces.append(windows)
            missing -= len(windows)
        self._count -= size
        return join(pieces)
