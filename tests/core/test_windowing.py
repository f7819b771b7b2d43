"""Windows out of the ring equal windows out of a queue per key, in any cut and among any other keys."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import RowBatch, WindowBatch
from streamae.core.windowing import KeyWindows, Missing, join, select
from tests.core_batches import (
    CUTS,
    FEATURES,
    KEYS,
    NAN,
    START_MS,
    Arrival,
    cleared,
    every_slot,
    frozen_bytes,
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

SIZE = 3
MAX_GAP_MS = 1_000
CONSTANTS = (-1.0, -2.0)
PREVIOUS = (True, False)  # the first feature carries on, the second has its constant
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
Shape = tuple[int, int, float]


def make(size: int = SIZE, stride: int = 1, max_imputed_share: float = 1.0) -> KeyWindows:
    """Windows ready for new keys."""
    missing = Missing(np.array(PREVIOUS), np.array(CONSTANTS))
    windows = KeyWindows(
        KEYS,
        size,
        FEATURES,
        stride=stride,
        max_gap_ms=MAX_GAP_MS,
        missing=missing,
        max_imputed_share=max_imputed_share,
    )
    found: KeyWindows = cleared(windows)
    return found


def push_cut(windows: KeyWindows, stream: Sequence[Arrival], cuts: Sequence[int]) -> dict[int, list[Any]]:
    """Push rows in batches; return windows by key."""
    return merged([per_key(windows.push(row_batch(stream, start, stop))) for start, stop in pieces(len(stream), cuts)])


class Queue:
    """Oracle of one key: a queue of rows, emptied at each gap."""

    def __init__(self, size: int, stride: int, max_share: float) -> None:
        self.size, self.stride, self.max_share = size, stride, max_share
        self.rows: deque[tuple[int, list[float], int]] = deque(maxlen=size)
        self.newest: int | None = None
        self.restart()

    def restart(self) -> None:
        self.rows.clear()
        self.since, self.is_first, self.carried = 0, True, [NAN] * FEATURES

    def add(self, offset: int, arrival: Arrival) -> tuple[Any, ...] | None:
        if self.newest is not None and arrival.time_ms - self.newest > MAX_GAP_MS:
            self.restart()
        self.newest = arrival.time_ms
        filled, holes = [], 0
        for feature, value in enumerate(arrival.values):
            if np.isnan(value):
                holes += 1
                usable = PREVIOUS[feature] and not np.isnan(self.carried[feature])
                filled.append(self.carried[feature] if usable else CONSTANTS[feature])
            else:
                self.carried[feature] = value
                filled.append(value)
        self.rows.append((arrival.time_ms, filled, holes))
        self.since += 1
        return self.window(offset) if self.is_due() else None

    def is_due(self) -> bool:
        return self.since >= self.size and (self.since - self.size) % self.stride == 0

    def window(self, offset: int) -> tuple[Any, ...] | None:
        share = sum(holes for *_, holes in self.rows) / (self.size * FEATURES)
        if share > self.max_share:
            return None
        is_first, self.is_first = self.is_first, False
        values = np.array([filled for _, filled, _ in self.rows], np.float32)
        return offset, self.rows[0][0], self.rows[-1][0], values.tobytes(), np.float32(share).item(), is_first


def queued(stream: Sequence[Arrival], size: int, stride: int, max_share: float) -> dict[int, list[Any]]:
    """Windows of a stream, one row after the other."""
    queues = defaultdict(lambda: Queue(size, stride, max_share))
    found = defaultdict(list)
    for offset, arrival in enumerate(stream):
        window = queues[arrival.slot].add(offset, arrival)
        if window is not None:
            found[arrival.slot].append(window)
    return dict(found)


@quick
@given(ordered_streams(), CUTS, SHAPES)
def test_windows_equal_a_queue_per_key(stream: list[Arrival], cuts: list[int], shape: Shape) -> None:
    """Stride, gaps, missing values, imputed share and first windows agree with the slow and obvious way."""
    assert push_cut(make(*shape), stream, cuts) == queued(stream, *shape)


@quick
@given(ordered_streams(), CUTS, SHAPES)
def test_batch_borders_leave_no_trace(stream: list[Arrival], cuts: list[int], shape: Shape) -> None:
    """Windows and stored state are equal to the bit however the rows were cut into batches."""
    whole, cut = make(*shape), make(*shape)
    assert push_cut(whole, stream, []) == push_cut(cut, stream, cuts)
    assert state_of(whole) == state_of(cut)
    assert whole.withheld == cut.withheld


@quick
@given(ordered_streams(), SHAPES)
def test_other_keys_change_nothing_for_a_key(stream: list[Arrival], shape: Shape) -> None:
    """A key alone has the windows and the state it has among others."""
    together = make(*shape)
    rows = row_batch(stream)
    found = per_key(together.push(rows))
    for slot in range(KEYS):
        alone = make(*shape)
        mine = rows.slots == slot
        part = RowBatch(rows.slots[mine], rows.offsets[mine], rows.event_times_ms[mine], rows.values[mine])
        assert per_key(alone.push(part)).get(slot) == found.get(slot)
        assert state_of(alone, slots_of(slot)) == state_of(together, slots_of(slot))


@quick
@given(ordered_streams(), st.integers(0, 60), SHAPES)
def test_state_moves_to_another_process_in_the_middle(stream: list[Arrival], half: int, shape: Shape) -> None:
    """After export and restore into other slots every key goes on as if nothing had happened."""
    half = min(half, len(stream))
    before, after = make(*shape), make(*shape)
    found = [per_key(before.push(row_batch(stream, 0, half)))]
    after.columns.restore(every_slot()[::-1].copy(), before.columns.export(every_slot()))
    rows = row_batch(stream, half)
    moved = RowBatch(KEYS - 1 - rows.slots, rows.offsets, rows.event_times_ms, rows.values)
    found.append({KEYS - 1 - slot: windows for slot, windows in per_key(after.push(moved)).items()})
    assert merged(found) == queued(stream, *shape)


@quick
@given(ordered_streams(), SHAPES)
def test_pushing_leaves_the_rows_alone(stream: list[Arrival], shape: Shape) -> None:
    """Missing values are filled in a copy."""
    rows = row_batch(stream)
    before = frozen_bytes(rows.slots, rows.offsets, rows.event_times_ms, rows.values)
    make(*shape).push(rows)
    assert frozen_bytes(rows.slots, rows.offsets, rows.event_times_ms, rows.values) == before


@quick
@given(ordered_streams(), SHAPES)
def test_no_window_has_a_hole(stream: list[Arrival], shape: Shape) -> None:
    """The model never sees NaN."""
    assert not np.isnan(make(*shape).push(row_batch(stream)).values).any()


@pytest.mark.parametrize("size", [1, 2, 7, 60])
@pytest.mark.parametrize("stride", [1, 3, 10])
def test_a_hot_key_with_thousands_of_rows_loses_no_window(size: int, stride: int) -> None:
    """A batch far longer than the ring, for one key among quiet ones, gives every window once, intact."""
    stream = series(1, range(2_500))
    stream[1_000:1_000] = series(0, range(70))
    found = make(size, stride).push(row_batch(stream))
    assert per_key(found) == queued(stream, size, stride, 1.0)


def test_windows_handed_out_do_not_change_later() -> None:
    """A window waiting for the device is a copy: later rows overwrite only the ring."""
    windows = make()
    first = windows.push(row_batch(series(0, [1.0, 2.0, 3.0])))
    before = first.values.tobytes()
    windows.push(row_batch(series(0, range(100), start_ms=START_MS + 300)))
    assert first.values.tobytes() == before


def test_windows_of_a_key_come_in_event_time_order() -> None:
    """Verdicts are learnt one after the other: order inside a key is part of the contract."""
    stream = [arrival for pair in zip(series(0, range(50)), series(3, range(50)), strict=True) for arrival in pair]
    found = make().push(row_batch(stream))
    for slot in (0, 3):
        assert (np.diff(found.end_times_ms[found.slots == slot]) == 100).all()


def test_the_first_window_needs_all_its_rows() -> None:
    """No padded window is ever scored: a new key is silent until it has W rows."""
    windows = make(size=5)
    assert len(windows.push(row_batch(series(0, range(4))))) == 0
    assert len(windows.push(row_batch(series(0, [4.0], start_ms=START_MS + 400)))) == 1


def test_stride_counts_from_the_first_window() -> None:
    """With stride 3 the windows end at rows W, W + 3, W + 6, also across batches."""
    found = push_cut(make(size=4, stride=3), series(0, range(12)), [5, 8])
    assert [window[0] for window in found[0]] == [3, 6, 9]


def test_the_newest_row_is_the_last_step() -> None:
    """Oldest step first, newest last: explanations read the last step."""
    found = make().push(row_batch(series(0, [1.0, 2.0, 3.0])))
    assert found.values[0, :, 0].tolist() == [1.0, 2.0, 3.0]
    assert (found.start_times_ms.tolist(), found.end_times_ms.tolist()) == ([START_MS], [START_MS + 200])


def test_no_window_reaches_across_a_gap() -> None:
    """After a silence the window fills anew, and its first window says so."""
    stream = series(0, range(4)) + series(0, range(4), start_ms=START_MS + 300 + MAX_GAP_MS + 1)
    found = make().push(row_batch(stream))
    assert found.offsets.tolist() == [2, 3, 6, 7]
    assert found.is_first.tolist() == [True, False, True, False]


def test_a_silence_of_exactly_the_limit_is_no_gap() -> None:
    """The setting is the longest step that is still one series."""
    stream = series(0, range(3)) + series(0, range(1), start_ms=START_MS + 200 + MAX_GAP_MS)
    found = make().push(row_batch(stream))
    assert found.is_first.tolist() == [True, False]


def test_gaps_between_batches_and_inside_one_are_the_same() -> None:
    """Several gaps in one batch each restart the window."""
    stream = [
        arrival for part in range(4) for arrival in series(0, range(3), start_ms=START_MS + part * 10 * MAX_GAP_MS)
    ]
    assert make().push(row_batch(stream)).is_first.tolist() == [True] * 4
    assert all(window[-1] for window in push_cut(make(), stream, [3, 4, 8])[0])


def test_a_gap_before_a_window_was_full_still_makes_its_first_window_first() -> None:
    """A key that resumed twice before it was full has one first window, not none."""
    stream = series(0, range(3)) + series(0, range(2), start_ms=START_MS + 10_000)
    stream += series(0, range(4), start_ms=START_MS + 20_000)
    assert make().push(row_batch(stream)).is_first.tolist() == [True, True, False]


def test_previous_takes_the_keys_last_value() -> None:
    """A missing reading repeats the last one of the same key, across batches."""
    windows = make()
    windows.push(row_batch([*series(0, [5.0]), *series(1, [9.0])]))
    rows = [Arrival(0, START_MS + 100, (NAN, 1.0)), Arrival(0, START_MS + 200, (NAN, 1.0))]
    assert windows.push(row_batch(rows)).values[0, :, 0].tolist() == [5.0, 5.0, 5.0]


def test_previous_falls_back_to_the_constant_for_a_new_key() -> None:
    """Before the first reading there is nothing to repeat."""
    rows = [Arrival(0, START_MS + i * 100, (value, 1.0)) for i, value in enumerate([NAN, 4.0, NAN])]
    assert make().push(row_batch(rows)).values[0, :, 0].tolist() == [CONSTANTS[0], 4.0, 4.0]


@pytest.mark.parametrize("cut", [0, 3, 4])
def test_previous_does_not_reach_across_a_gap(cut: int) -> None:
    """A reading from before the silence says nothing about now, in the same batch or an earlier one."""
    stream = series(0, [5.0] * 3) + [
        Arrival(0, START_MS + 10_000 + i * 100, (value, 1.0)) for i, value in enumerate([NAN, NAN, 6.0])
    ]
    newest = push_cut(make(), stream, [cut])[0][-1]
    values = np.frombuffer(newest[3], np.float32).reshape(SIZE, FEATURES)
    assert values[:, 0].tolist() == [CONSTANTS[0], CONSTANTS[0], 6.0]


def test_constant_policy_never_carries() -> None:
    """A feature with a constant gets it although an earlier value is known."""
    rows = [Arrival(0, START_MS + i * 100, (1.0, value)) for i, value in enumerate([7.0, NAN, 8.0])]
    assert make().push(row_batch(rows)).values[0, :, 1].tolist() == [7.0, CONSTANTS[1], 8.0]


def test_imputed_share_counts_filled_cells() -> None:
    """Three of six cells invented: the event says one half."""
    rows = [
        Arrival(0, START_MS, (NAN, NAN)),
        Arrival(0, START_MS + 100, (NAN, 1.0)),
        *series(0, [1.0], start_ms=START_MS + 200),
    ]
    assert make().push(row_batch(rows)).imputed_shares.tolist() == [0.5]


def test_mostly_invented_windows_are_withheld_and_counted() -> None:
    """A window with too many filled-in cells raises no alarm, and the operator can see how many there were."""
    windows = make(max_imputed_share=0.5)
    rows = [Arrival(0, START_MS + i * 100, (NAN, NAN) if i < 3 else (1.0, 1.0)) for i in range(6)]
    found = windows.push(row_batch(rows))
    assert found.imputed_shares.tolist() == pytest.approx([1 / 3, 0.0])
    assert windows.withheld == 2


def test_the_first_window_handed_out_is_first() -> None:
    """If the first window is withheld the next one still tells the statistics to start anew."""
    rows = [Arrival(0, START_MS + i * 100, (NAN, NAN) if i < 2 else (1.0, 1.0)) for i in range(6)]
    assert make(max_imputed_share=0.4).push(row_batch(rows)).is_first.tolist() == [True, False, False]


def test_a_reset_slot_is_a_new_key() -> None:
    """The next owner of an evicted key's slot starts with an empty window and a first window."""
    windows = make()
    windows.push(row_batch(series(2, range(10))))
    windows.columns.reset(slots_of(2))
    found = windows.push(row_batch(series(2, range(3), start_ms=START_MS + 1_000)))
    assert (found.is_first.tolist(), found.values[0, :, 0].tolist()) == ([True], [0.0, 1.0, 2.0])


def test_no_rows_give_no_windows() -> None:
    """An empty poll has the shapes of any other."""
    found = make().push(row_batch([]))
    assert len(found) == 0
    assert found.values.shape == (0, SIZE, FEATURES)


def batch_of(*slots: int) -> WindowBatch:
    """Windows of these keys, three rows each."""
    return make().push(row_batch([arrival for slot in slots for arrival in series(slot, range(3))]))


def test_join_and_select_keep_every_column_together() -> None:
    """Cutting and gluing batches moves whole windows."""
    one, two = batch_of(0, 2), batch_of(1, 3)
    both = join([one, two])
    assert both.slots.tolist() == [0, 2, 1, 3]
    assert per_key(select(both, slice(2, None))) == per_key(two)
    assert per_key(select(both, np.array([True, True, False, False]))) == per_key(one)
    assert per_key(select(both, np.array([1, 0]))) == per_key(one)


def test_a_key_without_usable_values_is_starved() -> None:
    """Its newest window is full and withheld; one that still fills, or is scored, is not."""
    windows = make(max_imputed_share=0.5)
    rows = [
        *series(0, [1.0] * 9),
        *series(1, [1.0] * 3 + [NAN] * 6),
        *series(2, [NAN] * 2),
    ]
    windows.push(row_batch(rows))
    assert windows.is_starved(slots_of(0, 1, 2, 3)).tolist() == [False, True, False, False]
    windows.push(row_batch(series(1, [1.0] * 9, start_ms=START_MS + 10_000)))
    assert windows.is_starved(slots_of(1)).tolist() == [False]


def holed(slot: int, holes: Sequence[str], start_ms: int = START_MS) -> list[Arrival]:
    """Rows in which the features of each text are missing: `a`, `b`, `ab` or none."""
    return [
        Arrival(slot, start_ms + row * 100, tuple(NAN if name in missing else 1.0 for name in "ab"))
        for row, missing in enumerate(holes)
    ]


def test_it_is_known_which_features_starve_a_key() -> None:
    """Only those that are missing in too many rows of the newest window; whoever repairs the source needs no more."""
    windows = make(size=4, max_imputed_share=0.4)
    windows.push(row_batch([*holed(0, ["a", "a", "ab", "a"]), *holed(1, ["ab"] * 9), *holed(2, ["b", "", "ab", "b"])]))
    assert windows.is_starved(slots_of(0, 1, 2)).tolist() == [True] * 3
    assert windows.starving(slots_of(0, 1, 2)).tolist() == [[True, False], [True, True], [False, True]]
    windows.push(row_batch(holed(0, ["b"] * 4, START_MS + 400)))
    assert windows.starving(slots_of(0)).tolist() == [[False, True]]
    windows.push(row_batch(holed(0, [""] * 4, START_MS + 800)))  # nothing missing in the whole batch
    assert not windows.starving(slots_of(0)).any()


def test_a_key_begins_to_starve_once_and_is_over_it_once() -> None:
    """Whoever asks again hears of it only when it changes; a key that fills its window anew is not over it yet."""
    windows = make(size=4, max_imputed_share=0.4)
    windows.push(row_batch([*holed(0, ["a"] * 3), *holed(1, [""] * 9)]))
    assert [found.tolist() for found in windows.starvation(slots_of(0, 1))] == [[], []]
    windows.push(row_batch(holed(0, ["a"] * 3, START_MS + 300)))
    assert [found.tolist() for found in windows.starvation(slots_of(0, 1))] == [[0], []]
    assert [found.tolist() for found in windows.starvation(slots_of(0, 1))] == [[], []]
    windows.push(row_batch(holed(0, [""] * 3, START_MS + 10_000)))
    assert [found.tolist() for found in windows.starvation(slots_of(0, 1))] == [[], []]
    windows.push(row_batch(holed(0, [""] * 2, START_MS + 10_300)))
    assert [found.tolist() for found in windows.starvation(slots_of(0, 1))] == [[], [0]]


def test_after_a_restart_features_are_named_as_soon_as_they_are_known() -> None:
    """Which cells of older rows were filled in is not stored: until newer rows tell, nothing is guessed."""
    before, after = make(size=4, max_imputed_share=0.4), make(size=4, max_imputed_share=0.4)
    before.push(row_batch(holed(0, ["a"] * 9)))
    after.columns.restore(every_slot(), before.columns.export(every_slot()))
    assert after.is_starved(slots_of(0)).tolist() == [True]
    assert after.starvation(slots_of(0))[0].tolist() == []
    after.push(row_batch(holed(0, ["a"] * 2, START_MS + 900)))
    assert after.starving(slots_of(0)).tolist() == [[True, False]]
    assert after.starvation(slots_of(0))[0].tolist() == [0]
