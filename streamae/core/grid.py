"""Records to rows: per-key event-time order, and merging a key's records of one time bucket.

Without a grid a row is one record, and event time must not fall per key; records of one time are told apart by what
they say (`equal_times.py`). With `grid_ms` the records of a bucket [b * grid_ms, (b + 1) * grid_ms) merge to one row
that is complete when the key's first record of a later bucket arrives; empty buckets in between become rows of missing
values. What is too old or twice is handed back with its reason, never dropped here. Whether a row is accepted depends
only on the key's own earlier records, never on batch borders or a clock, so a replay gives the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamae.batches import Doubles, Flags, Ints, RecordBatch, RowBatch, Slots
from streamae.core.columns import Columns, Field
from streamae.core.equal_times import EqualTimes, Timely
from streamae.core.origins import ZERO, narrowed
from streamae.core.segments import Segments, is_last
from streamae.reasons import Reason

NEVER = np.iinfo(np.int64).min  # event time of a key that has no row yet
STRAYS = (Reason.LATE, Reason.DUPLICATE, Reason.EQUAL_TIME)


def longest_gap_ms(max_gap_ms: int, grid_ms: int | None, window_size: int, *, holds: bool = False) -> int:
    """Return the gap that a window may span: with a grid never more than one window of filled-in rows.

    Where the last value of some feature stands (`holds`), rows without a record are known and not filled in.

    Example:
        >>> longest_gap_ms(3_600_000, 1_000, 32), longest_gap_ms(3_600_000, None, 32)
        (32000, 3600000)
        >>> longest_gap_ms(3_600_000, 1_000, 32, holds=True)
        3600000
    """
    return max_gap_ms if grid_ms is None or holds else min(max_gap_ms, window_size * grid_ms)


@dataclass(frozen=True, slots=True, eq=False)
class Strays:
    """Records that cannot become part of a row.

    Attributes:
        indices: (M,) positions in the pushed batch.
        reasons: M times `Reason.LATE`, `Reason.DUPLICATE` or `Reason.EQUAL_TIME`.
    """

    indices: Ints
    reasons: list[Reason]


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Parts of buckets in (slot, bucket, arrival) order: P records, or what a key had pending."""

    slots: Slots
    buckets: Ints
    offsets: Ints
    sums: Doubles  # (P, F), 0 where missing
    counts: Ints  # (P, F)


class RowGrid:
    """Turns records into rows. State per key: newest time; with a grid the open bucket, without one what it said then."""

    def __init__(
        self,
        capacity: int,
        features: int,
        *,
        grid_ms: int | None = None,
        merge: Literal["last", "mean"] = "last",
        max_gap_ms: int,
        most_empty: int | None = None,
        is_exact: Flags = ZERO.is_exact,
        keeps_equal: bool = True,
    ) -> None:
        """Prepare for `capacity` key slots.

        Args:
            capacity: key slots (K).
            features: F.
            grid_ms: bucket length; None = one record, one row.
            merge: with a grid, the last or the mean value of each feature in a bucket.
            max_gap_ms: empty buckets are filled in only up to this distance between two records.
            most_empty: and of those between two records only so many, the newest; None = all. One less than a window
                has rows: more only repeat windows in which nothing changes.
            is_exact: (F,) features that keep 64 bits, or one for all; the others hold 32.
            keeps_equal: without a grid, whether a record that says something else at the key's newest time is a row.
        """
        self.features, self.grid_ms, self.merge, self.max_gap_ms = features, grid_ms, merge, max_gap_ms
        self.most_empty, self.is_exact = most_empty, is_exact
        self._equal_times = EqualTimes(keeps=keeps_equal)
        fields = {"newest": Field("<i8", (), NEVER)}
        if grid_ms is None:
            fields |= self._equal_times.fields()
        else:
            fields |= {"offset": Field("<i8"), "sums": Field("<f8", (features,)), "counts": Field("<i4", (features,))}
        self.columns = Columns(capacity, fields, "grid")

    def push(self, records: RecordBatch, slots: Slots) -> tuple[RowBatch, Strays]:
        """Absorb records; return the rows they complete, and the records that came too late or twice.

        Args:
            records: N records, per key in arrival order; without a grid with `contents`.
            slots: (N,) int32 slot of each record.

        Returns:
            Rows, per key in event-time order, and strays.
        """
        segments = Segments.of(slots)
        times = records.event_times_ms[segments.order]
        if self.grid_ms is not None:
            times = times // self.grid_ms
        newest = self.columns["newest"]
        before = np.maximum(
            segments.previous(segments.running_max(times), newest[segments.uniques]),
            newest[segments.slots],
        )
        kept, strays = self._sort_out(records, segments, times, before)
        chosen = segments.order[kept]
        np.maximum.at(newest, segments.slots[kept], times[kept])
        if self.grid_ms is None:
            chosen = np.sort(chosen)
            values = narrowed(records.values[chosen], self.is_exact)
            return RowBatch(slots[chosen], records.offsets[chosen], records.event_times_ms[chosen], values), strays
        values = narrowed(records.values[chosen], self.is_exact)
        present = ~np.isnan(values)
        pieces = _Pieces(
            segments.slots[kept],
            times[kept],
            records.offsets[chosen],
            np.where(present, values, 0.0),
            present.astype(np.int64),
        )
        return self._complete(pieces, before_push=before[kept]), strays

    def newest_ms(self, slots: Slots) -> Ints:
        """Return the event time (n,) from which on a record of each slot is not late, `NEVER` = it has no row yet."""
        newest: Ints = self.columns["newest"][slots]
        return newest if self.grid_ms is None else np.where(newest == NEVER, NEVER, newest * self.grid_ms)

    def _sort_out(self, records: RecordBatch, segments: Segments, times: Ints, before: Ints) -> tuple[Flags, Strays]:
        """Return which records (N,), sorted by slot, belong to a row, and the others with their reason.

        Args:
            records, segments: N records.
            times: (N,) sorted, with a grid in buckets.
            before: (N,) the key's newest one before each.
        """
        reasons = (times < before).astype(np.int8)  # 0 = none, 1 = the first of `STRAYS`
        if self.grid_ms is None:
            assert records.contents is not None  # `Stages.rows` and training see to it
            timely = np.flatnonzero(reasons == 0)
            contents = records.contents[segments.order[timely]]
            found = Timely(segments.slots[timely], contents, times[timely] == before[timely])
            is_repeated, is_other = self._equal_times.sort_out(self.columns, found)
            reasons[timely] = np.where(is_repeated, 2, np.where(is_other, 3, 0))
        strays = np.flatnonzero(reasons)
        return reasons == 0, Strays(segments.order[strays], [STRAYS[code - 1] for code in reasons[strays].tolist()])

    def flush(self, slots: Slots) -> RowBatch:
        """Return the open bucket of each slot as a row: for data that ends, or a key whose times begin anew."""
        if self.grid_ms is None:
            nothing = np.zeros(0, dtype=np.int64)
            return RowBatch(slots[:0], nothing, nothing, np.zeros((0, self.features)))
        slots = slots[self.columns["counts"][slots].any(axis=1)]
        rows = self._rows(
            slots,
            self.columns["newest"][slots],
            self.columns["offset"][slots],
            self.columns["sums"][slots],
            self.columns["counts"][slots],
        )
        self.columns["counts"][slots] = 0
        return rows

    def forget_open(self, slots: Slots) -> None:
        """Let the open bucket of each slot hold nothing: what is known of these keys goes on without their last rows."""
        if self.grid_ms is not None:
            self.columns["sums"][slots] = 0.0
            self.columns["counts"][slots] = 0

    def _complete(self, pieces: _Pieces, before_push: Ints) -> RowBatch:
        """Merge pieces bucket by bucket; emit all buckets but each key's newest, which stays open."""
        if not len(pieces.slots):
            return self._rows(pieces.slots, pieces.buckets, pieces.offsets, pieces.sums, pieces.counts)
        pieces = self._with_pending(pieces, before_push)
        is_start = np.ones(len(pieces.slots), dtype=np.bool_)
        is_start[1:] = (np.diff(pieces.slots) != 0) | (np.diff(pieces.buckets) != 0)
        starts = np.flatnonzero(is_start)
        ends = np.append(starts[1:], len(is_start)) - 1
        sums, counts = self._merged(pieces, starts, ends)
        slots, buckets = pieces.slots[starts], pieces.buckets[starts]
        open_ = is_last(Segments.of(slots))  # already sorted by slot, so its order is the identity
        self.columns["offset"][slots[open_]] = pieces.offsets[ends[open_]]
        self.columns["sums"][slots[open_]] = sums[open_]
        self.columns["counts"][slots[open_]] = counts[open_]
        done = np.flatnonzero(~open_)
        empties = buckets[done + 1] - buckets[done] - 1
        assert self.grid_ms is not None  # for the type checker: push() came here because of it
        empties[(empties + 1) * self.grid_ms > self.max_gap_ms] = 0
        shown = empties if self.most_empty is None else np.minimum(empties, self.most_empty)
        repeats = np.repeat(np.arange(len(done)), shown + 1)
        steps = np.arange(len(repeats)) - np.repeat(np.cumsum(shown + 1) - shown - 1, shown + 1)
        steps = np.where(steps > 0, steps + (empties - shown)[repeats], 0)
        source = done[repeats]
        return self._rows(
            slots[source],
            buckets[source] + steps,
            pieces.offsets[starts[source + 1]],  # the record that began the next bucket completed these
            sums[source],
            np.where((steps == 0)[:, None], counts[source], 0),
        )

    def _with_pending(self, pieces: _Pieces, before_push: Ints) -> _Pieces:
        """Put each key's open bucket in front of its new pieces."""
        firsts = Segments.of(pieces.slots).starts
        firsts = firsts[before_push[firsts] != NEVER]
        slots = pieces.slots[firsts]
        return _Pieces(
            np.insert(pieces.slots, firsts, slots),
            np.insert(pieces.buckets, firsts, before_push[firsts]),
            np.insert(pieces.offsets, firsts, self.columns["offset"][slots]),
            np.insert(pieces.sums, firsts, self.columns["sums"][slots], axis=0),
            np.insert(pieces.counts, firsts, self.columns["counts"][slots], axis=0),
        )

    def _merged(self, pieces: _Pieces, starts: Ints, ends: Ints) -> tuple[Doubles, Ints]:
        """Sum and count of each bucket; for `last` the last present value with count one."""
        if self.merge == "mean":
            return _totals(pieces.sums, starts), np.add.reduceat(pieces.counts, starts, axis=0)
        present = pieces.counts > 0
        positions = np.where(present, np.arange(len(present))[:, None], -1)
        last = np.maximum.accumulate(positions, axis=0)[ends]
        found = last >= starts[:, None]
        sums = np.take_along_axis(pieces.sums, np.maximum(last, 0), axis=0)
        return np.where(found, sums, 0.0), found.astype(np.int64)

    def _rows(self, slots: Slots, buckets: Ints, offsets: Ints, sums: Doubles, counts: Ints) -> RowBatch:
        values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return RowBatch(slots, offsets, buckets * (self.grid_ms or 1), narrowed(values, self.is_exact))


def join_rows(batches: Sequence[RowBatch]) -> RowBatch:
    """Concatenate at least one batch, keeping order."""
    return RowBatch(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in RowBatch.__slots__))


def _totals(values: Doubles, starts: Ints) -> Doubles:
    """Sum `values` (P, F) from each start to the next, one after the other.

    `np.add.reduceat` sums in blocks: its rounding would depend on where a batch ended inside a bucket, and a replay
    would not give the same bits.
    """
    features = values.shape[1]
    buckets = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
    cells = buckets[:, None] * features + np.arange(features)
    totals = np.bincount(cells.ravel(), values.ravel(), len(starts) * features)
    return np.asarray(totals, dtype=np.float64).reshape(-1, features)
