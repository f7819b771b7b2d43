"""From decoded records to records with a slot: whose key is known, loaded, new, without room, or not to be had now.

Then their times are judged. Nothing of the data's way has changed any state before this; what is not taken here is read
again or refused. Must not know what becomes of the records.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Ints, Partition, RawRecord, RecordBatch, Rejected, Slots
from streamae.core.key_table import NO_SLOT
from streamae.core.marks import TimeMark
from streamae.core.silence import Followed
from streamae.engine.key_states import KeyStates
from streamae.engine.partition_clocks import PartitionClocks
from streamae.engine.partition_state import PartitionState
from streamae.engine.partitions import Partitions
from streamae.engine.silence_watch import SilenceWatch
from streamae.engine.store_waits import StoreWaits
from streamae.errors import RetryableError
from streamae.observe.listener import Announcer, Listener
from streamae.observe.logs import get_logger
from streamae.reasons import Reason

_NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What of a poll goes on.

    Attributes:
        records, slots: N records whose keys are in memory, and (N,) their slots.
        refused: records of keys that there is no room for, or whose time is refused.
        lost: partitions whose stored state is not what we rely on: recover them, their records are read again.
        restarts: (M,) those with which their key begins anew, since its clock was set back.
        active_ms: (N,) active time of the partition after each; 0 where nobody asks for it.
        marks: what time brings to keys at these records.
    """

    records: RecordBatch
    slots: Slots
    refused: list[Rejected]
    lost: list[Partition]
    restarts: Ints
    active_ms: Ints
    marks: list[TimeMark] = field(default_factory=list)


class _ReadAgainError(Exception):
    """The records of a partition from an offset on cannot be taken now. Nothing has changed but the guard's state.

    Attributes:
        partition, offset: which.
        why: why the store could not be asked; None = another reason.
        is_lost: what is stored is not what we rely on.
    """

    def __init__(
        self, partition: Partition, offset: int, why: RetryableError | None = None, *, is_lost: bool = False
    ) -> None:
        super().__init__()
        self.partition, self.offset, self.why, self.is_lost = partition, offset, why, is_lost


class Intake(Announcer):
    """Takes records in. Mutated by the engine's thread only."""

    def __init__(
        self,
        states: KeyStates,
        partitions: Partitions,
        store_waits: StoreWaits,
        clocks: PartitionClocks | None,
        silence: SilenceWatch | None = None,
        batcher: Sized = (),
    ) -> None:
        """Join where keys live with what waits for them.

        Args:
            states: finds and makes the slots of keys.
            partitions: progress of all owned partitions.
            store_waits: partitions that are put off because the store does not answer.
            clocks: judges times; None = all count, and nobody asks for the time of a partition.
            silence: finds what the time of a partition brings to its keys; only beside `clocks`.
            batcher: windows that wait to be scored.
        """
        self._states, self._partitions, self._store_waits = states, partitions, store_waits
        self._clocks, self._silence, self._batcher = clocks, silence, batcher
        self._log = get_logger()

    def attach(self, listener: Listener) -> None:
        """Tell `listener` what this and its parts do."""
        super().attach(listener)
        if self._clocks is not None:
            self._clocks.attach(listener)

    def take(self, records: RecordBatch, polled: dict[Partition, Sequence[RawRecord]], now_ms: int) -> Taken:
        """Find the slots of all keys.

        Args:
            records: N decoded records.
            polled: raw records of the same poll; partitions that wait for the store, or whose stored state was lost,
                leave it: nothing is done with their records now.
            now_ms: monotonic milliseconds.
        """
        limits_ms = {} if self._clocks is None else self._clocks.limits_ms(records)
        try:
            admission = self._states.admit(records, self._partitions, limits_ms)
        except RetryableError as error:
            self.listener.store_error()
            records = self._without_unknown(records, polled, error, now_ms)
            # All in memory: the store is not asked.
            admission = self._states.admit(records, self._partitions, limits_ms)
        self._store_waits.settle(polled.keys(), now_ms)
        for partition in admission.lost:
            del polled[partition]
        if admission.lost:
            self._log.warning("state_lost", partitions=[f"{at.topic}-{at.index}" for at in sorted(admission.lost)])
        refused = [records.refused(index, Reason.TOO_MANY_KEYS) for index in np.flatnonzero(admission.refused).tolist()]
        kept = np.flatnonzero(admission.slots != NO_SLOT)
        if len(kept) < len(records):
            records = records.take(kept)
        taken: Taken | None = None
        slots, lost = admission.slots[kept], sorted(admission.lost)
        while taken is None:
            before = None if self._clocks is None else self._clocks.saved(slots)
            try:
                taken = self._timed(records, slots, list(refused), lost)
            except _ReadAgainError as again:
                if self._clocks is not None and before is not None:
                    self._clocks.restore(before)
                kept = self._put_back(again, records, polled, lost, now_ms)
                records, slots = records.take(kept), slots[kept]
        return taken

    def _timed(self, records: RecordBatch, slots: Slots, refused: list[Rejected], lost: list[Partition]) -> Taken:
        """Judge the times of admitted records; nothing has taken a maximum of them before."""
        table, timed = self._states.table, None if self._clocks is None else self._clocks.judge(records, slots)
        if timed is None:
            table.touch(slots, records.event_times_ms)
            return Taken(records, slots, refused, lost, _NOTHING, np.zeros(len(records), dtype=np.int64))
        if len(timed.ahead):
            refused += [records.refused(index, Reason.CLOCK_JUMP) for index in timed.ahead.tolist()]
            table.change(slots[timed.ahead])
        ahead = records.take(timed.ahead), slots[timed.ahead]
        if len(timed.ahead):
            records, slots = records.take(timed.kept), slots[timed.kept]
        table.touch(slots, records.event_times_ms)
        marks = [] if self._silence is None else self._hear(self._silence, (records, slots), timed.active_ms, ahead)
        for partition, state in timed.states.items():
            self._partitions[partition].state = state
        return Taken(records, slots, refused, lost, timed.restarts, timed.active_ms, marks)

    def _hear(
        self,
        silence: SilenceWatch,
        taken: tuple[RecordBatch, Slots],
        active_ms: Ints,
        ahead: tuple[RecordBatch, Slots],
    ) -> list[TimeMark]:
        """Let the rosters take note of what is taken; return what that brings.

        What is ahead is no sign of life; but of a key that is forgotten before, it must not touch the state that goes.

        Raises:
            _ReadAgainError: not all of one partition can be taken; no roster has changed then.
        """
        records, slots = taken
        silence.lost(self._states.take_damaged().tolist())
        found: list[tuple[Partition, Followed]] = []
        reached_ms: dict[Partition, int] = {}
        try:
            for partition, run in records.runs():
                progress = self._partitions[partition]
                state = progress.state or PartitionState()
                before_ms = reached_ms.get(partition, state.clock.active_ms)
                reached_ms[partition] = int(active_ms[run][-1])
                offsets, times_ms = records.offsets[run], records.event_times_ms[run]
                before = before_ms, progress.replay_until
                refused = [number for number, at in enumerate(ahead[0].partitions) if at == partition]
                passed = ahead[1][refused], ahead[0].offsets[refused]
                one = silence.hear(partition, slots[run], offsets, times_ms, active_ms[run], before, passed)
                found.append((partition, one))
                if one.cut is not None:
                    raise _ReadAgainError(partition, int(offsets[one.cut - 1]) + 1)
                self._bring_in(partition, one, int(offsets[0]), int(times_ms.max()), (slots, records.event_times_ms))
        except _ReadAgainError:
            for _, one in reversed(found):
                one.undo()
            raise
        is_scoring = len(self._batcher) > 0
        return [mark for at, one in found for mark in silence.marks(at, one, is_scoring=is_scoring)]

    def _bring_in(
        self, partition: Partition, followed: Followed, first: int, newest_ms: int, at_hand: tuple[Slots, Ints]
    ) -> None:
        """Load the keys that are told of although they say nothing."""
        rows = followed.wanted
        if not rows:
            return
        roster = followed.roster
        keys = [roster.keys[row] for row in rows]
        try:
            is_there = self._states.bring_in(partition, keys, self._partitions, newest_ms, at_hand)
        except RetryableError as error:
            self.listener.store_error()
            raise _ReadAgainError(partition, first, error) from error
        if not is_there:
            raise _ReadAgainError(partition, first, is_lost=True)
        if self._silence is not None:
            self._silence.lost(self._states.take_damaged().tolist())
        came = roster["slot"][rows]
        is_in, table = came >= 0, self._states.table
        table.rest(came[is_in], roster["heard"][rows][is_in])
        table.change(came[is_in])  # it is about to; until then no other key may take its place

    def _put_back(
        self,
        again: _ReadAgainError,
        records: RecordBatch,
        polled: dict[Partition, Sequence[RawRecord]],
        lost: list[Partition],
        now_ms: int,
    ) -> Ints:
        """Leave the records of a partition from an offset on to a later poll; return which are taken now."""
        partition, offset = again.partition, again.offset
        if again.is_lost:
            del polled[partition]
            lost.append(partition)
            self._log.warning("state_lost", partitions=[f"{partition.topic}-{partition.index}"])
        elif again.why is not None:
            first = polled.pop(partition)[0].offset
            self._store_waits.add({partition: first}, again.why, now_ms)
        else:
            polled[partition] = [record for record in polled[partition] if record.offset < offset]
            self._store_waits.read_again(partition, offset)
        is_later = np.array([at == partition for at in records.partitions], dtype=np.bool_) & (
            (partition not in polled) | (records.offsets >= offset)
        )
        return np.flatnonzero(~is_later)

    def _without_unknown(
        self,
        records: RecordBatch,
        polled: dict[Partition, Sequence[RawRecord]],
        error: RetryableError,
        now_ms: int,
    ) -> RecordBatch:
        """Put partitions off that have keys whose state cannot be read now; return the records of the others."""
        unknown = np.flatnonzero(self._states.table.lookup(records.partitions, records.keys) == NO_SLOT)
        waiting = {records.partitions[index] for index in unknown if self._partitions[records.partitions[index]].unread}
        self._store_waits.add({partition: polled.pop(partition)[0].offset for partition in waiting}, error, now_ms)
        return records.take(np.flatnonzero([partition in polled for partition in records.partitions]))
