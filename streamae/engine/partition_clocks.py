"""The time of the partitions of a poll: which records are refused for theirs, and how far each partition has come.

Between admission and everything that takes a maximum of times. Must not know what becomes of the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from streamae.batches import Bytes, Ints, Partition, RecordBatch, Slots
from streamae.core.active_clock import advance
from streamae.core.clock_guard import ClockGuard, ClockJudgement
from streamae.core.grid import NEVER
from streamae.engine.partition_state import PartitionState
from streamae.engine.partitions import Partitions
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger, shown
from streamae.reasons import REMEDIES, Reason

EXAMPLES = 3  # keys named


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """What the times of admitted records mean.

    Attributes:
        states: of their partitions behind them, to be taken over once nothing can fail any more.
        ahead: (A,) those that are refused.
        kept: (N,) all others.
        restarts: (M,) those of the N others with which their key begins anew.
        active_ms: (N,) active time of the partition after each of the others.
    """

    states: Mapping[Partition, PartitionState]
    ahead: Ints
    kept: Ints
    restarts: Ints
    active_ms: Ints


class PartitionClocks(Announcer):
    """Judges times and advances the clocks of partitions. Mutated by the engine's thread only."""

    def __init__(self, partitions: Partitions, guard: ClockGuard | None, max_step_ms: int) -> None:
        """Prepare.

        Args:
            partitions: progress of all owned partitions; each with a state of its own.
            guard: refuses times far ahead; None = all count.
            max_step_ms: most of a step of time that counts as active; 0 = nobody asks for active time.
        """
        self.guard, self._partitions, self.max_step_ms = guard, partitions, max_step_ms
        self._log = get_logger()

    def limits_ms(self, records: RecordBatch) -> dict[Partition, int]:
        """Return, by partition of these records, the latest event time that needs no confirmation, where one is known."""
        if self.guard is None:
            return {}
        known = {at: self.guard.believable_ms(self._state(at).clock) for at, _ in records.runs()}
        return {at: limit_ms for at, limit_ms in known.items() if limit_ms is not None}

    def judge(self, records: RecordBatch, slots: Slots) -> Timed:
        """Judge admitted records, in order of offset in each partition; keys learn from those that count."""
        size, states = len(records), dict[Partition, PartitionState]()
        is_ahead, active_ms = np.zeros(size, dtype=np.bool_), np.zeros(size, dtype=np.int64)
        restarts: list[int] = []
        for partition, run in records.runs():
            state = states.get(partition) or self._state(partition)
            keys, times_ms, candidate_ms = records.keys[run], records.event_times_ms[run], state.candidate_ms
            if self.guard is not None:
                judged = self.guard.judge(slots[run], keys, times_ms, state.clock, candidate_ms)
                self._tell(judged, records, slots, run.start)
                is_ahead[run.start + judged.ahead] = True
                restarts += (run.start + judged.restarts).tolist()
                candidate_ms, times_ms = judged.candidate_ms, np.where(judged.counts, times_ms, NEVER)
            clock, active_ms[run] = advance(state.clock, keys, times_ms, self.max_step_ms)
            states[partition] = replace(state, clock=clock, candidate_ms=candidate_ms)
        kept = np.flatnonzero(~is_ahead)
        return Timed(states, np.flatnonzero(is_ahead), kept, np.searchsorted(kept, restarts), active_ms[kept])

    def saved(self, slots: Slots) -> tuple[Slots, Bytes] | None:
        """Return what the guard knows of the keys in these slots; None = there is no guard."""
        if self.guard is None:
            return None
        uniques = np.unique(slots)
        return uniques, self.guard.columns.export(uniques)

    def restore(self, saved: tuple[Slots, Bytes]) -> None:
        """Let the guard know what it knew then."""
        if self.guard is not None:
            self.guard.columns.restore(*saved)

    def _state(self, partition: Partition) -> PartitionState:
        return self._partitions[partition].state or PartitionState()

    def _tell(self, judged: ClockJudgement, records: RecordBatch, slots: Slots, start: int) -> None:
        """Log and count what the guard found in the run from `start` on, but for records of a silent replay."""
        if judged.is_plain or self.guard is None:
            return
        partition = records.partitions[start]
        where = {"topic": partition.topic, "partition": partition.index}
        live_from, offsets = self._partitions[partition].replay_until, records.offsets[start:]
        if confirmed := int((offsets[judged.confirmed] >= live_from).sum()):
            self.listener.clock_steps("confirmed", confirmed)
        for at, left_ms in zip(judged.restarts.tolist(), judged.left_ms.tolist(), strict=True):
            if offsets[at] >= live_from:
                self.listener.clock_steps("back")
                self._log.warning(
                    "clock_back",
                    key=shown(records.keys[start + at]),
                    back_ms=left_ms - int(records.event_times_ms[start + at]),
                    offset=int(offsets[at]),
                    **where,
                    meaning="its clock was set back: its window begins anew with this record",
                )
        is_live = offsets[judged.ahead] >= live_from
        ahead, beyond_ms, told = judged.ahead[is_live], judged.beyond_ms[is_live], self.guard.columns["told"]
        if told[slots[start + ahead]].all():
            return
        told[slots[start + ahead]] = True
        self._log.warning(
            "clock_jump",
            keys=", ".join(dict.fromkeys(shown(records.keys[start + at]) for at in ahead.tolist()[:EXAMPLES])),
            records=len(ahead),
            ahead_ms=int(beyond_ms.max()),
            offset=int(offsets[ahead[0]]),
            **where,
            remedy=REMEDIES[Reason.CLOCK_JUMP],
        )
