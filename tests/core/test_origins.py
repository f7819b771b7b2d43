"""Numbers that 32 bits cannot tell apart: which they are, that they come back whole, and with no digit that is not theirs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Doubles
from streamae.core.origins import (
    ZERO,
    Origins,
    first_values,
    is_coarse,
    narrowed,
    newest,
    readable,
    to_own_units,
    to_ring,
)
from streamae.core.segments import Segments
from tests.core_batches import NAN, quick, slots_of, window_batch

CARRIER = 2.412e9  # Hz
PLACES = st.floats(-1e12, 1e12)
MOVES = st.floats(-1e6, 1e6)


def moving(by: float, around: float, rows: int = 400) -> Doubles:
    """Return (rows, 1) values around a level."""
    return around + by * np.random.default_rng(0).normal(size=(rows, 1))


@pytest.mark.parametrize(
    ("by", "around", "is_lost"),
    [
        (6.0, CARRIER, True),
        (1.0, 3e4, False),  # steps of 1/512 and, from 2**15 on, of 1/256
        (0.99, 4e4, True),
        (0.1, 50.1, False),
        (1e9, CARRIER, False),
        (1e-9, 1e-9, False),
    ],
)
def test_what_32_bits_lose_is_measured_against_the_spread(by: float, around: float, *, is_lost: bool) -> None:
    """Ordinary sensors keep their bits: only steps of more than 1/256 of the spread count."""
    assert is_coarse(moving(by, around), np.ones(1)).tolist() == [is_lost]


def test_a_feature_that_never_moved_is_measured_against_its_scale() -> None:
    """Any other value will stand out, also one that 32 bits take for the same."""
    rows = np.full((9, 2), [CARRIER, 7.0])
    assert is_coarse(rows, np.ones(2)).tolist() == [True, False]


@quick
@given(PLACES, MOVES)
def test_a_value_comes_back_within_the_digits_of_its_distance(origin: float, move: float) -> None:
    """Whatever the offset, what is lost is a share of the distance, never of the value."""
    value = np.array([origin + move])
    back = to_own_units(to_ring(value, np.array([origin])), np.array([origin]))
    assert abs(back[0] - value[0]) <= 1e-6 * abs(value[0] - origin) + 1e-14 * abs(value[0]) + 1e-44


@quick
@given(st.integers(-(10**7), 10**7), st.integers(0, 3), st.floats(-2e6, 2e6))
def test_decimals_come_back_as_they_were_written(digits: int, decimals: int, origin: float) -> None:
    """What somebody wrote with a few decimals is told with these and no others."""
    value = round(CARRIER + digits / 10**decimals / 1_000, decimals)
    levels = np.array([CARRIER + origin / 1e3])
    assert to_own_units(to_ring(np.array([value]), levels), levels).tolist() == [value]


def test_without_an_origin_nothing_changes_by_a_bit() -> None:
    """Bundles of before have none: their rows, state and events are those of before."""
    values = np.array([[50.1, -0.0, NAN, 1e30]])
    stored = to_ring(values, ZERO.levels)
    assert stored.tobytes() == values.astype(np.float32).tobytes()
    assert to_own_units(stored, None).tobytes() == stored.astype(np.float64).tobytes()
    assert ZERO.are_zero
    assert narrowed(values, ZERO.is_exact).tobytes() == stored.astype(np.float64).tobytes()


def test_each_feature_keeps_the_bits_that_it_needs() -> None:
    """A neighbour with an origin does not change a feature without one."""
    values = np.array([[50.1, CARRIER + 0.1]])
    assert narrowed(values, Origins(np.array([0.0, CARRIER])).is_exact).tolist() == [
        [float(np.float32(50.1)), CARRIER + 0.1]
    ]
    assert narrowed(values, Origins(is_by_key=True).is_exact) is values


def test_numbers_are_read_without_the_rounding_of_their_bits() -> None:
    """50.1 in 32 bits is 50.099998...: nobody measured that; zero, huge and tiny numbers stay what they are."""
    told = [50.1, -0.3792, 0.0, 1e30, 1e-30, 16_777_216.0, 123_456.79]
    bits = np.array(told, dtype=np.float32)
    assert readable(bits.astype(np.float64), np.spacing(np.abs(bits))).tolist() == pytest.approx(told, rel=1e-7)
    assert readable(bits[:3].astype(np.float64), np.spacing(np.abs(bits[:3]))).tolist() == told[:3]


def test_newest_rows_are_in_own_units() -> None:
    """What events show and rules on deviations compare is the value, not its distance."""
    windows = window_batch([0, 1], [1, 2], newest=[[60.0, 1.0], [-6.0, 2.0]])
    object.__setattr__(windows, "origins", np.array([[CARRIER, 0.0], [CARRIER, 100.0]]))
    assert newest(windows, np.array([1, 0])).tolist() == [[CARRIER - 6.0, 102.0], [CARRIER + 60.0, 1.0]]


def test_first_values_are_found_by_key_and_feature() -> None:
    """The first that is there, not the first row; none where the key had one before."""
    segments = Segments.of(slots_of(3, 3, 3, 5, 5))
    values = np.array([[NAN, 1.0], [2.0, 2.0], [3.0, NAN], [NAN, 4.0], [5.0, 5.0]])
    found = first_values(values, segments, np.array([[False, False], [False, True]]))
    assert np.argwhere(found).tolist() == [[0, 1], [1, 0], [4, 0]]
