"""Tags that speak on change: what was last heard stands, is not counted as missing, and not for ever."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.holding import Hold
from streamae.core.windowing import KeyWindows, Missing
from tests.core_batches import (
    CUTS,
    FEATURES,
    KEYS,
    NAN,
    START_MS,
    Arrival,
    cleared,
    every_slot,
    merged,
    ordered_streams,
    per_key,
    pieces,
    quick,
    row_batch,
    series,
    slots_of,
    state_of,
)

MAX_GAP_MS = 1_000
CONSTANT = -1.0
STANDS, CARRIED = range(FEATURES)  # the first feature speaks on change, the second is filled in with its previous value
HOLDS = st.sampled_from([None, 100, 250, 5_000])


def make(hold_ms: int | None = None, size: int = 1) -> KeyWindows:
    """Windows ready for new keys; of one row each, unless told otherwise: what is said of a row is said of a window."""
    missing = Missing(
        np.ones(FEATURES, dtype=np.bool_),
        np.full(FEATURES, CONSTANT, np.float32),
        Hold(np.array([STANDS]), hold_ms),
    )
    found: KeyWindows = cleared(
        KeyWindows(
            KEYS, size, FEATURES, stride=1, max_gap_ms=MAX_GAP_MS, missing=missing, max_imputed_share=1.0
        )
    )  # fmt: skip
    return found


def push_cut(windows: KeyWindows, stream: Sequence[Arrival], cuts: Sequence[int]) -> dict[int, list[Any]]:
    """Push rows in batches; return offset, values and share of filled-in cells by key."""
    found = merged([per_key(windows.push(row_batch(stream, *piece))) for piece in pieces(len(stream), cuts)])
    return {slot: [(window[0], *window[3:5]) for window in rows] for slot, rows in found.items()}


def one_by_one(stream: Sequence[Arrival], hold_ms: int | None) -> dict[int, list[Any]]:
    """Oracle: one row after the other, a dictionary of what each key said last."""
    known: dict[tuple[int, int], tuple[float, int]] = {}
    newest: dict[int, int] = {}
    found = defaultdict(list)
    for offset, arrival in enumerate(stream):
        is_gap = arrival.time_ms - newest.get(arrival.slot, arrival.time_ms) > MAX_GAP_MS
        newest[arrival.slot] = arrival.time_ms
        filled, holes = [], 0
        for feature, value in enumerate(arrival.values):
            name = arrival.slot, feature
            if is_gap and (feature == CARRIED or hold_ms is None):
                known.pop(name, None)
            if not np.isnan(value):
                known[name] = value, arrival.time_ms
            last, heard_ms = known.get(name, (CONSTANT, None))
            is_held = feature == STANDS and heard_ms is not None
            is_over = hold_ms is not None and heard_ms is not None and arrival.time_ms - heard_ms > hold_ms
            holes += np.isnan(value) and (not is_held or is_over)
            filled.append(last)
        values = np.array([filled], np.float32)
        found[arrival.slot].append((offset, values.tobytes(), np.float32(holes / FEATURES).item()))
    return dict(found)


def shares(hold_ms: int | None, *values: float, step_ms: int = 100) -> list[float]:
    """Return the share of filled-in cells of rows in which only the first feature is ever missing."""
    stream = [Arrival(0, START_MS + row * step_ms, (value, 5.0)) for row, value in enumerate(values)]
    return make(hold_ms).push(row_batch(stream)).imputed_shares.tolist()


@quick
@given(ordered_streams(), CUTS, HOLDS)
def test_values_stand_as_one_row_after_the_other_says(
    stream: list[Arrival], cuts: list[int], hold_ms: int | None
) -> None:
    """Values, counts and stored state agree with the slow and obvious way, however the rows were cut into batches."""
    whole, cut = make(hold_ms), make(hold_ms)
    assert push_cut(whole, stream, []) == push_cut(cut, stream, cuts) == one_by_one(stream, hold_ms)
    assert state_of(whole) == state_of(cut)


@quick
@given(ordered_streams(), st.integers(0, 60), HOLDS)
def test_state_moves_to_another_process_in_the_middle(stream: list[Arrival], half: int, hold_ms: int | None) -> None:
    """After export and restore a value stands as long as it would have stood."""
    half = min(half, len(stream))
    before, after = make(hold_ms), make(hold_ms)
    found = [push_cut(before, stream[:half], [])]
    after.columns.restore(every_slot(), before.columns.export(every_slot()))
    rest = push_cut(after, stream[half:], [])
    found.append({slot: [(row[0] + half, *row[1:]) for row in rows] for slot, rows in rest.items()})
    assert merged(found) == one_by_one(stream, hold_ms)


def test_what_stands_is_not_counted_as_filled_in() -> None:
    """A valve that has not moved is known; before it was ever heard it is not."""
    assert shares(None, NAN, 1.0, NAN, NAN, NAN) == [0.5, 0.0, 0.0, 0.0, 0.0]


def test_a_value_stands_up_to_its_time_and_is_counted_after() -> None:
    """The last value goes on being filled in, as the best there is, but as missing; the next one stands anew."""
    assert shares(200, 1.0, NAN, NAN, NAN, 2.0, NAN) == [0.0, 0.0, 0.0, 0.5, 0.0, 0.0]
    stream = [Arrival(0, START_MS + row * 100, (value, 5.0)) for row, value in enumerate([1.0, NAN, NAN, NAN])]
    assert make(200).push(row_batch(stream)).values[:, 0, STANDS].tolist() == [1.0] * 4


@pytest.mark.parametrize(("hold_ms", "expected"), [(None, 0.5), (1_500, 0.0), (999, 0.5)])
@pytest.mark.parametrize("cut", [0, 1])
def test_only_a_time_of_its_own_outlasts_a_gap(hold_ms: int | None, expected: float, cut: int) -> None:
    """A restarted window knows nothing of before, unless it was said how long a value is good for."""
    windows = make(hold_ms)
    stream = [Arrival(0, START_MS, (1.0, 5.0)), Arrival(0, START_MS + MAX_GAP_MS + 1, (NAN, 5.0))]
    (_, (_, _, share)) = push_cut(windows, stream, [cut])[0]
    assert share == expected


def test_a_window_begun_anew_keeps_what_stands_for_a_time() -> None:
    """Keys that learnt from a history go live with their windows empty, and with the set points they were told."""
    for hold_ms, expected in ((None, CONSTANT), (60_000, 1.0)):
        windows = make(hold_ms)
        windows.push(row_batch([Arrival(0, START_MS, (1.0, 7.0))]))
        windows.restart(slots_of(0))
        found = windows.push(row_batch([Arrival(0, START_MS + 100, (NAN, NAN))]))
        assert found.values[0, 0].tolist() == [expected, CONSTANT]


def test_only_what_stands_for_a_time_has_state_of_its_own() -> None:
    """Keys are as large as they were, unless a time of its own has to be watched."""
    plain = KeyWindows(
        KEYS, 1, FEATURES, stride=1, max_gap_ms=1, missing=Missing(np.ones(2, bool), np.zeros(2, np.float32)),
        max_imputed_share=1.0,
    )  # fmt: skip
    assert make(None).columns.layout == plain.columns.layout
    assert make(100).columns.layout == f"{plain.columns.layout};heard:<i8[1]"


def test_mostly_silent_tags_leave_windows_to_be_scored() -> None:
    """What starves a key under `previous` is what is usual for tags that speak on change."""
    windows = make(size=8)
    windows.max_imputed_share = 0.1
    spoken = series(0, [1.0])
    silent = [Arrival(0, START_MS + row * 100, (NAN, 5.0)) for row in range(1, 20)]
    assert len(windows.push(row_batch(spoken + silent))) == 13
    assert not windows.is_starved(slots_of(0)).any()


def test_the_usual_size_of_a_tag_is_that_of_what_stands() -> None:
    """A mode left for one minute of a day is rare, although it is one of the three values that were heard."""
    values = np.array([[NAN, NAN], [3.0, 1.0], [NAN, NAN], [1.0, NAN], [3.0, 2.0], [NAN, NAN]], np.float32)
    expected = [[NAN, NAN], [3.0, 1.0], [3.0, NAN], [1.0, NAN], [3.0, 2.0], [3.0, NAN]]
    assert np.array_equal(Hold(np.array([STANDS])).standing(values), expected, equal_nan=True)
    assert Hold().standing(values) is values


@pytest.mark.parametrize(("age_ms", "counted"), [(200, 0.0), (300, 1 / FEATURES)])
def test_what_was_heard_by_a_clock_that_is_set_back_was_heard_now(age_ms: int, counted: float) -> None:
    """A value of the future does not stand until the future is there: its time begins with the record that is back."""
    windows = make(hold_ms=250)
    windows.push(row_batch([Arrival(0, START_MS + 9_000_000, (1.0, 1.0))]))
    windows.set_back(slots_of(0), np.array([START_MS]))
    found = windows.push(row_batch([Arrival(0, START_MS, (NAN, 2.0)), Arrival(0, START_MS + age_ms, (NAN, 2.0))]))
    assert found.values[:, -1, STANDS].tolist() == [1.0, 1.0]
    assert found.imputed_shares.tolist() == [0.0, counted]
    assert found.is_first.tolist() == [True, False]
