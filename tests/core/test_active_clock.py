"""The time of a partition: two keys move it, one does not, and pauses count little."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.active_clock import UNKNOWN, ActiveClock, advance, digest_of
from streamae.core.grid import NEVER

Records = list[tuple[bytes, int]]
RECORDS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(-50, 300)), max_size=40)
STEP_MS = 30


def through(
    records: Records, clock: ActiveClock = UNKNOWN, max_step_ms: int = STEP_MS
) -> tuple[ActiveClock, list[int]]:
    """Return the clock behind the records, and the active time after each."""
    times = np.array([time_ms for _, time_ms in records], dtype=np.int64)
    found, active_ms = advance(clock, [key for key, _ in records], times, max_step_ms)
    return found, active_ms.tolist()


@given(RECORDS)
def test_it_stands_where_the_second_furthest_key_is(records: Records) -> None:
    """What only one key has reached is no time of the partition, whichever key that is and however often it says so."""
    furthest: dict[bytes, int] = {}
    for key, time_ms in records:
        furthest[key] = max(time_ms, furthest.get(key, time_ms))
    clock, _ = through(records)
    ranked = sorted(furthest.values())
    assert clock.reached_ms == (ranked[-2] if len(ranked) > 1 else NEVER)
    assert clock.leader_ms == (ranked[-1] if ranked else NEVER)
    if clock.leader_ms > clock.reached_ms:
        assert [key for key, time_ms in furthest.items() if time_ms == ranked[-1]] == [
            key for key in furthest if digest_of(key) == clock.leader
        ]


@given(RECORDS, st.booleans(), st.lists(st.integers(0, 40), max_size=6))
def test_any_cut_gives_the_same(records: Records, rising: bool, cuts: list[int]) -> None:
    """However records are cut into polls, and wherever the clock was stored between, each sees the same active time."""
    records = [(key, 9 * number + time_ms % 9) for number, (key, time_ms) in enumerate(records)] if rising else records
    whole, expected = through(records)
    clock, found = UNKNOWN, []
    places = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
    for start, stop in pairwise(places):
        clock, active_ms = through(records[start:stop], clock)
        found += active_ms
    assert found == expected
    assert clock == whole


@given(RECORDS)
def test_active_time_is_the_sum_of_bounded_steps(records: Records) -> None:
    """Active time grows with the time of the partition, by no more than the bound a step, and never falls."""
    clock, expected, found = UNKNOWN, 0, []
    for record in records:
        before = clock.reached_ms
        clock, (active_ms,) = through([record], clock)
        if NEVER < before < clock.reached_ms:
            expected += min(clock.reached_ms - before, STEP_MS)
        assert active_ms == clock.active_ms == expected
        found.append(active_ms)
    assert through(records)[1] == found == sorted(found)


def test_records_that_were_not_accepted_change_nothing() -> None:
    """A record without a time of its own keeps its place in the answer and moves nothing."""
    clock, active_ms = through([(b"a", 0), (b"b", 0), (b"c", NEVER), (b"a", 20), (b"c", NEVER), (b"b", 20)])
    assert active_ms == [0, 0, 0, 0, 0, 20]
    assert clock == ActiveClock(20, digest_of(b"a"), 20, 20)


def test_nobody_asks_for_active_time() -> None:
    """Without a bound for steps the time of the partition is known and active time stays 0."""
    clock, active_ms = through([(b"a", 0), (b"b", 0), (b"a", 20), (b"b", 20)], max_step_ms=0)
    assert clock.reached_ms == 20
    assert active_ms == [0, 0, 0, 0]


def test_many_keys_at_one_time_move_it_as_one_after_the_other() -> None:
    """Whole crowds at one time, with a stray ahead of them, give each record the active time it has when it comes alone."""
    random = np.random.default_rng(5)
    records = [(b"%d" % key, 20 * row) for row in range(12) for key in random.permutation(60)]
    records = [(key, time_ms + 70 * (place % 97 == 5)) for place, (key, time_ms) in enumerate(records)]
    clock, alone = UNKNOWN, []
    for record in records:
        clock, active_ms = through([record], clock)
        alone += active_ms
    assert through(records) == (clock, alone)
    assert len(set(alone)) > 4
