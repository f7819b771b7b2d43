"""A topic read whole and then followed, without a group."""

from __future__ import annotations

import pytest

from streamae.connectors.kafka import TopicTail
from streamae.errors import DataError
from tests import kafka_io
from tests.connectors.streams import KafkaStreams
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def values(tail: TopicTail, count: int) -> list[bytes | None]:
    """Wait until so many newer records have come; return their values."""
    found: list[bytes | None] = []

    def has_come() -> bool:
        found.extend(record.value for record in tail.newer(50))
        return len(found) >= count

    wait_until(has_come, f"{count} newer records")
    return found


def test_what_is_there_comes_once_and_then_what_is_written(kafka_streams: KafkaStreams, topic: str) -> None:
    """Nothing between the two readings is lost or comes twice, of any partition, and no group is left behind."""
    servers = kafka_streams.servers
    kafka_io.create_topics(servers, topic, partitions=2)
    kafka_io.produce(servers, topic, [(b"a", b"1"), (b"b", b"2")])
    kafka_io.produce(servers, topic, [(b"c", b"3")], partition=1)
    groups = kafka_io.groups(servers)
    with TopicTail(topic, kafka_streams.of("group")) as tail:
        assert [record.value for record in tail.so_far()] == [b"1", b"2", b"3"]
        kafka_io.produce(servers, topic, [(b"a", b"4")])
        kafka_io.produce(servers, topic, [(b"c", None)], partition=1)
        assert set(values(tail, 2)) == {b"4", None}
        assert tail.newer(50) == []
        kafka_io.produce(servers, topic, [(b"a", b"5")])
        assert values(tail, 1) == [b"5"]
    assert kafka_io.groups(servers) == groups


def test_a_topic_that_was_emptied_is_followed_from_its_new_begin(kafka_streams: KafkaStreams, topic: str) -> None:
    """Retention that overtakes a reader must not stop it."""
    servers = kafka_streams.servers
    kafka_io.create_topics(servers, topic)
    kafka_io.produce(servers, topic, [(b"a", b"1")])
    with TopicTail(topic, kafka_streams.of("group")) as tail:
        kafka_io.produce(servers, topic, [(b"a", b"2"), (b"a", b"3"), (b"a", b"4")])
        kafka_io.delete_before(servers, topic, 0, 3)
        assert values(tail, 1) == [b"4"]


def test_a_missing_topic_is_named(kafka_streams: KafkaStreams, topic: str) -> None:
    """Who has not created it is told which one."""
    with pytest.raises(DataError, match=f"no topic {topic}"):
        TopicTail(topic, kafka_streams.of("group"))
