"""The hour that a clock shows twice: each row in its own pass, however the rows come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streamae.batches import Ints
from streamae.connectors.event_times import UNREADABLE, TimeRules, read_local, read_times
from streamae.connectors.repeated_hours import nearest, resolve_order
from streamae.time_zones import read_zone

RULES = TimeRules("auto", None, "Europe/Rome", None, from_text=False)
MIDNIGHT_MS = 1_761_429_600_000  # 2025-10-26 00:00 in Rome; three hours later the clock is set back
MINUTE_MS = 60_000


def shown(times: Ints) -> list[str]:
    """What the clock on the wall shows, as people write it."""
    local = read_zone("Europe/Rome").local(times).tolist()
    return [f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time):%Y-%m-%d %H:%M:%S.%f}" for time in local]


def resolved(times: Ints, keys: list[str] | None = None) -> list[int]:
    """Instants read from what the clock shows, by their order."""
    earlier, later = read_local(shown(times), RULES)
    return resolve_order(earlier, later, keys or ["a"] * len(times)).tolist()


@pytest.mark.parametrize(
    "step_ms", [1_000, MINUTE_MS, 5 * MINUTE_MS, 17 * MINUTE_MS, 30 * MINUTE_MS, 60 * MINUTE_MS, 65 * MINUTE_MS]
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_rows_of_any_step_are_in_their_pass(step_ms: int, is_turned: bool) -> None:
    """Oldest first or newest first, from seconds to hours, the times in UTC come back."""
    times = np.arange(MIDNIGHT_MS, MIDNIGHT_MS + 400 * MINUTE_MS, step_ms)
    times = times[::-1] if is_turned else times
    assert resolved(times) == times.tolist()


def test_keys_are_told_apart() -> None:
    """Interleaved devices at different places of the hour do not disturb each other."""
    times = np.arange(MIDNIGHT_MS, MIDNIGHT_MS + 400 * MINUTE_MS, MINUTE_MS)
    behind = times - 31 * MINUTE_MS
    both = np.column_stack([times, behind]).ravel()
    assert resolved(both, ["a", "b"] * len(times)) == both.tolist()


def test_a_row_that_is_a_little_late_is_no_second_pass() -> None:
    """Rows that overtake each other, or are of one instant, are usual; an hour back is the clock."""
    rng = np.random.default_rng(0)
    times = np.arange(MIDNIGHT_MS, MIDNIGHT_MS + 400 * MINUTE_MS, 10_000)
    late = times - np.where(rng.random(len(times)) < 0.1, 25_000, 0)
    assert resolved(late) == late.tolist()
    assert resolved(np.repeat(times, 3)) == np.repeat(times, 3).tolist()


def test_a_gap_over_the_turn_of_the_clock_is_no_row_that_is_late() -> None:
    """From 02:30 of the first pass to 02:10 of the second nothing was sent."""
    times = np.arange(MIDNIGHT_MS, MIDNIGHT_MS + 400 * MINUTE_MS, MINUTE_MS)
    minutes = (times - MIDNIGHT_MS) // MINUTE_MS
    kept = times[(minutes < 150) | (minutes >= 190)]
    assert resolved(kept) == kept.tolist()


def test_a_row_soon_after_another_is_of_the_same_pass() -> None:
    """Streams without a beat: much less than the usual step after the row before is no jump of the clock."""
    minutes = np.array([0, 40, 80, 120, 121, 165, 170, 181, 182, 238, 239, 241, 300, 340])
    times = MIDNIGHT_MS + minutes * MINUTE_MS
    assert resolved(times) == times.tolist()


def test_rows_without_a_time_do_not_count() -> None:
    """What is refused anyway decides nothing."""
    texts = ["x", "2025-10-26 02:30", "x", "2025-10-26 02:45", "", "2025-10-26 02:00"]
    earlier, later = read_local(texts, RULES)
    found = resolve_order(earlier, later, ["a"] * 6)
    assert found[[0, 2, 4]].tolist() == [UNREADABLE] * 3
    assert np.diff(found[[1, 3, 5]]).tolist() == [15 * MINUTE_MS] * 2


def test_a_record_is_nearest_to_its_kafka_timestamp() -> None:
    """Live there is no order to go by: a stamp that is minutes late says which pass it was; without one, the first."""
    times = MIDNIGHT_MS + np.arange(0, 400) * MINUTE_MS
    earlier, later = read_local(shown(times), RULES)
    assert nearest(earlier, later, times + 20 * MINUTE_MS).tolist() == times.tolist()
    assert nearest(earlier, later, np.full(400, -1)).tolist() == earlier.tolist()


def test_without_such_an_hour_nothing_is_looked_at() -> None:
    """Instants, and other days, pass as they are."""
    earlier, later = read_local(["2025-07-01 02:30"], RULES)
    assert resolve_order(earlier, later, []) is earlier
    assert read_times(["2025-07-01 02:30"], RULES).tolist() == earlier.tolist()
