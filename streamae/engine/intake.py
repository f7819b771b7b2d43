"""From decoded records to records with a slot: whose key is known, loaded, new, without room, or not to be had now.

Then their times are judged. Nothing of the data's way has changed any state before this; what is not taken here is read
again or refused. Must not know what becomes of the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Ints, Partition, RawRecord, RecordBatch, Rejected, Slots
from streamae.core.key_table import NO_SLOT
from streamae.engine.key_states import KeyStates
from streamae.engine.partition_clocks import PartitionClocks
from streamae.engine.partitions import Partitions
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
    """

    records: RecordBatch
    slots: Slots
    refused: list[Rejected]
    lost: list[Partition]
    restarts: Ints
    active_ms: Ints


class Intake(Announcer):
    """Takes records in. Mutated by the engine's thread only."""

    def __init__(
        self, states: KeyStates, partitions: Partitions, store_waits: StoreWaits, clocks: PartitionClocks | None
    ) -> None:
        """Join where keys live with what waits for them.

        Args:
            states: finds and makes the slots of keys.
            partitions: progress of all owned partitions.
            store_waits: partitions that are put off because the store does not answer.
            clocks: judges times; None = all count, and nobody asks for the time of a partition.
        """
        self._states, self._partitions, self._store_waits = states, partitions, store_waits
        self._clocks = clocks
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
        return self._timed(records, admission.slots[kept], refused, sorted(admission.lost))

    def _timed(self, records: RecordBatch, slots: Slots, refused: list[Rejected], lost: list[Partition]) -> Taken:
        """Judge the times of admitted records; nothing has taken a maximum of them before."""
        table, timed = self._states.table, None if self._clocks is None else self._clocks.judge(records, slots)
        if timed is None:
            table.touch(slots, records.event_times_ms)
            return Taken(records, slots, refused, lost, _NOTHING, np.zeros(len(records), dtype=np.int64))
        if len(timed.ahead):
            refused += [records.refused(index, Reason.CLOCK_JUMP) for index in timed.ahead.tolist()]
            table.change(slots[timed.ahead])
            records, slots = records.take(timed.kept), slots[timed.kept]
        table.touch(slots, records.event_times_ms)
        for partition, state in timed.states.items():
            self._partitions[partition].state = state
        return Taken(records, slots, refused, lost, timed.restarts, timed.active_ms)

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
