"""Which key lives in which slot: the only place where keys are bytes and slots are handed out.

A key belongs to a partition: the same bytes in two partitions are two keys. Capacity is hard: when all slots are
taken, the longest idle key goes, if it has been idle long enough in the event time of its own partition and is not
held (an open episode must not vanish with its key); otherwise a new key is refused. Knows neither what the slots hold nor where state is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from streamae.batches import Flags, Ints, Partition, Slots

NO_SLOT = -1
_LONG_AGO = np.iinfo(np.int64).min
_NOTHING: tuple[Slots, Ints] = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)


class KeyTable:
    """Maps (partition, key) to int32 slots and remembers which slots changed since the last checkpoint.

    Mutated by the engine's thread only; does not survive a restart (keys come back from the state store).
    """

    def __init__(
        self,
        capacity: int,
        idle_ms: int,
        is_held: Callable[[Slots], Flags] | None = None,
        on_admitted: Callable[[int, bytes], object] | None = None,
        *,
        keeps_evicted: bool = False,
    ) -> None:
        """Prepare for `capacity` keys.

        Args:
            capacity: hard limit.
            idle_ms: event time without a record after which a key may be evicted.
            is_held: tells which of some slots must stay all the same; None = none.
            on_admitted: told the slot of each key that moves in; None = nobody is told.
            keeps_evicted: what is stored of evicted keys stays: somebody else knows when it has to go.
        """
        self.keeps_evicted = keeps_evicted
        self.on_moved_in: Callable[[int, bytes], object] | None = None  # told after `on_admitted`
        self.on_left: Callable[[Slots], object] | None = None  # told the slots given up, before their keys go
        self.evicted: Counter[Partition] = Counter()  # whose stored state stays, until somebody takes note
        self.capacity, self.idle_ms, self._is_held, self._on_admitted = capacity, idle_ms, is_held, on_admitted
        self.keys: list[bytes] = [b""] * capacity
        self.owners: list[Partition | None] = [None] * capacity
        self._tables: dict[Partition, dict[bytes, int]] = {}
        self._free = list(range(capacity - 1, -1, -1))
        self._seen_ms = np.zeros(capacity, dtype=np.int64)
        self._used = np.zeros(capacity, dtype=np.bool_)
        self._dirty = np.zeros(capacity, dtype=np.bool_)
        self._owner_numbers = np.full(capacity, -1, dtype=np.int32)
        self._numbers: dict[Partition, int] = {}
        self._newest_ms = np.zeros(0, dtype=np.int64)  # newest event time of each partition, by number
        self._deleted: dict[Partition, dict[bytes, None]] = {}  # ordered sets
        self._leaving: dict[Partition, set[int]] = {}

    def __len__(self) -> int:
        """Keys resident."""
        return self.capacity - len(self._free)

    def lookup(self, partitions: Sequence[Partition], keys: Sequence[bytes]) -> Slots:
        """Return the slot of each key, `NO_SLOT` where it has none; partitions best come in runs."""
        slots: list[int] = []
        start = 0
        for partition, run in groupby(partitions):
            stop = start + len(list(run))
            find = self._tables.get(partition, {}).get
            slots.extend([find(key, NO_SLOT) for key in keys[start:stop]])
            start = stop
        return np.array(slots, dtype=np.int32)

    def admit(
        self, partition: Partition, keys: Sequence[bytes], now_event_ms: int, at_hand: tuple[Slots, Ints] = _NOTHING
    ) -> tuple[Slots, Slots]:
        """Give distinct new keys a slot. How far their partition is, only `touch` learns: these times are not judged yet.

        Args:
            partition: their partition.
            keys: distinct keys without a slot.
            now_event_ms: their newest event time.
            at_hand: slots of other keys with records at hand, and the event time of each.

        Returns:
            (n,) slots, `NO_SLOT` where there was no room; and the slots whose former keys were evicted for it.
        """
        table = self._tables.setdefault(partition, {})
        number = self._numbers.setdefault(partition, len(self._numbers))
        if number == len(self._newest_ms):
            self._newest_ms = np.append(self._newest_ms, _LONG_AGO)
        evicted = self._evict(len(keys) - len(self._free), number, now_event_ms, at_hand)
        slots = []
        for key in keys:
            slot = self._free.pop() if self._free else NO_SLOT
            if slot != NO_SLOT:
                self._deleted.get(partition, {}).pop(key, None)
                table[key] = slot
                self.keys[slot], self.owners[slot] = key, partition
                self._owner_numbers[slot] = number
                self._seen_ms[slot], self._used[slot], self._dirty[slot] = now_event_ms, True, False
                for told in (self._on_admitted, self.on_moved_in):
                    if told is not None:
                        told(slot, key)
            slots.append(slot)
        return np.array(slots, dtype=np.int32), evicted

    def is_elsewhere(self, key: bytes, partition: Partition) -> bool:
        """Tell whether another partition has the same key: its producer does not partition by key."""
        return any(key in table for owner, table in self._tables.items() if owner != partition)

    def touch(self, slots: Slots, event_times_ms: Ints) -> None:
        """Note records of these event times: their keys changed and are not idle, and their partitions are that far."""
        np.maximum.at(self._seen_ms, slots, event_times_ms)
        np.maximum.at(self._newest_ms, self._owner_numbers[slots], event_times_ms)
        self._dirty[slots] = True

    def change(self, slots: Slots) -> None:
        """Mark slots as changed, by something whose time does not count."""
        self._dirty[slots] = True

    def mark(self, slots: Slots) -> None:
        """Mark slots as changed without a record: what is stored of them is to be written anew."""
        self._dirty[slots] = True

    def dirty_count(self) -> int:
        """Keys changed since they were last taken."""
        return int(self._dirty.sum())

    def dirty(self, partition: Partition) -> Slots:
        """Return the changed slots of a partition; they stay marked until `clean`."""
        return np.flatnonzero(self._dirty & (self._owner_numbers == self._numbers.get(partition, -2))).astype(np.int32)

    def deleted(self, partition: Partition) -> list[bytes]:
        """Return the evicted keys whose stored state must go with the next checkpoint."""
        return list(self._deleted.get(partition, ()))

    def delete(self, partition: Partition, key: bytes) -> None:
        """Have the stored state of a key that is not in memory go with the next checkpoint."""
        self._deleted.setdefault(partition, {})[key] = None

    def leave(self, slot: int) -> None:
        """Give up a key, in memory and store; its slot still tells its key and owner until it is freed.

        A record of this key makes it a new one.
        """
        partition, key = self.owners[slot], self.keys[slot]
        assert partition is not None  # used slots have an owner
        del self._tables[partition][key]
        self.delete(partition, key)
        self._leaving.setdefault(partition, set()).add(slot)
        self._owner_numbers[slot] = -1
        self._used[slot] = self._dirty[slot] = False

    def free(self, slot: int) -> None:
        """Let others move in where a key has left."""
        partition = self.owners[slot]
        if partition is not None and slot in self._leaving.get(partition, ()):
            self._leaving[partition].remove(slot)
            self._forget(np.array([slot], dtype=np.int32))

    def rest(self, slots: Slots, since_ms: Ints) -> None:
        """Note since when the keys of slots (n,) are idle that no record has brought here."""
        self._seen_ms[slots] = since_ms

    def clean(self, partition: Partition, slots: Slots, deleted: Sequence[bytes]) -> None:
        """Note that these changes and deletions are stored."""
        self._dirty[slots] = False
        for key in deleted:
            self._deleted.get(partition, {}).pop(key, None)

    def release(self, partition: Partition) -> Slots:
        """Forget a partition; return the slots it had."""
        slots = np.array(
            [*self._tables.pop(partition, {}).values(), *sorted(self._leaving.pop(partition, ()))], dtype=np.int32
        )
        self.evicted.pop(partition, None)
        self._deleted.pop(partition, None)
        if partition in self._numbers:
            self._newest_ms[self._numbers[partition]] = _LONG_AGO  # it may come back at an older place
        self._forget(slots)
        return slots

    def resident(self) -> Slots:
        """Return all used slots."""
        return np.flatnonzero(self._used).astype(np.int32)

    def entries(self) -> list[tuple[int, bytes]]:
        """Return all used slots with their keys."""
        return [(slot, self.keys[slot]) for slot in self.resident().tolist()]

    def owned(self, partition: Partition) -> Slots:
        """Return the used slots of a partition."""
        return np.flatnonzero(self._owner_numbers == self._numbers.get(partition, -2)).astype(np.int32)

    def _evict(self, wanted: int, number: int, now_event_ms: int, at_hand: tuple[Slots, Ints]) -> Slots:
        """Free up to `wanted` slots of clean keys idle for long enough, longest idle first.

        Idle counts in the event time of the key's own partition, so that one that lags loses nothing. For this once it
        counts as if the records at hand, and one at `now_event_ms` of the partition with this number, were seen.
        """
        if wanted <= 0:
            return _NOTHING[0]
        slots, times_ms = at_hand
        seen, newest = self._seen_ms.copy(), self._newest_ms.copy()
        np.maximum.at(seen, slots, times_ms)
        np.maximum.at(newest, self._owner_numbers[slots], times_ms)
        newest[number] = max(newest[number], now_event_ms)
        clean = np.flatnonzero(self._used & ~self._dirty)
        idle = clean[np.maximum(newest[self._owner_numbers[clean]], seen[clean]) - seen[clean] >= self.idle_ms]
        if self._is_held is not None:
            idle = idle[~self._is_held(idle.astype(np.int32))]
        slots = idle[np.argsort(seen[idle], kind="stable")[:wanted]].astype(np.int32)
        for slot in slots:
            partition = self.owners[slot]
            assert partition is not None  # used slots have an owner
            del self._tables[partition][self.keys[slot]]
            if self.keeps_evicted:
                self.evicted[partition] += 1
            else:
                self.delete(partition, self.keys[slot])
        self._forget(slots)
        return slots

    def _forget(self, slots: Slots) -> None:
        if self.on_left is not None:
            self.on_left(slots)
        for slot in slots:
            self.keys[slot], self.owners[slot] = b"", None
        self._owner_numbers[slots] = -1
        self._used[slots] = False
        self._dirty[slots] = False
        self._free.extend(slots.tolist())
