"""One fast clock: a time far ahead counts when a second record confirms it, a clock that was set back is followed.

A record is *ahead* where its time lies more than `max_jump_ms` beyond both the newest of its key and what two keys of
its partition have reached. It is refused, and becomes the candidate of its key and of its partition: the next record
ahead within `max_jump_ms` of a candidate is accepted. A key whose records are late by more than `max_jump_ms`, `IN_A_ROW`
of them in order, has had its clock set back: it begins anew with the last of these. All is decided by the records of
the partition in order of offset, so a replay decides the same, however it is cut. Must not know what is done with
records before or behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Flags, Ints, Slots
from streamae.core.active_clock import ActiveClock, RunningClock
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER
from streamae.core.segments import Segments

IN_A_ROW = 8  # far late records after which a clock counts as set back


def _nothing() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class ClockJudgement:
    """What became of N records.

    Attributes:
        counts: (N,) bool, their time is one of their key: neither ahead nor far late.
        candidate_ms: of the partition behind them; `NEVER` = none.
        ahead, beyond_ms: (A,) those that are refused, and how far they lie beyond what was known.
        restarts, left_ms: (M,) those with which their key begins anew, and its newest time before.
        confirmed: (C,) those that count although they are ahead.
    """

    counts: Flags
    candidate_ms: int = NEVER
    ahead: Ints = field(default_factory=_nothing)
    beyond_ms: Ints = field(default_factory=_nothing)
    restarts: Ints = field(default_factory=_nothing)
    left_ms: Ints = field(default_factory=_nothing)
    confirmed: Ints = field(default_factory=_nothing)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to tell: no record was ahead, and no clock was set back."""
        return not (len(self.ahead) or len(self.restarts) or len(self.confirmed))


class ClockGuard:
    """Judges event times before anything else sees them.

    State per key: newest time that counted, candidate, and the run of far late records. That of the partition, its
    clock and its candidate, is an argument.
    """

    def __init__(self, capacity: int, max_jump_ms: int) -> None:
        """Prepare for `capacity` key slots."""
        self.max_jump_ms = max_jump_ms
        self.columns = Columns(
            capacity,
            {
                "newest": Field("<i8", (), NEVER, since=2),
                "candidate": Field("<i8", (), NEVER, since=2),
                "run": Field("|u1", since=2),  # far late records in a row
                "run_ms": Field("<i8", (), NEVER, since=2),  # the newest of them
                "told": Field("|b1", is_stored=False),  # that it is ahead, since it became resident
            },
            "clocks",
        )

    def judge(
        self, slots: Slots, keys: Sequence[bytes], times_ms: Ints, clock: ActiveClock, candidate_ms: int
    ) -> ClockJudgement:
        """Judge the records of one partition, in order of offset; keys learn what counts.

        Args:
            slots, keys, times_ms: (N,) slots, N keys and (N,) event times.
            clock: of the partition before them; it is to be advanced by those that count.
            candidate_ms: of the partition before them.
        """
        if candidate_ms == NEVER and self._is_plain(slots, times_ms, clock.reached_ms):
            np.maximum.at(self.columns["newest"], slots, times_ms)
            return ClockJudgement(np.ones(len(slots), dtype=np.bool_))
        return self._judge_each(slots, keys, times_ms, clock, candidate_ms)

    def believable_ms(self, clock: ActiveClock) -> int | None:
        """Return the latest time that needs no confirmation, whichever key has it; None = as long as none is known."""
        known_ms = clock.leader_ms if clock.reached_ms == NEVER else clock.reached_ms
        return None if known_ms == NEVER else known_ms + self.max_jump_ms

    def _is_plain(self, slots: Slots, times_ms: Ints, reached_ms: int) -> bool:
        """Tell whether no record can be ahead or far late, and no key of them has a candidate or a run."""
        if not len(slots):
            return True
        columns = self.columns
        if (columns["candidate"][slots] != NEVER).any() or columns["run"][slots].any():
            return False
        newest = columns["newest"][slots]
        known = np.maximum(newest, reached_ms)  # grows from record to record, if it is anything but this
        low, high, jump = int(times_ms.min()), int(times_ms.max()), self.max_jump_ms
        if high - int(known.min()) <= jump and max(int(newest.max()), high) - low <= jump:
            return True  # nearly always
        segments = Segments.of(slots)
        times = times_ms[segments.order]
        before = segments.previous(segments.running_max(times), columns["newest"][segments.uniques])
        before = np.maximum(
            before, newest[segments.order]
        )  # all is ahead of a time that is not known: each is looked at
        is_ahead = times > np.maximum(before, reached_ms) + jump
        is_late = (before != NEVER) & (times < np.maximum(before, NEVER + jump) - jump)
        return not bool((is_ahead | is_late).any())

    def _judge_each(
        self, slots: Slots, keys: Sequence[bytes], times_ms: Ints, clock: ActiveClock, candidate_ms: int
    ) -> ClockJudgement:
        """`judge`, record by record."""
        columns, jump = self.columns, self.max_jump_ms
        newest, candidates, runs, run_ms = (columns[name] for name in ("newest", "candidate", "run", "run_ms"))
        counts = np.ones(len(slots), dtype=np.bool_)
        ahead, beyond_ms, restarts, left_ms, confirmed = (list[int]() for _ in range(5))
        running = RunningClock(clock, 0)
        for index, (slot, time_ms) in enumerate(zip(slots.tolist(), times_ms.tolist(), strict=True)):
            own_ms = int(newest[slot])
            known_ms = max(own_ms, running.reached_ms)
            if known_ms != NEVER and time_ms - known_ms > jump:
                if not _is_near(time_ms, (int(candidates[slot]), candidate_ms), jump):
                    counts[index] = False
                    ahead.append(index)
                    beyond_ms.append(time_ms - known_ms)
                    candidates[slot] = candidate_ms = time_ms
                    runs[slot] = 0
                    continue
                confirmed.append(index)
            elif own_ms != NEVER and own_ms - time_ms > jump:
                runs[slot] = runs[slot] + 1 if runs[slot] and time_ms >= run_ms[slot] else 1
                run_ms[slot] = time_ms
                if runs[slot] < IN_A_ROW:
                    counts[index] = False
                    continue
                restarts.append(index)
                left_ms.append(own_ms)
                newest[slot] = time_ms
                candidate_ms = NEVER
            else:
                candidate_ms = NEVER
            newest[slot] = max(int(newest[slot]), time_ms)
            candidates[slot], runs[slot], run_ms[slot] = NEVER, 0, NEVER
            running.record(keys[index], time_ms)
        found = (np.array(one, dtype=np.int64) for one in (ahead, beyond_ms, restarts, left_ms, confirmed))
        return ClockJudgement(counts, candidate_ms, *found)


def _is_near(time_ms: int, candidates_ms: tuple[int, int], jump_ms: int) -> bool:
    return any(one != NEVER and abs(time_ms - one) <= jump_ms for one in candidates_ms)
