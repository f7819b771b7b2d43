"""Which of two instants is meant by a local time that a clock shows twice, because it was set back.

Records of a live stream are asked for their Kafka timestamp, rows of a file for their order. Must not know zones or
how times are written.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from streamae.batches import Ints
from streamae.connectors.event_times import SKIPPED

_NEARER = 4  # times as near to the step must be what is less likely


def nearest(earlier_ms: Ints, later_ms: Ints, stamps_ms: Ints) -> Ints:
    """Return (N,) the instant nearer to the Kafka timestamp; the earlier one where there is none, or both are as near.

    Args:
        earlier_ms, later_ms: (N,) as of `read_local`.
        stamps_ms: (N,) Kafka timestamps; negative = there is none.

    Example:
        >>> nearest(np.array([0, 0, 0]), np.array([60, 60, 60]), np.array([20, 55, -1])).tolist()
        [0, 60, 0]
    """
    if earlier_ms is later_ms:
        return earlier_ms
    is_later = (stamps_ms >= 0) & (np.abs(later_ms - stamps_ms) < np.abs(earlier_ms - stamps_ms))
    return np.where(is_later, later_ms, earlier_ms)


def resolve_order(earlier_ms: Ints, later_ms: Ints, keys: Sequence[Hashable]) -> Ints:
    """Return (N,) the instant that fits the rows around it, in time for rows that are oldest or newest first.

    The first pass of the hour lasts until the clock jumps back. A key's rows follow each other by its usual step: a row
    is late, and no jump, where that is much nearer to this step; and one that goes on is of the second pass already,
    where only that is a step.

    Args:
        earlier_ms, later_ms: (N,) as of `read_local`, all rows of a file in its order.
        keys: N keys; in the long layout each with the name of its metric, so that a step is one.

    Example:
        >>> minutes = np.array([30, 45, 0, 15, 30, 45, 0, 15, 30, 45, 0])  # of an hour, the next one twice, one more
        >>> earlier = minutes + np.array([0, 0, 60, 60, 60, 60, 60, 60, 60, 60, 180])
        >>> later = earlier + np.array([0, 0, 60, 60, 60, 60, 60, 60, 60, 60, 0])
        >>> resolve_order(earlier, later, ["a"] * 11).tolist()
        [30, 45, 60, 75, 90, 105, 120, 135, 150, 165, 180]
    """
    is_twice = earlier_ms != later_ms
    if not is_twice.any():
        return earlier_ms
    asked = {keys[i] for i in np.flatnonzero(is_twice).tolist()}
    rows_of: dict[Hashable, list[int]] = {key: [] for key in asked}
    for i in np.flatnonzero(earlier_ms > SKIPPED).tolist():
        if keys[i] in asked:
            rows_of[keys[i]].append(i)
    result = earlier_ms.copy()
    for rows in rows_of.values():
        result[rows] = _of_key(earlier_ms[rows], later_ms[rows])
    return result


def _of_key(earlier_ms: Ints, later_ms: Ints) -> Ints:
    """Return (N,) instants of one key."""
    is_twice, steps = earlier_ms != later_ms, np.diff(earlier_ms)
    is_sure = ~is_twice[1:] & ~is_twice[:-1]
    sure = steps[is_sure] if is_sure.any() else steps[steps >= 0]
    step_ms = int(np.median(sure)) if len(sure) else 0
    if step_ms < 0:  # newest first
        return _of_key(earlier_ms[::-1], later_ms[::-1])[::-1]
    result = earlier_ms.copy()
    for row in np.flatnonzero(is_twice[1:]).tolist():
        ahead_ms = int(earlier_ms[row + 1] - result[row])
        off_ms, later_off_ms = abs(ahead_ms - step_ms), abs(int(later_ms[row + 1] - result[row]) - step_ms)
        is_later = _NEARER * later_off_ms < off_ms if ahead_ms > 0 else later_off_ms < _NEARER * off_ms
        result[row + 1] = later_ms[row + 1] if is_later else earlier_ms[row + 1]
    return result
