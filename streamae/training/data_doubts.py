"""What is odd about rows that can be trained on all the same: a person should hear of it before trusting the result.

Must not know: windows, networks, or who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamae.batches import Doubles, Flags, Series

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


def order_doubts(series: Sequence[Series], *, grid_ms: int | None, is_keyed: bool) -> tuple[str, ...]:
    """Return sentences about rows that are left out because they are not newer than an earlier row of their key.

    With a grid rows of one bucket are merged: only those of an older bucket are left out.
    Of files that are taken for one key each, that is what several keys in one look like: each is named.

    Args:
        series: one a key.
        grid_ms: of `window.grid_ms`.
        is_keyed: whether a field of the rows names their key.
    """
    stale = {}
    for one in series:
        times = one.event_times_ms // (grid_ms or 1)
        newest = np.maximum.accumulate(times)[:-1] + (grid_ms is None)
        stale[one.key] = int(np.count_nonzero(times[1:] < newest))
    if is_keyed and any(stale.values()):
        worst = max(stale, key=lambda key: stale[key])
        rows = (
            f"{sum(stale.values()):,} of {sum(map(len, series)):,} rows are not newer than an earlier row of their key"
        )
        return (f"{rows} and are left out, most of {worst!r}; sort each key's rows by time",)
    return tuple(
        f"{one.key}: {stale[one.key]} of {len(one)} rows are not newer than an earlier row and are left out; "
        "if the file holds several keys, name their column with --input.key_field"
        for one in series
        if stale[one.key]
    )
