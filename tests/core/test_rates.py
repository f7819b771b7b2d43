"""Growth of counters a second: as one row after the other gives it, in any cut, and missing where it cannot be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import RowBatch
from streamae.core.rates import Rates
from tests.core_batches import (
    CUTS,
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
    slots_of,
    state_of,
)

MAX_GAP_MS = 1_000
COUNTER = 1  # of the two features, the second is one


def make() -> Rates:
    """A stage ready for new keys."""
    found: Rates = cleared(Rates(KEYS, (COUNTER,), max_gap_ms=MAX_GAP_MS))
    return found


def rows_of(stream: Sequence[Arrival], start: int = 0, stop: int | None = None) -> RowBatch:
    """Rows in 64 bits."""
    part = stream[start:stop]
    return RowBatch(
        slots_of(*(arrival.slot for arrival in part)),
        np.arange(start, start + len(part), dtype=np.int64),
        np.array([arrival.time_ms for arrival in part], dtype=np.int64),
        np.array([arrival.values for arrival in part], dtype=np.float64).reshape(-1, 2),
    )


def push_cut(rates: Rates, stream: Sequence[Arrival], cuts: Sequence[int]) -> dict[int, list[Any]]:
    """Rates of a stream in batches, by key."""
    return merged([per_key(rates.of(rows_of(stream, *piece))) for piece in pieces(len(stream), cuts)])


def one_by_one(stream: Sequence[Arrival]) -> dict[int, list[Any]]:
    """Oracle: one dictionary, one row after the other."""
    known: dict[int, tuple[float, int]] = {}
    rows = []
    for arrival in stream:
        plain, count = arrival.values
        rate = NAN
        if arrival.slot in known:
            before, before_ms = known[arrival.slot]
            elapsed_ms = arrival.time_ms - before_ms
            if count >= before and 0 < elapsed_ms <= MAX_GAP_MS:
                rate = 1_000 * (count - before) / elapsed_ms
        if count == count:  # noqa: PLR0124 - NaN differs from itself
            known[arrival.slot] = count, arrival.time_ms
        rows.append(arrival._replace(values=(plain, rate)))
    return per_key(rows_of(rows))


def said(*counts: float, step_ms: int = 500) -> list[float]:
    """Rates of a counter that shows these values at an even beat."""
    stream = [Arrival(0, START_MS + row * step_ms, (7.0, count)) for row, count in enumerate(counts)]
    return make().of(rows_of(stream)).values[:, COUNTER].tolist()


@quick
@given(ordered_streams(), CUTS)
def test_rates_equal_one_row_after_the_other(stream: list[Arrival], cuts: list[int]) -> None:
    """Missing values, falls and gaps agree with the slow and obvious way, however the rows were cut into batches."""
    whole, cut = make(), make()
    assert push_cut(whole, stream, []) == push_cut(cut, stream, cuts) == one_by_one(stream)
    assert state_of(whole) == state_of(cut)


@quick
@given(ordered_streams(), st.integers(0, 60))
def test_state_moves_to_another_process_in_the_middle(stream: list[Arrival], half: int) -> None:
    """After export and restore the next rate is the one that it would have been."""
    before, after = make(), make()
    found = [per_key(before.of(rows_of(stream, 0, half)))]
    after.columns.restore(every_slot(), before.columns.export(every_slot()))
    found.append(per_key(after.of(rows_of(stream, min(half, len(stream))))))
    assert merged(found) == one_by_one(stream)


@quick
@given(ordered_streams())
def test_the_rows_are_left_alone(stream: list[Arrival]) -> None:
    """Rates are put into a copy."""
    rows = rows_of(stream)
    before = frozen_bytes(rows.values, rows.slots)
    make().of(rows)
    assert frozen_bytes(rows.values, rows.slots) == before


def test_a_rate_is_growth_a_second() -> None:
    """The first row of a key has none; what does not grow has the rate 0."""
    assert said(100.0, 150.0, 150.0, 151.0) == pytest.approx([NAN, 100.0, 0.0, 2.0], nan_ok=True)


def test_a_reset_is_missing_and_the_next_rate_starts_from_it() -> None:
    """A restarted device counts from nothing: that is neither a fall of a thousand nor a burst."""
    assert said(1_000.0, 1_010.0, 3.0, 13.0) == pytest.approx([NAN, 20.0, NAN, 20.0], nan_ok=True)


def test_a_rate_reaches_over_missing_values_up_to_the_gap() -> None:
    """What was counted meanwhile is spread over the time since the value before; after a longer gap it says nothing."""
    assert said(0.0, NAN, 10.0, step_ms=500) == pytest.approx([NAN, NAN, 10.0], nan_ok=True)
    assert said(0.0, NAN, 10.0, 11.0, step_ms=501) == pytest.approx([NAN, NAN, NAN, 1_000 / 501], nan_ok=True)


def test_nothing_grows_in_no_time() -> None:
    """A second value of the same moment has no rate, neither infinite nor of the step before; the next starts from it."""
    stream = [Arrival(0, START_MS + at, (7.0, count)) for at, count in ((0, 0.0), (500, 5.0), (500, 8.0), (1_000, 9.0))]
    assert make().of(rows_of(stream)).values[:, COUNTER].tolist() == pytest.approx([NAN, 10.0, NAN, 2.0], nan_ok=True)


def test_small_steps_of_large_counters_are_exact() -> None:
    """A counter of bytes is beyond what 32 bits tell apart; its growth is not."""
    assert said(9e15, 9e15 + 1, 9e15 + 3, step_ms=1_000)[1:] == [1.0, 2.0]


def test_other_features_stay_as_they_are() -> None:
    """Only counters become rates."""
    stream = [Arrival(0, START_MS + row * 100, (float(row), 5.0)) for row in range(4)]
    assert make().of(rows_of(stream)).values[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_reset_slot_is_a_new_key() -> None:
    """The next owner of a slot does not grow from the counter of the key before."""
    rates = make()
    rates.of(rows_of([Arrival(2, START_MS, (0.0, 5.0))]))
    rates.columns.reset(slots_of(2))
    assert np.isnan(rates.of(rows_of([Arrival(2, START_MS + 100, (0.0, 6.0))])).values[0, COUNTER])


def test_no_rows_give_no_rows() -> None:
    """An empty poll has the shapes of any other."""
    assert make().of(rows_of([])).values.shape == (0, 2)
