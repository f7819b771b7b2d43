"""Every contract test runs against the twin in memory and against the real service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from scripts.services import KafkaBroker, RedisServer
from tests.connectors.kafka.interceptor import Interceptor
from tests.connectors.stores import InMemory, InRedis, Store
from tests.connectors.streams import KafkaStreams, MemoryStreams, Streams


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
def streams(request: pytest.FixtureRequest, fresh_name: Callable[[str], str]) -> Iterator[Streams]:
    """A cluster, in memory and for real."""
    if request.param == "memory":
        opened: Streams = MemoryStreams()
    else:
        broker: KafkaBroker = request.getfixturevalue("kafka")
        opened = KafkaStreams(broker.bootstrap_servers, fresh_name("test"))
    yield opened
    opened.close()


@pytest.fixture
def kafka_streams(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> Iterator[KafkaStreams]:
    """The real cluster only."""
    opened = KafkaStreams(kafka.bootstrap_servers, fresh_name("test"))
    yield opened
    opened.close()


@pytest.fixture
def between(kafka: KafkaBroker) -> Iterator[Interceptor]:
    """A man in the middle before the shared broker."""
    interceptor = Interceptor(kafka.port)
    yield interceptor
    interceptor.close()


@pytest.fixture
def topic(fresh_name: Callable[[str], str]) -> str:
    """A topic name no other test uses; the topic does not exist yet."""
    return fresh_name("topic")


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def stores(request: pytest.FixtureRequest, fresh_name: Callable[[str], str]) -> Iterator[Store]:
    """A state store, in memory and for real."""
    if request.param == "memory":
        opened: Store = InMemory()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        opened = InRedis(server.url, fresh_name("sae"))
    yield opened
    opened.close()
