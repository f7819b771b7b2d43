"""Key state between memory and store: who is resident, loading on first sight, packing for the checkpoint.

State of a key is loaded when its first record since assignment arrives, for all new keys of a poll in few calls,
so that taking a partition over costs nothing up front. A key of which nothing is stored begins with what a bootstrap
has learnt of it, if there was one. Each load is checked against the manifest the engine
relies on; once every stored key was loaded, the store is not asked any more. Knows neither records' values nor offsets' meaning beyond handing them to the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from streamae.batches import Flags, Partition, RecordBatch, Slots
from streamae.connectors.protocols import StateStore
from streamae.core.columns import Columns
from streamae.core.key_table import NO_SLOT, KeyTable
from streamae.engine.partitions import Partitions, Progress
from streamae.errors import FatalError
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger, shown

LOAD_CHUNK_KEYS = 2_000  # bounds how long one load blocks the store


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """Where the keys of a batch live.

    Attributes:
        slots: (N,) int32, `NO_SLOT` for records of refused keys or lost partitions.
        refused: (N,) bool, no room for the key.
        lost: partitions whose stored state is not what we rely on: recover them, read their records again.
    """

    slots: Slots
    refused: Flags
    lost: frozenset[Partition]


def layout_of(parts: Sequence[Columns]) -> str:
    """Return text that changes whenever the packed state of these parts changes its form."""
    return "|".join(part.layout for part in parts)


class KeyStates(Announcer):
    """All per-key state of this process. Mutated by the engine's thread only."""

    def __init__(
        self,
        table: KeyTable,
        parts: Sequence[Columns],
        store: StateStore,
        learnt: Mapping[bytes, bytes] | None = None,
        passing: Sequence[Columns] = (),
    ) -> None:
        """Join the parts of a key's state.

        Args:
            table: slots of the keys.
            parts: state of each stage, in the order in which it is packed (`Stages.state`).
            store: where state survives.
            learnt: packed state by key, for keys that are new.
            passing: what is known of a key only as long as it is in memory: forgotten with it, never stored.
        """
        self.table, self.parts, self.store, self._learnt = table, tuple(parts), store, learnt or {}
        self._passing = tuple(passing)
        self._is_split_told = False
        self._log = get_logger()

    @property
    def layout(self) -> str:
        """Text that changes whenever packed state changes its form."""
        return layout_of(self.parts)

    def admit(
        self, records: RecordBatch, partitions: Partitions, limits_ms: Mapping[Partition, int] = MappingProxyType({})
    ) -> Admission:
        """Find or make the slot of each record's key, loading stored state of keys seen for the first time.

        Of event times it learns nothing: `KeyTable.touch` does, once they are judged.

        Args:
            records: N records.
            partitions: progress of each partition of the batch; what is left to load of it is kept up to date.
            limits_ms: by partition, the event time beyond which none of these is to be believed.

        Raises:
            RetryableError: the store cannot be reached; keys of partitions before the failing one stay admitted,
                which is harmless.
        """
        slots = self.table.lookup(records.partitions, records.keys)
        unknown: dict[Partition, dict[bytes, None]] = {}  # ordered sets
        for index in np.flatnonzero(slots == NO_SLOT):
            unknown.setdefault(records.partitions[index], {})[records.keys[index]] = None
        is_lost = np.zeros(len(records), dtype=np.bool_)
        lost = set()
        if unknown:
            staying = np.unique(slots[slots != NO_SLOT])  # none of them is to make room for others
            for partition, now_ms in _newest_ms(records, unknown.keys(), limits_ms).items():
                if not self._bring_in(partition, list(unknown[partition]), partitions[partition], now_ms, staying):
                    lost.add(partition)
            slots = self.table.lookup(records.partitions, records.keys)
        if lost:
            is_lost[:] = [partition in lost for partition in records.partitions]
        slots[is_lost] = NO_SLOT
        return Admission(slots, (slots == NO_SLOT) & ~is_lost, frozenset(lost))

    def pack(self, slots: Slots) -> list[tuple[bytes, bytes]]:
        """Return key and packed state of each slot."""
        if not len(slots):
            return []
        packed = np.concatenate([part.export(slots) for part in self.parts], axis=1)
        return [(self.table.keys[slot], row.tobytes()) for slot, row in zip(slots, packed, strict=True)]

    def release(self, partition: Partition) -> Slots:
        """Forget a partition's keys; return the slots they had."""
        slots = self.table.release(partition)
        for part in self._passing:
            part.reset(slots)
        return slots

    def _bring_in(
        self, partition: Partition, keys: list[bytes], progress: Progress, now_event_ms: int, staying: Slots
    ) -> bool:
        """Admit new keys of one partition; False when the store no longer holds what we rely on."""
        for start in range(0, len(keys), LOAD_CHUNK_KEYS):
            chunk = keys[start : start + LOAD_CHUNK_KEYS]
            found = self._load(partition, chunk, progress)
            if found is None:
                return False
            for key in chunk:
                if self.table.is_elsewhere(key, partition):
                    self._tell_split(key, partition)
            slots, evicted = self.table.admit(partition, chunk, now_event_ms, staying)
            if len(evicted):
                self.listener.evicted(len(evicted))
            self._fill(slots, self._or_learnt(chunk, slots, found))
            progress.unread -= sum(
                state is not None and slot != NO_SLOT for state, slot in zip(found, slots, strict=True)
            )
        return True

    def _tell_split(self, key: bytes, partition: Partition) -> None:
        """Announce a key that another partition has too; the log says once what to do about it."""
        self.listener.split_key()
        if not self._is_split_told:
            self._is_split_told = True
            self._log.warning(
                "key_in_several_partitions",
                key=shown(key),
                topic=partition.topic,
                partition=partition.index,
                remedy="let the producer partition by the same field as input.key_field: state is kept per partition",
            )

    def _load(self, partition: Partition, keys: list[bytes], progress: Progress) -> list[bytes | None] | None:
        if progress.unread == 0:  # nothing stored that memory does not know
            return [None] * len(keys)
        found = self.store.load(partition, keys, progress.base)
        if found is None:
            return None
        gone = set(self.table.deleted(partition))  # evicted, but not yet deleted in the store
        return [None if key in gone else packed for key, packed in zip(keys, found, strict=True)]

    def _or_learnt(self, keys: list[bytes], slots: Slots, found: list[bytes | None]) -> list[bytes | None]:
        """Put what a bootstrap has learnt in the place of what the store does not hold."""
        if not self._learnt:
            return found
        joined = [packed or self._learnt.get(key) for key, packed in zip(keys, found, strict=True)]
        new = [
            slot != NO_SLOT and packed is not stored for slot, packed, stored in zip(slots, joined, found, strict=True)
        ]
        self.listener.bootstrapped(sum(new))
        return joined

    def _fill(self, slots: Slots, found: Sequence[bytes | None]) -> None:
        """Give admitted slots the packed state found, or that of a key nothing is known of."""
        taken = slots[slots != NO_SLOT]
        for part in (*self.parts, *self._passing):
            part.reset(taken)
        stored = [(slot, packed) for slot, packed in zip(slots, found, strict=True) if packed and slot != NO_SLOT]
        if not stored:
            return
        size = sum(part.size_bytes for part in self.parts)
        wrong = {len(packed) for _, packed in stored} - {size}
        if wrong:
            raise FatalError(
                f"stored key state has {sorted(wrong)} bytes where {size} were written: the store is damaged"
            )
        rows = np.frombuffer(b"".join(packed for _, packed in stored), dtype=np.uint8).reshape(len(stored), size)
        targets = np.array([slot for slot, _ in stored], dtype=np.int32)
        start = 0
        for part in self.parts:
            part.restore(targets, rows[:, start : start + part.size_bytes])
            start += part.size_bytes


def _newest_ms(
    records: RecordBatch, wanted: Collection[Partition], limits_ms: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Return the newest event time of each wanted partition, as far as it is to be believed."""
    found: dict[Partition, int] = {}
    for partition, run in records.runs():
        if partition in wanted:
            newest_ms = int(records.event_times_ms[run].max())
            found[partition] = max(found.get(partition, newest_ms), newest_ms)
    return {at: min(newest_ms, limits_ms.get(at, newest_ms)) for at, newest_ms in found.items()}
