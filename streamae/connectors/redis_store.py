"""Redis as a `StateStore`: per partition one manifest and 256 buckets, each change one atomic script.

All keys of a partition carry the same hash tag, so a script finds them on one node of a cluster:
    <prefix>:{<group>:<topic>:<partition>}:m              manifest
    <prefix>:{<group>:<topic>:<partition>}:b:<i>          bucket i: field = key, value = packed state
    <prefix>:{<group>:<topic>:<partition>}:r:<i>          bucket i of the roster: field = key, value = entry
    <prefix>:{<group>:<topic>:<partition>}:s:<call>:<i>   changes of bucket i of a large call, on their way there; those
                                                          of the roster are numbered behind those of the keys

The scripts check before they write; see `rules.lua`. Redis does nothing else while it runs a command, so none may be
long: a checkpoint of many keys first brings its changes into side hashes of its own, where they mean nothing (and
expire, if nobody goes on); then one short script checks all that an ordinary call checks, moves the manifest and
makes the side hashes count; then they are merged into the buckets, a few at a time. From the switch on the call has
happened: whoever comes next, after a crash too, merges first. Every command may run twice without harm.

Must not know: what packed state means, or what is done when the store has lost data.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from redis.exceptions import InvalidResponse, NoPermissionError

from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS, bucket_of, digest_of_call
from streamae.connectors.protocols import Manifest, Outcome, Stamp
from streamae.connectors.redis_changes import CALL_KEYS, ROSTER, Changes, keys_of_a_call, shared_out
from streamae.connectors.redis_client import BREAKER_MS, Breaker, connect
from streamae.connectors.store_health import judge
from streamae.errors import ConfigError, RetryableError
from streamae.fail_points import fail_point
from streamae.reasons import Problem
from streamae.settings.connections import StateSettings

COUNTS = struct.Struct(f"<{BUCKETS}I")
NONE = bytes(COUNTS.size)
ALL_BUCKETS = range(ROSTER + BUCKETS)
STAGE_TTL_MS = 600_000  # after which changes nobody made count are deleted
ATTEMPTS = 5


class RedisStore:
    """State store in Redis 7 or later. Connects with the first call.

    Args:
        settings: how to reach the server. rediss:// checks certificate and host name; `key_prefix` is the first part of
            every key: an ACL may allow nothing else.
        group: consumer group whose progress the state belongs to.
        clock: seconds on a monotonic clock, for the breaker only.
        breaker_ms: time after a failure in which calls fail without asking the server.
        ca_file: trusted authorities for rediss://; None = the system's.

    Raises:
        ConfigError: the URL cannot be read.
    """

    def __init__(
        self,
        settings: StateSettings,
        group: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        breaker_ms: int = BREAKER_MS,
        ca_file: str | None = None,
    ) -> None:
        self._prefix = settings.key_prefix
        self._group = group
        self._largest = 1  # bytes of the largest state read so far
        self._client = connect(settings, ca_file)
        self._breaker = Breaker(self._client, clock, breaker_ms)
        rules, register = _script("rules.lua"), self._client.register_script
        self._manifest = register(_script("manifest.lua"))
        self._load = register(_script("load.lua"))
        self._entries = register(_script("entries.lua"))
        self._checkpoint = register(rules + _script("checkpoint.lua"))
        self._switch = register(rules + _script("switch.lua"))
        self._merge = register(_script("merge.lua"))
        self._drop = register(_script("drop.lua"))

    def manifest(self, partition: Partition) -> Manifest | None:
        """Return the manifest; see `StateStore.manifest`."""
        keys = self._keys(partition, ALL_BUCKETS)
        with self._breaker.guarded("manifest"):
            stored = self._when_merged(partition, lambda: self._manifest(keys=keys), lambda found: found[5] is not None)
        offset, fingerprint, epoch, identity, counts, _, partition_state, entries, layouts, is_whole = stored
        if offset is None:
            return None
        return Manifest(
            int(offset),
            fingerprint.decode(),
            COUNTS.unpack(counts),
            int(epoch or 0),
            (identity or b"").decode(),
            bool(is_whole),
            partition_state or b"",
            COUNTS.unpack(entries) if entries else (),
            tuple(layouts.decode(errors="replace").split("\n")) if layouts else (),
        )

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        """Return packed states, checked; see `StateStore.load`."""
        loaded: list[bytes | None] = []
        with self._breaker.guarded("load"):
            while len(loaded) < len(keys):
                some = keys[len(loaded) : len(loaded) + keys_of_a_call(self._largest)]
                found = self._load_some(partition, some, base)
                if found is None:
                    return None
                loaded += found
                self._largest = max(self._largest, *(len(state or b"") for state in found))
        return loaded

    def roster(self, partition: Partition, base: int | None) -> list[tuple[bytes, bytes]] | None:
        """Return the whole roster, checked; see `StateStore.roster`."""
        entries: list[tuple[bytes, bytes]] = []
        with self._breaker.guarded("roster"):
            counts = self._entries_of(partition, base, (), ROSTER)
            if counts is None:
                return None
            for buckets in shared_out(COUNTS.unpack(counts[0] or NONE), CALL_KEYS):
                found = self._entries_of(partition, base, buckets, ROSTER)
                if found is None:
                    return None
                entries += zip(found[::2], found[1::2], strict=True)
        return entries

    def states(self, partition: Partition, base: int) -> Iterator[Sequence[tuple[bytes, bytes]]]:
        """Yield all keys with their packed state, some buckets at a time; see `StateStore.states`."""
        with self._breaker.guarded("states"):
            counts = _checked(self._entries_of(partition, base, ()), partition)
        for buckets in shared_out(COUNTS.unpack(counts[0] or NONE), CALL_KEYS // 4):  # states are larger than entries
            with self._breaker.guarded("states"):
                found = _checked(self._entries_of(partition, base, buckets), partition)
            yield list(zip(found[::2], found[1::2], strict=True))

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
        digest = digest_of_call(base, new, stamp, records, deleted, roster=roster, off_roster=off_roster, whole=whole)
        changes = Changes.of(records, deleted, roster, off_roster, is_all=whole or base is None)
        head = _Head.of(base, new, stamp, digest, whole=whole)
        with self._breaker.guarded("checkpoint"):
            save = self._checkpoint_large if changes.is_large else self._checkpoint_small
            outcome = save(partition, head, changes)
        fail_point("in_checkpoint")
        return outcome

    def drop(self, partition: Partition, at: int | None = None) -> bool:
        """Delete manifest and state; see `StateStore.drop`."""
        with self._breaker.guarded("drop"):
            return self._drop_all(partition, "" if at is None else at)

    def problems(self) -> Mapping[Problem, str]:
        """Return what is wrong with the server; see `Inspectable.problems`."""
        with self._breaker.guarded("info"):
            try:
                info: Any = self._client.info()
            except NoPermissionError as error:
                return {Problem.HIDDEN: f"INFO: {error}: allow it, so that eviction is noticed before it costs state"}
            except InvalidResponse as error:
                raise ConfigError([f"state.redis_url: what answers there is no Redis: {error}"]) from error
        return judge(info)

    def close(self) -> None:
        """Release connections; idempotent."""
        self._client.close()

    def _load_some(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        groups: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            groups.setdefault(bucket_of(key), []).append(position)
        arguments: list[bytes | str | int] = ["" if base is None else base]
        for bucket, positions in groups.items():
            arguments += [bucket, len(positions), *(keys[position] for position in positions)]
        names = self._keys(partition, groups)
        values = self._when_merged(
            partition, lambda: self._load(keys=names, args=arguments), lambda found: found == b"merging"
        )
        if values is None:
            return None
        loaded: list[bytes | None] = [None] * len(keys)
        for position, value in zip((at for positions in groups.values() for at in positions), values, strict=True):
            loaded[position] = value
        return loaded

    def _entries_of(
        self, partition: Partition, base: int | None, buckets: Iterable[int], first: int = 0
    ) -> list[bytes] | None:
        """Return what `entries.lua` answers; `first` = that of the keys, or `ROSTER`."""
        names = self._keys(partition, [first + bucket for bucket in buckets])
        arguments: list[str | int] = ["" if base is None else base, "rn" if first else "n", *buckets]
        found: list[bytes] | None = self._when_merged(
            partition, lambda: self._entries(keys=names, args=arguments), lambda answer: answer == b"merging"
        )
        return found

    def _checkpoint_small(self, partition: Partition, head: _Head, changes: Changes) -> Outcome:
        keys, arguments = self._keys(partition, changes.buckets), [*head, *changes.arguments()]
        return Outcome(self._answer(partition, lambda: self._checkpoint(keys=keys, args=arguments)))

    def _checkpoint_large(self, partition: Partition, head: _Head, changes: Changes) -> Outcome:
        """Bring changes in beside the buckets, make them count at once, then merge them."""
        digest = head.digest
        if self._fields(partition, "call") == (digest,):  # its answer was lost: nothing is to be brought in again
            return Outcome.OK if self._merge_all(partition) else Outcome.ROLLED_BACK
        for part in changes.parts():
            pipeline = self._client.pipeline(transaction=False)
            for bucket, fields in part.items():
                name = self._side_key(partition, digest, bucket)
                pipeline.hset(name, items=fields)
                pipeline.pexpire(name, STAGE_TTL_MS)
            pipeline.execute()
        keys, arguments = [self._manifest_key(partition)], [*head, keys_of_a_call(changes.largest)]
        for bucket in changes.buckets:
            keys += [self._bucket_key(partition, bucket), self._side_key(partition, digest, bucket)]
            arguments += [bucket, changes.size(bucket)]
        answer = self._answer(partition, lambda: self._switch(keys=keys, args=arguments))
        if answer == "not_staged":
            raise RetryableError("Redis checkpoint: a part of it is gone before it was complete")
        if answer == Outcome.OK and not self._merge_all(partition):
            return Outcome.ROLLED_BACK
        return Outcome(answer)

    def _answer(self, partition: Partition, ask: Callable[[], Any]) -> str:
        return str(self._when_merged(partition, ask, lambda answer: answer == b"merging").decode())

    def _when_merged(self, partition: Partition, ask: Callable[[], Any], is_merging: Callable[[Any], bool]) -> Any:
        """Return the answer to `ask`, once no changes wait to be merged."""
        for _ in range(ATTEMPTS):
            answer = ask()
            if not is_merging(answer):
                return answer
            self._merge_all(partition)
        raise RetryableError("Redis: another process saves large checkpoints all the time")

    def _merge_all(self, partition: Partition) -> bool:
        """Merge what a large call has staged, whoever made it; False when some of it is lost, and then all goes."""
        digest, staged, entries, at_once = self._staged(partition)
        if digest is None:
            return True
        for buckets in shared_out(COUNTS.unpack(staged or NONE) + COUNTS.unpack(entries or NONE), at_once):
            keys = [self._manifest_key(partition)]
            for bucket in buckets:
                keys += [self._bucket_key(partition, bucket), self._side_key(partition, digest, bucket)]
            if self._merge(keys=keys, args=[digest, *buckets]) == b"lost":
                self._drop_all(partition, "")
                return False
        return True

    def _drop_all(self, partition: Partition, at: int | str) -> bool:
        for _ in range(ATTEMPTS):
            digest, *_ = self._staged(partition)
            keys = self._keys(partition, ALL_BUCKETS)
            if digest is not None:
                keys += [self._side_key(partition, digest, bucket) for bucket in ALL_BUCKETS]
            answer: Any = self._drop(keys=keys, args=[at, digest or ""])
            if answer != b"again":
                return bool(answer == b"gone")
        raise RetryableError("Redis drop: another process saves large checkpoints all the time")

    def _staged(self, partition: Partition) -> tuple[bytes | None, bytes | None, bytes | None, int]:
        """Return digest and counts of a large call that is being merged, and how many changes to merge in a command."""
        digest, staged, entries, at_once, call = self._fields(partition, "stage", "sn", "rsn", "sk", "call")
        if digest is None and entries is not None:  # a release that knows no roster has merged the keys
            digest = call
        return digest, staged, entries, int(at_once or CALL_KEYS)

    def _fields(self, partition: Partition, *fields: str) -> tuple[bytes | None, ...]:
        found: Any = self._client.hmget(self._manifest_key(partition), list(fields))
        return tuple(found)

    def _manifest_key(self, partition: Partition) -> str:
        return f"{self._prefix}:{{{self._group}:{partition.topic}:{partition.index}}}:m"

    def _bucket_key(self, partition: Partition, bucket: int) -> str:
        kind, index = ("b", bucket) if bucket < ROSTER else ("r", bucket - ROSTER)
        return f"{self._manifest_key(partition)[:-1]}{kind}:{index}"

    def _side_key(self, partition: Partition, digest: bytes, bucket: int) -> str:
        return f"{self._manifest_key(partition)[:-1]}s:{digest.hex()}:{bucket}"

    def _keys(self, partition: Partition, buckets: Iterable[int]) -> list[str]:
        """Return the keys of the manifest and of these buckets, in this order; see `redis_changes.ROSTER`."""
        return [self._manifest_key(partition), *(self._bucket_key(partition, bucket) for bucket in buckets)]


class _Head(NamedTuple):
    """What `rules.lua` takes."""

    base: int | str
    new: int
    fingerprint: str
    epoch: int
    identity: str
    digest: bytes
    whole: int
    partition_state: bytes
    layouts: str
    fingerprint_relied_on: str
    layouts_relied_on: str

    @classmethod
    def of(cls, base: int | None, new: int, stamp: Stamp, digest: bytes, *, whole: bool) -> _Head:
        relied_on = stamp.relied_on or stamp.form
        return cls(
            "" if base is None else base,
            new,
            stamp.fingerprint,
            stamp.epoch,
            stamp.identity,
            digest,
            int(whole),
            stamp.partition_state,
            "\n".join(stamp.layouts),
            relied_on.fingerprint,
            "\n".join(relied_on.layouts),
        )


def _checked(found: list[bytes] | None, partition: Partition) -> list[bytes]:
    """Return what was read, if it is what the caller relies on."""
    if found is None:
        raise RetryableError(f"the state of {partition.topic}-{partition.index} has changed hands: looking again")
    return found


def _script(name: str) -> str:
    return resources.files("streamae.connectors").joinpath(name).read_text(encoding="utf-8")
