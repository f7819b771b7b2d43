"""Times far ahead that nothing confirms, in series to learn from: refused by the stage of the live stream.

Must not know: what rows are made of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamae.batches import Series
from streamae.core.active_clock import UNKNOWN, advance
from streamae.core.clock_guard import ClockGuard
from streamae.core.grid import NEVER

CHUNK_ROWS = 100_000


def without_jumps(series: Sequence[Series], max_jump_ms: int | None, chunk_rows: int = CHUNK_ROWS) -> Sequence[Series]:
    """Return the series without the rows that the live stream refuses as `clock_jump`, all keys in one partition.

    Args:
        series: rows of a key in the order in which they are learnt from; keys advance together in time.
        max_jump_ms: how far ahead a time may be unconfirmed; None = any.
        chunk_rows: rows at a time; changes nothing but memory.
    """
    if max_jump_ms is None or not series:
        return series
    owners = np.repeat(np.arange(len(series), dtype=np.int32), [len(one) for one in series])
    times = np.concatenate([one.event_times_ms for one in series])
    order = np.argsort(np.concatenate([np.maximum.accumulate(one.event_times_ms) for one in series]), kind="stable")
    guard, keys = ClockGuard(len(series), max_jump_ms), [one.key.encode("utf-8", "replace") for one in series]
    guard.columns.reset(np.arange(len(series), dtype=np.int32))
    clock, candidate_ms, is_kept = UNKNOWN, NEVER, np.ones(len(times), dtype=np.bool_)
    for start in range(0, len(order), chunk_rows):
        chunk = order[start : start + chunk_rows]
        slots = owners[chunk]
        names = [keys[slot] for slot in slots.tolist()]
        judged = guard.judge(slots, names, times[chunk], clock, candidate_ms)
        clock, _ = advance(clock, names, np.where(judged.counts, times[chunk], NEVER))
        candidate_ms = judged.candidate_ms
        is_kept[chunk[judged.ahead]] = False
    if is_kept.all():
        return series
    ends = np.cumsum([len(one) for one in series])
    return [one.take(np.flatnonzero(is_kept[end - len(one) : end])) for one, end in zip(series, ends, strict=True)]
