"""The protocol as built, and the variants that lack one of its guards or go another way: each of them must fail.

A variant that never fails would mean that the check is blind, or the guard useless.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from scripts.verify.model_check.worker import Worker
from scripts.verify.model_check.world import FINGERPRINT, PARTITION
from streamae.batches import Partition
from streamae.connectors.buckets import bucket_of
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Manifest, Outcome, Span, Stamp
from streamae.engine.partitions import Plan

NONE, CRASH, ZOMBIES, ROLLBACK, FLUSH, LOST_KEY, MOVED_BACK, LOST_OFFSET, ALL = MIXES = (
    "none",
    "crash",
    "+zombies",
    "+rollback",
    "+flush",
    "+lost key",
    "+moved back",
    "+lost offset",
    "all",
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to do it.

    Attributes:
        name: for the table.
        worker: its processes.
        store: its store.
        is_fenced: whether the group refuses commits without a current generation.
        fails_in: fault mixes in which it is known to break; empty = never may.
        weight: shares of the schedules; more than one for what breaks seldom.
    """

    name: str
    worker: type[Worker] = Worker
    store: type[MemoryStore] = MemoryStore
    is_fenced: bool = True
    fails_in: tuple[str, ...] = ()
    weight: int = 1


class BlindWriteStore(MemoryStore):
    """Writes whatever it is told on top of whatever is there: no compare-and-set on the offset."""

    def checkpoint(
        self,
        partition: Partition,
        base: int | None,
        new: int,
        stamp: Stamp,
        records: Sequence[tuple[bytes, bytes]],
        deleted: Sequence[bytes] = (),
        *,
        whole: bool = False,
    ) -> Outcome:
        self.reach("before_checkpoint")
        stored = self._stored(partition)
        base = None if stored.manifest is None else new - 1
        if stored.manifest is not None:
            stored.manifest = replace(stored.manifest, offset=new - 1)
        return super().checkpoint(partition, base, new, stamp, records, deleted, whole=whole)


class UncountedStore(MemoryStore):
    """Believes that a bucket holds what it holds: no key count."""

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        self._believe(partition)
        return super().load(partition, keys, base)

    def checkpoint(
        self,
        partition: Partition,
        base: int | None,
        new: int,
        stamp: Stamp,
        records: Sequence[tuple[bytes, bytes]],
        deleted: Sequence[bytes] = (),
        *,
        whole: bool = False,
    ) -> Outcome:
        self._believe(partition)
        return super().checkpoint(partition, base, new, stamp, records, deleted, whole=whole)

    def _believe(self, partition: Partition) -> None:
        stored = self._stored(partition)
        if stored.manifest is not None:
            stored.manifest = replace(stored.manifest, counts=tuple(map(len, stored.buckets)))


class UncheckedReadStore(MemoryStore):
    """Reads keys without looking at the manifest."""

    def load(
        self,
        partition: Partition,
        keys: Sequence[bytes],
        base: int | None,  # noqa: ARG002 - what this variant leaves out
    ) -> list[bytes | None] | None:
        self.reach("load")
        stored = self._stored(partition)
        return [stored.buckets[bucket_of(key)].get(key) for key in keys]


class TrustsTheFuture(Worker):
    """Goes on from stored state that is ahead of the committed offset."""

    def _plan(self, span: Span, manifest: Manifest | None) -> Plan:
        if manifest is not None and span.committed is not None and manifest.offset > span.committed:
            return Plan(span.committed, span.committed, manifest.offset, drop_stored=False, reason="clean")
        return super()._plan(span, manifest)


class SavesFirst(TrustsTheFuture):
    """Saves state, then commits."""

    def _commit(self) -> Iterator[None]:
        if not self.is_blocked and self.world.choose(2):
            yield from self._save()
        if PARTITION in self.partitions:
            yield from super()._commit()


class ReadsSpanFirst(Worker):
    """Reads the committed offset before the manifest, which another owner may move in between."""

    reads_span_first = True


class TrustsLostBuckets(Worker):
    """Recovers from the very state that was found incomplete."""

    checks_buckets = False


class WritesWhatItKnows(Worker):
    """Writes lost state anew although it never loaded all of it."""

    counts_unread = False


class KeepsStateOfTheFuture(Worker):
    """Starts a group over that lost its offset, on the state that was stored."""

    def _plan(self, span: Span, manifest: Manifest | None) -> Plan:
        chosen = super()._plan(span, manifest)
        if manifest is not None and chosen.reason == "offsets_lost":
            return replace(chosen, base=manifest.offset, drop_stored=False)
        return chosen


class StaysBlocked(Worker):
    """Waits for a commit whose outputs were taken away."""

    unblocks = False


class SavesBesideATransaction(Worker):
    """Saves state whose outputs are not known to be committed."""

    settles_to_save = False


class ForgetsDoubts(Worker):
    """Sends again when nobody could say whether it was committed."""

    keeps_doubts = False


class MixesPolls(Worker):
    """Processes, after a recovery, what was polled before it."""

    mixes_polls = True


class TwoGenerations(Worker):
    """Keeps two states of a key, written before the commit; a reader takes the newest that is committed.

    A stored record is two slots of (end offset + 1, length, offsets). The manifest is not used.
    """

    def _plan(self, span: Span, manifest: Manifest | None) -> Plan:  # noqa: ARG002 - it has none
        start = span.committed or 0
        return Plan(start, start, start, drop_stored=False, reason="clean")

    def _admit(self, keys: set[bytes]) -> Generator[None, None, bool]:
        for key in sorted(keys - self.states.keys()):
            slot = self._newest(key)
            if slot is not None:
                self.states[key] = slot[1]
        yield from ()
        return True

    def _newest(self, key: bytes) -> tuple[int, bytes] | None:
        """Return the newest slot that is not above the committed offset."""
        committed = self.partitions[PARTITION].committed or 0
        return max((slot for slot in self._slots(key) if slot[0] <= committed), default=None)

    def _slots(self, key: bytes) -> list[tuple[int, bytes]]:
        manifest = self.world.store.manifest(PARTITION)
        found = self.world.store.load(PARTITION, [key], manifest.offset) if manifest else None
        packed, slots = (found[0] or b"") if found else b"", []
        while packed:
            end, size = packed[0], packed[1]
            slots.append((end, packed[2 : 2 + size]))
            packed = packed[2 + size :]
        return slots

    def _commit(self) -> Iterator[None]:
        if PARTITION in self.partitions and not self.is_blocked and self.dirty:
            yield
            store, end, records = self.world.store, self.partitions[PARTITION].position, []
            for key in self.dirty:
                slots = [slot for slot in (self._newest(key),) if slot and slot[0] != end] + [(end, self.states[key])]
                records.append((key, b"".join(bytes((at, len(state))) + state for at, state in slots)))
            store.checkpoint(PARTITION, None, end, Stamp(FINGERPRINT), records)
            self.dirty = {}
        yield from super()._commit()

    def _save(self) -> Iterator[None]:
        if PARTITION in self.partitions:  # it was saved before the commit
            self.partitions[PARTITION].base = self.partitions[PARTITION].position
        yield from ()


class TwoGenerationStore(BlindWriteStore, UncountedStore):
    """Writes on top, counts nothing."""


AS_BUILT = Protocol("as built")
VARIANTS = (
    Protocol("no compare-and-set", store=BlindWriteStore, fails_in=(ROLLBACK, FLUSH, ALL)),
    Protocol("no key count", store=UncountedStore, fails_in=(LOST_KEY, ALL)),
    Protocol("no read check", store=UncheckedReadStore, fails_in=(ROLLBACK, FLUSH, LOST_KEY, ALL)),
    Protocol("no future check", TrustsTheFuture, fails_in=(MOVED_BACK, ALL)),
    Protocol("no generation guard", is_fenced=False, fails_in=(NONE, ZOMBIES, ALL)),
    Protocol("offset read before manifest", ReadsSpanFirst, fails_in=(ZOMBIES,), weight=2),
    Protocol("recovers from lost buckets", TrustsLostBuckets, fails_in=(LOST_KEY, ALL)),
    Protocol("writes only what it knows", WritesWhatItKnows, fails_in=(FLUSH, LOST_KEY), weight=3),
    Protocol("keeps state of the future", KeepsStateOfTheFuture, fails_in=(LOST_OFFSET,)),
    Protocol("stays blocked", StaysBlocked, fails_in=(NONE, CRASH, ZOMBIES, ALL)),
    Protocol("saves beside a transaction", SavesBesideATransaction, fails_in=(NONE, CRASH, ZOMBIES)),
    Protocol("forgets doubts", ForgetsDoubts, fails_in=(CRASH, ZOMBIES)),
    Protocol("mixes polls", MixesPolls, fails_in=(FLUSH,)),
    Protocol("saves before it commits", SavesFirst, fails_in=(NONE, CRASH, ZOMBIES, ALL)),
    Protocol(
        "two generations", TwoGenerations, TwoGenerationStore, fails_in=(NONE, ZOMBIES, ROLLBACK, FLUSH, LOST_KEY, ALL)
    ),
)
