"""Event times in every spelling become the same milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.connectors.event_times import EARLIEST_MS, LATEST_MS, UNREADABLE, read_times

NOW_MS = 1_700_000_000_123


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1_700_000_000, "auto", 1_700_000_000_000),
        (1_700_000_000.123, "auto", NOW_MS),
        (NOW_MS, "auto", NOW_MS),
        (float(NOW_MS), "auto", NOW_MS),
        (1_700_000_000_123_456, "auto", NOW_MS),
        (1_700_000_000_123_456_789, "auto", NOW_MS),
        (0, "auto", 0),
        (-5, "auto", -5_000),
        (99_999_999_999, "auto", 99_999_999_999_000),
        (100_000_000_000, "auto", 100_000_000_000),
        (99_999_999_999_999, "auto", 99_999_999_999_999),
        (100_000_000_000_000, "auto", 100_000_000_000),
        (100_000_000_000_000_000, "auto", 100_000_000_000),
        (1.5, "s", 1_500),
        (7, "s", 7_000),
        (7, "ms", 7),
        (7.6, "ms", 8),
        (7_999, "us", 7),
        (-1, "us", -1),
        (7_999_999, "ns", 7),
        (7_600_000.0, "ns", 8),
        (NOW_MS, "us", 1_700_000_000),
    ],
)
def test_numbers_are_read_in_their_unit(value: float, unit: str, expected: int) -> None:
    """Each unit, and its bands in `auto`, gives the right millisecond; integers are cut, fractions rounded."""
    assert read_times([value], unit).tolist() == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14T22:13:20.123Z", NOW_MS),
        ("2023-11-14T22:13:20.123456789Z", NOW_MS),
        ("2023-11-14T22:13:20,123Z", NOW_MS),
        ("2023-11-14T22:13:20.123", NOW_MS),
        ("2023-11-14 22:13:20.123+00:00", NOW_MS),
        ("2023-11-15T03:43:20.123+05:30", NOW_MS),
        ("2023-11-14t22:13:20.123z", NOW_MS),
        ("20231114T221320.123Z", NOW_MS),
        ("2023-W46-2T22:13:20.123Z", NOW_MS),
        ("2023-11-14", 1_699_920_000_000),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("9999-12-31T23:59:59.999Z", LATEST_MS),
        ("0001-01-01", EARLIEST_MS),
        ("0001-01-01T00:00+23:59", EARLIEST_MS - 86_340_000),
    ],
)
def test_iso_8601_is_read_with_and_without_zone(text: str, expected: int) -> None:
    """Text with any offset, fraction or form of ISO 8601 is one instant; without a zone it is UTC."""
    assert read_times([text], "auto").tolist() == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1700000000123",  # a number as text is a mistake of the producer, not a year
        "2017010120102",
        "20231114",
        "2023-11-14x10:00",
        "2023-11-14T25:00",
        "2023-02-30",
        "2023-11-14T10:00 +0000 UTC",
        "14.11.2023",
        "\uff12\uff10\uff12\uff13-11-14",
        "2023-11-14T",
        "\x00",
        "2023-11-14T10:00:00" + "0" * 500,
    ],
)
def test_other_text_is_no_time(text: str) -> None:
    """Text that is not ISO 8601, above all digits only, is unreadable rather than guessed."""
    assert read_times([text], "auto").tolist() == [UNREADABLE]


@pytest.mark.parametrize("value", [10**400, -(10**400), 2**63, -(2**63) - 1, 1e300, -1e300, 10**20])
@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us"])
def test_absurd_numbers_are_unreadable(value: float, unit: str) -> None:
    """Numbers past the year 9999 in their unit never overflow into a plausible time."""
    assert read_times([value], unit).tolist() == [UNREADABLE]


def test_an_absurd_number_leaves_its_neighbours_alone() -> None:
    """One value beyond 64 bits costs only itself."""
    assert read_times([1, 10**30, 2], "s").tolist() == [1_000, UNREADABLE, 2_000]


def test_no_times_at_all() -> None:
    """An empty column stays empty."""
    assert read_times([], "auto").tolist() == []


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())))
@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us", "ns"])
def test_a_mixed_column_equals_one_by_one(unit: str, times: list[Any]) -> None:
    """Any mix of types and sizes is read without raising, each value as if it stood alone."""
    together = read_times(times, unit)
    assert together.dtype == "int64"
    assert together.tolist() == [read_times([time], unit)[0] for time in times]


@settings(deadline=None)
@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(min_value=-23 * 60, max_value=23 * 60),
)
def test_iso_8601_round_trips(moment: datetime, offset_minutes: int) -> None:
    """Whatever Python writes as ISO 8601 in whatever zone comes back as the same instant."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert read_times([aware.isoformat()], "auto").tolist() == [expected]


@settings(deadline=None)
@given(st.integers(min_value=10**11, max_value=5 * 10**12))
def test_auto_finds_the_unit_of_every_time_after_1973(time_ms: int) -> None:
    """The same instant in s, ms, us and ns is told apart by size, for every year from 1973 to 2128."""
    spellings = [time_ms // 1_000, time_ms, time_ms * 1_000, time_ms * 1_000_000]
    assert read_times(spellings, "auto").tolist() == [time_ms // 1_000 * 1_000, time_ms, time_ms, time_ms]
