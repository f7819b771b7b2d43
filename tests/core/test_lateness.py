"""Rows out of order: sorted as far as lateness is allowed, refused behind that, whatever the batches and restarts were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.grid import NEVER, RowGrid
from streamae.core.lateness import FREE, Lateness, Released
from streamae.reasons import Reason
from tests.core_batches import (
    CUTS,
    FEATURES,
    KEYS,
    START_MS,
    Arrival,
    cleared,
    every_slot,
    frozen_bytes,
    merged,
    pieces,
    quick,
    record_batch,
    slots_of,
    state_of,
    streams,
)

LATENESS_MS = 300
EXACT = np.array([True, False])
sizes = pytest.mark.parametrize("most_rows", [1, 3, 16])
equal_times = pytest.mark.parametrize("keeps", [False, True, None], ids=["one row a time", "keeps", "merges"])
Found = tuple[dict[int, list[Any]], list[tuple[int, Reason]]]


def make(most_rows: int = 16, *, keeps: bool | None = False) -> Lateness:
    """A stage ready for new keys."""
    found: Lateness = cleared(Lateness(KEYS, EXACT, lateness_ms=LATENESS_MS, most_rows=most_rows, keeps_equal=keeps))
    return found


def left(released: Released) -> dict[int, list[Any]]:
    """Return what left by key: offset of the cause, event time, and values to the bit."""
    found, of = defaultdict(list), released.records
    for slot, offset, time_ms, values in zip(
        released.slots.tolist(), of.offsets.tolist(), of.event_times_ms.tolist(), of.values, strict=True
    ):
        found[slot].append((offset, time_ms, values.tobytes()))
    return dict(found)


def push_cut(stage: Lateness, stream: Sequence[Arrival], cuts: Sequence[int], *, restarts: bool = False) -> Found:
    """Push a stream in batches, each into a stage restored from packed state if `restarts`."""
    found, strays = [], []
    for start, stop in pieces(len(stream), cuts):
        if restarts:
            packed = stage.columns.export(every_slot())
            stage = make(stage.most_rows, keeps=stage.keeps_equal)
            stage.columns.restore(every_slot(), packed)
        records, slots = record_batch(stream, start, stop)
        released, refused = stage.push(records, slots, np.full(len(slots), NEVER))
        assert released.causes is not None
        assert released.records.offsets.tolist() == records.offsets[released.causes].tolist()
        found.append(left(released))
        strays += [(start + at, why) for at, why in zip(refused.indices.tolist(), refused.reasons, strict=True)]
    return merged(found), sorted(strays)


def held_as(values: Sequence[float]) -> bytes:
    """Return values as rows hold them: the first in 64 bits, the second in 32."""
    return np.array([values[0], np.float32(values[1])]).tobytes()


def content(values: Sequence[float]) -> str:
    """Return what a record says: -0 is 0."""
    return repr([value + 0.0 for value in values])


def one_by_one(stream: Sequence[Arrival], most_rows: int, *, keeps: bool | None) -> Found:
    """Oracle: a sorted list a key, one record after the other."""
    waiting: dict[int, list[tuple[int, int, bytes, str]]] = defaultdict(list)
    newest: dict[int, int] = {}
    gone: dict[int, int] = {}
    rows, strays = defaultdict(list), []
    for offset, (slot, time_ms, values) in enumerate(stream):
        held = waiting[slot]
        if time_ms < gone.get(slot, NEVER):
            strays.append((offset, Reason.LATE))
            continue
        ties = [row[3] for row in held if row[0] == time_ms]
        if keeps is not None and ties and (not keeps or content(values) in ties):
            strays.append((offset, Reason.DUPLICATE if content(values) in ties else Reason.EQUAL_TIME))
            continue
        newest[slot] = max(newest.get(slot, NEVER), time_ms)
        limit_ms = newest[slot] - LATENESS_MS
        limit_ms = max(limit_ms, time_ms) if time_ms == gone.get(slot) else limit_ms
        held.append((time_ms, offset, held_as(values), content(values)))
        held.sort(key=lambda row: row[:2])
        while held and (held[0][0] <= limit_ms or len(held) > most_rows):
            gone[slot] = held[0][0]
            rows[slot].append((offset, held[0][0], held.pop(0)[2]))
    return dict(rows), strays


@equal_times
@sizes
@given(stream=streams(), cuts=CUTS, restarts=st.booleans())
@quick
def test_any_cut_and_any_restart_give_the_rows_of_one_record_after_the_other(
    most_rows: int, keeps: bool | None, stream: list[Arrival], cuts: list[int], restarts: bool
) -> None:
    """What a replay after a crash relies on: rows, their causes, what is refused, and the state left behind."""
    whole, cut = make(most_rows, keeps=keeps), make(most_rows, keeps=keeps)
    expected = one_by_one(stream, most_rows, keeps=keeps)
    assert push_cut(whole, stream, []) == expected
    assert push_cut(cut, stream, cuts, restarts=restarts) == expected
    if not restarts:
        assert state_of(whole) == state_of(cut)


@sizes
@given(stream=streams())
@quick
def test_rows_leave_in_the_order_of_time_and_none_is_lost(most_rows: int, stream: list[Arrival]) -> None:
    """Every record leaves as a row once, or is refused; the stages behind never see a key's time fall."""
    stage = make(most_rows, keeps=None)
    rows, strays = push_cut(stage, stream, [])
    rest = left(stage.flush(every_slot(), every_slot().astype(np.int64) + 1_000))
    for slot in range(KEYS):
        times = [row[1] for row in [*rows.get(slot, []), *rest.get(slot, [])]]
        assert times == sorted(times)
        refused = [stream[at].time_ms for at, _ in strays if stream[at].slot == slot]
        assert sorted(times + refused) == sorted(one.time_ms for one in stream if one.slot == slot)


@given(stream=streams(steps_ms=(0, 50, 100, 100, 450)))
@quick
def test_a_stream_in_order_loses_nothing_but_time(stream: list[Arrival]) -> None:
    """What is in order already comes out as it came in: only the offsets say that it had waited."""
    stage = make(keeps=None)
    rows, strays = push_cut(stage, stream, [])
    rest = left(stage.flush(every_slot(), every_slot().astype(np.int64)))
    assert not strays
    found = {slot: [row[1:] for row in of] for slot, of in merged([rows, rest]).items()}
    expected = defaultdict(list)
    for one in stream:
        expected[one.slot].append((one.time_ms, held_as(one.values)))
    assert found == dict(expected)


def story(*times_ms: int, most_rows: int = 16, keeps: bool | None = True) -> tuple[list[tuple[int, int]], list[Reason]]:
    """Return cause and time of each row that left of one key, and why records were refused; times from `START_MS` on."""
    stream = [Arrival(0, START_MS + time_ms, (float(at), 0.0)) for at, time_ms in enumerate(times_ms)]
    rows, strays = push_cut(make(most_rows, keeps=keeps), stream, [])
    return [(offset, time_ms - START_MS) for offset, time_ms, _ in rows.get(0, [])], [reason for _, reason in strays]


def test_a_row_waits_until_the_newest_time_is_far_enough_past_it() -> None:
    """The promise of `window.lateness_ms`: exactly so late is in time, and the row goes with the record that frees it."""
    assert story(0, 299) == ([], [])
    assert story(0, 300) == ([(1, 0)], [])
    assert story(0, 600, 300) == ([(1, 0), (2, 300)], [])
    assert story(0, 600, 299) == ([(1, 0), (2, 299)], [])
    assert story(0, 650, 350, 349) == ([(1, 0), (2, 350)], [Reason.LATE])


def test_a_full_buffer_lets_its_oldest_row_go() -> None:
    """Memory of a key is bounded: who sends more than fit is waited for less, and an older record itself may go first."""
    assert story(50, 60, 70, most_rows=2) == ([(2, 50)], [])
    assert story(50, 60, 40, most_rows=2) == ([(2, 40)], [])
    assert story(50, 60, 70, 55, 45, most_rows=2) == ([(2, 50), (3, 55)], [Reason.LATE])


def test_records_of_one_time_stay_in_the_order_they_came() -> None:
    """Several payments of one second: each is a row, in the order of offsets, also while the first ones wait."""
    for keeps in (True, None):
        assert story(10, 20, 10, 400, keeps=keeps) == ([(3, 10), (3, 10), (3, 20)], [])
        assert story(0, 300, 0, keeps=keeps) == ([(1, 0), (2, 0)], [])
    assert story(10, 20, 10, keeps=False) == ([], [Reason.EQUAL_TIME])


def test_what_is_said_again_while_it_waits_is_refused_at_once() -> None:
    """A record that was sent twice counts once; its bytes are at hand only as long as it is not a row."""
    rows = [
        Arrival(0, START_MS + at, (value, 0.0)) for at, value in ((10, 1.0), (10, 2.0), (10, 1.0), (20, 1.0), (10, 2.0))
    ]
    for keeps, refused in (
        (True, [(2, Reason.DUPLICATE), (4, Reason.DUPLICATE)]),
        (False, [(1, Reason.EQUAL_TIME), (2, Reason.DUPLICATE), (4, Reason.EQUAL_TIME)]),
        (None, []),
    ):
        assert push_cut(make(keeps=keeps), rows, [])[1] == refused


@given(stream=streams(steps_ms=(-100, 0, 0, 100, 300)), cuts=CUTS)
@quick
def test_the_grid_finds_nothing_to_refuse_in_rows_that_have_waited(stream: list[Arrival], cuts: list[int]) -> None:
    """What the grid refuses is the record that it gets at that record's own offset: nothing else could be handed back."""
    for keeps in (True, False):
        stage, grid = make(4, keeps=keeps), RowGrid(KEYS, FEATURES, max_gap_ms=1_000, keeps_equal=keeps)
        cleared(grid)
        for start, stop in pieces(len(stream), cuts):
            records, slots = record_batch(stream, start, stop)
            released, _ = stage.push(records, slots, grid.newest_ms(slots))
            strays = grid.push(released.records, released.slots)[1]
            assert released.causes is not None
            for at, reason in zip(strays.indices.tolist(), strays.reasons, strict=True):
                assert reason is not Reason.LATE
                assert released.records.event_times_ms[at] == records.event_times_ms[released.causes[at]]
                assert released.records.contents is not None
                assert records.contents is not None
                assert released.records.contents[at] == records.contents[released.causes[at]]


def test_a_silent_key_gives_its_rest_away() -> None:
    """The marker of a silence releases what waits, at its own offset; what is older is late from then on."""
    stage = make()
    stream = [Arrival(slot, START_MS + at, (at, slot)) for slot in (0, 1) for at in (20, 10, 30)]
    push_cut(stage, stream, [])
    rest = left(stage.flush(slots_of(1, 2), np.array([77, 78])))
    assert [row[:2] for row in rest[1]] == [(77, START_MS + at) for at in (10, 20, 30)]
    assert list(rest) == [1]
    assert not left(stage.flush(slots_of(1), np.array([79])))
    records, slots = record_batch([Arrival(1, START_MS + 29, (0, 0)), Arrival(0, START_MS + 29, (0, 0))])
    assert stage.push(records, slots, np.full(2, NEVER))[1].indices.tolist() == [0]


def test_time_may_begin_anew() -> None:
    """A clock that was set back for good is followed: after a restart of the key nothing is late."""
    stage = make()
    push_cut(stage, [Arrival(0, START_MS + at, (0, 0)) for at in (0, 900)], [])
    stage.flush(slots_of(0), np.array([5]))
    stage.columns.reset(slots_of(0))
    records, slots = record_batch([Arrival(0, START_MS - 10_000, (0, 0))])
    assert not stage.push(records, slots, np.full(1, NEVER))[1].reasons


@pytest.mark.parametrize("grid_ms", [None, 100])
def test_switched_on_later_it_goes_on_where_the_rows_behind_it_stand(grid_ms: int | None) -> None:
    """What the grid would refuse is refused here, at the record's own offset: its bytes are gone once it has waited."""
    grid: RowGrid = cleared(RowGrid(KEYS, FEATURES, grid_ms=grid_ms, max_gap_ms=1_000))
    assert grid.newest_ms(slots_of(0)).tolist() == [NEVER]
    grid.push(*record_batch([Arrival(0, START_MS + 250, (1, 1))]))
    stage = make(keeps=None if grid_ms else True)
    later = [Arrival(0, START_MS + at, (1, 1)) for at in (199, 200, 250, 251)]
    for one, is_late in zip(later, [True, grid_ms is None, False, False], strict=True):
        records, slots = record_batch([one])
        released, strays = stage.push(records, slots, grid.newest_ms(slots))
        assert strays.reasons == [Reason.LATE] * is_late
        if one.time_ms == START_MS + 250 and grid_ms is None:
            assert len(released.records) == 1  # it does not wait: the grid says at once that it comes twice
            assert grid.push(released.records, released.slots)[1].reasons == [Reason.DUPLICATE]


@equal_times
@given(stream=streams(), cuts=CUTS)
@quick
def test_nothing_is_written_into_what_came_in(keeps: bool | None, stream: list[Arrival], cuts: list[int]) -> None:
    """Batches are read-only by convention: who kept one keeps what it was."""
    stage = make(3, keeps=keeps)
    for piece in pieces(len(stream), cuts):
        records, slots = record_batch(stream, *piece)
        before = frozen_bytes(records.values, records.event_times_ms, records.offsets, slots)
        stage.push(records, slots, np.full(len(slots), NEVER))
        assert before == frozen_bytes(records.values, records.event_times_ms, records.offsets, slots)


def test_values_cost_what_they_need() -> None:
    """Half of the bytes of a row are enough for values of which 32 bits are read."""
    sizes_of = [
        Lateness(1, np.array(exact), lateness_ms=1, most_rows=10, keeps_equal=None).columns.size_bytes
        for exact in ([False] * 8, [True] * 8, [True, False] * 4)
    ]
    assert sizes_of == [10 * (8 + 32) + 20, 10 * (8 + 64) + 20, 10 * (8 + 48) + 20]


def test_rows_that_left_leave_no_place_taken() -> None:
    """A key that was waited for in full has room for as many again."""
    stage = make(4)
    for start in range(0, 40_000, 10_000):
        push_cut(stage, [Arrival(0, START_MS + start + at, (0, 0)) for at in (30, 10, 20, 0)], [])
        assert (stage.columns["times"][0] != FREE).all()
        push_cut(stage, [Arrival(0, START_MS + start + 5_000, (0, 0))], [])
        assert int((stage.columns["times"][0] != FREE).sum()) == 1
        stage.flush(slots_of(0), np.array([1]))
