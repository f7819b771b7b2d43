"""What is odd about rows that can be trained on all the same: a person should hear of it before trusting the result.

Must not know: windows, networks, or who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamae.batches import Doubles, Flags, Series
from streamae.core.contents import contents_of
from streamae.settings.data import WindowSettings

MOSTLY = 0.5  # share of missing values from which on a feature is more policy than measurement
MOST_NAMES = 5  # of features in one sentence


def data_doubts(features: Sequence[str], fit: Doubles, newer: Doubles) -> tuple[str, ...]:
    """Return sentences about features that never change, are mostly missing, or have no value to calibrate on.

    Args:
        features: F names.
        fit: (N, F) rows that are trained on, NaN = missing; every feature has a value in one of them.
        newer: (M, F) rows that are calibrated on, NaN = missing.
    """
    never: Flags = np.nanmin(fit, axis=0) == np.nanmax(fit, axis=0)
    missing: Flags = np.isnan(np.concatenate([fit, newer])).mean(axis=0) > MOSTLY
    unseen: Flags = np.count_nonzero(~np.isnan(newer), axis=0) < min(len(newer), 1)
    sentences = (
        (never, "one value only in the rows to train on: any other value will stand out"),
        (missing, f"no value in more than {MOSTLY:.0%} of the rows: what window.missing fills in is learnt"),
        (unseen, f"no value in the newest {len(newer)} rows, which tell its usual error: it is taken as the least"),
    )
    return tuple(f"{_named(features, which)}: {text}" for which, text in sentences if which.any())


def _named(features: Sequence[str], which: Flags) -> str:
    chosen = [repr(features[number]) for number in np.flatnonzero(which).tolist()]
    rest = len(chosen) - MOST_NAMES
    names = ", ".join(chosen[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
    return f"feature{'s' if len(chosen) > 1 else ''} {names}"


def order_doubts(series: Sequence[Series], window: WindowSettings, *, is_keyed: bool) -> tuple[str, ...]:
    """Return sentences about rows that are not newer than an earlier row of their key.

    With a grid rows of one bucket are merged: only those of an older bucket count.
    Of files that are taken for one key each, that is what several keys in one look like: each is named.

    Args:
        series: one a key.
        window: how rows are made of them.
        is_keyed: whether a field of the rows names their key.
    """
    stale = {one.key: _stale(one, window) for one in series}
    lost, shared = (sum(counts) for counts in zip(*stale.values(), strict=True))
    fates = ("are left out", "are rows of their own")
    if not is_keyed:
        return tuple(
            f"{one.key}: {count} of {len(one)} rows are not newer than an earlier row and {fate}; "
            "if the file holds several keys, name their column with --input.key_field"
            for one in series
            for count, fate in zip(stale[one.key], fates, strict=True)
            if count
        )
    worst = max(stale, key=lambda key: stale[key][0])
    of = f"of {sum(map(len, series)):,} rows"
    texts = (
        (lost, f"are not newer than an earlier row of their key and {fates[0]}, most of {worst!r}"),
        (shared, f"have the time of an earlier row of their key and {fates[1]} (window.equal_time)"),
    )
    return tuple(f"{count:,} {of} {text}" for count, text in texts if count)


def _stale(one: Series, window: WindowSettings) -> tuple[int, int]:
    """Return how many rows of a series are left out for their time, and how many share theirs with an earlier one."""
    times = one.event_times_ms // (window.grid_ms or 1)
    newest = np.maximum.accumulate(times)
    late = int(np.count_nonzero(times < newest))
    ties = int(np.count_nonzero(times[1:] == newest[:-1]))
    if window.grid_ms is not None or not ties:
        return late, 0
    if window.equal_time != "keep":
        return late + ties, 0
    said = np.column_stack([times.view(np.uint64), contents_of(one.values, _texts(one))])[times == newest]
    repeated = len(said) - len(np.unique(said, axis=0))
    return late + repeated, ties - repeated


def _texts(one: Series) -> list[str | None] | None:
    """Return what rows say besides numbers, a text each; None = nothing."""
    columns = [] if one.words is None else list(one.words.T)
    columns += [] if one.ids is None else [one.ids]
    return [repr(texts) for texts in zip(*columns, strict=True)] if columns else None
