"""The stored format every state store shares: buckets of keys, and the mark of the call that wrote a manifest.

A stored partition is cut into buckets so that a store which lost single keys is noticed by counting the
keys of the few buckets a call touches. So are the entries of the roster, in buckets of their own. The number is part of
the stored format: changing it orphans state.

Must not know: any store.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

from streamae.connectors.protocols import Stamp

BUCKETS = 256


def bucket_of(key: bytes) -> int:
    """Return the bucket of `key`, in [0, BUCKETS): the same in every process, release and machine.

    >>> bucket_of(b"pump-7")
    179
    """
    return zlib.crc32(key) % BUCKETS


def digest_of_call(
    base: int | None,
    new: int,
    stamp: Stamp,
    records: Sequence[tuple[bytes, bytes]],
    deleted: Sequence[bytes],
    *,
    roster: Sequence[tuple[bytes, bytes]] = (),
    off_roster: Sequence[bytes] = (),
    whole: bool = False,
) -> bytes:
    """Return 16 bytes that tell a repeated checkpoint call from another one to the same offset."""
    facts = f"{base} {new} {whole} {len(records)} {stamp.epoch} {stamp.identity} {stamp.fingerprint}"
    digest = hashlib.blake2b("\n".join((facts, *stamp.layouts)).encode(), digest_size=16)
    digest.update(stamp.partition_state)
    _update(digest, records, deleted)
    if roster or off_roster:
        digest.update(b"roster %d " % len(roster))
        _update(digest, roster, off_roster)
    return digest.digest()


def _update(digest: hashlib.blake2b, entries: Sequence[tuple[bytes, bytes]], deleted: Sequence[bytes]) -> None:
    for key, value in entries:
        digest.update(b"%d %d " % (len(key), len(value)))
        digest.update(key)
        digest.update(value)
    for key in deleted:
        digest.update(b"%d " % len(key))
        digest.update(key)
