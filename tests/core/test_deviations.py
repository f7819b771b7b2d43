"""Deviations that matter: the side and the size, of guilty features only."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.core.deviations import FADING, Deviations, largest

ZEROS = (0.0, 0.0)
TEN = (10.0, 10.0)


def matters(
    channels: tuple[float, float],
    actual: tuple[float, float],
    expected: tuple[float, float] = TEN,
    *,
    signs: tuple[float, float] = ZEROS,
    least: tuple[float, float] = ZEROS,
    relative: tuple[float, float] = ZEROS,
) -> bool:
    """Ask about one window of two features."""
    rule = Deviations(np.array(signs), np.array(least), np.array(relative))
    scores, values, forecast = (np.array([each], dtype=np.float32) for each in (channels, actual, expected))
    deviations = largest(np.zeros_like(scores), values - forecast, np.ones(1, dtype=np.bool_))
    (found,) = rule.matters(scores, deviations, forecast).tolist()
    return bool(found)


def followed(*offs: float, fresh: int | None = None) -> list[float]:
    """What counts of the deviations of one feature, window by window."""
    last, found = np.zeros((1, 1), dtype=np.float32), []
    for number, off in enumerate(offs):
        row = np.array([[off]], dtype=np.float32)
        last = largest(last, row, np.array([number == fresh]))
        found.append(float(last[0, 0]))
    return found


def test_the_largest_of_late_counts_and_fades() -> None:
    """While the score still remembers a rise, the noise behind it does not look like a fall; a larger fall does."""
    assert followed(0.5, 40.0, -1.0, -1.0, -50.0) == pytest.approx([0.5, 40.0, 36.0, 32.4, -50.0])
    ends = followed(40.0, *[-1.0] * 60)
    assert ends[-1] == -1.0
    assert ends[7] == pytest.approx(40.0 * FADING**7)


def test_a_gap_forgets_deviations() -> None:
    """What a key did before it fell silent says nothing about now."""
    assert followed(40.0, -1.0, fresh=1) == [40.0, -1.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_leaves_no_trace(value: float) -> None:
    """One broken forecast must not be remembered for ever."""
    assert followed(value, 2.0) == [0.0, 2.0]


@pytest.mark.parametrize(("sign", "value", "expected"), [(1.0, 12.0, True), (1.0, 8.0, False), (-1.0, 12.0, False)])
def test_the_side_must_be_the_wanted_one(sign: float, value: float, expected: bool) -> None:
    """A temperature that falls is no alarm where only a rising one hurts."""
    assert matters((9.0, 0.0), (value, 10.0), signs=(sign, 0.0)) is expected


@pytest.mark.parametrize(("value", "expected"), [(12.0, True), (8.0, True), (11.99, False), (10.0, False)])
def test_the_size_must_be_reached(value: float, expected: bool) -> None:
    """Exactly the minimum counts, on both sides."""
    assert matters((9.0, 0.0), (value, 10.0), least=(2.0, 0.0)) is expected


@pytest.mark.parametrize(("value", "forecast", "expected"), [(125.0, 100.0, True), (-124.0, -100.0, False)])
def test_the_relative_size_is_that_of_the_expected_value(value: float, forecast: float, expected: bool) -> None:
    """A quarter of the expected value, whatever its sign."""
    assert matters((9.0, 0.0), (value, 10.0), (forecast, 10.0), relative=(0.25, 0.0)) is expected


def test_all_conditions_of_a_feature_must_hold() -> None:
    """Far enough on the wrong side is not enough, nor is the right side too near."""
    rules = {"signs": (1.0, 0.0), "least": (2.0, 0.0)}
    assert not matters((9.0, 0.0), (5.0, 10.0), **rules)
    assert not matters((9.0, 0.0), (11.0, 10.0), **rules)
    assert matters((9.0, 0.0), (13.0, 10.0), **rules)


def test_a_second_guilty_feature_is_enough() -> None:
    """One that is nearly as guilty and unruled keeps the alarm; one that is hardly involved does not."""
    assert matters((9.0, 5.0), (8.0, 10.0), signs=(1.0, 0.0))
    assert not matters((9.0, 4.0), (8.0, 10.0), signs=(1.0, 0.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_never_trivial(value: float) -> None:
    """In doubt it alarms."""
    assert matters((9.0, 0.0), (10.0, 10.0), (value, 10.0), least=(2.0, 0.0), relative=(0.5, 0.0))


def test_without_rules_everything_matters() -> None:
    """A feature that no setting names alarms as before, even where it is exactly as expected."""
    assert matters((9.0, 0.0), (10.0, 10.0))
