"""An alert budget becomes the parameter that spends it, or is refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.core.thresholds.block_maxima import rarity
from streamae.core.thresholds.budget import WEEK_MS, parameters, rate_per_week
from streamae.core.thresholds.learning import sigma_rarity

MINUTE_MS = 60_000.0
WEEK = WEEK_MS / MINUTE_MS  # windows


@pytest.mark.parametrize("per_week", [0.5, 2.0, 9.0])
def test_measured_rates_are_solved_for_the_threshold(per_week: float) -> None:
    """Put back into the measured line, level and k give the budget."""
    level = parameters("block_maxima", per_week, MINUTE_MS)["block_level"]
    assert WEEK * np.exp(-rarity(np.array([level])))[0] == pytest.approx(per_week)
    for rule in ("sigma", "mad"):
        k = parameters(rule, per_week, MINUTE_MS)["k"]
        assert WEEK * np.exp(-sigma_rarity(np.array([k])))[0] == pytest.approx(per_week)


def test_the_default_level_is_four_a_week_at_a_window_a_minute() -> None:
    """4.7 false episodes in 10,000 windows at 3.0, where a week has 10,080 of them."""
    assert parameters("block_maxima", 4.74, MINUTE_MS)["block_level"] == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("rule", ["pot", "dspot"])
def test_tails_take_the_share_of_windows(rule: str) -> None:
    """Seven of a week's windows."""
    assert parameters(rule, 7.0, MINUTE_MS) == {"probability": pytest.approx(7.0 / WEEK)}


def test_a_quantile_takes_the_rest() -> None:
    """Without a margin, which would make alarms rarer than asked for; ranks do without it too."""
    assert parameters("conformal", 70.0, MINUTE_MS) == {"probability": pytest.approx(70.0 / WEEK), "margin": 1.0}
    assert parameters("quantile", 7.0, MINUTE_MS) == {"quantile": pytest.approx(1 - 7.0 / WEEK), "margin": 1.0}


@pytest.mark.parametrize(
    ("rule", "per_week", "reason"),
    [
        ("static", 1.0, "fixed threshold"),
        ("pot", 1_000.0, "ask for less"),
        ("block_maxima", 1_000.0, "ask for less"),
        ("conformal", 7.0, "use pot"),
        ("quantile", 0.5, "use pot"),
    ],
)
def test_what_a_rule_cannot_do_is_refused(rule: str, per_week: float, reason: str) -> None:
    """With a sentence that says what to do instead."""
    with pytest.raises(ValueError, match=reason):
        parameters(rule, per_week, MINUTE_MS)


def test_a_budget_beyond_what_was_measured_is_left_unspent() -> None:
    """An alert a week is one window in 168 on hourly rows: the line says nothing there, and would alarm all the time."""
    assert parameters("block_maxima", 1.0, 60 * MINUTE_MS) == {"block_level": 1.5}
    assert parameters("sigma", 1.0, 60 * MINUTE_MS) == parameters("mad", 1.0, 60 * MINUTE_MS) == {"k": 5.0}


def test_a_larger_budget_is_never_stricter() -> None:
    """More alarms allowed, lower threshold."""
    for rule, name, sign in (("block_maxima", "block_level", -1), ("sigma", "k", -1), ("pot", "probability", 1)):
        found = [sign * parameters(rule, per_week, MINUTE_MS)[name] for per_week in (1.0, 3.0, 30.0)]
        assert found == sorted(found)


def test_the_rate_reached_is_the_inverse_of_the_budget() -> None:
    """Ten keys with a week of windows each and 20 episodes are two a week; nothing seen is no rate."""
    assert rate_per_week(20, 10 * WEEK, MINUTE_MS) == pytest.approx(2.0)
    assert rate_per_week(0, 0, MINUTE_MS) == 0.0
