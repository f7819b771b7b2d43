"""What one checkpoint changes, on its way to Redis: sorted by bucket, and cut so that no command takes long.

Buckets of the roster are numbered behind those of the keys: `ROSTER` is the first.

Must not know: a client library, or what packed state means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from streamae.connectors.buckets import BUCKETS, bucket_of

ROSTER = BUCKETS
CALL_KEYS, CALL_BYTES = 2_000, 1 << 21  # most of one command, about 10 ms: Redis does nothing else meanwhile


@dataclass(frozen=True, slots=True)
class Changes:
    """Sets and deletes of one checkpoint, by bucket."""

    sets: dict[int, list[bytes]]  # key, value, key, value...
    deletes: dict[int, list[bytes]]
    buckets: Sequence[int]

    @classmethod
    def of(
        cls,
        records: Sequence[tuple[bytes, bytes]],
        deleted: Sequence[bytes],
        roster: Sequence[tuple[bytes, bytes]] = (),
        off_roster: Sequence[bytes] = (),
        *,
        is_all: bool,
    ) -> Changes:
        """Sort changes by bucket; `is_all`: name the buckets without changes too."""
        sets: dict[int, list[bytes]] = {}
        deletes: dict[int, list[bytes]] = {}
        for first, entries, gone in ((0, records, deleted), (ROSTER, roster, off_roster)):
            for key, value in entries:
                sets.setdefault(first + bucket_of(key), []).extend((key, value))
            for key in gone:
                deletes.setdefault(first + bucket_of(key), []).append(key)
        return cls(sets, deletes, range(ROSTER + BUCKETS) if is_all else sorted(sets.keys() | deletes.keys()))

    @property
    def is_large(self) -> bool:
        """Whether one command would keep Redis busy for too long."""
        keys = sum(self.size(bucket) for bucket in self.buckets)
        return keys > CALL_KEYS or sum(map(len, chain.from_iterable(self.sets.values()))) > CALL_BYTES

    @property
    def largest(self) -> int:
        """Bytes of the largest packed state."""
        return max((len(state) for sets in self.sets.values() for state in sets[1::2]), default=1)

    def size(self, bucket: int) -> int:
        """Changes of a bucket."""
        return len(self.sets.get(bucket, ())) // 2 + len(self.deletes.get(bucket, ()))

    def arguments(self) -> Iterator[bytes | int]:
        """Return what `checkpoint.lua` takes."""
        for bucket in self.buckets:
            sets, deletes = self.sets.get(bucket, []), self.deletes.get(bucket, [])
            yield from (bucket, len(sets) // 2, len(deletes))
            yield from sets
            yield from deletes

    def parts(self) -> Iterator[dict[int, list[bytes]]]:
        """Return fields and values of the side hashes, in portions for one round trip each."""
        part: dict[int, list[bytes]] = {}
        taken = 0
        for bucket in self.buckets:
            sets = self.sets.get(bucket, [])
            changes = [(key, b"+" + value) for key, value in zip(sets[::2], sets[1::2], strict=True)]
            changes += [(key, b"-") for key in self.deletes.get(bucket, ())]
            for key, value in changes:
                part.setdefault(bucket, []).extend((key, value))
                taken += len(key) + len(value) + CALL_BYTES // CALL_KEYS
                if taken >= CALL_BYTES:
                    yield part
                    part, taken = {}, 0
        if part:
            yield part


def keys_of_a_call(state_bytes: int) -> int:
    """Return how many states of this size one command may read or write."""
    return max(1, min(CALL_KEYS, CALL_BYTES // max(state_bytes, 1)))


def shared_out(sizes: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """Return groups of buckets that are merged in one command each: about `at_once` changes, or one bucket."""
    group: list[int] = []
    taken = 0
    for bucket, size in enumerate(sizes):
        if group and taken + size > at_once:
            yield group
            group, taken = [], 0
        if size:
            group.append(bucket)
            taken += size
    if group:
        yield group
