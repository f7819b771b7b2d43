"""The time of a partition: how far at least two of its keys have come, and how much of that was active.

One key alone moves nothing: a clock that runs fast is no time of the partition. A pause of the whole partition counts as
a bounded step of active time, so that it is nobody's silence. Everything follows from the sequence of records, never
from how it is cut into polls. Must not know what the time is used for, or which records are accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import eq
from typing import NamedTuple

import numpy as np

from streamae.batches import Ints
from streamae.core.grid import NEVER


class ActiveClock(NamedTuple):
    """Where the time of a partition stands.

    Attributes:
        reached_ms: event time that two distinct keys have reached; `NEVER` = there were no two so far.
        leader: digest of the key that is furthest ahead, see `digest_of`; counts only where `leader_ms` is known.
        leader_ms: how far that key is, never before `reached_ms`; `NEVER` = no record so far.
        active_ms: sum of the bounded steps of `reached_ms` so far.
    """

    reached_ms: int = NEVER
    leader: int = 0
    leader_ms: int = NEVER
    active_ms: int = 0


UNKNOWN = ActiveClock()  # that of a partition without a record
FEW = 16  # records that are looked at before those are sought that still matter


class RunningClock:
    """An `ActiveClock` on its way through records, one by one."""

    def __init__(self, clock: ActiveClock, max_step_ms: int) -> None:
        """Begin at `clock`; a step of time counts as active up to `max_step_ms`, and not at all where that is 0."""
        self.reached_ms, self._leader, self._leader_ms, self.active_ms = clock
        self.max_step_ms = max_step_ms
        self._leader_key: bytes | None = None  # as long as it is known: spares its digest

    def record(self, key: bytes, time_ms: int) -> None:
        """Take one accepted record."""
        if time_ms <= self.reached_ms:
            return
        leader_ms = self._leader_ms
        if leader_ms != NEVER:
            if key == self._leader_key or (self._leader_key is None and digest_of(key) == self._leader):
                self._leader_key, self._leader_ms = key, max(leader_ms, time_ms)
                return
            reached_ms = min(time_ms, leader_ms)
            if self.reached_ms != NEVER:
                self.active_ms += min(reached_ms - self.reached_ms, self.max_step_ms)
            self.reached_ms = reached_ms
        if time_ms > leader_ms:
            self._leader_key, self._leader_ms = key, time_ms

    def stopped(self) -> ActiveClock:
        """Return where it stands."""
        if self._leader_key is not None:
            self._leader = digest_of(self._leader_key)
        return ActiveClock(self.reached_ms, self._leader, self._leader_ms, self.active_ms)


def advance(clock: ActiveClock, keys: Sequence[bytes], times_ms: Ints, most_ms: int = 0) -> tuple[ActiveClock, Ints]:
    """Take the accepted records of one partition, in order of offset.

    Args:
        clock: before them.
        keys, times_ms: N keys, (N,) event times; `NEVER` = not accepted, changes nothing.
        most_ms: most of a step of time that counts as active; 0 = nobody asks for active time.

    Returns:
        The clock behind them, and (N,) active time after each.

    Example:
        >>> clock, active_ms = advance(UNKNOWN, [b"a", b"b", b"a", b"b"], np.array([0, 0, 90, 90]), 60)
        >>> clock.reached_ms, active_ms.tolist()
        (90, [0, 0, 0, 60])
    """
    further = np.flatnonzero(times_ms > clock.reached_ms)
    if not len(further):
        return clock, np.full(len(times_ms), clock.active_ms, dtype=np.int64)
    times = times_ms[further]
    steps, active_ms = np.zeros(len(times_ms), dtype=np.int64), clock.active_ms
    if _overtakes(clock, keys, further, times):
        reached = np.concatenate(([clock.reached_ms, clock.leader_ms], times[:-1]))
        known = reached[:-1] != NEVER
        steps[further[known]] = np.minimum(np.diff(reached)[known], most_ms)
        leader = digest_of(keys[further[-1]])
        clock = ActiveClock(int(reached[-1]), leader, int(times[-1]), active_ms + int(steps.sum()))
    else:
        clock = _one_by_one(RunningClock(clock, most_ms), keys, times_ms, further, steps)
    return clock, active_ms + np.cumsum(steps)


def _overtakes(clock: ActiveClock, keys: Sequence[bytes], further: Ints, times_ms: Ints) -> bool:
    """Tell whether each of the records `further` (n,), at least one, is of another key than the furthest, and beyond it.

    So it mostly is where keys send one after the other: then nothing needs to be looked at one by one.
    """
    if times_ms[0] <= clock.leader_ms or not (np.diff(times_ms) > 0).all():
        return False
    of = [keys[index] for index in further.tolist()]
    return digest_of(of[0]) != clock.leader and not any(map(eq, of, of[1:]))


def _one_by_one(clock: RunningClock, keys: Sequence[bytes], times_ms: Ints, further: Ints, steps: Ints) -> ActiveClock:
    """Take the records `further` (n,) and write their steps; return the clock behind them.

    Where many keys send at the same time, the first two of them reach it: all others change nothing, and are left out.
    """
    left, most = further, FEW
    while len(left):
        for index, time_ms in zip(left[:most].tolist(), times_ms[left[:most]].tolist(), strict=True):
            before = clock.active_ms
            clock.record(keys[index], time_ms)
            if clock.active_ms > before:
                steps[index] = clock.active_ms - before
        left = left[most:]
        left, most = left[times_ms[left] > clock.reached_ms], 2 * most
    return clock.stopped()


def digest_of(key: bytes) -> int:
    """Return 64 bits by which a key is told from others, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
