"""Which field is the time, and how it is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.discovery.tables import START, asked, left_out, names, noise, proposed, settings_of, table, times

ROWS = 200
EPOCH_S = int(START.timestamp())


@pytest.mark.parametrize("name", ["Date", "utc_timestamp", "ts", "EventTime", "when measured", "x"])
def test_text_times_are_found_under_any_name(name: str) -> None:
    """A time that is not found becomes a feature or row numbers, and nobody hears of it."""
    proposal = proposed(table(**{"temp": noise(ROWS), name: times(ROWS)}))
    assert settings_of(proposal)["input.time_field"] == name
    assert names(proposal) == ["temp"]
    assert proposal.scene.rhythm is not None
    assert proposal.scene.rhythm.step_ms == 60_000
    assert proposal.refusals == ()


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("is_text", [True, False])
def test_numbers_are_times_in_the_unit_in_which_they_are_plausible(unit: str, factor: int, is_text: bool) -> None:
    """Nanoseconds taken for milliseconds are the year 57000."""
    cells = [(EPOCH_S + 10 * row) * factor for row in range(ROWS)]
    proposal = proposed(table(stamp=cells, value=noise(ROWS), is_text=is_text))
    found = settings_of(proposal)
    assert (found["input.time_field"], found["input.time_unit"]) == ("stamp", unit)
    assert proposal.scene.rhythm is not None
    assert (proposal.scene.rhythm.first_ms, proposal.scene.rhythm.step_ms) == (EPOCH_S * 1_000, 10_000)


def test_a_large_measurement_is_no_time() -> None:
    """2.4 GHz is as many seconds as the year 2046, and 1.2 GHz as 2008: only what goes on like a clock is one."""
    proposal = proposed(table(timestamp=times(ROWS), hertz=noise(ROWS, 2.412e9, 6), other=noise(ROWS, 1.2e9, 6)))
    assert names(proposal) == ["hertz", "other"]
    assert proposed(table(hertz=noise(ROWS, 1.2e9, 6))).scene.time is None


def test_a_counter_of_the_size_of_a_time_is_no_time_beside_one() -> None:
    """Bytes that only grow and happen to be 1.5 billion are a feature where another field is the time."""
    counter = [1_500_000_000 + 1_003 * row for row in range(ROWS)]
    assert names(proposed(table(when=times(ROWS), total=counter))) == ["total"]


@pytest.mark.parametrize(
    "form",
    [
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %H:%M",
        "%d.%m.%Y %H:%M:%S",
        "%Y%m%d%H%M%S",
        "%m/%d/%Y %I:%M:%S %p",
        "%d %B %Y, %H:%M",
    ],
)
def test_other_ways_of_writing_times_are_told_from_the_cells(form: str) -> None:
    """Nobody should have to know the letters of strptime to look at a file."""
    proposal = proposed(table(time=times(2_000, 3_600, form), value=noise(2_000)))
    assert settings_of(proposal)["input.time_format"] == form
    assert proposal.scene.rhythm is not None
    assert proposal.scene.rhythm.first_ms == EPOCH_S * 1_000
    assert proposal.scene.rhythm.step_ms == 3_600_000


def test_day_and_month_that_cannot_be_told_apart_are_asked_about() -> None:
    """Up to the 12th both orders can be read: the more regular one is taken, and said."""
    proposal = proposed(table(time=times(10 * 24, 3_600, "%d/%m/%Y %H:%M"), value=noise(240)))
    assert settings_of(proposal)["input.time_format"] == "%d/%m/%Y %H:%M"
    assert [doubt.answer for doubt in proposal.doubts] == ["%m/%d/%Y %H:%M"]


def test_date_and_time_of_day_in_two_fields_are_one_time() -> None:
    """Either of them alone is no event time."""
    cells = {"Date": times(ROWS, 3_600, "%d/%m/%Y"), "Time": times(ROWS, 3_600, "%H.%M.%S"), "co": noise(ROWS)}
    found = settings_of(proposed(table(**cells)))
    assert (found["input.date_field"], found["input.time_field"]) == ("Date", "Time")
    assert found["input.time_format"] == "%d/%m/%Y %H.%M.%S"


def test_seconds_since_the_first_row_need_an_origin() -> None:
    """Read as seconds since 1970 they would look like a success."""
    cells = table(Time=[row * 37 + row % 5 for row in range(ROWS)], V1=noise(ROWS))
    proposal = proposed(cells)
    assert "input.time_origin" in proposal.refusals[0]
    assert names(proposal) == ["V1"]
    given = proposed(cells, time_origin=START)
    assert given.refusals == ()
    assert given.scene.rhythm is not None
    assert given.scene.rhythm.first_ms == EPOCH_S * 1_000


def test_times_of_day_without_a_date_need_an_origin() -> None:
    """06:38 of which day?"""
    proposal = proposed(table(time=times(ROWS, 60, "%H:%M:%S"), temp=noise(ROWS)))
    assert "input.time_origin" in proposal.refusals[0]
    assert names(proposal) == ["temp"]


def test_no_time_at_all_is_refused_unless_rows_are_asked_for() -> None:
    """Rows silently one second apart are a rhythm that nobody measured."""
    cells = table(a=noise(ROWS), b=noise(ROWS, seed=2))
    assert "input.row_ms" in proposed(cells).refusals[0]
    given = proposed(cells, row_ms=500)
    assert given.refusals == ()
    assert given.scene.rhythm is not None
    assert given.scene.rhythm.step_ms == 500


def test_row_numbers_are_no_time() -> None:
    """A column that counts rows is neither the time nor a feature."""
    cells = table(timestamp=list(range(ROWS)), a=noise(ROWS))
    proposal = proposed(cells)
    assert "counts the rows" in proposal.refusals[0]
    assert names(proposal) == ["a"]
    assert proposed(cells, row_ms=1_000).refusals == ()


@pytest.mark.parametrize("first", [0, 500, 34_000])
def test_rows_that_are_counted_from_anywhere_are_evenly_spaced_if_said_so(first: int) -> None:
    """Part of a numbered series begins with any number, which is neither seconds nor days of Excel."""
    cells = table(timestamp=list(range(first, first + 2_000)), temp=noise(2_000))
    assert proposed(cells).refusals
    given = proposed(cells, row_ms=1_000)
    assert given.refusals == ()
    assert "input.time_field" not in settings_of(given)
    assert names(given) == ["temp"]


@pytest.mark.parametrize(
    ("scale", "base", "word"),
    [
        (10_000_000, 11_644_473_600, "FILETIME"),
        (10_000_000, 62_135_596_800, "ticks"),
        (1 / 86_400, 25_569 * 86_400, "Excel"),
    ],
)
def test_strange_clocks_are_refused_and_named(scale: float, base: int, word: str) -> None:
    """FILETIME read as nanoseconds is 1974, with steps a hundred times too short."""
    cells = [(EPOCH_S + 60 * row + base) * scale for row in range(ROWS)]
    cells = [int(cell) for cell in cells] if scale > 1 else cells
    proposal = proposed(table(Timestamp=cells, a=noise(ROWS)))
    assert word.lower() in proposal.refusals[0].lower()
    assert names(proposal) == ["a"]


@pytest.mark.parametrize(
    ("name", "scale", "base", "form"),
    [
        ("c0", 10_000_000, 11_644_473_600, "filetime"),
        ("Ticks", 10_000_000, 62_135_596_800, "ticks"),
        ("Day", 1 / 86_400, 25_569 * 86_400, "excel"),
    ],
)
def test_strange_clocks_need_no_name_of_a_time(name: str, scale: float, base: int, form: str) -> None:
    """Their size tells; with their setting they are the time, and what is beside them stays a feature."""
    cells = [(EPOCH_S + 60 * row + base) * scale for row in range(ROWS)]
    cells = [int(cell) for cell in cells] if scale > 1 else cells
    data = table(**{name: cells, "T": noise(ROWS), "b": noise(ROWS, 50.0, seed=2)})
    if form != "excel":
        assert f"{name}: looks like" in proposed(data).refusals[0]
    given = proposed(data, time_format=form)
    assert (given.refusals, names(given)) == ((), ["T", "b"])
    assert settings_of(given)["input.time_field"] == name


def test_instants_in_digits_need_no_name_of_a_time() -> None:
    """20250303000100 is read by its digits; a counter of that size that is no date stays one."""
    found = settings_of(proposed(table(c0=times(ROWS, form="%Y%m%d%H%M%S"), a=noise(ROWS))))
    assert (found["input.time_field"], found["input.time_format"]) == ("c0", "%Y%m%d%H%M%S")
    counter = [20_250_303_000_000 + 97 * row for row in range(ROWS)]
    assert names(proposed(table(time=times(ROWS), c0=counter, a=noise(ROWS)))) == ["c0", "a"]


def test_a_named_time_of_no_known_clock_is_refused_and_not_learnt() -> None:
    """Days since the year 0: neither a feature, nor a counter whose growth tells anything."""
    data = table(time=[f"{739_679 + row / 1_440:.6f}" for row in range(ROWS)], a=noise(ROWS))
    assert "in every unit" in proposed(data).refusals[0]
    assert names(proposed(data)) == ["a"]
    rising = table(time=times(ROWS), t=[700 + row / 10 for row in range(ROWS)], a=noise(ROWS))
    assert names(proposed(rising)) == ["t", "a"]


def test_am_and_pm_after_slashes_mean_months_first() -> None:
    """Where every time reads both ways; the other way is asked about."""
    proposal = proposed(table(when=times(ROWS, form="%m/%d/%Y %I:%M %p"), a=noise(ROWS)))
    assert settings_of(proposal)["input.time_format"] == "%m/%d/%Y %I:%M %p"
    assert asked(proposal)["input.time_format"] == "when"


@pytest.mark.parametrize("year", [1905, 2064])
def test_times_far_off_are_refused(year: int) -> None:
    """Too old or ahead: most likely read wrongly."""
    cells = table(time=times(ROWS, start=datetime(year, 1, 1, tzinfo=UTC)), a=noise(ROWS))
    assert "implausible" in proposed(cells).refusals[0]
    assert proposed(cells, min_time_ms=-(10**13)).refusals == ()


def test_newest_rows_first_and_rows_out_of_order_are_told() -> None:
    """They are sorted for learning; nobody should blame several keys for it."""
    stamps = times(ROWS)
    newest = proposed(table(time=stamps[::-1], a=noise(ROWS))).scene.rhythm
    mixed = proposed(table(time=[*stamps[:50], stamps[60], *stamps[50:60], *stamps[61:]], a=noise(ROWS))).scene.rhythm
    assert newest is not None
    assert mixed is not None
    assert (newest.is_newest_first, newest.late, newest.step_ms) == (True, 0, 60_000)
    assert (mixed.is_newest_first, mixed.late) == (False, 10)


def test_gaps_are_counted() -> None:
    """A hole of eight hours is no step."""
    stamps = times(ROWS)
    rhythm = proposed(table(time=[*stamps[:100], *times(100, start=START + timedelta(hours=10))], a=noise(ROWS))).scene
    assert rhythm.rhythm is not None
    assert (rhythm.rhythm.gaps, rhythm.rhythm.longest_gap_ms) == (1, 10 * 3_600_000 - 99 * 60_000)


@pytest.mark.parametrize(("day", "asks"), [(26, True), (22, False)])
def test_local_time_with_an_hour_twice_is_asked_about(day: int, asks: bool) -> None:
    """The repeated hour of the end of summer is no disorder; another step back is none of it."""
    start = datetime(2024, 10, day + 1 if asks else day, tzinfo=UTC)  # a Sunday, a Tuesday
    stamps = times(36, 300, "%Y-%m-%d %H:%M:%S", start) + times(
        300, 300, "%Y-%m-%d %H:%M:%S", start + timedelta(hours=2)
    )
    proposal = proposed(table(time=stamps, a=noise(len(stamps))))
    assert ("input.time_zone" in {doubt.setting for doubt in proposal.doubts}) is asks


def test_local_time_of_every_hour_is_asked_about_too() -> None:
    """There the clock stands still once instead of going back."""
    start = datetime(2024, 10, 24, tzinfo=UTC)
    stamps = times(75, 3_600, "%d.%m.%Y %H:%M", start) + times(90, 3_600, "%d.%m.%Y %H:%M", start + timedelta(hours=74))
    assert asked(proposed(table(time=stamps, a=noise(len(stamps))))) == {"input.time_zone": "time"}


@pytest.mark.parametrize("step", [1, -1])
def test_with_its_zone_no_row_of_the_repeated_hour_is_late_or_twice(step: int) -> None:
    """The key is found by times that do not repeat, and nobody is told of a disorder that is none."""
    instants = [datetime(2024, 10, 26, 20, tzinfo=UTC) + timedelta(minutes=5 * row) for row in range(ROWS)]
    stamps = [one.astimezone(ZoneInfo("Europe/Rome")).strftime("%Y-%m-%d %H:%M") for one in instants][::step]
    cells = {"time": np.repeat(stamps, 2).tolist(), "what": ["a", "b"] * ROWS, "x": noise(2 * ROWS)}
    scene = proposed(table(**cells), time_zone="Europe/Rome").scene
    assert (scene.key.field, scene.key.unique) == ("what", 1.0)
    assert scene.rhythm is not None
    assert (scene.rhythm.late, scene.rhythm.gaps) == (0, 0)
    assert scene.times_ms is not None
    assert sorted(scene.times_ms[::2].tolist()) == [int(one.timestamp() * 1_000) for one in instants]


def test_a_time_in_digits_as_text_is_read_with_its_setting() -> None:
    """In JSON a number in text is none unless that is said."""
    cells = {"time": [str(1_000 * (EPOCH_S + row)) for row in range(ROWS)], "a": noise(ROWS)}
    assert settings_of(proposed(table(is_text=False, **cells)))["input.numbers"] == "text"
    assert "input.numbers" not in settings_of(proposed(table(**cells)))


def test_a_second_time_is_left_out() -> None:
    """The time of arrival is neither the event time nor a feature."""
    later = times(ROWS, start=START + timedelta(seconds=5))
    proposal = proposed(table(received_at=later, event_time=times(ROWS), a=noise(ROWS)))
    assert settings_of(proposal)["input.time_field"] == "event_time"
    assert left_out(proposal)["received_at"] == "another time"


@pytest.mark.parametrize("versions", [("1.2.3",), ("1.2.3", "1.2.14", "1.3.0")])
def test_versions_are_no_times(versions: tuple[str, ...]) -> None:
    """They can be read as times of day, and are left out as the text that they are."""
    firmware = [versions[row % len(versions)] for row in range(ROWS)]
    assert "text" in left_out(proposed(table(time=times(ROWS), fw=firmware, a=noise(ROWS))))["fw"]


@pytest.mark.parametrize("given", [{"time_field": "b"}, {"time_field": "b", "time_unit": "ms"}])
def test_a_named_time_is_taken(given: dict[str, Any]) -> None:
    """What the user says wins over what looks better, and is marked so."""
    stamps = [EPOCH_S * 1_000 + row for row in range(ROWS)]
    proposal = proposed(table(time=times(ROWS), b=stamps, c=noise(ROWS)), **given)
    assert settings_of(proposal)["input.time_field"] == "b"
    assert proposal.settings["input.time_field"].is_given
    assert proposal.scene.rhythm is not None
    assert proposal.scene.rhythm.step_ms == 1


def test_digits_without_seconds_are_times_too() -> None:
    """Weather services write 202503030010."""
    cells = table(time=times(ROWS, 600, "%Y%m%d%H%M"), temp=noise(ROWS))
    assert settings_of(proposed(cells))["input.time_format"] == "%Y%m%d%H%M"


def test_the_hour_that_a_clock_shows_twice_is_looked_at_in_its_order() -> None:
    """Else a counter falls there, and rows are late and twice that are neither."""
    stamps = [f"2024-10-27 {minute // 60:02d}:{minute % 60:02d}" for minute in range(0, 180, 5)]
    stamps += [f"2024-10-27 {minute // 60:02d}:{minute % 60:02d}" for minute in range(120, 900, 5)]
    total = (np.cumsum(np.array(noise(len(stamps), 5.0))) + 1_000).round(3).tolist()
    given = proposed(table(time=stamps, total=total, temp=noise(len(stamps))), time_zone="Europe/Berlin")
    rhythm = given.scene.rhythm
    assert rhythm is not None
    assert (rhythm.late, rhythm.gaps, given.scene.key.unique) == (0, 0, 1.0)
    assert settings_of(given)["features.rate_fields"] == ("total",)


def test_one_time_for_all_rows_is_refused() -> None:
    """A date alone, or when the file was made, says nothing of when each row was."""
    proposal = proposed(table(date=["2025-03-03"] * ROWS, temp=noise(ROWS)))
    assert "one time" in proposal.refusals[0]
    few = table(date=["2025-03-03"] * ROWS, host=[f"h{row // 5}" for row in range(ROWS)], temp=noise(ROWS))
    assert not any("one time" in refusal for refusal in proposed(few).refusals)


def test_remarks_below_a_table_do_not_hide_its_time() -> None:
    """Reports end with a mean and with who made them."""
    stamps = [*times(ROWS, 900, "%d.%m.%y %H:%M"), "Mean", "Made by admin"]
    proposal = proposed(table(**{"Date/Time": stamps, "flow": [*noise(ROWS), 20.1, ""]}))
    assert settings_of(proposal)["input.time_format"] == "%d.%m.%y %H:%M"
    assert "2 of" in next(doubt.text for doubt in proposal.doubts)
