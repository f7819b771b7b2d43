"""Clocks of places, in numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.zones import Zone
from tests.core_batches import quick

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@st.composite
def zones(draw: st.DrawFn) -> Zone:
    """A clock that is set up to five times, by up to a day, days apart."""
    steps = draw(st.lists(st.integers(3 * DAY_MS, 400 * DAY_MS), max_size=5))
    offsets = draw(st.lists(st.integers(-DAY_MS, DAY_MS), min_size=len(steps) + 1, max_size=len(steps) + 1))
    return Zone("drawn", np.cumsum(np.array(steps, np.int64)), np.array(offsets, np.int64))


@quick
@given(zones(), st.lists(st.integers(-DAY_MS, 2_100 * DAY_MS), min_size=1))
def test_every_instant_is_one_of_those_at_which_its_local_time_is_shown(zone: Zone, times: list[int]) -> None:
    """What a clock shows can be read back, once or, where it was set back, as one of two instants that both show it."""
    instants = np.array(times, np.int64)
    local = zone.local(instants)
    earlier, later, is_skipped = zone.instants(local)
    assert not is_skipped.any()
    assert ((instants == earlier) | (instants == later)).all()
    assert zone.local(earlier).tolist() == zone.local(later).tolist() == local.tolist()


def test_what_a_clock_skips_is_told() -> None:
    """From the instant at which it is set forward on, over exactly the hour that it never shows."""
    zone = Zone("there", np.array([DAY_MS]), np.array([HOUR_MS, 2 * HOUR_MS]))
    local = DAY_MS + np.array([HOUR_MS - 1, HOUR_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS])
    assert zone.instants(local)[2].tolist() == [False, True, True, False]


def test_a_fixed_clock_is_never_set() -> None:
    """Minutes from UTC, also before the epoch, and its name says so."""
    zone = Zone.fixed(-90)
    assert (zone.name, zone.local(np.array([-1, 0])).tolist()) == ("UTC-01:30", [-5_400_001, -5_400_000])
    assert [part.tolist() for part in zone.instants(np.array([0]))] == [[5_400_000], [5_400_000], [False]]
