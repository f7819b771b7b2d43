"""Counters to their growth a second, between grid and windows: a row's value minus the key's value before it.

State per key: the newest value of each counter and its time. Must not know how rows are made or scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamae.batches import RowBatch
from streamae.core.columns import Columns, Field
from streamae.core.segments import Segments


class Rates:
    """Puts rates in the place of counters; R features are counters."""

    def __init__(self, capacity: int, features: Sequence[int], *, max_gap_ms: int) -> None:
        """Prepare for `capacity` key slots.

        Args:
            capacity: key slots (K).
            features: R numbers of the features that are counters.
            max_gap_ms: a counter that was last seen longer ago begins anew.
        """
        self.features, self.max_gap_ms = np.array(features, dtype=np.int64), max_gap_ms
        shape = (len(features),)
        fields = {"counts": Field("<f8", shape, np.nan), "times": Field("<i8", shape)}
        self.columns = Columns(capacity, fields, "rates")

    def of(self, rows: RowBatch) -> RowBatch:
        """Return the rows with the growth a second of each counter since the key had its value before.

        NaN, that is missing, where there is none: the counter is missing, it is the first of its key or after a longer
        gap, it fell, because whoever counts began anew, or no time has passed. The next rate starts from the new value.

        Args:
            rows: N rows, per key in event-time order.
        """
        segments, columns = Segments.of(rows.slots), self.columns
        given = rows.values[segments.order[:, None], self.features].astype(np.float64)  # (N, R)
        given_ms = rows.event_times_ms[segments.order]
        newest = segments.newest(~np.isnan(given))
        is_here, at = newest >= 0, np.maximum(newest, 0)
        counts = np.where(is_here, np.take_along_axis(given, at, axis=0), columns["counts"][segments.slots])
        times_ms = np.where(is_here, given_ms[at], columns["times"][segments.slots])
        grown = given - segments.previous(counts, columns["counts"][segments.uniques])
        elapsed_ms = given_ms[:, None] - segments.previous(times_ms, columns["times"][segments.uniques])
        is_known = (grown >= 0) & (elapsed_ms > 0) & (elapsed_ms <= self.max_gap_ms)
        rates = np.divide(1_000 * grown, elapsed_ms, out=np.full_like(grown, np.nan), where=is_known)
        columns["counts"][segments.uniques] = counts[segments.ends]
        columns["times"][segments.uniques] = times_ms[segments.ends]
        values = rows.values.copy()
        values[segments.order[:, None], self.features] = rates
        return replace(rows, values=values)
