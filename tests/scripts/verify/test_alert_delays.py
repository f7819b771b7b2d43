"""The torture run of an ill receiver plays what it is asked for, and its interval tells later from as late."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scripts.verify.torture.alert_delays import ILLNESSES, difference, schedule


@pytest.mark.parametrize(("seconds", "turns"), [(3, 1), (20, 1), (240, 1), (241, 2), (720, 3)])
def test_each_illness_lasts_as_long_as_asked_for(seconds: int, turns: int) -> None:
    """All illnesses together are what is said of the run, however many turns they come in, well times between them."""
    names, ill_s, well_s = schedule(seconds)
    assert {name: names.count(name) * ill_s for name in names} == pytest.approx(dict.fromkeys(ILLNESSES, seconds))
    assert len(names) == turns * len(ILLNESSES)
    assert all(name != following for name, following in pairwise(names))
    assert 0 < well_s <= ill_s


def test_a_percentile_that_is_higher_is_found_above() -> None:
    """Delays that are all longer differ by that much; the same delays do not differ."""
    well = [float(number) for number in range(200)]
    above, low, high = difference(well, [each + 500 for each in well], 0.99, 0)
    assert above == pytest.approx(500)
    assert 450 < low <= 500 <= high
    assert difference(well, well, 0.99, 0)[1] <= 0
