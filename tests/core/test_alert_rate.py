"""The rate that a budget is held against: a week of event time, whatever order it comes in."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.core.alert_rate import HOUR_MS, HOURS, AlertRate
from tests.core_batches import START_MS

MINUTE_MS = 60_000
NONE = np.zeros(0, dtype=np.int64)


def week(start_ms: int = START_MS, minutes: int = HOURS * 60) -> np.ndarray:
    """Ends of the windows of a key that has one a minute."""
    return start_ms + MINUTE_MS * np.arange(minutes, dtype=np.int64)


def test_before_the_first_window_nothing_is_known() -> None:
    """No division by nothing."""
    assert AlertRate(60_000.0).per_week() == 0.0


@pytest.mark.parametrize("keys", [1, 3])
def test_the_rate_is_of_one_key_and_one_week(keys: int) -> None:
    """Six episodes of three keys in a week are two."""
    rate = AlertRate(float(MINUTE_MS))
    for _ in range(keys):
        rate.add(week(minutes=60 * (HOURS - 1)), START_MS + MINUTE_MS * np.arange(2))
    assert rate.per_week() == pytest.approx(2.0 * HOURS / (HOURS - 1))


def test_what_is_a_week_behind_is_forgotten() -> None:
    """A bad week leaves the gauge when the next one has passed, in event time."""
    rate = AlertRate(float(MINUTE_MS))
    rate.add(week(), week()[::60])
    assert rate.per_week() > 100
    rate.add(week(START_MS + 2 * HOURS * HOUR_MS), NONE)
    assert rate.per_week() == 0.0


def test_order_and_batches_do_not_matter() -> None:
    """Keys that lag count in their own hours; what comes more than a week late counts nowhere."""
    random = np.random.default_rng(1)
    times = START_MS + random.integers(0, HOURS * HOUR_MS // 2, 500)
    whole, parts = AlertRate(1_000.0), AlertRate(1_000.0)
    whole.add(times, times[:7])
    shuffled = random.permutation(times)
    for part in np.array_split(shuffled, 11):
        parts.add(part, NONE)
    parts.add(NONE, times[:7])
    assert parts.per_week() == whole.per_week() > 0
    parts.add(np.array([START_MS - HOURS * HOUR_MS]), np.array([START_MS - HOURS * HOUR_MS]))
    assert parts.per_week() == whole.per_week()


def test_times_before_the_epoch_count() -> None:
    """Histories may be old."""
    rate = AlertRate(float(MINUTE_MS))
    rate.add(week(-HOUR_MS, 60), np.array([-HOUR_MS]))
    assert rate.per_week() == pytest.approx(HOURS)
