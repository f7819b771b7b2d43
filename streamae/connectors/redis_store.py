"""Redis as a `StateStore`: per partition one manifest and 256 buckets, each change one atomic script.

All keys of a partition carry the same hash tag, so a script finds them on one node of a cluster:
    <prefix>:{<group>:<topic>:<partition>}:m        manifest
    <prefix>:{<group>:<topic>:<partition>}:b:<i>    bucket i: field = key, value = packed state

The scripts check before they write; see `checkpoint.lua` for the rules. The client's own patience (up to a
minute a call) is replaced by one short wait, one retry of a lost connection, and a breaker: after a failure
the next calls fail at once for a while, so that a dead Redis never holds up the stream. Every command may run
twice without harm.

Must not know: what packed state means, or what is done when the store has lost data.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS, bucket_of, digest_of_call
from streamae.connectors.protocols import Manifest, Outcome
from streamae.connectors.store_health import Problem, judge
from streamae.errors import ConfigError, RetryableError
from streamae.fail_points import fail_point

COUNTS = struct.Struct(f"<{BUCKETS}I")


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How to reach the server.

    Attributes:
        url: redis://, rediss:// (TLS, certificate and host name are checked) or unix://, without a password.
        password: never shown.
        timeout_ms: longest wait for one answer, and for a connection.
        breaker_ms: time after a failure in which calls fail without asking the server.
        ssl_ca_file: trusted authorities for rediss://; None = the system's.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_ms: int = 1_000
    breaker_ms: int = 1_000
    ssl_ca_file: str | None = None


class RedisStore:
    """State store in Redis 7 or later. Connects with the first call.

    Args:
        prefix: first part of every key; an ACL may allow nothing else.
        group: consumer group whose progress the state belongs to.
        clock: seconds on a monotonic clock, for the breaker only.

    Raises:
        ConfigError: the URL cannot be read.
    """

    def __init__(
        self, options: RedisOptions, prefix: str, group: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._prefix = prefix
        self._group = group
        self._clock = clock
        self._breaker_s = options.breaker_ms / 1_000
        self._closed_until_s = -float("inf")
        self._client = _connect(options)
        self._checkpoint = self._client.register_script(_script("checkpoint.lua"))
        self._load = self._client.register_script(_script("load.lua"))
        self._drop = self._client.register_script(_script("drop.lua"))

    def manifest(self, partition: Partition) -> Manifest | None:
        """Return the manifest; see `StateStore.manifest`."""
        with self._guarded("manifest"):
            stored: Any = self._client.hmget(self._manifest_key(partition), ["off", "fp", "n"])
        offset, fingerprint, counts = stored
        if offset is None:
            return None
        return Manifest(int(offset), fingerprint.decode(), COUNTS.unpack(counts))

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        """Return packed states, checked; see `StateStore.load`. About 2,000 keys a call keep the server responsive."""
        groups: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            groups.setdefault(bucket_of(key), []).append(position)
        arguments: list[bytes | str | int] = ["" if base is None else base]
        for bucket, positions in groups.items():
            arguments += [bucket, len(positions), *(keys[position] for position in positions)]
        with self._guarded("load"):
            values: Any = self._load(keys=self._keys(partition, groups), args=arguments)
        if values is None:
            return None
        loaded: list[bytes | None] = [None] * len(keys)
        for position, value in zip((at for positions in groups.values() for at in positions), values, strict=True):
            loaded[position] = value
        return loaded

    def checkpoint(
        self,
        partition: Partition,
        base: int | None,
        new: int,
        fingerprint: str,
        records: Sequence[tuple[bytes, bytes]],
        deleted: Sequence[bytes] = (),
    ) -> Outcome:
        """Save changed keys and move the manifest; see `StateStore.checkpoint`.

        About 2,000 keys a call keep the server responsive: it does nothing else meanwhile.
        """
        sets: dict[int, list[bytes]] = {}
        deletes: dict[int, list[bytes]] = {}
        for key, value in records:
            sets.setdefault(bucket_of(key), []).extend((key, value))
        for key in deleted:
            deletes.setdefault(bucket_of(key), []).append(key)
        buckets = range(BUCKETS) if base is None else sorted(sets.keys() | deletes.keys())
        call = digest_of_call(base, new, fingerprint, records, deleted)
        arguments: list[bytes | str | int] = ["" if base is None else base, new, fingerprint, call]
        for bucket in buckets:
            to_set, to_delete = sets.get(bucket, []), deletes.get(bucket, [])
            arguments += [bucket, len(to_set) // 2, len(to_delete), *to_set, *to_delete]
        with self._guarded("checkpoint"):
            answer: Any = self._checkpoint(keys=self._keys(partition, buckets), args=arguments)
        fail_point("in_checkpoint")
        return Outcome(answer.decode())

    def drop(self, partition: Partition, at: int | None = None) -> bool:
        """Delete manifest and state; see `StateStore.drop`."""
        with self._guarded("drop"):
            answer: Any = self._drop(keys=self._keys(partition, range(BUCKETS)), args=["" if at is None else at])
        return bool(answer)

    def problems(self) -> Mapping[Problem, str]:
        """Return what is wrong with the server; see `Inspectable.problems`."""
        with self._guarded("info"):
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

    def _manifest_key(self, partition: Partition) -> str:
        return f"{self._prefix}:{{{self._group}:{partition.topic}:{partition.index}}}:m"

    def _keys(self, partition: Partition, buckets: Sequence[int] | dict[int, list[int]]) -> list[str]:
        """Return the keys of the manifest and of these buckets, in this order."""
        manifest = self._manifest_key(partition)
        return [manifest, *(f"{manifest[:-1]}b:{bucket}" for bucket in buckets)]

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Run one conversation with the server behind the breaker.

        Raises:
            RetryableError: no answer, a refusal, or the breaker is open.
        """
        if self._clock() < self._closed_until_s:
            raise RetryableError(f"Redis {what}: it failed a moment ago and is not asked again yet")
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._closed_until_s = self._clock() + self._breaker_s
            raise RetryableError(f"Redis {what}: {error}") from error
        except RedisError as error:
            self._client.connection_pool.disconnect()  # a demoted server refuses writes for ever: look it up again
            raise RetryableError(f"Redis {what}: {error}") from error


def _connect(options: RedisOptions) -> Redis:
    timeout_s = options.timeout_ms / 1_000
    credentials = {"username": options.username, "password": options.password}
    tls = {"ssl_ca_certs": options.ssl_ca_file} if options.url.startswith("rediss://") else {}
    arguments: dict[str, Any] = {name: value for name, value in (credentials | tls).items() if value is not None}
    try:
        return Redis.from_url(
            options.url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            protocol=2,
            **arguments,
        )
    except ValueError as error:
        raise ConfigError([f"state.redis_url: {error}"]) from error


def _script(name: str) -> str:
    return resources.files("streamae.connectors").joinpath(name).read_text(encoding="utf-8")
