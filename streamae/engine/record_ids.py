"""Own ids of records, such as those of transactions, on their way into events.

They travel with the windows that wait, so that nothing is kept of records that caused none. Must not know events.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamae.batches import Ints, RecordBatch, Slots, WindowBatch


def with_ids(windows: WindowBatch, records: RecordBatch, slots: Slots) -> WindowBatch:
    """Return the windows with the ids of the records that completed them; as they are where nobody asked for ids.

    Args:
        windows: B new ones; each was completed by one of `records`.
        records: N of this step.
        slots: (N,) theirs, which tell records of equal offsets in several partitions apart.
    """
    if records.ids is None or not len(windows):
        return windows
    offsets = np.unique(records.offsets)

    def places(of_slots: Slots, of_offsets: Ints) -> Ints:
        found: Ints = of_slots.astype(np.int64) * len(offsets) + np.searchsorted(offsets, of_offsets)
        return found

    known = places(slots, records.offsets)
    order = np.argsort(known)
    indices = order[np.searchsorted(known, places(windows.slots, windows.offsets), sorter=order)]
    return replace(windows, ids=np.array(records.ids, dtype=object)[indices])
