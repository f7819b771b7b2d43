"""The rhythm of the rows: usual step, gaps, order, and whether several rows share one time.

Must not know: fields, or settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from streamae.batches import Flags, Ints

NEAT_MS = (
    *(1, 2, 5, 10, 20, 25, 40, 50, 100, 200, 250, 500),
    *(1_000 * seconds for seconds in (1, 2, 3, 5, 6, 10, 12, 15, 20, 30)),
    *(60_000 * minutes for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(3_600_000 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24, 168)),
)
GAP_STEPS = 5  # a step this many times the usual one is a gap
HOUR_MS = 3_600_000
FAR_MS, FAR_STEPS = HOUR_MS, 10  # a time further ahead than both, in usual steps, is no time of its row
MOST_ALONE = 0.01  # share of rows that may be so
LEAST_ROWS = 10
ORDERED = 0.9  # share of steps that go one way
SUNDAY = 6
ENDS_OF_SUMMER = (3, 4, 9, 10, 11)  # on both halves of the Earth
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When rows come, but for single ones whose time is far ahead of the rows around them.

    Attributes:
        first_ms, last_ms: earliest and latest time, milliseconds since the epoch.
        step_ms: usual step between two rows of a key; None = no key has two times.
        is_regular: whether most steps are the usual one.
        long_step_ms: step that one in a hundred exceeds; None likewise.
        gaps: steps of `GAP_STEPS` usual ones or more.
        longest_gap_ms: the longest step.
        late: rows that are older than an earlier row of their key, in the order of the source.
        is_newest_first: whether the source has its newest rows first.
        falls_back_hour: whether the clock jumps back by one hour, as local time does at the end of summer.
        ahead: those single rows.
        is_ordered: whether nearly all rows of the source come in an order of time, forwards or backwards.
    """

    first_ms: int
    last_ms: int
    step_ms: int | None
    is_regular: bool
    long_step_ms: int | None
    gaps: int
    longest_gap_ms: int
    late: int
    is_newest_first: bool
    falls_back_hour: bool
    ahead: int = 0
    is_ordered: bool = True


def rhythm_of(times_ms: Ints, keys: Ints, files: Ints, groups: Ints | None = None) -> Rhythm:
    """Return when rows come.

    Args:
        times_ms: (N,) int64 in the order of the source, N at least 1.
        keys: (N,) int64 key of each.
        files: (N,) int64 number of the file of each row.
        groups: (N,) int64 what has a step of its own, such as a metric of a key; None = a key.

    Example:
        >>> times = np.array([0, 10, 20, 90]) * 1000
        >>> found = rhythm_of(times, np.zeros(4, np.int64), np.zeros(4, np.int64))
        >>> found.step_ms, found.gaps, found.longest_gap_ms
        (10000, 1, 70000)
    """
    is_ahead = _ahead(times_ms, keys, files)
    if is_ahead.any():
        kept = np.flatnonzero(~is_ahead)
        found = rhythm_of(times_ms[kept], keys[kept], files[kept], None if groups is None else groups[kept])
        return replace(found, ahead=len(times_ms) - len(kept))
    by_key = np.argsort(keys, kind="stable")
    own, of_key, of_file = times_ms[by_key], keys[by_key], files[by_key]
    goes_on = (of_key[1:] == of_key[:-1]) & (of_file[1:] == of_file[:-1])
    in_source = np.diff(own)[goes_on]
    is_newest_first = bool(len(in_source)) and float((in_source < 0).mean()) > 0.5
    steps = _steps(times_ms, keys)
    step = usual_step(steps if groups is None else _steps(times_ms, groups))
    near = 0 if step is None else int(np.count_nonzero(np.abs(steps - step) <= 0.1 * step))
    gaps = 0 if step is None else int(np.count_nonzero(steps >= GAP_STEPS * step))
    return Rhythm(
        int(times_ms.min()),
        int(times_ms.max()),
        step,
        bool(len(steps)) and near > 0.5 * len(steps),
        int(np.quantile(steps, 0.99, method="lower")) if len(steps) else None,
        gaps,
        int(steps.max()) if len(steps) else 0,
        0 if is_newest_first else _late(own, of_key),
        is_newest_first,
        _falls_back(own[1:][goes_on], in_source, step),
        is_ordered=not len(in_source) or float(max((in_source >= 0).mean(), (in_source <= 0).mean())) >= ORDERED,
    )


def usual_step(steps: Ints) -> int | None:
    """Return the median of (n,) positive steps, made neat where a neat one is near; None where there is no step."""
    if not len(steps):
        return None
    middle = int(np.median(steps))
    nearest = min(NEAT_MS, key=lambda neat: abs(neat - middle))
    return nearest if abs(nearest - middle) <= 0.05 * middle else max(1, middle)


def _steps(times_ms: Ints, groups: Ints) -> Ints:
    """Return the steps between different times of one group."""
    order = np.lexsort((times_ms, groups))
    steps = np.diff(times_ms[order])[groups[order][1:] == groups[order][:-1]]
    forward: Ints = steps[steps > 0]
    return forward


def _ahead(times_ms: Ints, keys: Ints, files: Ints) -> Flags:
    """Tell which of N rows are alone far ahead of the rows of their key before and behind them, in the order of the source.

    Where there are many, the rows are in no order, and none of them is meant.
    """
    found = np.zeros(len(times_ms), dtype=np.bool_)
    step = usual_step(_steps(times_ms, keys))
    if step is None or len(times_ms) < LEAST_ROWS:
        return found
    far_ms, by_key = max(FAR_MS, FAR_STEPS * step), np.argsort(keys, kind="stable")
    own, of_key, of_file = times_ms[by_key], keys[by_key], files[by_key]
    goes_on = (of_key[1:] == of_key[:-1]) & (of_file[1:] == of_file[:-1])
    rises = np.diff(own)
    alone = goes_on[:-1] & goes_on[1:] & (rises[:-1] > far_ms) & (rises[1:] < -far_ms)
    if alone.sum() <= MOST_ALONE * len(own):
        found[by_key[1:-1][alone]] = True
    return found


def _falls_back(times_ms: Ints, steps: Ints, step: int | None) -> bool:
    """Tell whether the only steps back are those of one hour on a Sunday at the end of a summer.

    Args:
        times_ms: (n,) int64 time at the end of each step, as if in UTC.
        steps: (n,) int64 in the order of the source.
        step: the usual one.
    """
    if step is None or step > HOUR_MS:
        return False
    back = steps < (1 if step == HOUR_MS else 0)  # rows of every hour then stand still
    if not 0 < back.sum() <= 0.01 * len(steps):
        return False
    is_hour = bool((np.abs(steps[back] + HOUR_MS - step) <= 0.1 * step).all())
    days = [_EPOCH + timedelta(milliseconds=moment) for moment in times_ms[back].tolist()]
    return is_hour and all(day.weekday() == SUNDAY and day.month in ENDS_OF_SUMMER for day in days)


def _late(times_ms: Ints, keys: Ints) -> int:
    """Return how many rows are older than an earlier one of their key; rows are in the order of keys."""
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    late = 0
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        of_key = times_ms[start:end]
        late += int(np.count_nonzero(of_key < np.maximum.accumulate(of_key)))
    return late
