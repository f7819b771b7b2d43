"""What the contract tests of stores need besides the contract: one face for Redis and its twin in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from redis import Redis

from streamae.batches import Partition
from streamae.connectors.buckets import bucket_of
from streamae.connectors.memory import MemoryStore
from streamae.connectors.protocols import StateStore
from streamae.connectors.redis_store import RedisStore
from streamae.settings.connections import StateSettings


class Store(ABC):
    """A store under test, and ways to damage it."""

    @abstractmethod
    def open(self) -> StateStore:
        """Open the store as one more process would."""

    @abstractmethod
    def close(self) -> None:
        """Close whatever was opened."""

    @abstractmethod
    def flush(self) -> None:
        """Lose everything."""

    @abstractmethod
    def lose_manifest(self, partition: Partition) -> None:
        """Lose one manifest."""

    @abstractmethod
    def lose_key(self, partition: Partition, key: bytes) -> None:
        """Lose one key."""

    @abstractmethod
    def lose_entry(self, partition: Partition, key: bytes) -> None:
        """Lose one entry of the roster."""

    @abstractmethod
    def remember(self, partition: Partition) -> None:
        """Remember a partition for `go_back`."""

    @abstractmethod
    def go_back(self, partition: Partition) -> None:
        """Go back to what was remembered."""


class InMemory(Store):
    """A `MemoryStore` is its own server: every process opens the same object."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.remembered: Any = None

    def open(self) -> MemoryStore:
        return self.store

    def close(self) -> None:
        self.store.close()

    def flush(self) -> None:
        self.store.flush()

    def lose_manifest(self, partition: Partition) -> None:
        self.store.lose_manifest(partition)

    def lose_key(self, partition: Partition, key: bytes) -> None:
        self.store.lose_keys(partition, [key])

    def lose_entry(self, partition: Partition, key: bytes) -> None:
        self.store.lose_entries(partition, [key])

    def remember(self, partition: Partition) -> None:
        self.remembered = self.store.snapshot()

    def go_back(self, partition: Partition) -> None:
        self.store.restore(self.remembered)


class InRedis(Store):
    """A real server, one prefix a test."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self.raw = Redis.from_url(url)
        self.opened: list[RedisStore] = []
        self.remembered: dict[bytes, bytes] = {}

    def open(self, **options: Any) -> RedisStore:
        settings = StateSettings(redis_url=self.url, key_prefix=self.prefix)
        self.opened.append(RedisStore(settings, "group", **options))
        return self.opened[-1]

    def close(self) -> None:
        for store in self.opened:
            store.close()
        self.raw.close()

    def keys(self) -> list[bytes]:
        """Return the keys of this test."""
        return list(self.raw.scan_iter(match=f"{self.prefix}:*"))

    def key(self, partition: Partition, last: str) -> str:
        """Return the name of a key as documented."""
        return f"{self.prefix}:{{group:{partition.topic}:{partition.index}}}:{last}"

    def flush(self) -> None:
        self.raw.delete(*self.keys())

    def lose_manifest(self, partition: Partition) -> None:
        assert self.raw.delete(self.key(partition, "m"))

    def lose_key(self, partition: Partition, key: bytes) -> None:
        assert self.raw.hdel(self.key(partition, f"b:{bucket_of(key)}"), key)

    def lose_entry(self, partition: Partition, key: bytes) -> None:
        assert self.raw.hdel(self.key(partition, f"r:{bucket_of(key)}"), key)

    def remember(self, partition: Partition) -> None:
        self.remembered = {key: self.raw.dump(key) or b"" for key in self.keys()}

    def go_back(self, partition: Partition) -> None:
        self.flush()
        for key, content in self.remembered.items():
            self.raw.restore(key, 0, content)
