"""Maintenance: exact borders, days and zones, and nothing but event time counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.maintenance import Interval, Weekly
from streamae.core.zones import Zone
from tests.core_batches import quick

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
UTC_CLOCK = Zone.fixed(0)
BEFORE_THE_EPOCH = datetime(1960, 1, 1)  # noqa: DTZ001 - hypothesis adds no zone
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(*moments: datetime) -> np.ndarray:
    """Moments as event times."""
    return np.array([(moment - EPOCH) // timedelta(milliseconds=1) for moment in moments], dtype=np.int64)


def test_the_start_belongs_to_an_interval_and_the_end_does_not() -> None:
    """Two intervals that touch leave no gap and no overlap."""
    assert Interval(10, 20).holds(np.array([9, 10, 19, 20])).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("weekly", "inside", "outside"),
    [
        (
            Weekly(frozenset({0}), 2 * HOUR_MS, 4 * HOUR_MS, UTC_CLOCK),
            [datetime(2026, 3, 2, 2, tzinfo=UTC), datetime(2026, 3, 2, 3, 59, 59, 999_000, tzinfo=UTC)],
            [datetime(2026, 3, 2, 4, tzinfo=UTC), datetime(2026, 3, 3, 3, tzinfo=UTC)],
        ),
        (
            Weekly(frozenset({6}), 22 * HOUR_MS, 6 * HOUR_MS, UTC_CLOCK),
            [datetime(2026, 3, 1, 22, tzinfo=UTC), datetime(2026, 3, 2, 5, 59, tzinfo=UTC)],
            [datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 3, 2, 22, tzinfo=UTC)],
        ),
        (
            Weekly(frozenset({5, 6}), 0, DAY_MS, UTC_CLOCK),
            [datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 1, 23, 59, tzinfo=UTC)],
            [datetime(2026, 2, 27, 23, 59, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)],
        ),
        (
            Weekly(frozenset({0}), 0, HOUR_MS, Zone.fixed(330)),
            [datetime(2026, 3, 2, 0, 30, tzinfo=timezone(timedelta(minutes=330)))],
            [datetime(2026, 3, 2, 0, 30, tzinfo=UTC)],
        ),
        (
            Weekly(frozenset({0}), 6 * HOUR_MS, 6 * HOUR_MS, UTC_CLOCK),  # a day and night
            [datetime(2026, 3, 2, 6, tzinfo=UTC), datetime(2026, 3, 3, 5, 59, tzinfo=UTC)],
            [datetime(2026, 3, 2, 5, 59, tzinfo=UTC), datetime(2026, 3, 3, 6, tzinfo=UTC)],
        ),
    ],
)
def test_days_and_times_are_those_of_the_calendar(
    weekly: Weekly, inside: list[datetime], outside: list[datetime]
) -> None:
    """Days of the week, nights, whole days and zones are what people mean by them."""
    assert weekly.holds(at(*inside)).all()
    assert not weekly.holds(at(*outside)).any()


@quick
@given(
    st.datetimes(BEFORE_THE_EPOCH),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 23),
    st.integers(0, 24),
    st.integers(-1_080, 1_080),
)
def test_weekly_times_agree_with_the_standard_library(
    moment: datetime, days: frozenset[int], start: int, stop: int, offset: int
) -> None:
    """Also before the epoch, and for the night that began on the day before."""
    local = moment.replace(tzinfo=UTC) + timedelta(minutes=offset)
    hours = local.hour
    yesterday = (local - timedelta(days=1)).weekday()
    if start < stop:
        expected = local.weekday() in days and start <= hours < stop
    else:
        expected = (local.weekday() in days and hours >= start) or (yesterday in days and hours < stop)
    weekly = Weekly(days, start * HOUR_MS, stop * HOUR_MS, Zone.fixed(offset))
    assert weekly.holds(at(moment.replace(tzinfo=UTC))).tolist() == [expected]


def test_a_night_shift_is_as_long_as_the_clock_of_the_place_makes_it() -> None:
    """From 22:00 to 6:00 are 7 hours where the clock is set forward, and 9 where it is set back."""
    forward_ms, back_ms = (int(at(datetime(2025, month, day, 1, tzinfo=UTC))[0]) for month, day in ((3, 30), (10, 26)))
    transitions, offsets = np.array([forward_ms, back_ms]), np.array([1, 2, 1]) * HOUR_MS
    nights = Weekly(frozenset(range(7)), 22 * HOUR_MS, 6 * HOUR_MS, Zone("there", transitions, offsets))
    for around_ms, hours in ((forward_ms, 7), (back_ms, 9), (forward_ms - 2 * DAY_MS, 8)):
        noon = around_ms // DAY_MS * DAY_MS - DAY_MS // 2
        assert nights.holds(noon + np.arange(24) * HOUR_MS).sum() == hours
