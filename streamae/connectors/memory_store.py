"""Redis in memory: a state store with the contract of the real one and a switch for every way to lose data.

Must not know: a client library, time, or what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS, bucket_of, digest_of_call
from streamae.connectors.protocols import Manifest, Outcome, Stamp
from streamae.errors import RetryableError

NONE = (0,) * BUCKETS


class Switches:
    """Errors waiting at named points; each is raised once and gone."""

    points: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._waiting: dict[str, list[BaseException]] = {}

    def fail_at(self, point: str, error: BaseException, times: int = 1) -> None:
        """Raise `error` the next `times` times `point` is reached.

        Raises:
            ValueError: there is no such point.
        """
        if point not in self.points:
            raise ValueError(f"no point {point!r}; there are {', '.join(self.points)}")
        self._waiting.setdefault(point, []).extend([error] * times)

    def reach(self, point: str) -> None:
        """Raise what waits at `point`, if anything does."""
        waiting = self._waiting.get(point)
        if waiting:
            raise waiting.pop(0)


@dataclass(slots=True)
class _Stored:
    """What is kept of one partition: the manifest, the call that wrote it, keys and roster by bucket."""

    manifest: Manifest | None = None
    call: bytes = b""
    buckets: list[dict[bytes, bytes]] = field(default_factory=lambda: [{} for _ in range(BUCKETS)])
    roster: list[dict[bytes, bytes]] = field(default_factory=lambda: [{} for _ in range(BUCKETS)])

    def copy(self) -> _Stored:
        """Return one that does not change with this one."""
        roster = [bucket.copy() for bucket in self.roster]
        return _Stored(self.manifest, self.call, [bucket.copy() for bucket in self.buckets], roster)

    def is_whole(self, buckets: Iterable[int], roster: Iterable[int] = ()) -> bool:
        """Whether these buckets hold as many keys, and those of the roster as many entries, as the manifest says."""
        counts = self.manifest.counts if self.manifest else NONE
        entries = (self.manifest.roster_counts if self.manifest else ()) or NONE
        return all(len(self.buckets[bucket]) == counts[bucket] for bucket in buckets) and all(
            len(self.roster[bucket]) == entries[bucket] for bucket in roster
        )

    def move(self, new: int, stamp: Stamp, call: bytes, touched: Iterable[int], entries: Iterable[int]) -> None:
        """Move the manifest; the keys of touched buckets, and the entries of those of the roster, are counted anew."""
        counts = list(self.manifest.counts if self.manifest else NONE)
        roster = list((self.manifest.roster_counts if self.manifest else ()) or NONE)
        for bucket in touched:
            counts[bucket] = len(self.buckets[bucket])
        for bucket in entries:
            roster[bucket] = len(self.roster[bucket])
        self.manifest = Manifest(
            new,
            stamp.fingerprint,
            tuple(counts),
            stamp.epoch,
            stamp.identity,
            partition_state=stamp.partition_state,
            roster_counts=tuple(roster) if any(roster) else (),
            layouts=stamp.layouts,
        )
        self.call = call


class MemoryStore(Switches):
    """State store in memory; outlives the engines of a test, as Redis outlives a process.

    Points for `fail_at`: `manifest`, `load`, `roster`, `states`, `drop`; `before_checkpoint` (nothing is stored),
    `after_checkpoint` (stored, but the answer is lost).
    """

    points = ("manifest", "load", "roster", "states", "drop", "before_checkpoint", "after_checkpoint")

    def __init__(self) -> None:
        super().__init__()
        self._partitions: dict[Partition, _Stored] = {}

    def manifest(self, partition: Partition) -> Manifest | None:
        """Return the manifest; see `StateStore.manifest`."""
        self.reach("manifest")
        stored = self._stored(partition)
        if stored.manifest is None or stored.is_whole(range(BUCKETS), range(BUCKETS)):
            return stored.manifest
        return replace(stored.manifest, is_whole=False)

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        """Return packed states, checked; see `StateStore.load`."""
        self.reach("load")
        stored = self._stored(partition)
        if base is None:
            return None if stored.manifest else [None] * len(keys)
        if stored.manifest is None or stored.manifest.offset != base:
            return None
        if not stored.is_whole({bucket_of(key) for key in keys}):
            return None
        return [stored.buckets[bucket_of(key)].get(key) for key in keys]

    def roster(self, partition: Partition, base: int | None) -> list[tuple[bytes, bytes]] | None:
        """Return the whole roster, checked; see `StateStore.roster`."""
        self.reach("roster")
        stored = self._stored(partition)
        if base is None:
            return None if stored.manifest else []
        if stored.manifest is None or stored.manifest.offset != base or not stored.is_whole((), range(BUCKETS)):
            return None
        return [entry for bucket in stored.roster for entry in bucket.items()]

    def states(self, partition: Partition, base: int) -> Iterator[Sequence[tuple[bytes, bytes]]]:
        """Yield all keys with their packed state, bucket by bucket; see `StateStore.states`."""
        for bucket in range(BUCKETS):
            self.reach("states")
            stored = self._stored(partition)
            if stored.manifest is None or stored.manifest.offset != base or not stored.is_whole([bucket]):
                raise RetryableError(
                    f"the state of {partition.topic}-{partition.index} has changed hands: looking again"
                )
            if stored.buckets[bucket]:
                yield list(stored.buckets[bucket].items())

    def checkpoint(
        self,
        partition: Partition,
        base: int | None,
        new: int,
        stamp: Stamp,
        records: Sequence[tuple[bytes, bytes]],
        deleted: Sequence[bytes] = (),
        *,
        roster: Sequence[tuple[bytes, bytes]] = (),
        off_roster: Sequence[bytes] = (),
        whole: bool = False,
    ) -> Outcome:
        """Save changed keys and move the manifest; see `StateStore.checkpoint`."""
        self.reach("before_checkpoint")
        call = digest_of_call(base, new, stamp, records, deleted, roster=roster, off_roster=off_roster, whole=whole)
        stored = self._stored(partition)
        outcome = _judge(stored, None if whole else base, new, stamp, call, whole=whole)
        touched, entries = _touched(records, deleted), _touched(roster, off_roster)
        is_replaced = whole or base is None
        if outcome is None and not is_replaced and not stored.is_whole(touched, entries):
            outcome = Outcome.ROLLED_BACK
        if outcome is not None:
            return outcome
        if is_replaced:
            stored = _Stored()
        self._partitions[partition] = stored
        _change(stored.buckets, records, deleted)
        _change(stored.roster, roster, off_roster)
        stored.move(new, stamp, call, touched, entries)
        self.reach("after_checkpoint")
        return Outcome.OK

    def drop(self, partition: Partition, at: int | None = None) -> bool:
        """Delete manifest and state; see `StateStore.drop`."""
        self.reach("drop")
        manifest = self._partitions[partition].manifest if partition in self._partitions else None
        if at is not None and manifest is not None and manifest.offset != at:
            return False
        self._partitions.pop(partition, None)
        return True

    def close(self) -> None:
        """Nothing to release."""

    # Ways to lose data.

    def flush(self) -> None:
        """Lose everything, as FLUSHALL does."""
        self._partitions.clear()

    def lose_manifest(self, partition: Partition) -> None:
        """Lose the manifest only, as an eviction may."""
        self._stored(partition).manifest = None

    def lose_keys(self, partition: Partition, keys: Iterable[bytes]) -> None:
        """Lose single keys while the manifest still counts them."""
        for key in keys:
            self._stored(partition).buckets[bucket_of(key)].pop(key, None)

    def lose_entries(self, partition: Partition, keys: Iterable[bytes]) -> None:
        """Lose single entries of the roster while the manifest still counts them."""
        for key in keys:
            self._stored(partition).roster[bucket_of(key)].pop(key, None)

    def snapshot(self) -> dict[Partition, _Stored]:
        """Return a copy of everything for `restore`."""
        return {partition: stored.copy() for partition, stored in self._partitions.items()}

    def restore(self, snapshot: dict[Partition, _Stored]) -> None:
        """Go back to an earlier `snapshot`, as a fail-over to a replica that lags behind does."""
        self._partitions = {partition: stored.copy() for partition, stored in snapshot.items()}

    def _stored(self, partition: Partition) -> _Stored:
        return self._partitions.get(partition) or _Stored()  # to ask leaves no trace


def _touched(entries: Sequence[tuple[bytes, bytes]], deleted: Sequence[bytes]) -> set[int]:
    return {bucket_of(key) for key, _ in entries} | {bucket_of(key) for key in deleted}


def _change(
    buckets: list[dict[bytes, bytes]], entries: Sequence[tuple[bytes, bytes]], deleted: Sequence[bytes]
) -> None:
    for key in deleted:
        buckets[bucket_of(key)].pop(key, None)
    for key, value in entries:
        buckets[bucket_of(key)][key] = value


def _judge(stored: _Stored, base: int | None, new: int, stamp: Stamp, call: bytes, *, whole: bool) -> Outcome | None:
    """Return why a checkpoint is answered without being carried out, None when it may be."""
    manifest = stored.manifest
    if manifest is None:
        return None if base is None else Outcome.ROLLED_BACK
    if manifest.offset == new and stored.call == call:
        return Outcome.OK
    forms = {stamp.form, stamp.relied_on or stamp.form}
    is_ours = manifest.fingerprint in {form.fingerprint for form in forms} if whole else manifest.form in forms
    if manifest.offset >= new or not is_ours or manifest.epoch > stamp.epoch:
        return Outcome.STALE
    if manifest.identity and stamp.identity and manifest.identity != stamp.identity:
        return Outcome.STALE
    if whole:
        return None
    if base is None:
        return Outcome.STALE
    return Outcome.ROLLED_BACK if manifest.offset < base else None
