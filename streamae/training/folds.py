"""Errors of the rows that a network is trained on, measured by networks that were not: calibration over blocks of time.

Levels that come from the newest part alone are those of one week or one season. Here the older rows are cut into blocks
of time as well, and each block's errors come from a network trained on all others. Pure bookkeeping: must not know how
a network is trained, or what is made of its errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from streamae.batches import ErrorBatch, Flags, Floats, Ints
from streamae.errors import DataError
from streamae.training.options import MIN_WINDOWS
from streamae.training.windows import MAX_CALIBRATION_WINDOWS, TrainingWindows

Judge = Callable[[Floats, Floats, str], ErrorBatch]


def blocks(starts_ms: Ints, ends_ms: Ints, count: int) -> Iterator[tuple[Flags, Flags]]:
    """Yield, for each of `count` blocks of time with about as many windows each, what to train on and what to judge.

    Blocks are the same times for all keys. Windows that reach across an end of the block are in neither part, so that
    no row is in both.

    Args:
        starts_ms, ends_ms: (B,) event time of the oldest and newest row of each window.
        count: of blocks, at least two.
    """
    edges = np.quantile(ends_ms, np.arange(1, count) / count, method="inverted_cdf").astype(np.int64).tolist()
    for low, high in pairwise([-math.inf, *edges, math.inf]):
        yield (ends_ms < low) | (starts_ms >= high), (starts_ms >= low) & (ends_ms < high)


def errors_by_fold(windows: TrainingWindows, folds: int, newest: ErrorBatch, judge: Judge) -> ErrorBatch:
    """Return the errors of `folds` blocks of time, none measured by a network that was trained on it.

    Args:
        windows: of the training; their calibration part is the newest of the blocks.
        folds: k >= 3: the older rows are at least two blocks, each of which is left out once.
        newest: errors of that part.
        judge: trains on scaled windows, and returns the errors of others in the units of the calibration windows;
            the last argument is a title.

    Raises:
        DataError: a block or what is left beside it has too few windows.
    """
    found = []
    for number, (train, judged) in enumerate(blocks(windows.fit_starts_ms, windows.fit_times_ms, folds - 1), start=1):
        if min(train.sum(), judged.sum()) < MIN_WINDOWS:
            raise DataError(
                f"train.calibration_folds: block {number} of {folds} has {judged.sum()} windows, and {train.sum()} are "
                f"left to train on: at least {MIN_WINDOWS} are needed of each: fewer folds, or a longer series"
            )
        chosen = np.flatnonzero(judged)
        chosen = chosen[:: math.ceil(len(chosen) * folds / MAX_CALIBRATION_WINDOWS)]
        title = f"calibration block {number} of {folds}"
        found.append(judge(windows.fit[train], windows.inputs.invert(windows.fit[chosen]), title))
    return joined([*found, newest])


def joined(parts: list[ErrorBatch]) -> ErrorBatch:
    """Return the errors of all parts in one batch; codes are left behind."""
    recent, forecast, expected = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("recent", "forecast", "expected")
    )
    memories = [part.memory for part in parts if part.memory is not None]
    return ErrorBatch(recent, forecast, expected, np.concatenate(memories) if memories else None)
