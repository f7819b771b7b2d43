"""Means over seeds, series and groups."""

from __future__ import annotations

import math

import pytest

from streamae.evaluation.measures import COLUMNS, Measures, failed
from streamae.evaluation.results import Result
from streamae.evaluation.summary import count, hardware, lines, shown, text


def result(group: str, series: str, ap: float, seed: int = 0, events: int = 1, error: str = "") -> Result:
    """A result whose figures are all `ap`."""
    measures = failed(events > 0) if error else Measures(**dict.fromkeys(COLUMNS, ap))
    return Result(group, series, "default", seed, measures, events=events, error=error)


RESULTS = [
    result("a", "x", 0.2, 0),
    result("a", "x", 0.4, 1),
    result("a", "y", 0.9, 0),
    result("a", "z", math.nan, events=0),
    result("b", "x", 1.0),
    result("b", "w", 0.0, error="DataError: too short"),
]


def test_a_series_counts_once_however_many_seeds() -> None:
    """Seeds first, then series, then groups; undefined figures are left out and failures are zeros."""
    first, second, both = lines(RESULTS)
    assert first.means.ap == pytest.approx((0.3 + 0.9) / 2)
    assert second.means.ap == pytest.approx(0.5)
    assert second.means.alarm_share == pytest.approx(1.0)
    assert both.means.ap == pytest.approx(0.55)
    assert (count(first), count(second), count(both)) == ("2 of 3", "2 of 2, 1 failed", "4 of 5, 1 failed")


def test_one_group_needs_no_mean_of_groups() -> None:
    """Two equal lines would only confuse."""
    assert [line.group for line in lines(RESULTS[:4])] == ["a"]


def test_the_table_lines_up() -> None:
    """Every line is as wide as the first, undefined figures are dashes."""
    table = text([*RESULTS, result("c", "clean", math.nan, events=0)]).splitlines()
    assert len({len(line.rstrip()) for line in table}) == 1
    assert table[3].split()[:5] == ["c", "default", "0", "of", "1"]
    assert set(table[3].split()[5:]) == {"-"}
    assert shown("alarm_share", 0.0123) == "1.23%"


def test_the_hardware_line_names_machine_and_versions() -> None:
    """Figures of speed mean nothing without it."""
    line = hardware(2)
    assert "cores" in line
    assert "torch 2." in line
    assert line.endswith("jobs of one core: 2")
