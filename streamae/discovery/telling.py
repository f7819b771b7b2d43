"""How a feature is told: in which rows of its keys it has a value, and what that says of the rows between.

Must not know: settings, or which question is asked about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Ints
from streamae.discovery.features import Feature

SCATTERED = 0.25  # share of silences below which a feature is missing in one piece, or is never silent
EVEN = 0.9  # share of silences of one length, from which a feature has a beat of its own
EVEN_STEPS = 20  # silences below which a beat may be chance
CHANGES = 0.95  # share of tellings that differ from the one before
SMALL = 0.02  # share of moves that may be smaller than the least one
LEAST_MOVE = 0.5  # of a usual one: what is told on change has moved by its dead band or its least step
STANDS = 0.5  # share of tellings that repeat the one before


@dataclass(frozen=True, slots=True)
class Telling:
    """How a feature is told.

    Attributes:
        share: in what share of the rows of its keys it is there.
        is_scattered: it falls silent again and again, and not once for long.
        is_even: it is told every so many rows.
        is_on_change: each telling differs from the one before by more than a value measured at any moment would.
        is_steady: most tellings repeat the one before.
    """

    share: float
    is_scattered: bool
    is_even: bool
    is_on_change: bool
    is_steady: bool


def telling_of(feature: Feature, rows: Ints, share: float) -> Telling:
    """Return how a feature is told.

    Args:
        feature: with its rows in the order of key and time.
        rows: (n,) int64 number of the row of the key in which each of them stands.
        share: in what share of the rows of its keys it is there.
    """
    there = ~np.isnan(feature.numbers)
    numbers, keys, places = feature.numbers[there], feature.keys[there], rows[there]
    goes_on = (keys[1:] == keys[:-1]) & (places[1:] > places[:-1])
    silences, moves = np.diff(places)[goes_on], np.abs(np.diff(numbers))[goes_on]
    steps = len(moves)
    if not steps:
        return Telling(share, False, False, False, False)
    changes = moves[moves > 0]
    is_far = len(changes) > 1 and bool(np.quantile(changes, SMALL, method="lower") >= LEAST_MOVE * np.median(changes))
    return Telling(
        share,
        is_scattered=float((silences > 1).mean()) >= SCATTERED,
        is_even=steps >= EVEN_STEPS and np.bincount(silences).max() >= EVEN * steps,
        is_on_change=is_far and len(changes) >= CHANGES * steps,
        is_steady=steps - len(changes) >= STANDS * steps,
    )


def tellings_of(features: Sequence[Feature], keys: Ints, times_ms: Ints, step_ms: int | None) -> dict[str, Telling]:
    """Return how each feature is told, by its name.

    Args:
        features: of the data.
        keys, times_ms: (N,) int64 of all usable records.
        step_ms: of the grid that makes rows of records; None = each record is a row.
    """
    if step_ms is None:
        found = {}
        for one in features:
            total = one.figures.count + one.figures.missing
            found[one.name] = telling_of(one, np.arange(total, dtype=np.int64), one.figures.count / total)
        return found
    first, width = int(times_ms.min()), int(np.ptp(times_ms)) // step_ms + 2
    every = np.bincount(np.unique(keys * width + (times_ms - first) // step_ms) // width)
    tellings = {}
    for one in features:
        there = ~np.isnan(one.numbers)
        places = (one.times_ms - first) // step_ms
        own = np.unique(one.keys[there] * width + places[there]) // width
        share = len(own) / max(1, int(every[np.unique(own)].sum()))
        tellings[one.name] = telling_of(one, places, share)
    return tellings
