"""What every store of told records promises, held against memory and Redis alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from scripts.services import RedisServer
from streamae.alerting.told_records import TextStore
from streamae.connectors.memory_told import MemoryTold
from streamae.connectors.redis_told import FIELDS_A_CALL, RedisTold
from streamae.settings.connections import StateSettings


class Told(ABC):
    """A store under test, and a way to empty it."""

    @abstractmethod
    def open(self, receiver: str = "pager") -> TextStore:
        """Open the store of one receiver as one more process would."""

    @abstractmethod
    def flush(self) -> None:
        """Lose everything."""


class InMemory(Told):
    """Each receiver's store is its own server."""

    def __init__(self) -> None:
        self.stores: dict[str, MemoryTold] = {}

    def open(self, receiver: str = "pager") -> MemoryTold:
        return self.stores.setdefault(receiver, MemoryTold())

    def flush(self) -> None:
        for store in self.stores.values():
            store.flush()


class InRedis(Told):
    """A real server, one prefix a test."""

    def __init__(self, url: str, prefix: str) -> None:
        self.settings = StateSettings(redis_url=url, key_prefix=prefix)
        self.raw = Redis.from_url(url)
        self.opened: list[RedisTold] = []

    def open(self, receiver: str = "pager") -> RedisTold:
        self.opened.append(RedisTold(self.settings, receiver))
        return self.opened[-1]

    def flush(self) -> None:
        self.raw.delete(*self.raw.scan_iter(match=f"{self.settings.key_prefix}:*"))

    def close(self) -> None:
        """Release connections."""
        for store in self.opened:
            store.close()
        self.raw.close()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def told(request: pytest.FixtureRequest, fresh_name: Callable[[str], str]) -> Iterator[Told]:
    """A store, in memory and for real."""
    if request.param == "memory":
        yield InMemory()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    opened = InRedis(server.url, fresh_name("told"))
    yield opened
    opened.close()


def test_what_was_never_saved_is_told_from_what_is_empty(told: Told) -> None:
    """A loss is noticed by this: of a group that has read on, something must have been kept."""
    store = told.open()
    assert store.load() is None
    store.save({}, b"[]")
    assert told.open().load() == ({}, b"[]")


def test_saved_texts_come_back_with_the_newest_mark(told: Told) -> None:
    """Another process knows what this one has told, and how far that reaches."""
    store = told.open()
    store.save({"a": b"\x00one", "b": b"two"}, b"7")
    store.save({"b": b"three"}, b"9")
    assert told.open().load() == ({"a": b"\x00one", "b": b"three"}, b"9")


def test_more_than_one_call_holds_comes_back_whole(told: Told) -> None:
    """Thousands of open episodes are saved and read in parts."""
    texts = {f"episode-{number}": b"x" * 100 for number in range(3 * FIELDS_A_CALL + 1)}
    store = told.open()
    store.save(texts, b"1")
    assert told.open().load() == (texts, b"1")
    store.forget(list(texts)[1:])
    assert told.open().load() == ({"episode-0": b"x" * 100}, b"1")


def test_receivers_know_nothing_of_each_other(told: Told) -> None:
    """What the pager was told says nothing of the chat."""
    told.open("pager").save({"a": b"1"}, b"1")
    assert told.open("chat").load() is None


def test_forgetting_is_for_good_and_may_be_repeated(told: Told) -> None:
    """Old episodes go; the store is not taken for a lost one when the last has gone."""
    store = told.open()
    store.save({"a": b"1", "b": b"2"}, b"1")
    store.forget(["a", "unknown"])
    store.forget(["a", "b"])
    store.forget([])
    assert told.open().load() == ({}, b"1")


def test_a_save_tells_that_everything_was_lost_meanwhile(told: Told) -> None:
    """A server that was emptied under a running process gets all again, not only what is new."""
    store = told.open()
    assert store.save({"a": b"1"}, b"1") is False
    assert store.save({"b": b"2"}, b"2") is True
    told.flush()
    assert store.save({"c": b"3"}, b"3") is False
    assert told.open().load() == ({"c": b"3"}, b"3")
