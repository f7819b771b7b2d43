"""How long a key usually says nothing: the mean of its newest gaps, in whole numbers, so that no cut of a stream changes it.

Must not know what follows from a gap.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Flags, Ints
from streamae.core.segments import Segments

FULL_GAPS, KEPT_GAPS = 128, 64  # gaps after which their sum is halved, and of how many it then is
LEAST_GAPS = 8  # with which a usual gap is known


def learnt(segments: Segments, gaps: Ints, is_learnt: Flags, counts: Ints, totals: Ints) -> tuple[Ints, Ints]:
    """Return number and sum of the gaps that each key knows after each record, (N,), sorted by segment.

    Args:
        segments: of the records.
        gaps: (N,) before each.
        is_learnt: (N,) whether it counts.
        counts, totals: (U,) what the keys knew before.
    """
    found = counts[segments.ids] + _summed(segments, is_learnt.astype(np.int64))
    sums = totals[segments.ids] + _summed(segments, np.where(is_learnt, gaps, 0))
    while len(full := np.flatnonzero(found >= FULL_GAPS)):
        ids, places = np.unique(segments.ids[full], return_index=True)
        less = np.zeros(len(segments.starts), dtype=np.int64)
        at = full[places]
        less[ids] = sums[at] - sums[at] // 2
        found[full] -= FULL_GAPS - KEPT_GAPS
        sums[full] -= less[segments.ids[full]]
    return found, sums


def _summed(segments: Segments, values: Ints) -> Ints:
    """Cumulative sum of sorted `values` (N,), restarting at each segment."""
    sums = np.cumsum(values)
    starts = segments.starts
    found: Ints = sums - (sums[starts] - values[starts])[segments.ids]
    return found
