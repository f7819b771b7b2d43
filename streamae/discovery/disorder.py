"""How long `run` would have to wait for records that come in another order than they happened.

Must not know: fields, or settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamae.batches import Ints
from streamae.core.grid import NEVER
from streamae.core.segments import Segments

NEARLY_ALL = 0.999  # share of the rows that are no later than what is found
MOST_LATE = (
    1 / 3
)  # share of late rows from which on they are no stragglers: a second device that lags, or files in a row
MOST_OF_SPAN = 0.1  # of the time from the first row to the last: a clock that was wrong once makes all others late


@dataclass(frozen=True, slots=True)
class Disorder:
    """What must be waited for.

    Attributes:
        share: of the rows, that are older than an earlier row of their key.
        lateness_ms: how late nearly all rows are at most, > 0.
    """

    share: float
    lateness_ms: int


def disorder_of(times_ms: Ints, keys: Ints, bucket_ms: int = 1) -> Disorder | None:
    """Return what must be waited for; None = nothing, or waiting would not help.

    Args:
        times_ms: (N,) int64 in the order of the source, N at least 1.
        keys: (N,) int64 key of each.
        bucket_ms: rows of one time bucket are never late to each other.

    Example:
        >>> times = np.arange(400) * 1_000
        >>> times[[10, 11, 12]] = times[[11, 12, 10]]
        >>> disorder_of(times, np.zeros(400, dtype=np.int64))
        Disorder(share=0.0025, lateness_ms=2000)
    """
    segments, times = _by_key(times_ms, keys)
    newest = segments.previous(segments.running_max(times), np.full(len(segments.starts), NEVER))
    is_late = (newest != NEVER) & (times // bucket_ms < newest // bucket_ms)
    lateness = int(np.quantile(np.where(is_late, newest - times, 0), NEARLY_ALL, method="higher"))
    span = int(times.max() - times.min())
    if not lateness or is_late.mean() >= MOST_LATE or lateness > MOST_OF_SPAN * span:
        return None
    return Disorder(float(is_late.mean()), lateness)


def most_waiting(times_ms: Ints, keys: Ints, lateness_ms: int) -> int:
    """Return the most rows of a key in any stretch of so many ms: that is how many wait; arguments as of `disorder_of`.

    Example:
        >>> most_waiting(np.array([0, 10, 20, 30, 0]), np.array([1, 1, 1, 1, 2]), 20)
        2
    """
    segments, times = _by_key(times_ms, keys)
    most = 0
    for start, end in zip(segments.starts.tolist(), segments.ends.tolist(), strict=True):
        own = np.sort(times[start : end + 1])
        waiting = np.arange(1, len(own) + 1) - np.searchsorted(own, own - lateness_ms, side="right")
        most = max(most, int(waiting.max()))
    return most


def _by_key(times_ms: Ints, keys: Ints) -> tuple[Segments, Ints]:
    segments = Segments.of(np.unique(keys, return_inverse=True)[1].astype(np.int32))
    return segments, times_ms[segments.order]
