"""What became of each record of a step, as a number: fine, or why it was refused or comes to nothing.

Reads the windows after the step; what it remembers of a key is never stored. Must not know who counts.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Ints, RecordBatch, RowBatch, Slots
from streamae.core.columns import Columns, Field
from streamae.core.grid import Strays
from streamae.core.windowing import KeyWindows
from streamae.reasons import Fruitless, Reason

WORDS: tuple[Reason | Fruitless, ...] = (*Reason, *Fruitless)
NUMBERS = {word: number for number, word in enumerate(WORDS, start=1)}  # 0 = a record as it should be
OUTCOMES = 1 + len(WORDS)
MANY_MISSING = 0.5  # share of a record's values from which bad ones cost the record


class Outcomes:
    """Follows the windows of all keys. `follow`, then `numbers`, once a step.

    Attributes:
        columns: by key: `generation` and `filled` of its window at the last look; `is_cut`: windows before the present
            one ended before they were full; `is_starved`.
    """

    def __init__(self, capacity: int, windows: KeyWindows) -> None:
        """Prepare for `capacity` slots of `windows`, which are only read."""
        self._windows, self._withheld = windows, windows.withheld
        self.columns = Columns(
            capacity,
            {
                "generation": Field("<i8", (), -1),  # never looked
                "filled": Field("<i4"),
                "is_cut": Field("|b1"),
                "is_starved": Field("|b1"),
            },
        )

    def follow(self, rows: RowBatch) -> None:
        """Note which keys of new rows are starved, and whose windows end before they are full.

        Args:
            rows: of this step, already in the windows.
        """
        windows, own = self._windows, self.columns
        slots, counts = np.unique(rows.slots, return_counts=True)
        asked = slots if windows.withheld != self._withheld else slots[own["is_starved"][slots]]
        self._withheld = windows.withheld
        own["is_starved"][asked] = windows.is_starved(asked)
        filled, generations = windows.columns["filled"][slots], windows.columns["generation"][slots]
        before = own["generation"][slots]
        is_new = windows.columns["written"][slots] == counts  # else what came before the first look is not known
        before = np.where(before >= 0, before, np.where(is_new, 0, generations))
        ended = generations - before  # windows
        rows_in_ended = own["filled"][slots] + counts - filled
        own["is_cut"][slots] = np.where(ended > 0, rows_in_ended < windows.size * ended, own["is_cut"][slots])
        own["generation"][slots], own["filled"][slots] = generations, np.minimum(filled, windows.size)

    def numbers(self, records: RecordBatch, slots: Slots, strays: Strays) -> Ints:
        """Return (N,) int64 what became of each record; where several hold, the most particular.

        Args:
            records: N admitted ones, values (N, I) as the codec read them.
            slots: (N,) their slots.
            strays: those of them that became no part of a row.
        """
        found = np.zeros(len(records), dtype=np.int64)
        is_filling = self._windows.columns["filled"][slots] < self._windows.size
        found[self.columns["is_cut"][slots] & is_filling] = NUMBERS[Fruitless.GAP]
        found[self.columns["is_starved"][slots]] = NUMBERS[Fruitless.STARVED]
        if records.is_spoiled is not None:
            missing = np.isnan(records.values).mean(axis=1)
            found[records.is_spoiled & (missing >= MANY_MISSING)] = NUMBERS[Fruitless.BAD_VALUES]
        found[strays.indices] = [NUMBERS[reason] for reason in strays.reasons]
        return found
