"""From decoded records to records with a slot: whose key is known, loaded, new, without room, or not to be had now.

Nothing of the data's way has changed any state before this; what is not taken here is read again or refused. Must not
know what becomes of the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Partition, RawRecord, RecordBatch, Rejected, Slots
from streamae.core.key_table import NO_SLOT
from streamae.engine.key_states import KeyStates
from streamae.engine.partitions import Partitions
from streamae.engine.store_waits import StoreWaits
from streamae.errors import RetryableError
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger
from streamae.reasons import Reason


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What of a poll goes on.

    Attributes:
        records, slots: N records whose keys are in memory, and (N,) their slots.
        refused: records of keys that there is no room for.
        lost: partitions whose stored state is not what we rely on: recover them, their records are read again.
    """

    records: RecordBatch
    slots: Slots
    refused: list[Rejected]
    lost: list[Partition]


class Intake(Announcer):
    """Takes records in. Mutated by the engine's thread only."""

    def __init__(self, states: KeyStates, partitions: Partitions, store_waits: StoreWaits) -> None:
        """Join where keys live with what waits for them.

        Args:
            states: finds and makes the slots of keys.
            partitions: progress of all owned partitions.
            store_waits: partitions that are put off because the store does not answer.
        """
        self._states, self._partitions, self._store_waits = states, partitions, store_waits
        self._log = get_logger()

    def take(self, records: RecordBatch, polled: dict[Partition, Sequence[RawRecord]], now_ms: int) -> Taken:
        """Find the slots of all keys.

        Args:
            records: N decoded records.
            polled: raw records of the same poll; partitions that wait for the store, or whose stored state was lost,
                leave it: nothing is done with their records now.
            now_ms: monotonic milliseconds.
        """
        try:
            admission = self._states.admit(records, self._partitions)
        except RetryableError as error:
            self.listener.store_error()
            records = self._without_unknown(records, polled, error, now_ms)
            admission = self._states.admit(records, self._partitions)  # all in memory: the store is not asked
        self._store_waits.settle(polled.keys(), now_ms)
        for partition in admission.lost:
            del polled[partition]
        if admission.lost:
            self._log.warning("state_lost", partitions=[f"{at.topic}-{at.index}" for at in sorted(admission.lost)])
        refused = [records.refused(index, Reason.TOO_MANY_KEYS) for index in np.flatnonzero(admission.refused).tolist()]
        kept = np.flatnonzero(admission.slots != NO_SLOT)
        if len(kept) < len(records):
            records = records.take(kept)
        slots = admission.slots[kept]
        self._states.table.touch(slots, records.event_times_ms)
        return Taken(records, slots, refused, sorted(admission.lost))

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
