"""Arithmetic over runs of equal key slots in a micro-batch: what replaces a Python loop over records.

A batch is sorted once by slot (stable, so arrival order survives inside a key); everything else is a
cumulative operation that restarts at each key. Knows nothing about windows, scores or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Flags, Ints, Slots

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """A batch of N elements grouped by slot.

    Attributes:
        order: (N,) indices that sort the batch by slot, stable.
        slots: (N,) sorted slots.
        ids: (N,) number of the segment of each sorted element, 0, 1, ...
        ranks: (N,) position of each sorted element inside its segment, 0, 1, ...
        starts, ends: (U,) first and last sorted index of each segment.
    """

    order: Ints
    slots: Slots
    ids: Ints
    ranks: Ints
    starts: Ints
    ends: Ints

    @classmethod
    def of(cls, slots: Slots) -> Segments:
        """Group `slots` (N,).

        Example:
            >>> s = Segments.of(np.array([7, 3, 7], dtype=np.int32))
            >>> s.slots.tolist(), s.ranks.tolist(), s.order.tolist()
            ([3, 7, 7], [0, 0, 1], [1, 0, 2])
        """
        order = np.argsort(slots, kind="stable")
        ordered = slots[order]
        count = len(ordered)
        is_start = np.ones(count, dtype=np.bool_)
        is_start[1:] = ordered[1:] != ordered[:-1]
        ids = np.cumsum(is_start) - 1
        starts = np.flatnonzero(is_start)
        ends = np.append(starts[1:], count)[: len(starts)] - 1
        return cls(order, ordered, ids, np.arange(count) - starts[ids] if count else ids, starts, ends)

    @property
    def uniques(self) -> Slots:
        """(U,) each slot once, ascending."""
        return self.slots[self.starts]

    def running_max(self, values: Ints) -> Ints:
        """Cumulative maximum of sorted `values` (N,) int64, restarting at each segment."""
        if not len(values):
            return values
        low = int(values.min())
        span = int(values.max()) - low + 1
        if span * len(self.starts) >= 2**62:  # absurdly far apart: ranks of values order them just as well
            distinct, inverse = np.unique(values, return_inverse=True)
            found: Ints = distinct[self.running_max(inverse.astype(np.int64))]
            return found
        lift = self.ids * span
        peaks: Ints = np.maximum.accumulate(values - low + lift) - lift + low
        return peaks

    def newest(self, present: Flags, since: Ints | int = 0) -> Ints:
        """Return the sorted index (N, M) of the newest present cell of each column up to each element; -1 = none.

        Args:
            present: (N, M) sorted.
            since: (N, M), or what is broadcast to it: ranks; older cells of the segment do not count.
        """
        found = np.maximum.accumulate(np.where(present, np.arange(len(present))[:, None], -1), axis=0)
        return np.where(found >= self.starts[self.ids][:, None] + since, found, -1)

    def previous(self, values: NDArray[Number], initial: NDArray[Number]) -> NDArray[Number]:
        """Shift sorted `values` (N, ...) by one inside each segment; the first gets `initial` (U, ...) of its segment."""
        shifted = np.empty_like(values)
        shifted[1:] = values[:-1]
        shifted[self.starts] = initial
        return shifted


def waves(slots: Slots) -> Iterator[Ints]:
    """Yield index arrays so that no slot occurs twice in one, first occurrences first.

    Processing wave after wave, each vectorised, gives exactly the result of a sequential loop, because keys do
    not influence each other. The number of waves is the largest number of elements of one key.

    Example:
        >>> [w.tolist() for w in waves(np.array([4, 5, 4, 4], dtype=np.int32))]
        [[0, 1], [2], [3]]
    """
    if not len(slots):
        return
    segments = Segments.of(slots)
    if len(segments.starts) == len(slots):  # every key once: the usual micro-batch
        yield np.arange(len(slots))
        return
    by_rank = np.argsort(segments.ranks, kind="stable")
    bounds = np.cumsum(np.bincount(segments.ranks))
    for start, stop in zip(np.append(0, bounds[:-1]), bounds, strict=True):
        yield np.sort(segments.order[by_rank[start:stop]])


def is_last(segments: Segments) -> Flags:
    """(N,) True at the last sorted element of each segment."""
    flags = np.zeros(len(segments.slots), dtype=np.bool_)
    flags[segments.ends] = True
    return flags
