"""Rows do not depend on how records were cut into batches: what replay after a crash relies on."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamae.batches import RowBatch
from streamae.core.grid import RowGrid, Strays, longest_gap_ms
from streamae.reasons import Reason
from tests.core_batches import (
    CUTS,
    FEATURES,
    KEYS,
    NAN,
    START_MS,
    VALUES,
    Arrival,
    cleared,
    every_slot,
    frozen_bytes,
    merged,
    per_key,
    pieces,
    quick,
    record_batch,
    slots_of,
    state_of,
    streams,
)

GRID_MS = 100
MAX_GAP_MS = 1_000
Merge = Literal["last", "mean"]
MODES: list[tuple[int | None, Merge]] = [(None, "last"), (GRID_MS, "last"), (GRID_MS, "mean")]
modes = pytest.mark.parametrize(("grid_ms", "merge"), MODES, ids=["no grid", "last", "mean"])
CONTENT = st.sampled_from([(value, other) for value in (0.0, -0.0, 1.0, 2.5, 1e30, NAN) for other in (3.0, NAN)])
merges = pytest.mark.parametrize("merge", ["last", "mean"])


def make(
    grid_ms: int | None = GRID_MS, merge: Merge = "last", features: int = FEATURES, *, keeps_equal: bool = True
) -> RowGrid:
    """A grid ready for new keys."""
    found = RowGrid(KEYS, features, grid_ms=grid_ms, merge=merge, max_gap_ms=MAX_GAP_MS, keeps_equal=keeps_equal)
    return cleared(found)  # type: ignore[no-any-return]


def crowded_streams() -> st.SearchStrategy[list[Arrival]]:
    """Two keys with many records of few times and few contents: more of a time than a key remembers."""
    arrival = st.builds(Arrival, st.integers(0, 1), st.sampled_from([START_MS, START_MS, START_MS + 1]), CONTENT)
    return st.lists(arrival, min_size=10, max_size=60).map(lambda stream: sorted(stream, key=lambda one: one.time_ms))


def push(grid: RowGrid, stream: Sequence[Arrival], start: int = 0, stop: int | None = None) -> tuple[RowBatch, Strays]:
    """Push part of a stream."""
    return grid.push(*record_batch(stream, start, stop))


def push_cut(grid: RowGrid, stream: Sequence[Arrival], cuts: Sequence[int]) -> tuple[dict[int, list[Any]], list[Any]]:
    """Push a stream in batches; return rows by key, and strays by position in the stream."""
    rows, strays = [], []
    for start, stop in pieces(len(stream), cuts):
        found, left = push(grid, stream, start, stop)
        rows.append(per_key(found))
        strays += [(start + index, reason) for index, reason in zip(left.indices.tolist(), left.reasons, strict=True)]
    return merged(rows), sorted(strays)


def plain_rows(stream: Sequence[Arrival], *, keeps_equal: bool = True) -> tuple[dict[int, list[Any]], list[Any]]:
    """Oracle without a grid: one record after the other, what each key said last in a queue of 8."""
    newest: dict[int, int] = {}
    said: dict[int, deque[bytes]] = {}
    rows, strays = defaultdict(list), []
    for offset, arrival in enumerate(stream):
        before = newest.get(arrival.slot, -1)
        content = as_positive_zero(np.array(arrival.values))
        if arrival.time_ms > before:
            newest[arrival.slot], said[arrival.slot] = arrival.time_ms, deque(maxlen=8)
        if arrival.time_ms < before:
            strays.append((offset, Reason.LATE))
        elif content in said[arrival.slot]:
            strays.append((offset, Reason.DUPLICATE))
        elif said[arrival.slot] and not keeps_equal:
            strays.append((offset, Reason.EQUAL_TIME))
        else:
            said[arrival.slot].append(content)
            rows[arrival.slot].append((offset, arrival.time_ms, held(arrival.values).tobytes()))
    return dict(rows), strays


def held(values: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return values as rows hold them where 32 bits are enough."""
    return np.array(values, np.float32).astype(np.float64)


class Bucket:
    """Oracle of a key's open bucket: the present values of each feature in arrival order."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.values: list[list[float]] = [[] for _ in range(FEATURES)]

    def add(self, arrival: Arrival) -> None:
        for place, value in zip(self.values, held(arrival.values).tolist(), strict=True):
            if not np.isnan(value):
                place.append(value)

    def row(self, offset: int, merge: Merge) -> tuple[int, int, bytes]:
        merged_values = []
        for present in self.values:
            total = 0.0
            for value in present:
                total += value
            each = (present[-1] + 0.0) if merge == "last" and present else total / len(present) if present else NAN
            merged_values.append(each)
        return offset, self.number * GRID_MS, as_positive_zero(held(merged_values))


def as_positive_zero(values: np.ndarray[Any, Any]) -> bytes:
    """Exact bits, but minus zero counts as zero."""
    return (values + 0.0).tobytes()


def bucketed_rows(stream: Sequence[Arrival], merge: Merge) -> tuple[dict[int, list[Any]], list[Any]]:
    """Oracle with a grid: a bucket is handed out when the next one begins, after it the empty ones in between."""
    open_: dict[int, Bucket] = {}
    rows, strays = defaultdict(list), []
    for offset, arrival in enumerate(stream):
        number = arrival.time_ms // GRID_MS
        bucket = open_.get(arrival.slot)
        if bucket is not None and number < bucket.number:
            strays.append((offset, Reason.LATE))
            continue
        if bucket is not None and number > bucket.number:
            rows[arrival.slot].append(bucket.row(offset, merge))
            if (number - bucket.number) * GRID_MS <= MAX_GAP_MS:
                rows[arrival.slot] += [Bucket(n).row(offset, merge) for n in range(bucket.number + 1, number)]
        if bucket is None or number > bucket.number:
            open_[arrival.slot] = Bucket(number)
        open_[arrival.slot].add(arrival)
    return dict(rows), strays


@pytest.mark.parametrize("keeps_equal", [True, False])
@quick
@given(streams() | crowded_streams(), CUTS)
def test_without_a_grid_rows_equal_a_loop_over_records(
    keeps_equal: bool, stream: list[Arrival], cuts: list[int]
) -> None:
    """Each record that is not late and says something new of its time is a row, every other comes back with a reason."""
    grid = make(None, keeps_equal=keeps_equal)
    assert push_cut(grid, stream, cuts) == plain_rows(stream, keeps_equal=keeps_equal)


@merges
@quick
@given(streams(), CUTS)
def test_with_a_grid_rows_equal_a_loop_over_buckets(merge: Merge, stream: list[Arrival], cuts: list[int]) -> None:
    """Merging, empty buckets, gaps and late records come out as if each record were handled alone."""
    rows, strays = push_cut(make(merge=merge), stream, cuts)
    zeroed = {
        slot: [(offset, time, as_positive_zero(np.frombuffer(values, np.float64))) for offset, time, values in found]
        for slot, found in rows.items()
    }
    assert (zeroed, strays) == bucketed_rows(stream, merge)


@modes
@quick
@given(streams() | crowded_streams(), CUTS)
def test_batch_borders_leave_no_trace(
    grid_ms: int | None, merge: Merge, stream: list[Arrival], cuts: list[int]
) -> None:
    """Rows, strays and the state a checkpoint stores are equal to the bit however the stream was cut."""
    whole, cut = make(grid_ms, merge), make(grid_ms, merge)
    assert push_cut(whole, stream, []) == push_cut(cut, stream, cuts)
    assert state_of(whole) == state_of(cut)


@pytest.mark.parametrize("features", [1, 2, 3, 8])
@pytest.mark.parametrize("merge", ["last", "mean"])
def test_a_long_bucket_sums_alike_in_any_cut(features: int, merge: Merge) -> None:
    """Rounding of a mean over many records does not depend on where batches ended, for any number of features."""
    rng = np.random.default_rng(7)
    sizes = 10.0 ** rng.integers(-6, 6, size=(60, features))
    values = rng.normal(size=(60, features)) * sizes
    stream = [Arrival(0, START_MS + i, tuple(row)) for i, row in enumerate(values.tolist())]
    whole, single = make(merge=merge, features=features), make(merge=merge, features=features)
    push_cut(whole, stream, [])
    push_cut(single, stream, list(range(60)))
    assert state_of(whole) == state_of(single)


@modes
@quick
@given(streams() | crowded_streams(), CUTS)
def test_state_moves_to_another_process_in_the_middle(
    grid_ms: int | None, merge: Merge, stream: list[Arrival], cuts: list[int]
) -> None:
    """After export and restore into other slots a key goes on as if nothing had happened."""
    stay = make(grid_ms, merge)
    expected, _ = push_cut(stay, stream, cuts)
    half = len(stream) // 2
    before, after = make(grid_ms, merge), make(grid_ms, merge)
    rows, _ = push_cut(before, stream[:half], [])
    moved = every_slot()[::-1].copy()  # slot s lives in KEYS - 1 - s from now on
    after.columns.restore(moved, before.columns.export(every_slot()))
    records, slots = record_batch(stream, half)
    found, _ = after.push(records, (KEYS - 1 - slots).astype(np.int32))
    later = {KEYS - 1 - slot: elements for slot, elements in per_key(found).items()}
    assert merged([rows, later]) == expected


@modes
@quick
@given(streams())
def test_other_keys_change_nothing_for_a_key(grid_ms: int | None, merge: Merge, stream: list[Arrival]) -> None:
    """A key alone gives the rows and state it gives among others."""
    together = make(grid_ms, merge)
    rows, _ = push(together, stream)
    for slot in range(KEYS):
        alone = make(grid_ms, merge)
        records, slots = record_batch(stream)
        mine = np.flatnonzero(slots == slot)
        found, _ = alone.push(records.take(mine), slots[mine])
        assert per_key(found) == {s: r for s, r in per_key(rows).items() if s == slot}
        assert state_of(alone, slots_of(slot)) == state_of(together, slots_of(slot))


@modes
@quick
@given(streams())
def test_pushing_leaves_the_records_alone(grid_ms: int | None, merge: Merge, stream: list[Arrival]) -> None:
    """Dead letters are made from the same batch afterwards."""
    records, slots = record_batch(stream)
    before = frozen_bytes(slots, records.offsets, records.event_times_ms, records.values)
    make(grid_ms, merge).push(records, slots)
    assert frozen_bytes(slots, records.offsets, records.event_times_ms, records.values) == before


@modes
@quick
@given(streams(), CUTS)
def test_rows_of_a_key_never_go_back_in_time(
    grid_ms: int | None, merge: Merge, stream: list[Arrival], cuts: list[int]
) -> None:
    """What windows are promised: per key no row twice and none out of order; with a grid, one row a time."""
    rows, _ = push_cut(make(grid_ms, merge), stream, cuts)
    for found in rows.values():
        times = [time for _, time, _ in found]
        assert all(a < b or (a == b and grid_ms is None) for a, b in pairwise(times))


@modes
@quick
@given(streams())
def test_a_stream_sent_twice_gives_no_row_twice(grid_ms: int | None, merge: Merge, stream: list[Arrival]) -> None:
    """A producer that repeats everything adds no row before the newest one."""
    grid = make(grid_ms, merge)
    first, _ = push(grid, stream)
    again, _ = push(grid, stream)
    times = {slot: {row[1] for row in rows} for slot, rows in per_key(first).items()}
    assert all(row[1] not in times.get(slot, ()) for slot, rows in per_key(again).items() for row in rows)


def test_late_repeated_and_other_records_of_one_time_are_told_apart() -> None:
    """The operator sees whether a clock is wrong, a producer repeats itself, or one moment has several records."""
    steps = [(0, 1.0), (100, 1.0), (100, 1.0), (100, 2.0), (50, 1.0), (200, 1.0)]
    stream = [Arrival(0, START_MS + step, (value, NAN)) for step, value in steps]
    expected = [(2, Reason.DUPLICATE), (3, Reason.EQUAL_TIME), (4, Reason.LATE)]
    for keeps_equal in (True, False):
        rows, strays = push(make(None, keeps_equal=keeps_equal), stream)
        left = [one for one in expected if not (keeps_equal and one[1] is Reason.EQUAL_TIME)]
        assert list(zip(strays.indices.tolist(), strays.reasons, strict=True)) == left
        assert rows.offsets.tolist() == ([0, 1, 3, 5] if keeps_equal else [0, 1, 5])


@pytest.mark.parametrize("cuts", [[], [3, 8, 9], list(range(13))], ids=["whole", "parts", "singles"])
def test_of_one_time_the_newest_eight_rows_are_remembered(cuts: list[int]) -> None:
    """The bound of what a key remembers is exact: the ninth row makes the first one forgotten, no repetition does."""
    once = [Arrival(0, START_MS, (float(value), 0.0)) for value in range(9)]
    _, strays = push_cut(make(None), [*once[:8], once[0], once[0], once[8], once[0], once[2]], cuts)
    assert strays == [(place, Reason.DUPLICATE) for place in (8, 9, 12)]


def test_a_new_time_forgets_what_the_one_before_said() -> None:
    """The same amount a second later is another payment, and so is the one that was said before the newest time."""
    stream = [Arrival(0, START_MS + step, (9_000.0, 0.0)) for step in (0, 1_000, 2_000)]
    rows, strays = push(make(None), stream)
    assert (len(rows), len(strays.indices)) == (3, 0)


def test_rows_without_a_grid_stay_in_arrival_order() -> None:
    """Keys interleave as they arrived, so no key waits for another."""
    stream = [Arrival(slot, START_MS + i, (1.0, 1.0)) for i, slot in enumerate([3, 0, 3, 1, 0])]
    rows, _ = push(make(None), stream)
    assert rows.slots.tolist() == [3, 0, 3, 1, 0]


def test_late_records_do_not_move_the_newest_time() -> None:
    """After one record from the past the key goes on from its newest, not from there."""
    stream = [Arrival(0, START_MS + step, (1.0, 1.0)) for step in (1_000, 0, 500, 1_001)]
    rows, strays = push(make(None), stream)
    assert rows.offsets.tolist() == [0, 3]
    assert strays.reasons == [Reason.LATE, Reason.LATE]


def test_a_bucket_takes_records_in_any_order() -> None:
    """Inside a bucket there is no late and no duplicate: its records merge."""
    stream = [Arrival(0, START_MS + step, (value, NAN)) for step, value in [(50, 1.0), (20, 2.0), (20, 6.0)]]
    _, strays = push(make(merge="mean"), stream)
    assert len(strays.indices) == 0


def test_last_takes_the_last_present_value_of_each_feature() -> None:
    """One record a metric: the features of a bucket come from different records."""
    grid = make()
    push(grid, [Arrival(0, START_MS, (1.0, NAN)), Arrival(0, START_MS + 1, (2.0, NAN))])
    rows, _ = push(grid, [Arrival(0, START_MS + 2, (NAN, 9.0)), Arrival(0, START_MS + GRID_MS, (0.0, 0.0))])
    assert rows.values.tolist() == [[2.0, 9.0]]


def test_mean_counts_present_values_only() -> None:
    """A metric that reported twice weighs two, one that did not report weighs nothing."""
    grid = make(merge="mean")
    push(grid, [Arrival(0, START_MS, (1.0, NAN)), Arrival(0, START_MS + 1, (2.0, 5.0))])
    rows, _ = push(grid, [Arrival(0, START_MS + GRID_MS, (0.0, 0.0))])
    assert rows.values.tolist() == [[1.5, 5.0]]


def test_a_row_carries_the_offset_of_the_record_that_completed_it() -> None:
    """Committing that offset must not lose the bucket: it was complete only with that record."""
    stream = [Arrival(0, START_MS, (1.0, 1.0)), Arrival(0, START_MS + 1, (1.0, 1.0))]
    stream += [Arrival(1, START_MS, (1.0, 1.0)), Arrival(0, START_MS + GRID_MS, (2.0, 2.0))]
    rows, _ = push(make(), stream)
    assert rows.offsets.tolist() == [3]
    assert rows.event_times_ms.tolist() == [START_MS]


@merges
def test_the_newest_bucket_stays_open(merge: Merge) -> None:
    """A bucket is never handed out while records of it may still come."""
    rows, _ = push(make(merge=merge), [Arrival(0, START_MS + i, (1.0, 1.0)) for i in range(GRID_MS)])
    assert len(rows) == 0


@merges
def test_empty_buckets_become_missing_rows_up_to_the_gap(merge: Merge) -> None:
    """A short silence is filled with missing values, which the missing-value policy then replaces."""
    stream = [Arrival(0, START_MS, (1.0, 1.0)), Arrival(0, START_MS + MAX_GAP_MS, (2.0, 2.0))]
    rows, _ = push(make(merge=merge), stream)
    assert rows.event_times_ms.tolist() == list(range(START_MS, START_MS + MAX_GAP_MS, GRID_MS))
    assert np.isnan(rows.values).all(axis=1).tolist() == [False] + [True] * 9
    assert set(rows.offsets.tolist()) == {1}


@merges
def test_longer_gaps_are_not_filled(merge: Merge) -> None:
    """A long silence stays a gap, on which the window restarts, and costs no rows."""
    stream = [Arrival(0, START_MS, (1.0, 1.0)), Arrival(0, START_MS + MAX_GAP_MS + GRID_MS, (2.0, 2.0))]
    rows, _ = push(make(merge=merge), stream)
    assert rows.event_times_ms.tolist() == [START_MS]


def test_a_leap_of_years_costs_nothing() -> None:
    """One record from the far future does not make the grid write millions of empty rows."""
    stream = [Arrival(0, START_MS, (1.0, 1.0)), Arrival(0, START_MS + 10**15, (2.0, 2.0))]
    rows, _ = push(make(), stream)
    assert len(rows) == 1


def test_times_before_the_epoch_fall_into_their_own_bucket() -> None:
    """Bucket borders are floors, also for negative times: -1 and +1 do not share one."""
    stream = [Arrival(0, time, (float(time), 0.0)) for time in (-150, -1, 1, 100)]
    rows, _ = push(make(), stream)
    assert rows.event_times_ms.tolist() == [-200, -100, 0]


@merges
@quick
@given(streams())
def test_flush_hands_out_what_the_next_record_would_have_completed(merge: Merge, stream: list[Arrival]) -> None:
    """The last bucket of a file is scored like every other one."""
    flushed, pushed = make(merge=merge), make(merge=merge)
    push(flushed, stream)
    last = per_key(flushed.flush(every_slot()))
    push(pushed, stream)
    newest = {slot: max(a.time_ms for a in stream if a.slot == slot) for slot in {a.slot for a in stream}}
    closing = [Arrival(slot, time + GRID_MS, (0.0, 0.0)) for slot, time in newest.items()]
    found = per_key(push(pushed, [*stream, *closing], len(stream))[0]) if stream else {}
    is_missing = np.full(FEATURES, np.nan).tobytes()
    expected = {slot: [row[1:] for row in rows if row[2] != is_missing] for slot, rows in found.items()}
    assert {slot: [row[1:] for row in rows] for slot, rows in last.items()} == {s: r for s, r in expected.items() if r}


@merges
def test_flush_twice_gives_nothing_more(merge: Merge) -> None:
    """The end of the data is reported once."""
    grid = make(merge=merge)
    push(grid, [Arrival(2, START_MS, (1.0, NAN))])
    assert grid.flush(every_slot()).slots.tolist() == [2]
    assert len(grid.flush(every_slot())) == 0


@merges
def test_what_is_forgotten_of_a_bucket_does_not_count(merge: Merge) -> None:
    """Records that still come into it make its row by themselves; older ones are late all the same."""
    grid = make(merge=merge)
    push(grid, [Arrival(0, START_MS, (8.0, 1.0)), Arrival(1, START_MS, (8.0, 1.0))])
    grid.forget_open(slots_of(0))
    later = [Arrival(key, START_MS + at, (2.0, NAN)) for at in (1, GRID_MS) for key in (0, 1)]
    rows, strays = push(grid, [Arrival(0, START_MS - 1, (1.0, 1.0)), *later])
    found = {int(slot): row for slot, row in zip(rows.slots, rows.values.tolist(), strict=True)}
    assert found[0][0] == 2.0
    assert np.isnan(found[0][1])
    assert found[1] == [5.0 if merge == "mean" else 2.0, 1.0]
    assert strays.reasons == [Reason.LATE]
    make(None).forget_open(every_slot())


def test_flush_without_a_grid_is_empty() -> None:
    """Without a grid nothing is ever held back."""
    grid = make(None)
    push(grid, [Arrival(0, START_MS, (1.0, 1.0))])
    assert len(grid.flush(every_slot())) == 0


@modes
def test_an_empty_poll_changes_nothing(grid_ms: int | None, merge: Merge) -> None:
    """No records, no rows, no change of state."""
    grid = make(grid_ms, merge)
    push(grid, [Arrival(0, START_MS, (1.0, 1.0))])
    before = state_of(grid)
    rows, strays = grid.push(*record_batch([]))
    assert (len(rows), len(strays.indices), state_of(grid)) == (0, 0, before)
    assert rows.values.shape == (0, FEATURES)


@modes
def test_a_batch_of_strays_only_changes_nothing(grid_ms: int | None, merge: Merge) -> None:
    """A replaying producer cannot disturb the open bucket."""
    grid = make(grid_ms, merge)
    push(grid, [Arrival(0, START_MS, (1.0, 1.0))])
    before = state_of(grid)
    rows, strays = push(grid, [Arrival(0, START_MS - 5 * GRID_MS, (7.0, 7.0))] * 3)
    assert (len(rows), len(strays.indices), state_of(grid)) == (0, 3, before)


@merges
@quick
@given(st.lists(VALUES, min_size=1, max_size=20))
@example([1e30, 1e30, -3e7])
def test_a_merged_value_lies_between_the_values_it_merges(merge: Merge, values: list[float]) -> None:
    """Merging invents nothing: no overflow, no value outside the bucket's own."""
    grid = make(merge=merge)
    stream = [Arrival(0, START_MS + i, (value, value)) for i, value in enumerate(values)]
    push(grid, stream)
    row = grid.flush(slots_of(0))
    present = np.array([value for value in values if not np.isnan(value)], dtype=np.float32)
    if not len(present):
        assert len(row) == 0
    else:
        assert present.min() * (1 + 1e-6 * np.sign(-present.min())) <= row.values[0, 0]
        assert row.values[0, 0] <= present.max() * (1 + 1e-6 * np.sign(present.max()))


@pytest.mark.parametrize(
    ("max_gap_ms", "grid_ms", "size", "expected"),
    [(5_000, None, 4, 5_000), (5_000, 1_000, 4, 4_000), (3_000, 1_000, 4, 3_000)],
)
def test_a_grid_never_bridges_more_than_a_window(
    max_gap_ms: int, grid_ms: int | None, size: int, expected: int
) -> None:
    """Filling in longer silences would only make rows that nobody measured, without bound."""
    assert longest_gap_ms(max_gap_ms, grid_ms, size) == expected


@merges
@quick
@given(streams(), CUTS)
def test_only_the_newest_empty_buckets_of_a_silence_become_rows(
    merge: Merge, stream: list[Arrival], cuts: list[int]
) -> None:
    """Cut down, a silence ends as the whole one does: the last rows before each record are those there would be."""
    most, stream = 2, [arrival._replace(values=(1.0, 2.0)) for arrival in stream]  # so that empty rows tell themselves
    whole, few, cut = (make(merge=merge) for _ in range(3))
    few.most_empty = cut.most_empty = most
    everything, strays = push_cut(whole, stream, [])
    expected = {}
    for slot, rows in everything.items():
        is_empty = [np.isnan(np.frombuffer(row[2], np.float64)).all() for row in rows]
        expected[slot] = [row for row, after in zip(rows, empty_ones_left(is_empty), strict=True) if after <= most]
    assert push_cut(few, stream, []) == push_cut(cut, stream, cuts) == (expected, strays)


def empty_ones_left(is_empty: Sequence[bool]) -> list[int]:
    """Return for each row how many empty ones are left with it up to the next record; 0 for a record."""
    found, left = [], 0
    for empty in reversed(is_empty):
        left = left + 1 if empty else 0
        found.append(left)
    return found[::-1]


def test_a_long_silence_costs_no_more_than_a_window() -> None:
    """A tag that speaks once an hour brings as many rows as a window has, not one for each bucket of the hour."""
    grid = make()
    grid.max_gap_ms, grid.most_empty = 10**9, 3
    push(grid, [Arrival(0, START_MS, (1.0, 1.0))])
    rows, _ = push(grid, [Arrival(0, START_MS + 5_000 * GRID_MS, (2.0, 2.0))])
    assert ((rows.event_times_ms - START_MS) // GRID_MS).tolist() == [0, 4_997, 4_998, 4_999]
    assert np.isnan(rows.values).all(axis=1).tolist() == [False, True, True, True]
