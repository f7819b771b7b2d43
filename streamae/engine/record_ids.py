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
        windows: B new ones, each completed by one of `records`; or, where a key's own record did not, without an id.
        records: N of this step.
        slots: (N,) theirs, which tell records of equal offsets in several partitions apart.
    """
    if records.ids is None or not len(windows):
        return windows
    offsets = np.unique(records.offsets)

    def places(of_slots: Slots, of_offsets: Ints) -> Ints:
        found: Ints = of_slots.astype(np.int64) * (len(offsets) + 1) + np.searchsorted(offsets, of_offsets)
        return found

    if not len(records):
        return replace(windows, ids=np.full(len(windows), None, dtype=object))
    known, wanted = places(slots, records.offsets), places(windows.slots, windows.offsets)
    order = np.argsort(known)
    indices = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(order) - 1)]
    is_own = (known[indices] == wanted) & (records.offsets[indices] == windows.offsets)
    ids = np.array(records.ids, dtype=object)[indices]
    ids[~is_own] = None
    return replace(windows, ids=ids)
