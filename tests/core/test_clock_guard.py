"""One fast clock: a time far ahead is confirmed before it counts, and a clock that was set back is followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.active_clock import UNKNOWN, ActiveClock, advance
from streamae.core.clock_guard import IN_A_ROW, ClockGuard
from streamae.core.grid import NEVER
from tests.core_batches import cleared, every_slot, quick, slots_of, state_of

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
JUMP_MS = HOUR_MS
Records = list[tuple[int, int]]  # slot and event time


@dataclass
class Process:
    """A guard with the state of its one partition; says what became of each record it was given."""

    guard: ClockGuard = field(default_factory=lambda: cleared(ClockGuard(4, JUMP_MS)))
    clock: ActiveClock = UNKNOWN
    candidate_ms: int = NEVER
    words: list[str] = field(default_factory=list)

    def take(self, records: Records) -> list[str]:
        """Judge one poll."""
        slots = slots_of(*(slot for slot, _ in records))
        times = np.array([time_ms for _, time_ms in records], dtype=np.int64)
        keys = [b"key-%d" % slot for slot, _ in records]
        judged = self.guard.judge(slots, keys, times, self.clock, self.candidate_ms)
        self.clock, _ = advance(self.clock, keys, np.where(judged.counts, times, NEVER))
        self.candidate_ms = judged.candidate_ms
        words = np.where(judged.counts, "fine", "late").astype("<U9")
        for word, found in (("ahead", judged.ahead), ("back", judged.restarts), ("confirmed", judged.confirmed)):
            words[found] = word
        self.words += words.tolist()
        return words.tolist()

    def restarted(self) -> Process:
        """Return the next owner, which has what was stored."""
        after = cleared(ClockGuard(4, JUMP_MS))
        after.columns.restore(every_slot(), self.guard.columns.export(every_slot()))
        return Process(after, self.clock, self.candidate_ms, self.words)


def slowly(records: Records) -> list[str]:
    """Judge record by record as the words of the documentation say it: the oracle."""
    newest: dict[int, int] = {}
    furthest: dict[int, int] = {}
    own: dict[int, int] = {}
    runs: dict[int, list[int]] = {}
    shared: int | None = None
    words = []
    for slot, time_ms in records:
        reached = sorted(furthest.values())[-2:-1] if len(furthest) > 1 else []
        known = [*reached, *([newest[slot]] if slot in newest else [])]
        word = "fine"
        if known and time_ms > max(known) + JUMP_MS:
            candidates = [one for one in (own.get(slot), shared) if one is not None]
            if not any(abs(time_ms - one) <= JUMP_MS for one in candidates):
                own[slot] = shared = time_ms
                runs.pop(slot, None)
                words.append("ahead")
                continue
            word = "confirmed"
        elif slot in newest and time_ms < newest[slot] - JUMP_MS:
            run = runs.get(slot, [])
            runs[slot] = run = [*run, time_ms] if run and time_ms >= run[-1] else [time_ms]
            if len(run) < IN_A_ROW:
                words.append("late")
                continue
            word, newest[slot], shared = "back", time_ms, None
        else:
            shared = None
        newest[slot] = max(newest.get(slot, time_ms), time_ms)
        furthest[slot] = max(furthest.get(slot, time_ms), time_ms)
        own.pop(slot, None)
        runs.pop(slot, None)
        words.append(word)
    return words


@st.composite
def streams(draw: st.DrawFn) -> Records:
    """Draw records of three keys a minute or so apart, some of them hours away, some of those in runs."""
    records, now_ms = list[tuple[int, int]](), 0
    for slot, step_ms, away, times in draw(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.sampled_from([0, MINUTE_MS, MINUTE_MS, 50 * MINUTE_MS, 3 * HOUR_MS]),
                st.sampled_from([0, 0, 0, 0, 20, -20, -3]),
                st.sampled_from([1, 1, 1, 2, 9]),
            ),
            max_size=25,
        )
    ):
        now_ms += step_ms
        records += [(slot, now_ms + away * HOUR_MS + MINUTE_MS * turn) for turn in range(times)]
    return records


@quick
@given(streams(), st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=5))
def test_any_cut_and_any_restart_judge_alike(records: Records, cuts: list[tuple[int, bool]]) -> None:
    """However records are cut into polls, and wherever the next owner takes over, each is judged as one by one."""
    whole = Process()
    whole.take(records)
    process, places = Process(), dict(cuts) | {0: False, len(records): False}
    for start, stop in pairwise(sorted(place for place in places if place <= len(records))):
        process.take(records[start:stop])
        if places[stop]:
            process = process.restarted()
    assert process.words == whole.words == slowly(records)
    assert (process.clock, process.candidate_ms) == (whole.clock, whole.candidate_ms)
    assert state_of(process.guard) == state_of(whole.guard)


def minutes(slot: int, start: int, stop: int) -> Records:
    """Return one record a minute of a key."""
    return [(slot, minute * MINUTE_MS) for minute in range(start, stop)]


def test_one_stamp_ahead_costs_one_record() -> None:
    """The record with the wild time is refused, and all that follow are judged as if it had not been there."""
    process = Process()
    records = [*minutes(0, 0, 10), (0, 20 * HOUR_MS), *minutes(0, 10, 400)]
    assert process.take(records) == ["fine"] * 10 + ["ahead"] + ["fine"] * 390


def test_the_next_record_of_the_key_confirms() -> None:
    """A key that was silent for hours in a partition of its own loses one record, not its stream."""
    assert Process().take([*minutes(0, 0, 3), *minutes(0, 600, 603)]) == ["fine"] * 3 + ["ahead", "confirmed", "fine"]


def test_another_key_of_the_partition_confirms() -> None:
    """After a pause of all keys the first record is refused, the second confirms, and the time of the partition is there."""
    pause = [*minutes(0, 0, 2), *minutes(1, 0, 2), (0, 600 * MINUTE_MS), (1, 600 * MINUTE_MS), (2, 600 * MINUTE_MS)]
    assert Process().take([*pause, (0, 601 * MINUTE_MS)]) == ["fine"] * 4 + ["ahead", "confirmed", "confirmed", "fine"]


def test_a_key_that_was_silent_is_not_ahead_of_its_partition() -> None:
    """What two others have reached is a known time: whoever comes back later than that loses nothing."""
    records = [
        (2, 0),
        *(record for minute in range(600) for record in ((0, minute * MINUTE_MS), (1, minute * MINUTE_MS))),
    ]
    assert Process().take([*records, (2, 600 * MINUTE_MS)])[-1] == "fine"


def test_an_ordinary_record_of_another_key_takes_the_confirmation_away() -> None:
    """Two wild stamps of two keys, with the ordinary stream between them, confirm nothing."""
    process = Process()
    process.take([*minutes(0, 0, 2), *minutes(1, 0, 2), *minutes(2, 0, 2)])
    assert process.take([(0, 20 * HOUR_MS), (1, 2 * MINUTE_MS), (2, 20 * HOUR_MS)]) == ["ahead", "fine", "ahead"]


def test_a_candidate_of_the_key_lasts_until_its_next_record() -> None:
    """A clock that was set ahead for good is believed with its second record, whatever other keys say meanwhile."""
    process = Process()
    process.take([*minutes(0, 0, 2), *minutes(1, 0, 2)])
    assert process.take([(0, 20 * HOUR_MS), *minutes(1, 2, 50), (0, 20 * HOUR_MS + MINUTE_MS)])[-1] == "confirmed"
    assert process.take([(0, 20 * HOUR_MS + 2 * MINUTE_MS)]) == ["fine"]


@pytest.mark.parametrize("late", [1, IN_A_ROW - 1, IN_A_ROW, IN_A_ROW + 5])
def test_a_clock_that_was_set_back_is_followed(late: int) -> None:
    """After eight far late records in order the key goes on from there; before, they may be stray."""
    process = Process()
    process.take(minutes(0, 1_000, 1_010))
    found = process.take(minutes(0, 0, late))
    assert found == (["late"] * (IN_A_ROW - 1) + ["back"] + ["fine"] * late)[:late]


def test_late_records_without_an_order_set_no_clock_back() -> None:
    """A backlog that arrives newest first, or two times over each other, is late and nothing else."""
    process = Process()
    process.take(minutes(0, 1_000, 1_010))
    assert set(process.take([*reversed(minutes(0, 0, 40))])) == {"late"}


def test_a_good_record_between_ends_the_run() -> None:
    """Single late ones among good ones are stray, however many there are in a week."""
    process = Process()
    for minute in range(20):
        assert process.take([(0, (1_000 + minute) * MINUTE_MS), (0, minute * MINUTE_MS)])[0] == "fine"
    assert "back" not in process.words


def test_the_first_key_of_a_partition_may_have_any_time() -> None:
    """Where nothing is known nothing is ahead, also for a second key that is far away from the first."""
    assert Process().take([(0, 5 * HOUR_MS), (1, 500 * HOUR_MS), (0, 5 * HOUR_MS)]) == ["fine"] * 3


@pytest.mark.parametrize("time_ms", [np.iinfo(np.int64).max, NEVER + 1])
def test_times_at_the_ends_of_the_scale_are_judged(time_ms: int) -> None:
    """Absurd numbers overflow nothing: the largest is ahead, the smallest is late."""
    process = Process()
    process.take([*minutes(0, 0, 3), *minutes(1, 0, 3)])
    assert process.take([(0, time_ms)]) == ["ahead" if time_ms > 0 else "late"]
    assert process.take(minutes(0, 3, 5)) == ["fine", "fine"]


def test_what_needs_no_confirmation_is_known_before_records_are_judged() -> None:
    """Whoever asks how late it may be, before a poll is judged, gets what two keys have reached and the jump."""
    guard = ClockGuard(1, JUMP_MS)
    assert guard.believable_ms(UNKNOWN) is None
    assert guard.believable_ms(advance(UNKNOWN, [b"a"], np.array([7]))[0]) == 7 + JUMP_MS
    assert guard.believable_ms(advance(UNKNOWN, [b"a", b"b"], np.array([7, 5]))[0]) == 5 + JUMP_MS
