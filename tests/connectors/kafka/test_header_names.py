"""Header names that no UTF-8 reader can read."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer
from kafka.record.default_records import DefaultRecordBatch

from streamae.batches import Cause, Partition
from streamae.connectors.kafka.header_names import HeaderName, tolerate_bad_names
from streamae.connectors.protocols import Message
from tests.connectors.streams import KafkaStreams, commit
from tests.kafka_io import create_topics, read_all

BAD = b"tr\xff\xfece"


def test_a_bad_name_is_readable_and_keeps_its_bytes() -> None:
    """People see replacement characters, the wire sees what was there."""
    name = HeaderName.of(BAD)
    assert name == "tr\ufffd\ufffdce"
    assert name.encode() == name.encode("ascii", "replace") == BAD


def test_teaching_the_client_twice_changes_nothing() -> None:
    """Every source does it; only the first counts."""
    tolerate_bad_names()
    once = DefaultRecordBatch._read_msg
    tolerate_bad_names()
    assert DefaultRecordBatch._read_msg is once


@pytest.mark.integration
def test_a_bad_name_stops_nobody_and_survives_the_way_out(kafka_streams: KafkaStreams, topic: str) -> None:
    """The record is delivered between its neighbours of the same batch, and sent on with the very same bytes."""
    kafka_streams.create_topic(topic, 1)
    producer = KafkaProducer(bootstrap_servers=kafka_streams.settings.bootstrap_servers, linger_ms=200)
    for value, headers in (
        (b"before", [("good", b"1")]),
        (b"bad", [("good", b"\xff"), (HeaderName.of(BAD), b"\xfe")]),
        (b"after", []),
    ):
        producer.send(topic, value, headers=headers, partition=0)
    producer.flush(10)
    producer.close(5)
    reader = kafka_streams.reader(topic)
    reader.poll_until_owner(1)
    reader.poll_until_values(3)
    records = reader.records
    assert [record.value for record in records] == [b"before", b"bad", b"after"]
    found = [(name.encode(), value) for name, value in records[1].headers]
    assert found == [(b"good", b"\xff"), (BAD, b"\xfe")]

    create_topics(kafka_streams.settings.bootstrap_servers, f"{topic}-dead")
    letter = Message(f"{topic}-dead", b"key", b"bad", tuple(records[1].headers), Cause(Partition(topic, 0), 1))
    commit(kafka_streams.sink(), [letter], {}, reader.source.membership())
    (sent,) = read_all(kafka_streams.settings.bootstrap_servers, f"{topic}-dead")
    assert [(name.encode(), value) for name, value in sent.headers] == found
