"""What became of the newest records of each slot, counted by outcome, and whether most of them came to nothing.

Two halves a slot instead of a ring of records: when the newer half is full it is judged together with the older one,
which then is forgotten. Knows neither keys nor what the outcomes mean.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Ints
from streamae.core.columns import Columns, Field

MOST, FEW = 0.5, 0.25  # share of records from which it is trouble, and under which it is over: it must not flicker


class Recent:
    """Counts of about the last `size` records of each of K slots, more where one step brings more.

    Attributes:
        columns: `half` and `before` (K, O) by outcome; `trouble` (K,) the commonest bad outcome when trouble began,
            0 = there is none.
    """

    def __init__(self, capacity: int, size: int, outcomes: int) -> None:
        """Prepare for `capacity` slots.

        Args:
            capacity: K.
            size: records that are judged together.
            outcomes: O; 0 is the good one.
        """
        self.size = size
        dtype = np.min_scalar_type(size).str
        self.columns = Columns(
            capacity,
            {"half": Field(dtype, (outcomes,)), "before": Field(dtype, (outcomes,)), "trouble": Field("|u1")},
        )

    def add(self, slots: Ints, counts: Ints) -> tuple[Ints, Ints]:
        """Count records; judge slots whose newer half is full.

        Args:
            slots: (n,) distinct slots.
            counts: (n, O) records by outcome; of more than half of `size` only their shares count.

        Returns:
            (m,) those of `slots` where trouble began or is over, and (m, O) the counts that this was judged by.
        """
        columns, half_size = self.columns, self.size // 2
        new, half = counts.sum(axis=1), columns["half"][slots]
        in_half = new + half.sum(axis=1, dtype=np.int64)
        if new.max(initial=0) > half_size:
            counts = np.rint(counts * (half_size / np.maximum(new, half_size))[:, None]).astype(np.int64)
        half += counts.astype(half.dtype)
        columns["half"][slots] = half
        full = np.flatnonzero(in_half >= half_size)
        return self._judge(slots[full], half[full], in_half[full])

    def _judge(self, slots: Ints, half: Ints, in_half: Ints) -> tuple[Ints, Ints]:
        """Judge `slots` (n,) whose newer `half` (n, O) is full, by `in_half` (n,) records; begin the next half."""
        columns = self.columns
        before, was = columns["before"][slots], columns["trouble"][slots]
        whole = half.astype(np.int64) + before
        bad = 1.0 - whole[:, 0] / np.maximum(whole.sum(axis=1), 1)
        began = np.where((was == 0) & (bad >= MOST), whole[:, 1:].argmax(axis=1) + 1, was)
        is_judged = in_half + before.sum(axis=1, dtype=np.int64) >= self.size
        found = np.where(is_judged, np.where(bad < FEW, 0, began), was)
        columns["before"][slots], columns["half"][slots], columns["trouble"][slots] = half, 0, found
        changed = found != was
        return slots[changed], whole[changed]

    def counts(self, slot: int) -> Ints:
        """Return the (O,) int64 counts of a slot's newest records, half of `size` at least."""
        found: Ints = self.columns["half"][slot].astype(np.int64) + self.columns["before"][slot]
        return found
