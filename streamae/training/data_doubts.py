"""What is odd about rows that can be trained on all the same: a person should hear of it before trusting the result.

Must not know: windows, networks, or who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Flags

MOSTLY = 0.5  # share of missing values from which on a feature is more policy than measurement
MOST_NAMES = 5  # of features in one sentence


def data_doubts(features: Sequence[str], fit: NDArray[np.float32], newer: NDArray[np.float32]) -> tuple[str, ...]:
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
