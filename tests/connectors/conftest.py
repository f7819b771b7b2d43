"""Every contract test runs against the twin in memory and against the real service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from scripts.services import KafkaBroker
from tests.connectors.streams import KafkaStreams, MemoryStreams, Streams

BOTH = [
    pytest.param("memory", id="memory"),
    pytest.param("kafka", id="kafka", marks=pytest.mark.integration),
]


@pytest.fixture(params=BOTH)
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
def topic(fresh_name: Callable[[str], str]) -> str:
    """A topic name no other test uses; the topic does not exist yet."""
    return fresh_name("topic")
