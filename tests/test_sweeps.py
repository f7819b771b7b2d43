"""Crash sweeps take the lines that they claim to take."""

from __future__ import annotations

import pytest

from tests.sweeps import Sweep


@pytest.mark.parametrize(("total", "parts"), [(1, 1), (4328, 150), (7, 3), (3, 7)])
def test_parts_together_are_every_line_once(total: int, parts: int) -> None:
    """No line of a run is left out between two parts, and none is tried twice."""
    lines = [line for part in range(parts) for line in Sweep(takes_all=True).lines(total, part, parts)]
    assert lines == list(range(1, total + 1))


def test_a_sample_has_one_line_of_each_part() -> None:
    """Also of the first and the last, so that a sample covers the whole run."""
    everything, sample = Sweep(takes_all=True), Sweep(seed=3)
    for part in range(150):
        (line,) = sample.lines(4328, part, 150)
        assert line in everything.lines(4328, part, 150)


def test_a_sample_can_be_drawn_again() -> None:
    """The seed says it all, and stands where a failure is read."""
    draws = [[line for part in range(9) for line in Sweep(seed).lines(4328, part, 9)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert (str(Sweep(7)), str(Sweep(takes_all=True))) == ("--sweep-seed 7", "--every-line")
