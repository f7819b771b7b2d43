"""Key state between memory and store: who is resident, loading on first sight, packing for the checkpoint.

State of a key is loaded when its first record since assignment arrives, for all new keys of a poll in few calls,
so that taking a partition over costs nothing up front. State that other fields were packed in is taken over by field, and
written anew at the next checkpoint. A key of which nothing is stored, or nothing that can be read, begins with what a
bootstrap has learnt of it, if there was one. Each load is checked against the manifest the engine
relies on; once every stored key was loaded, the store is not asked any more. Knows neither records' values nor offsets' meaning beyond handing them to the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from streamae.batches import Flags, Ints, Partition, RecordBatch, Slots
from streamae.connectors.protocols import StateStore
from streamae.core.columns import Columns
from streamae.core.key_table import NO_SLOT, KeyTable
from streamae.engine.key_forms import KeyForms
from streamae.engine.partitions import Partitions, Progress
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger, shown

LOAD_CHUNK_KEYS = 2_000  # bounds how long one load blocks the store
NAMED_KEYS = 10  # of those whose state cannot be read, in a line of the log


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


class KeyStates(Announcer):
    """All per-key state of this process. Mutated by the engine's thread only."""

    def __init__(
        self,
        table: KeyTable,
        parts: Sequence[Columns],
        store: StateStore,
        learnt: Mapping[bytes, bytes] | None = None,
        passing: Sequence[Columns] = (),
        learnt_layout: str = "",
    ) -> None:
        """Join the parts of a key's state.

        Args:
            table: slots of the keys.
            parts: state of each stage, in the order in which it is packed (`Stages.state`).
            store: where state survives.
            learnt: packed state by key, for keys that are new.
            passing: what is known of a key only as long as it is in memory: forgotten with it, never stored.
            learnt_layout: in which `learnt` is packed; "" = the layout of the release before.
        """
        self.table, self.parts, self.store, self._learnt = table, tuple(parts), store, learnt or {}
        self._passing, self.forms = tuple(passing), KeyForms(parts)
        self._learnt_layout = learnt_layout or self.forms.bare
        self._is_split_told = False
        self._told_layouts = {self.layout}
        self._damaged: dict[int, None] = {}  # an ordered set of slots
        self._log = get_logger()

    @property
    def layout(self) -> str:
        """What is packed of a key, in words; see `core.layouts`."""
        return self.forms.layout

    def layouts(self, progress: Progress, *, whole: bool) -> tuple[str, ...]:
        """Return the layouts that stored values of a partition have once its changed keys, or all, are saved.

        Once every stored key was loaded, each was written anew where it was packed otherwise, or is about to be.
        """
        is_all_ours = whole or progress.base is None or progress.unread == 0
        return self.forms.listed(None if is_all_ours else progress.form)

    def take_damaged(self) -> Slots:
        """Return the slots of resident keys that began anew because what was stored of them could not be read.

        Each is returned once.
        """
        slots = np.array(list(self._damaged), dtype=np.int32)
        self._damaged.clear()
        return slots

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
        unknown: dict[Partition, dict[bytes, int]] = {}
        for index in np.flatnonzero(slots == NO_SLOT).tolist():
            unknown.setdefault(records.partitions[index], {}).setdefault(records.keys[index], index)
        is_lost = np.zeros(len(records), dtype=np.bool_)
        lost = set()
        if unknown:
            times_ms, known = _believable_ms(records, limits_ms), slots != NO_SLOT
            at_hand = slots[known], times_ms[known]  # these are in use: who is idle is judged with them
            for partition, firsts in unknown.items():
                now_ms = int(times_ms[list(firsts.values())].max())
                if not self.bring_in(partition, list(firsts), partitions, now_ms, at_hand):
                    lost.add(partition)
            slots = self.table.lookup(records.partitions, records.keys)
        if lost:
            is_lost[:] = [partition in lost for partition in records.partitions]
        slots[is_lost] = NO_SLOT
        return Admission(slots, (slots == NO_SLOT) & ~is_lost, frozenset(lost))

    def pack(self, slots: Slots) -> list[tuple[bytes, bytes]]:
        """Return key and value to store of each slot."""
        owners, seal = self.table.owners, self.forms.seal
        found = zip(slots.tolist(), self.packed(slots), strict=True)
        return [(key, seal(owner, key, row)) for slot, (key, row) in found if (owner := owners[slot]) is not None]

    def packed(self, slots: Slots) -> list[tuple[bytes, bytes]]:
        """Return key and packed fields of each slot, without what says whose they are."""
        if not len(slots):
            return []
        rows = self.forms.pack(slots)
        return [(self.table.keys[slot], row.tobytes()) for slot, row in zip(slots.tolist(), rows, strict=True)]

    def release(self, partition: Partition) -> Slots:
        """Forget a partition's keys; return the slots they had."""
        slots = self.table.release(partition)
        for part in self._passing:
            part.reset(slots)
        for slot in slots.tolist():
            self._damaged.pop(slot, None)
        return slots

    def bring_in(
        self,
        partition: Partition,
        keys: list[bytes],
        partitions: Partitions,
        now_event_ms: int,
        at_hand: tuple[Slots, Ints],
    ) -> bool:
        """Admit keys of one partition that are not in memory; False when the store no longer holds what we rely on.

        Args:
            partition, keys: whose; distinct.
            partitions: progress of all owned partitions.
            now_event_ms, at_hand: see `KeyTable.admit`.

        Raises:
            RetryableError: the store cannot be reached.
        """
        progress = partitions[partition]
        for start in range(0, len(keys), LOAD_CHUNK_KEYS):
            chunk = keys[start : start + LOAD_CHUNK_KEYS]
            found = self._load(partition, chunk, progress)
            if found is None:
                return False
            for key in chunk:
                if self.table.is_elsewhere(key, partition):
                    self._tell_split(key, partition)
            slots, evicted = self.table.admit(partition, chunk, now_event_ms, at_hand)
            if len(evicted):
                self.listener.evicted(len(evicted))
                for owner, count in self.table.evicted.items():
                    partitions[owner].unread += count  # stored, and not in memory any more
                self.table.evicted.clear()
            self._fill(partition, chunk, slots, found, progress)
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

    def _fill(
        self,
        partition: Partition,
        keys: Sequence[bytes],
        slots: Slots,
        found: Sequence[bytes | None],
        progress: Progress,
    ) -> None:
        """Give admitted keys what is stored of them, else what a bootstrap has learnt, else the state of a new key."""
        self._reset(slots[slots != NO_SLOT])
        layouts, learnt = self.forms.readable(progress.form), 0
        rows: dict[str, list[tuple[int, bytes]]] = {}
        damaged: list[tuple[int, bytes]] = []
        for key, slot, value in zip(keys, slots.tolist(), found, strict=True):
            if slot == NO_SLOT:
                continue
            opened = None if value is None else self.forms.open(partition, key, value, layouts)
            if value is not None and opened is None:
                damaged.append((slot, key))
            if opened is None and key in self._learnt:
                opened = self._learnt_layout, self._learnt[key]
                learnt += 1
            if opened is not None:
                rows.setdefault(opened[0], []).append((slot, opened[1]))
        for layout, chosen in rows.items():
            targets = np.array([slot for slot, _ in chosen], dtype=np.int32)
            self.forms.restore(layout, targets, [packed for _, packed in chosen])
            if layout != self.layout:
                self.table.mark(targets)
                self._tell_other_form(layout)
        if self._learnt:
            self.listener.bootstrapped(learnt)
        if damaged:
            self._tell_damaged(partition, damaged)

    def _reset(self, slots: Slots) -> None:
        for part in (*self.parts, *self._passing):
            part.reset(slots)
        for slot in slots.tolist():
            self._damaged.pop(slot, None)

    def _tell_damaged(self, partition: Partition, damaged: Sequence[tuple[int, bytes]]) -> None:
        """Announce keys that begin anew; what is stored of them is to be written over."""
        self._damaged |= dict.fromkeys(slot for slot, _ in damaged)
        self.table.mark(np.array([slot for slot, _ in damaged], dtype=np.int32))
        self.listener.corrupt_states(len(damaged))
        self._log.error(
            "state_cannot_be_read",
            topic=partition.topic,
            partition=partition.index,
            keys=[shown(key) for _, key in damaged[:NAMED_KEYS]],
            count=len(damaged),
            meaning="these keys begin anew, no other key is concerned: what has written to the store beside streamae?",
        )

    def _tell_other_form(self, layout: str) -> None:
        """Say once a layout which fields begin anew."""
        migration = self.forms.migration(layout)
        if layout not in self._told_layouts and migration is not None and (migration.new or migration.gone):
            self._log.warning("state_migrates", new=migration.new, gone=migration.gone)
        self._told_layouts.add(layout)


def _believable_ms(records: RecordBatch, limits_ms: Mapping[Partition, int]) -> Ints:
    """Return the event times (N,), those of a partition with a limit no later than that."""
    times_ms = records.event_times_ms
    if limits_ms:
        times_ms = times_ms.copy()
        for partition, run in records.runs():
            if partition in limits_ms:
                np.minimum(times_ms[run], limits_ms[partition], out=times_ms[run])
    return times_ms
