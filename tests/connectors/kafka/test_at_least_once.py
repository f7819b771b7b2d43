"""Delivery without transactions: nothing is lost, what comes twice is the same, and no zombie moves an offset."""

from __future__ import annotations

import random

import pytest
from kafka.structs import MemberState

from scripts.services import KafkaBroker
from streamae.batches import Partition
from streamae.connectors.kafka import AtLeastOnceSink, KafkaMembership, KafkaSource
from streamae.errors import MembershipError, OutcomeUnknownError, RetryableError, TooLargeError
from tests import kafka_io
from tests.connectors.kafka.interceptor import Api, Interceptor, error_in, lose
from tests.connectors.streams import KafkaStreams, Reader, commit, is_stable, message, settle

pytestmark = pytest.mark.integration

TOPIC_AUTHORIZATION_FAILED = 29


@pytest.fixture
def output(kafka_streams: KafkaStreams, topic: str) -> str:
    """An output topic."""
    kafka_streams.create_topic(f"{topic}-out", 1)
    return f"{topic}-out"


@pytest.fixture
def owner(kafka_streams: KafkaStreams, topic: str) -> Reader:
    """A source that owns the one partition of an input topic."""
    kafka_streams.create_topic(topic, 1)
    reader = kafka_streams.reader(topic)
    reader.poll_until_owner(1)
    return reader


def sink_of(
    streams: KafkaStreams, recycled: list[str], servers: str | None = None, timeout_ms: int = 5_000
) -> AtLeastOnceSink:
    """Open a sink."""
    settings = streams.of("group", bootstrap_servers=servers or streams.servers, request_timeout_ms=timeout_ms)
    sink = AtLeastOnceSink(settings, recycled.append)
    streams.track(sink)
    return sink


def values(streams: KafkaStreams, topic: str) -> list[bytes | None]:
    """Return what readers of a topic see."""
    return [record.value for record in streams.read(topic)]


def test_offsets_wait_for_every_record(
    kafka_streams: KafkaStreams, between: Interceptor, topic: str, output: str, owner: Reader
) -> None:
    """A record that never arrived is read again: its offset is not committed."""
    recycled: list[str] = []
    sink = sink_of(kafka_streams, recycled, between.servers, timeout_ms=3_000)
    commit(sink, [message(output, b"0")])
    between.on_request(Api.PRODUCE, lose, times=50)
    with pytest.raises(RetryableError, match=output):
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    between.forget()
    assert (kafka_streams.committed(topic), recycled) == (None, ["aborted"])
    owner.poll_until(lambda: is_stable(owner.source), "membership")
    commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    assert (values(kafka_streams, output), kafka_streams.committed(topic)) == ([b"0", b"1"], 7)


def test_a_refused_record_does_not_stop_the_next_ones(
    kafka_streams: KafkaStreams, between: Interceptor, output: str
) -> None:
    """Left alone, the client refuses every later record for the same reason, also after the operator has mended it."""
    recycled: list[str] = []
    sink = sink_of(kafka_streams, recycled, between.servers)
    between.on_answer(Api.PRODUCE, error_in(output, TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(RetryableError, match=f"{output} may not be written: grant WRITE"):
        commit(sink, [message(output, b"1")])
    commit(sink, [message(output, b"1")])
    assert (values(kafka_streams, output), recycled) == ([b"1", b"1"], ["aborted"])


def test_what_is_sent_again_is_the_same(kafka_streams: KafkaStreams, topic: str, output: str, owner: Reader) -> None:
    """A crash between records and offsets repeats records with the same headers, which hold the event's id."""
    first, second = sink_of(kafka_streams, []), sink_of(kafka_streams, [])
    event = message(output, b"1", headers=(("ce_id", b"5f1c"),))
    first._send([event])  # and the process died here
    commit(second, [event], {Partition(topic, 0): 7}, owner.source.membership())
    once, twice = kafka_streams.read(output)
    assert (once.key, once.value, once.headers) == (twice.key, twice.value, twice.headers)
    assert kafka_streams.committed(topic) == 7


def test_a_zombie_doubles_nothing_and_moves_no_offset(
    kafka_streams: KafkaStreams, topic: str, output: str, owner: Reader
) -> None:
    """Who knows that its membership is over sends nothing; who does not is refused by the group."""
    proof = owner.source.membership()
    kafka_streams.expel(owner)
    successor = kafka_streams.reader(topic)
    successor.poll_until_owner(1)
    sink = sink_of(kafka_streams, [])
    commit(sink, [], {Partition(topic, 0): 50}, successor.source.membership())
    with pytest.raises(MembershipError):
        commit(sink, [message(output, b"zombie")], {Partition(topic, 0): 10}, proof)
    assert (values(kafka_streams, output), kafka_streams.committed(topic)) == ([], 50)
    assert isinstance(owner.source, KafkaSource)
    with pytest.raises(MembershipError):
        owner.source.commit({Partition(topic, 0): 10})
    assert kafka_streams.committed(topic) == 50


def test_a_proof_of_a_former_generation_is_refused(
    kafka_streams: KafkaStreams, topic: str, output: str, owner: Reader
) -> None:
    """The consumer would commit with its newest generation, whatever the proof said."""
    metadata, owned, source = owner.source.membership()
    assert metadata.state == MemberState.STABLE
    stale = KafkaMembership(metadata._replace(generation_id=metadata.generation_id - 1), owned, source)
    with pytest.raises(MembershipError, match="has changed"):
        commit(sink_of(kafka_streams, []), [message(output, b"1")], {Partition(topic, 0): 5}, stale)
    assert (values(kafka_streams, output), kafka_streams.committed(topic)) == ([], None)


def test_a_commit_without_an_answer_is_not_called_failed(
    kafka_streams: KafkaStreams, kafka: KafkaBroker, between: Interceptor, topic: str, output: str
) -> None:
    """It may have happened: asking for the offset first spares everybody a repetition."""
    kafka_streams.create_topic(topic, 1)
    kafka_streams.settings = kafka_streams.of("group", bootstrap_servers=between.servers, request_timeout_ms=3_000)
    owner = kafka_streams.reader(topic)
    owner.poll_until_owner(1)
    between.on_answer(Api.OFFSET_COMMIT, lose, times=5)
    with pytest.raises(OutcomeUnknownError):
        commit(sink_of(kafka_streams, []), [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    settle([owner], 1)
    assert owner.source.span(Partition(topic, 0)).committed == 7


def test_a_message_too_large_is_named(kafka_streams: KafkaStreams, topic: str, owner: Reader) -> None:
    """The caller learns which one to shorten, as with transactions."""
    output = f"{topic}-small"
    kafka_io.create_topics(kafka_streams.servers, output, configs={"max.message.bytes": "2000"})
    noise = random.Random(0).randbytes(10_000)  # does not compress
    with pytest.raises(TooLargeError) as caught:
        commit(
            sink_of(kafka_streams, []),
            [message(output, b"1"), message(output, noise)],
            {Partition(topic, 0): 7},
            owner.source.membership(),
        )
    assert (caught.value.index, kafka_streams.committed(topic)) == (1, None)
