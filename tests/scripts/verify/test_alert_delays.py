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


def rounds(*later_ms: float) -> list[tuple[list[float], list[float]]]:
    """Return rounds of the same delays, in whose second part all are longer by so much."""
    delays_ms = [float(number) for number in range(200)]
    return [(delays_ms, [each + later for each in delays_ms]) for later in later_ms]


def test_a_percentile_that_is_higher_is_found_above() -> None:
    """Delays that are longer in every round differ by that much; the same delays do not differ."""
    above, low, high = difference(rounds(*[500] * 5), 0.99, 0)
    assert (above, low, high) == pytest.approx((500, 500, 500))
    above, low, high = difference(rounds(450, 550, 500, 480, 520), 0.99, 0)
    assert 400 < low <= above <= high < 600
    assert difference(rounds(*[0] * 5), 0.99, 0)[1] <= 0


def test_a_machine_that_was_busy_for_one_round_is_no_difference() -> None:
    """Many long delays in a row have one cause, which need not be the receiver that was ill just then."""
    above, low, high = difference(rounds(0, 0, 2_000, 0, 0), 0.99, 0)
    assert above > 1_000
    assert low <= 0 < high
