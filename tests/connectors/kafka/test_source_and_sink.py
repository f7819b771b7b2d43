"""What only Kafka does: late answers, fenced producers, joins that take several polls. Each client hazard has its test."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import (
    FencedInstanceIdError,
    KafkaConfigurationError,
    KafkaError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    UnsupportedVersionError,
)
from pydantic import SecretStr

from scripts.services import KafkaBroker
from scripts.services.process import free_port
from streamae.batches import Partition
from streamae.connectors.kafka import KafkaSink, KafkaSource
from streamae.connectors.kafka.client import client_arguments, client_errors
from streamae.connectors.protocols import Span
from streamae.errors import (
    ConfigError,
    FatalError,
    OutcomeUnknownError,
    RetryableError,
    TooLargeError,
)
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.connectors.streams import KafkaStreams, Reader, commit, is_stable, message, settle
from tests.waiting import wait_until


@pytest.fixture
def fragile_streams(fragile_kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> Iterator[KafkaStreams]:
    """Streams over the fragile broker; clients wait two seconds at most."""
    opened = KafkaStreams(fragile_kafka.bootstrap_servers, fresh_name("test"))
    opened.settings = opened.of("group", request_timeout_ms=2_000, session_timeout_ms=6_000)
    yield opened
    fragile_kafka.resume()
    fragile_kafka.start()  # closing asks it
    opened.close()


def owner_of(streams: KafkaStreams, topic: str, partitions: int = 1, **options: Any) -> Reader:
    """Create a topic and return a reader that owns all of it."""
    streams.create_topic(topic, partitions)
    reader = streams.reader(topic, **options)
    reader.poll_until_owner(partitions)
    return reader


# Groups.


@pytest.mark.integration
def test_two_sources_on_threads_share_a_topic_without_loss(kafka_streams: KafkaStreams, topic: str) -> None:
    """Members that poll at their own pace converge, and every record is delivered to its owner."""
    kafka_streams.create_topic(topic, 4)
    readers = [kafka_streams.reader(topic), kafka_streams.reader(topic)]
    for reader in readers:
        reader.timeout_ms = 1
    is_over = threading.Event()

    def drive(reader: Reader) -> None:
        while not is_over.is_set():
            reader.poll()
            is_over.wait(0.03)  # busy elsewhere: joins finish between two polls

    threads = [threading.Thread(target=drive, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: [len(reader.owned) for reader in readers] == [2, 2], "an even share", timeout_s=20)
        for index in range(4):
            kafka_streams.produce(topic, [(b"k", b"%d" % index)], partition=index)
        wait_until(lambda: sum(len(reader.records) for reader in readers) >= 4, "the records")
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert sorted(value for reader in readers for value in reader.values if value) == [b"0", b"1", b"2", b"3"]


@pytest.mark.integration
def test_a_source_started_before_its_topic_gets_it(kafka_streams: KafkaStreams, topic: str) -> None:
    """A join caused by new partitions that outlasts one poll would leave the client without any, for ever."""
    reader = kafka_streams.reader(topic)
    reader.poll_until(lambda: is_stable(reader.source), "membership")
    reader.timeout_ms = 1
    kafka_streams.create_topic(topic, 2)
    reader.poll_until(lambda: len(reader.owned) == 2, "the new topic")
    settle([reader], 2)


@pytest.mark.integration
def test_a_restarted_static_member_takes_its_place_and_fences_the_old(kafka_streams: KafkaStreams, topic: str) -> None:
    """Two processes with one instance id are a deployment error: the older one must end, not fight."""
    old = owner_of(kafka_streams, topic, instance_id="a")
    new = kafka_streams.reader(topic, instance_id="a")
    new.poll_until_owner(1)
    with pytest.raises(FatalError, match="instance id"):
        old.poll_until(lambda: False, "the old member to be told")


@pytest.mark.integration
def test_what_was_committed_in_a_topic_not_known_to_be_new_does_not_count(
    kafka_streams: KafkaStreams, topic: str
) -> None:
    """The client reads on in the new topic at the former position; once that is noticed, what it skipped is read."""
    reader, partition = owner_of(kafka_streams, topic), Partition(topic, 0)
    kafka_streams.produce(topic, [(b"key", b"former")] * 4)
    reader.poll_until_values(4)
    reader.source.span(partition)
    reader.starts_itself = False
    kafka_streams.recreate(topic, [(b"key", b"%d" % number) for number in range(6)])
    reader.poll_until(lambda: len(reader.values) > 4 or reader.revoked, "the new topic", timeout_s=30)
    if not reader.revoked:  # else the client was quick to notice
        commit(kafka_streams.sink(), [], {partition: 6}, reader.source.membership())
        assert kafka_streams.committed(topic) == 6
    reader.poll_until(lambda: reader.revoked and len(reader.assigned) > 1, "the partition to come back", timeout_s=30)
    assert reader.source.span(partition).committed is None
    reader.records.clear()
    reader.start(partition)
    assert reader.poll_until_values(6) == [b"%d" % number for number in range(6)]
    commit(kafka_streams.sink(), [], {partition: 3}, reader.source.membership())
    assert reader.source.span(partition).committed == 3


# Transactions.


@pytest.mark.integration
def test_a_message_too_large_is_named_and_nothing_is_committed(kafka_streams: KafkaStreams, topic: str) -> None:
    """A record that fails must not be left out of the commit; and the caller learns which one to shorten."""
    reader = owner_of(kafka_streams, topic)
    output = f"{topic}-out"
    kafka_io.create_topics(kafka_streams.servers, output, configs={"max.message.bytes": "2000"})
    noise = random.Random(0).randbytes(10_000)  # does not compress
    messages = [message(output, b"1"), message(output, noise), message(output, b"3")]
    offsets, proof, sink = {Partition(topic, 0): 7}, reader.source.membership(), kafka_streams.sink()
    with pytest.raises(TooLargeError) as caught:
        commit(sink, messages, offsets, proof)
    assert caught.value.index == 1
    assert (kafka_streams.read(output), kafka_streams.committed(topic)) == ([], None)
    commit(sink, [message(output, b"1"), message(output, noise[:500])], offsets, proof)
    assert (len(kafka_streams.read(output)), kafka_streams.committed(topic)) == (2, 7)


@pytest.mark.integration
def test_the_message_too_large_is_named_among_those_it_takes_down(kafka_streams: KafkaStreams, topic: str) -> None:
    """All records of its transaction fail with it: blaming another one would send the same again for ever."""
    reader = owner_of(kafka_streams, topic)
    narrow, wide = f"{topic}-narrow", f"{topic}-wide"
    kafka_io.create_topics(kafka_streams.servers, narrow, configs={"max.message.bytes": "2000"})
    kafka_io.create_topics(kafka_streams.servers, wide)
    noise = random.Random(0)
    bulk = [message(wide, noise.randbytes(100_000)) for _ in range(60)]
    messages = [*bulk[:3], message(narrow, noise.randbytes(10_000)), *bulk[3:]]
    with pytest.raises(TooLargeError) as caught:
        commit(kafka_streams.sink(), messages, {Partition(topic, 0): 7}, reader.source.membership())
    assert caught.value.index == 3
    assert (kafka_streams.read(wide), kafka_streams.committed(topic)) == ([], None)


@pytest.mark.integration
def test_a_missing_output_topic_aborts_and_may_be_retried(kafka_streams: KafkaStreams, topic: str) -> None:
    """The operator creates the topic, the same batch goes through."""
    reader = owner_of(kafka_streams, topic)
    output = f"{topic}-out"
    sink = kafka_streams.sink(request_timeout_ms=1_000)
    with pytest.raises(RetryableError, match=output):
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    assert kafka_streams.committed(topic) is None
    kafka_streams.create_topic(output, 1)
    commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    assert kafka_streams.committed(topic) == 7


@pytest.mark.integration
def test_a_transaction_open_too_long_is_not_committed(kafka_streams: KafkaStreams, topic: str) -> None:
    """The broker ends it; an anonymous process just starts another."""
    reader = owner_of(kafka_streams, topic)
    output = f"{topic}-out"
    kafka_streams.create_topic(output, 1)
    sink = kafka_streams.sink(transaction_timeout_ms=500)
    assert isinstance(sink, KafkaSink)

    def state() -> str:
        return kafka_io.transaction_state(kafka_streams.servers, sink.transactional_id)

    def too_slow() -> None:
        with sink.transaction() as transaction:
            transaction.send([message(output, b"late")])
            wait_until(lambda: state() == "COMPLETE_ABORT", "the broker to end the transaction", timeout_s=20)
            transaction.send([message(output, b"later")])
            transaction.send_offsets({Partition(topic, 0): 7}, reader.source.membership())

    with pytest.raises(RetryableError):
        too_slow()
    assert kafka_streams.committed(topic) is None
    reader.poll_until(lambda: is_stable(reader.source), "membership")
    commit(sink, [message(output, b"again")], {Partition(topic, 0): 8}, reader.source.membership())
    assert [record.value for record in kafka_streams.read(output)] == [b"again"]


@pytest.mark.integration
def test_a_restarted_sink_ends_what_its_predecessor_left_open(kafka_streams: KafkaStreams, topic: str) -> None:
    """With a stable id nobody waits for the time limit after a crash, and the predecessor can no longer commit."""
    reader = owner_of(kafka_streams, topic)
    output = f"{topic}-out"
    kafka_streams.create_topic(output, 1)
    first = kafka_streams.sink(instance_id="a", transaction_timeout_ms=60_000)

    def overtaken() -> None:
        with first.transaction() as transaction:
            transaction.send([message(output, b"first")])
            second = kafka_streams.sink(instance_id="a", transaction_timeout_ms=60_000)
            commit(second, [message(output, b"second")], {Partition(topic, 0): 2}, reader.source.membership())
            transaction.send_offsets({Partition(topic, 0): 1}, reader.source.membership())

    with pytest.raises(FatalError):
        overtaken()
    assert [record.value for record in kafka_streams.read(output)] == [b"second"]
    assert kafka_streams.committed(topic) == 2


# A broker that is slow or gone.


class InterruptedSink(KafkaSink):
    """Runs `before_commit` after the offsets were accepted and before the commit is asked for."""

    before_commit: Callable[[], None] = staticmethod(lambda: None)

    def _commit(self, connections: list[Any]) -> None:
        self.before_commit()
        super()._commit(connections)


def interrupted_sink(streams: KafkaStreams) -> InterruptedSink:
    """Open a sink that can be interrupted."""
    sink = InterruptedSink(streams.of("group"))
    streams._opened.append(sink)
    return sink


def outcome(reader: Reader, topic: str, output: str, streams: KafkaStreams) -> tuple[int | None, list[bytes | None]]:
    """Ask until the broker has decided; return the committed offset and what is visible."""
    spans: list[Span] = []

    def is_answered() -> bool:
        with suppress(RetryableError):
            spans.append(reader.source.span(Partition(topic, 0)))
        return bool(spans)

    wait_until(is_answered, "the committed offset", timeout_s=30)
    return spans[0].committed, [record.value for record in streams.read(output)]


@pytest.mark.integration
def test_a_commit_that_was_not_answered_is_not_called_failed(
    fragile_kafka: KafkaBroker, fragile_streams: KafkaStreams, topic: str
) -> None:
    """It may have happened: sending the same again could double every event. The committed offset tells."""
    reader, output = owner_of(fragile_streams, topic), f"{topic}-out"
    fragile_streams.create_topic(output, 1)
    sink = interrupted_sink(fragile_streams)
    sink.before_commit = fragile_kafka.pause
    started_s = time.monotonic()
    with pytest.raises(OutcomeUnknownError):
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    assert time.monotonic() - started_s < 15
    fragile_kafka.resume()
    assert outcome(reader, topic, output, fragile_streams) in [(7, [b"1"]), (None, [])]


@pytest.mark.integration
def test_a_commit_that_never_arrived_has_not_happened(
    fragile_kafka: KafkaBroker, fragile_streams: KafkaStreams, topic: str
) -> None:
    """The broker died first: after its return the offset is the old one, and the same batch goes through once."""
    reader, output = owner_of(fragile_streams, topic), f"{topic}-out"
    fragile_streams.create_topic(output, 1)
    sink = interrupted_sink(fragile_streams)
    sink.before_commit = fragile_kafka.kill
    with pytest.raises(OutcomeUnknownError):
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    fragile_kafka.start()
    assert outcome(reader, topic, output, fragile_streams) == (None, [])
    sink.before_commit = lambda: None
    settle([reader], 1)
    commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    assert outcome(reader, topic, output, fragile_streams) == (7, [b"1"])


@pytest.mark.integration
def test_records_that_are_not_confirmed_in_time_abort(
    fragile_kafka: KafkaBroker, fragile_streams: KafkaStreams, topic: str
) -> None:
    """A silent broker costs a bounded wait, nothing becomes visible, and the same batch goes through later."""
    reader, output = owner_of(fragile_streams, topic), f"{topic}-out"
    fragile_streams.create_topic(output, 1)
    sink = fragile_streams.sink()
    commit(sink, [message(output, b"0")])
    fragile_kafka.pause()
    started_s = time.monotonic()
    with pytest.raises(RetryableError) as caught:
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert time.monotonic() - started_s < 12
    fragile_kafka.resume()
    reader.poll_until(lambda: is_stable(reader.source) and reader.owned, "membership", timeout_s=30)
    commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, reader.source.membership())
    assert outcome(reader, topic, output, fragile_streams) == (7, [b"0", b"1"])


@pytest.mark.integration
def test_a_source_survives_a_restart_of_the_broker(
    fragile_kafka: KafkaBroker, fragile_streams: KafkaStreams, topic: str
) -> None:
    """An outage is waited out; reading goes on where it was, without a gap and without a repeat."""
    reader = owner_of(fragile_streams, topic)
    fragile_streams.produce(topic, [(b"k", b"1")])
    reader.poll_until_values(1)
    fragile_kafka.kill()
    for _ in range(3):
        with suppress(RetryableError):
            reader.poll()
    fragile_kafka.start()
    fragile_streams.produce(topic, [(b"k", b"2")])

    def has_both() -> bool:
        with suppress(RetryableError):
            reader.poll()
        return len(reader.records) >= 2

    wait_until(has_both, "the record after the outage", timeout_s=40)
    assert reader.values[-1] == b"2"
    assert reader.values.count(b"2") == 1


def test_an_unreachable_cluster_is_told_in_time_and_leaves_no_thread() -> None:
    """The service tries again until Kafka is there; each try must clean up after itself."""
    settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", request_timeout_ms=300)
    before = threading.active_count()
    for _ in range(2):
        with pytest.raises(RetryableError, match="Kafka consumer"):
            KafkaSource(["topic"], settings, 10)
        with pytest.raises(RetryableError, match="Kafka producer"):
            KafkaSink(settings)
    wait_until(lambda: threading.active_count() <= before, "threads to end", timeout_s=5)


# Settings and errors.


def test_the_password_is_never_shown() -> None:
    """Settings end in logs and tracebacks."""
    assert "secret" not in repr(KafkaSettings(sasl_username="u", sasl_password=SecretStr("secret")))


def test_security_settings_reach_the_client() -> None:
    """A secured cluster needs nothing but settings."""
    settings = KafkaSettings(
        bootstrap_servers="a:1, b:2",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="u",
        sasl_password=SecretStr("p"),
        ssl_ca_file=Path("ca.pem"),
        ssl_cert_file=Path("cert.pem"),
        ssl_key_file=Path("key.pem"),
    )
    arguments = client_arguments(settings)
    assert arguments["bootstrap_servers"] == ["a:1", "b:2"]
    assert set(arguments) <= set(KafkaProducer.DEFAULT_CONFIG)
    names = ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    assert [arguments[name] for name in names] == ["SASL_SSL", "SCRAM-SHA-512", "u", "p"]
    assert [arguments[f"ssl_{name}file"] for name in ("ca", "cert", "key")] == ["ca.pem", "cert.pem", "key.pem"]


def test_settings_the_client_refuses_are_settings_errors() -> None:
    """Exit code 78, not a traceback from the client."""
    with pytest.raises(ConfigError, match="kafka"):
        KafkaSource(["topic"], KafkaSettings(bootstrap_servers="127.0.0.1:9", request_timeout_ms=10_000_000), 10)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (KafkaError("unknown"), RetryableError),
        (OSError("network"), RetryableError),
        (FencedInstanceIdError(), FatalError),
        (ProducerFencedError(), FatalError),
        (UnsupportedVersionError(), FatalError),
        (TransactionalIdAuthorizationFailedError(), FatalError),
        (TopicAuthorizationFailedError(), RetryableError),
        (KafkaConfigurationError("bad"), ConfigError),
    ],
)
def test_client_errors_get_our_names(error: Exception, ours: type[Exception]) -> None:
    """The caller acts on what to do next, and the text still says what happened."""
    with pytest.raises(ours, match=type(error).__name__ if isinstance(error, KafkaError) else "network"):
        raise_through(error)


def raise_through(error: Exception) -> None:
    """Raise an error as a call of the client would."""
    with client_errors("call"):
        raise error
