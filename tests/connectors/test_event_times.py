"""Event times in every spelling become the same milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.connectors.event_times import (
    EARLIEST_MS,
    LATEST_MS,
    SKIPPED,
    UNREADABLE,
    TimeRules,
    looks_like,
    plausible_range,
    read_local,
    read_times,
    strange_number,
    why_no_time,
)
from streamae.errors import ConfigError
from streamae.settings.data import InputSettings

NOW_MS = 1_700_000_000_123
NOON_MS = 1_741_003_200_000  # 2025-03-03T12:00:00Z


def rules(*, from_text: bool = False, **asked: Any) -> TimeRules:
    """How times are written by settings of the input, without `time_` in front."""
    return TimeRules.of(InputSettings(**{f"time_{name}": value for name, value in asked.items()}), from_text)


def read(cells: Any, unit: str = "auto", **asked: Any) -> list[int]:
    """Cells as milliseconds."""
    return read_times(cells, rules(unit=unit, **asked)).tolist()


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
    assert read([value], unit) == [expected]


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
    assert read([text]) == [expected]


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
        "2023-11-14T10:00 CET",
        "2023-11-14-05",
        "03/03/2025 12:00",
        "12:00:00",
        "20250303120000",
        "Mar, 03 Mar 2025 12:00:00 GMT",
        "31 Feb 2025",
        "2023-11-14 10:00[Europe/Nowhere]",
        "2025-03-30 02:30[Europe/Berlin]",
        "14.11.2023",
        "\uff12\uff10\uff12\uff13-11-14",
        "2023-11-14T",
        "\x00",
        "2023-11-14T10:00:00" + "0" * 500,
    ],
)
def test_other_text_is_no_time(text: str) -> None:
    """Text that means two things or nothing, above all digits only, is unreadable rather than guessed."""
    assert read([text]) == [UNREADABLE]


@pytest.mark.parametrize("value", [10**400, -(10**400), 2**63, -(2**63) - 1, 1e300, -1e300, 10**20])
@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us"])
def test_absurd_numbers_are_unreadable(value: float, unit: str) -> None:
    """Numbers past the year 9999 in their unit never overflow into a plausible time."""
    assert read([value], unit) == [UNREADABLE]


def test_an_absurd_number_leaves_its_neighbours_alone() -> None:
    """One value beyond 64 bits costs only itself."""
    assert read([1, 10**30, 2], "s") == [1_000, UNREADABLE, 2_000]


def test_no_times_at_all() -> None:
    """An empty column stays empty."""
    assert read([]) == []


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none())))
@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us", "ns"])
def test_a_mixed_column_equals_one_by_one(unit: str, times: list[Any]) -> None:
    """Any mix of types and sizes is read without raising, each value as if it stood alone."""
    assert read_times(times, rules(unit=unit)).dtype == "int64"
    assert read(times, unit) == [read([time], unit)[0] for time in times]


@settings(deadline=None)
@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(min_value=-23 * 60, max_value=23 * 60),
)
def test_iso_8601_round_trips(moment: datetime, offset_minutes: int) -> None:
    """Whatever Python writes as ISO 8601 in whatever zone comes back as the same instant."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert read([aware.isoformat()]) == [expected]


@settings(deadline=None)
@given(st.integers(min_value=10**11, max_value=5 * 10**12))
def test_auto_finds_the_unit_of_every_time_after_1973(time_ms: int) -> None:
    """The same instant in s, ms, us and ns is told apart by size, for every year from 1973 to 2128."""
    spellings = [time_ms // 1_000, time_ms, time_ms * 1_000, time_ms * 1_000_000]
    assert read(spellings) == [time_ms // 1_000 * 1_000, time_ms, time_ms, time_ms]


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-03T12:00:00.123456789Z",
        "2025-03-03T12:00:00.1234567Z",
        "2025-03-03T12:00:00.123 Z",
        "2025-03-03 12:00:00.123 UTC",
        "2025-03-03 12:00:00.123 gmt",
        "2025-03-03 12:00:00.123 +0000 UTC",
        "2025-03-03T13:00:00.123+0100",
        "2025-03-03 13:00:00.123+01",
        "2025-03-03 13:00:00.123 +01:00",
        "2025/03/03 12:00:00.123",
        "2025.3.3 12:00:00,123",
        "  2025-03-03 12:00:00.123 ",
        "2025-03-03T13:00:00.123+01:00[Europe/Berlin]",
        "2025-03-03T13:00:00.123[Europe/Berlin]",
        "Mon, 03 Mar 2025 12:00:00.123 GMT",
        "Mon, 3 Mar 2025 07:00:00.123 -0500",
        "3 march 2025 12:00:00.123",
        "03-Mar-2025 12:00:00.123",
    ],
)
def test_spellings_that_mean_one_thing_are_read(text: str) -> None:
    """What loggers, mail, Java, Go and people write, in any case."""
    assert read([text]) == [NOON_MS + 123]


def test_a_place_in_brackets_says_which_clock() -> None:
    """The offset counts where there is one; without, the earlier of two instants."""
    texts = ["2025-10-26 02:30+01:00[Europe/Berlin]", "2025-10-26 02:30[Europe/Berlin]"]
    assert read(texts, zone="Asia/Tokyo") == [1_761_442_200_000, 1_761_438_600_000]


def test_numbers_may_be_text_where_that_is_asked_for() -> None:
    """Text equals the number that it spells, with its unit, also beside ISO 8601; nothing else changes."""
    cells: list[Any] = ["1740960000.37", "1740960000", " 1740960000370 ", "1740960000,37", "2025-03-03", "x", "1e999"]
    expected = [1_740_960_000_370, 1_740_960_000_000, *[1_740_960_000_370] * 2, 1_740_960_000_000, *[UNREADABLE] * 2]
    assert read(cells, from_text=True) == expected
    assert read(["1740960000"]) == [UNREADABLE]
    assert read(["7999"], "us", from_text=True) == [7]
    assert read(["9" * 5_000], from_text=True) == [UNREADABLE]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d/%m/%Y %H:%M:%S", "03/03/2025 12:00:00"),
        ("%d/%m/%Y %H:%M:%S", " 3/3/2025  12:00:00"),
        ("%m/%d/%y %I:%M %p", "03/03/25 12:00 pm"),
        ("%d.%m.%Y %H.%M", "03.03.2025 12.00"),
        ("%Y%m%d%H%M%S", "20250303120000"),
        ("%Y%m%d%H%M%S", 20_250_303_120_000),
        ("%Y%m%d%H%M%S", 20_250_303_120_000.0),
        ("%a %b %d %H:%M:%S %Y", "Mon Mar  3 12:00:00 2025"),
        ("%Y-%jT%H:%M:%S.%f%z", "2025-062T13:00:00.000999999+01:00"),
        ("%d %B %Y %H:%M %Z", "3 March 2025 12:00 UTC"),
        ("%d %B %Y %H:%M %z", "3 march 2025 14:00 +02"),
        ("100%% %d/%m/%Y (%H h)", "100% 03/03/2025 (12 h)"),
    ],
)
def test_a_form_is_read_as_strptime_reads_it(form: str, text: Any) -> None:
    """In its letters, with zones, fractions of any length, names in any case and numbers that spell a date."""
    assert read([text, "nonsense", None], format=form) == [NOON_MS, UNREADABLE, UNREADABLE]


@settings(deadline=None, max_examples=200)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)),  # noqa: DTZ001
    st.sampled_from(
        ["%d/%m/%Y %H:%M:%S.%f", "%y%m%d %H%M%S %f", "%I:%M:%S %p.%f on %A, %d %b %Y", "%j-%Y %S-%M-%H,%f"]
    ),
)
def test_what_is_written_in_a_form_is_read_back(moment: datetime, form: str) -> None:
    """Date and time of day in any order, to the millisecond below."""
    expected = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert read([moment.strftime(form)], format=form) == [expected]


def test_a_form_is_all_that_is_read() -> None:
    """Also of two parts that `strptime` would refuse: ISO 8601 and numbers beside it would be guesses."""
    cells = [10**5_000, NOON_MS, "31/02/2025", "03/03/2025 ", True, float("nan"), "03/13/2025"]
    assert read(cells, format="%d/%m/%Y") == [*[UNREADABLE] * 3, NOON_MS // 86_400_000 * 86_400_000, *[UNREADABLE] * 3]


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ("%d/%m %H:%M", "needs a date with a year"),
        ("dd/mm/yyyy", "needs a date with a year"),
        ("%d/%m/%Y %q", "%q is no letter of it"),
        ("%d/%m/%Y %", "% is no letter of it"),
        ("%d/%m/%Y %Y", "contradicts itself"),
        ("%H:%M", "has no date: input.time_origin"),
    ],
)
def test_a_form_that_tells_no_time_is_refused(form: str, complaint: str) -> None:
    """When the daemon starts, not record by record."""
    with pytest.raises(ConfigError, match=complaint) as refused:
        rules(format=form)
    assert "input.time_format" in refused.value.problems[0]


def test_times_of_day_and_numbers_count_from_the_origin() -> None:
    """What says how much later a record is becomes an instant; what names its day stays it."""
    origin = "2025-03-03T00:00:00+01:00"
    start_ms = NOON_MS - 13 * 3_600_000
    assert read(["00:01", "00:00:01.5", "26:00", "1 day 02:00:00"], origin=origin) == [
        start_ms + offset_ms for offset_ms in (60_000, 1_500, 93_600_000, 93_600_000)
    ]
    assert read([0, 1.5, "2025-03-03T12:00Z"], origin=origin) == [start_ms, start_ms + 1_500, NOON_MS]
    assert read([1_500], "ms", origin=origin) == [start_ms + 1_500]
    assert read(["00.01", "0:1"], format="%H.%M", origin=origin) == [start_ms + 60_000, UNREADABLE]


@pytest.mark.parametrize(
    ("form", "cells"),
    [
        ("filetime", [133_854_768_000_000_000, "133854768000000000"]),
        ("ticks", [638_766_000_000_000_000, "638766000000000000"]),
        ("excel", [45_719.5, "45719.5"]),
    ],
)
def test_numbers_of_windows_and_excel_are_read_by_name(form: str, cells: list[Any]) -> None:
    """Also where they are text; what a local clock shows follows the zone, FILETIME is UTC."""
    assert read(cells, format=form) == [NOON_MS] * 2
    hour_ms = 0 if form == "filetime" else 3_600_000
    assert read(cells, format=form, zone="Europe/Rome") == [NOON_MS - hour_ms] * 2
    assert read([10**30, -(10**30), "x"], format=form) == [UNREADABLE] * 3


def test_a_zone_is_for_times_that_name_none() -> None:
    """Local text is moved, by the offset of its day; text with a zone, and numbers, are instants already."""
    cells = [
        "2025-03-03 13:00",
        "2025-07-03 14:00",
        "2025-03-03 12:00Z",
        "2025-03-03 12:00 UTC",
        NOON_MS,
        NOON_MS / 1_000,
    ]
    summer_ms = NOON_MS + 122 * 86_400_000
    assert read(cells, zone="Europe/Rome") == [NOON_MS, summer_ms, *[NOON_MS] * 4]
    assert read(["03/03/2025 13.00"], zone="Europe/Rome", format="%d/%m/%Y %H.%M") == [NOON_MS]
    assert read(["03/03/2025 12.00 Z"], zone="Europe/Rome", format="%d/%m/%Y %H.%M %z") == [NOON_MS]


def test_the_hour_that_the_clock_skips_is_no_time() -> None:
    """To the minute; which hour that is depends on the zone."""
    texts = ["2025-03-30 01:59", "2025-03-30 02:00", "2025-03-30 02:59", "2025-03-30 03:00", "x"]
    assert [time in {SKIPPED, UNREADABLE} for time in read(texts, zone="Europe/Rome")] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert read(texts, zone="Europe/Rome")[1:3] == [SKIPPED] * 2
    assert SKIPPED not in read(texts, zone="Africa/Lagos")


def test_both_instants_of_an_hour_that_comes_twice_are_told() -> None:
    """Which one is meant is decided by who knows more; everywhere else both are the same."""
    texts = ["2025-10-26 01:59", "2025-10-26 02:00", "2025-10-26 02:59", "2025-10-26 03:00", "2025-10-26T02:30Z"]
    earlier, later = read_local(texts, rules(zone="Europe/Rome"))
    assert (later - earlier).tolist() == [0, 3_600_000, 3_600_000, 0, 0]
    assert np.diff(earlier[:4]).tolist() == [60_000, 59 * 60_000, 61 * 60_000]


@pytest.mark.parametrize(
    ("cell", "asked", "complaint"),
    [
        ("2025-03-30 02:30", {"zone": "Europe/Rome"}, "Europe/Rome never had"),
        ("2025-03-03", {"format": "%d/%m/%Y"}, "not written as input.time_format %d/%m/%Y says"),
        ("03/03/2025", {}, "input.time_format says which"),
        ("12:00", {}, "input.date_field or input.time_origin"),
        ("1741003200", {}, "input.numbers = text"),
        (10**30, {"unit": "ms"}, "nor a number of ms before the year 10000"),
    ],
)
def test_what_is_wrong_with_a_time_is_said_with_its_remedy(cell: Any, asked: dict[str, Any], complaint: str) -> None:
    """Each with the setting that may help, and without quoting what a record holds."""
    (time_ms,) = read([cell], **asked)
    told = why_no_time(cell, time_ms, rules(**asked))
    assert complaint in told
    assert str(cell) not in told


DAYS = np.arange(10) * 86_400


@pytest.mark.parametrize(
    ("numbers", "setting"),
    [
        (133_854_768_000_000_000 + DAYS * 10_000_000, "input.time_format = filetime"),
        (638_765_856_000_000_000 + DAYS * 10_000_000, "input.time_format = ticks"),
        (45_719.5 + DAYS / 86_400, "input.time_format = excel"),
        (20_250_301 + DAYS / 86_400, "input.time_format = %Y%m%d"),
        (202_503_031_200 + DAYS / 86_400, "input.time_format = %Y%m%d%H%M"),
        (20_250_303_120_000 + DAYS / 86_400, "input.time_format = %Y%m%d%H%M%S"),
        (NOON_MS / 1_000 + 2_082_844_800 + DAYS, "input.time_origin = 1904-01-01T00:00:00Z"),
        (NOON_MS / 1_000 + DAYS, "input.time_unit = s"),
        (NOON_MS * 1_000.0 + DAYS * 1_000_000, "input.time_unit = us"),
    ],
)
def test_numbers_that_count_something_else_are_recognised(numbers: np.ndarray, setting: str) -> None:
    """The setting that is offered reads them as the times they are, even where a few are broken."""
    told = looks_like(np.append(numbers, [np.nan, np.inf]).astype(np.float64))
    assert told is not None
    assert " 2025-03-" in told
    assert told.endswith(setting) or setting in told
    asked = dict(pair.split(" = ") for pair in told.partition("if so: ")[2].split(", "))
    named = {name.removeprefix("input.time_"): value for name, value in asked.items()}
    earliest_ms, latest_ms = plausible_range(NOON_MS)
    assert all(earliest_ms <= time_ms <= latest_ms for time_ms in read(numbers.tolist(), **named))


@pytest.mark.parametrize("numbers", [DAYS[:3], np.arange(1_000), np.full(5, -1.0), np.full(5, np.nan), np.empty(0)])
def test_nothing_is_made_of_other_numbers(numbers: np.ndarray) -> None:
    """Seconds since a start, rows that are counted, and no numbers at all are none of these."""
    assert looks_like(numbers.astype(np.float64)) is None


def test_only_an_implausible_time_is_asked_what_it_is() -> None:
    """A good time, and what is no number, need no explanation; a number of any size is none to fail on."""
    assert strange_number(NOON_MS, NOON_MS, NOON_MS) is None
    assert "FILETIME" in (strange_number(133_854_768_000_000_000, 133_854_768_000, NOON_MS) or "")
    assert "Excel" in (strange_number("45719.5", 45_719_500, NOON_MS) or "")
    assert [strange_number(cell, 0, NOON_MS) for cell in ("x", None, 10**400, -1, float("nan"))] == [None] * 5


ANY_CELL = st.one_of(
    st.text("0123456789-+:/. ,TZUCGMtarRomep[]%", max_size=40), st.text(), st.integers(), st.floats(), st.booleans()
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(ANY_CELL, max_size=8),
    st.sampled_from([{}, {"format": "%d/%m/%Y %H:%M:%S.%f %z"}, {"format": "%Y%m%d"}, {"format": "excel"}]),
    st.sampled_from([{}, {"zone": "Pacific/Apia"}, {"origin": "1904-01-01T00:00:00Z", "unit": "s"}]),
    st.booleans(),
)
def test_no_cell_makes_reading_fail(
    cells: list[Any], form: dict[str, Any], asked: dict[str, Any], from_text: bool
) -> None:
    """By any rules each cell is a time up to the year 9999 and an origin, or none, and what is wrong can be said."""
    known = rules(from_text=from_text, **form, **asked)
    earlier, later = read_local(cells, known)
    assert len(earlier) == len(later) == len(cells)
    for cell, first_ms, last_ms in zip(cells, earlier.tolist(), later.tolist(), strict=True):
        assert first_ms == last_ms or 0 < last_ms - first_ms <= 86_400_000
        assert first_ms <= LATEST_MS + 86_400_000
        assert why_no_time(cell, first_ms, known)
        strange_number(cell, first_ms, NOON_MS)
