"""Micro-batch policy: windows wait until a batch is full or the oldest has waited long enough.

Order is kept, so windows of one key are always scored in event-time order. Marks stand between windows: what the time
of a partition brings to a key comes behind the key's windows before it. Only the windows of that very key are parted by
it, for keys do not influence each other: the device and the thresholds see the batch whole. Time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from streamae.batches import Ints, Partition, Slots, WindowBatch
from streamae.core.marks import KeyMark, TimeMark
from streamae.core.windowing import join, select


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What is scored at once.

    Attributes:
        windows: B; None = there are none, only marks.
        marks: each with the number of these windows that stand before it, in order.
    """

    windows: WindowBatch | None
    marks: tuple[tuple[int, TimeMark], ...] = ()

    def phases(self) -> Iterator[tuple[slice, list[tuple[TimeMark, KeyMark]]]]:
        """Yield windows whose episodes can go on together, and the marks that come behind them.

        A mark only has to stand between the right two windows of its key: few cuts serve many marks.
        """
        slots = np.zeros(0, dtype=np.int32) if self.windows is None else self.windows.slots
        told = [(mark, key, *_room(slots, key.slot, place)) for place, mark in self.marks for key in mark.keys]
        cuts: list[int] = []
        at: list[list[tuple[TimeMark, KeyMark]]] = []
        by_last = sorted(range(len(told)), key=lambda number: (told[number][3], number))
        for number in by_last:
            _, _, first, last = told[number]
            if not cuts or cuts[-1] < first:
                cuts.append(last)
                at.append([])
        places = np.searchsorted(cuts, [first for _, _, first, _ in told]).tolist() if told else []
        for (mark, key, _, _), place in zip(told, places, strict=True):
            at[place].append((mark, key))
        start = 0
        for cut, marks in zip(cuts, at, strict=True):
            yield slice(start, cut), marks
            start = cut
        if start < len(slots):
            yield slice(start, len(slots)), []


def _room(slots: Slots, slot: int, place: int) -> tuple[int, int]:
    """Return between which windows, by their number, a mark at `place` may stand to part the same ones of its key."""
    own = np.flatnonzero(slots == slot)
    before = int(np.searchsorted(own, place))
    return int(own[before - 1]) + 1 if before else 0, int(own[before]) if before < len(own) else len(slots)


class MicroBatcher:
    """Collects windows of many keys and partitions into batches for the device."""

    def __init__(self, max_size: int, max_wait_ms: int) -> None:
        """Set the limits.

        Args:
            max_size: most windows of a batch.
            max_wait_ms: processing time after which a batch goes out although it is not full.
        """
        self.max_size, self.max_wait_ms = max_size, max_wait_ms
        self._waiting: deque[tuple[int, WindowBatch | TimeMark]] = deque()  # with the time each came in, oldest first
        self._count = 0

    def __len__(self) -> int:
        """Windows waiting."""
        return self._count

    def add(self, windows: WindowBatch, now_ms: int) -> None:
        """Take windows in; the wait of a batch counts from its first."""
        if len(windows):
            self._waiting.append((now_ms, windows))
            self._count += len(windows)

    def add_with_marks(self, windows: WindowBatch, owners: Ints, marks: Sequence[TimeMark], now_ms: int) -> None:
        """Take windows in with marks between them.

        Args:
            windows: B; those of one partition in the order in which they are to be scored.
            owners: (B,) place of each window's partition among those of the marks, in the order in which these first
                occur; others have -1.
            marks: of any partitions; those of one in order.
            now_ms: when they came in.
        """
        places: dict[Partition, list[TimeMark]] = {}
        for mark in marks:
            places.setdefault(mark.partition, []).append(mark)
        ranks = np.zeros(len(windows), dtype=np.int64)  # marks of its partition before each window
        for number, of_one in enumerate(places.values()):
            ours = owners == number
            ends = np.array([mark.offset + (not mark.is_before) for mark in of_one], dtype=np.int64)
            ranks[ours] = np.searchsorted(ends, windows.offsets[ours], side="right")
        if (np.diff(ranks) < 0).any():
            order = np.argsort(ranks, kind="stable")
            windows, ranks = select(windows, order), ranks[order]
        most = max(map(len, places.values()), default=0)
        bounds = np.searchsorted(ranks, np.arange(most + 2)).tolist()
        for rank, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                self.add(select(windows, slice(start, stop)), now_ms)
            for of_one in places.values():
                if rank < len(of_one):
                    self._waiting.append((now_ms, of_one[rank]))

    def ready(self, now_ms: int) -> Iterator[Batch]:
        """Yield full batches, then the rest if it has waited `max_wait_ms`; marks go with the windows before them."""
        while self._count >= self.max_size or (self._waiting and isinstance(self._waiting[0][1], TimeMark)):
            yield self._next(only_marks=self._count < self.max_size)
        if self._waiting and now_ms - self._waiting[0][0] >= self.max_wait_ms:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """Yield everything that waits."""
        while self._waiting:
            yield self._next()

    def drop(self, slots: Slots, partition: Partition | None = None) -> None:
        """Forget the windows of these slots and the marks of their partition: it is no longer ours."""
        kept: deque[tuple[int, WindowBatch | TimeMark]] = deque()
        for came_ms, item in self._waiting:
            if isinstance(item, TimeMark):
                if item.partition != partition:
                    kept.append((came_ms, item))
            elif len(left := select(item, ~np.isin(item.slots, slots))):
                kept.append((came_ms, left))
        self._waiting = kept
        self._count = sum(len(item) for _, item in kept if not isinstance(item, TimeMark))

    def _next(self, *, only_marks: bool = False) -> Batch:
        """Remove up to `max_size` windows, or none, with the marks between and behind them.

        Copies only where a batch joins several arrivals.
        """
        pieces, marks, size = list[WindowBatch](), list[tuple[int, TimeMark]](), 0
        most = 0 if only_marks else self.max_size
        while self._waiting:
            came_ms, item = self._waiting[0]
            if isinstance(item, TimeMark):
                marks.append((size, item))
            elif size == most:
                break
            else:
                room = most - size
                pieces.append(item if len(item) <= room else select(item, slice(room)))
                size += len(pieces[-1])
                if len(item) > room:
                    self._waiting[0] = came_ms, select(item, slice(room, None))
                    break
            self._waiting.popleft()
        self._count -= size
        return Batch(join(pieces) if pieces else None, tuple(marks))
