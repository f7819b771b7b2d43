"""Past records of a topic: the newest, all of them, without a trace in the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from kafka import KafkaProducer
from kafka.admin import ACLOperation, ResourceType

from scripts.services import KafkaBroker
from scripts.services.process import free_port
from streamae.batches import Partition, RawRecord
from streamae.connectors.kafka.topic_history import Stretch, TopicHistory, sample_topic, shares
from streamae.errors import DataError, RetryableError
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.connectors.kafka.secured import SecuredBroker
from tests.connectors.streams import KafkaStreams
from tests.waiting import wait_until

START_MS = 1_700_000_000_000


def create(servers: str, topic: str, partitions: int) -> None:
    """Create a topic that keeps records however old their timestamps are."""
    kafka_io.create_topics(servers, topic, partitions=partitions, configs={"retention.ms": "-1"})


def produce(
    servers: str,
    topic: str,
    count: int,
    partition: int = 0,
    *,
    first: int = 0,
    is_aborted: bool | None = None,
) -> None:
    """Write numbers from `first` on, a second of Kafka timestamp apart; with `is_aborted` in one transaction."""
    named = {} if is_aborted is None else {"transactional_id": topic}
    with closing(KafkaProducer(bootstrap_servers=servers, **named)) as producer:
        if named:
            producer.init_transactions()
            producer.begin_transaction()
        for number in range(first, first + count):
            at_ms = START_MS + 1_000 * number
            producer.send(topic, b"%d" % number, b"key", partition=partition, timestamp_ms=at_ms)
        producer.flush(30)
        if named:
            (producer.abort_transaction if is_aborted else producer.commit_transaction)()


def numbers(batches: Iterator[dict[Partition, Sequence[RawRecord]]]) -> dict[int, list[int]]:
    """Return what was read, by partition."""
    found: dict[int, list[int]] = {}
    for batch in batches:
        for partition, records in batch.items():
            found.setdefault(partition.index, []).extend(int(record.value or b"") for record in records)
    return found


def read(settings: KafkaSettings, topic: str, most: int = 1_000, since_ms: int | None = None) -> dict[int, list[int]]:
    """Return the newest numbers, by partition."""
    with TopicHistory(topic, settings) as history:
        return numbers(history.read(history.newest(most, since_ms)))


def sampled(settings: KafkaSettings, topic: str, most: int) -> dict[int, list[int]]:
    """Return the numbers of a sample, by partition."""
    return numbers(iter([sample_topic(topic, settings, most)]))


@pytest.mark.parametrize(
    ("sizes", "most", "given"),
    [
        ((60, 30, 0), 30, [20, 10, 0]),
        ((60, 30, 0), 1_000, [60, 30, 0]),
        ((1, 1, 1, 1, 1, 1, 1), 3, [0, 0, 1, 0, 1, 0, 1]),
        ((1_000_000, 1), 10, [9, 1]),
        ((0, 0), 5, [0, 0]),
    ],
)
def test_partitions_share_what_may_be_read(sizes: Sequence[int], most: int, given: list[int]) -> None:
    """Nothing that may be read is left over by rounding, and never more is read than was asked for."""
    parts = shares({Partition("t", i): Stretch(7, 7 + size) for i, size in enumerate(sizes)}, most)
    assert [part.size for part in parts.values()] == given
    assert [part.end for part in parts.values()] == [7 + size for size in sizes]


@pytest.mark.slow
@pytest.mark.integration
def test_the_newest_records_of_all_partitions_are_read_and_no_trace_is_left(
    kafka_streams: KafkaStreams, topic: str
) -> None:
    """Training beside a running daemon must not take partitions from it, nor move what it has committed."""
    servers = kafka_streams.servers
    create(kafka_streams.servers, topic, 3)
    produce(servers, topic, 40)
    produce(servers, topic, 20, partition=2)
    before, heard = kafka_io.groups(servers), list[int]()
    with TopicHistory(topic, kafka_streams.of("group"), poll_records=7) as history:
        assert history.held == {
            Partition(topic, 0): Stretch(0, 40),
            Partition(topic, 1): Stretch(0, 0),
            Partition(topic, 2): Stretch(0, 20),
        }
        newest = numbers(history.read(history.newest(30), heard.append))
        again = numbers(history.read(history.newest(3)))
    assert newest == {0: list(range(20, 40)), 2: list(range(10, 20))}
    assert again == {0: [38, 39], 2: [19]}
    assert heard == sorted(heard, reverse=True)
    assert heard[0] == 23
    assert heard[-1] == 0
    assert kafka_io.groups(servers) == before
    assert kafka_streams.committed(topic) is None


@pytest.mark.slow
@pytest.mark.integration
def test_aborted_transactions_are_left_out_and_end_nothing(kafka_streams: KafkaStreams, topic: str) -> None:
    """Offsets without a record, amid the topic and at its end, neither stop the reading nor bring what never was."""
    servers = kafka_streams.servers
    create(kafka_streams.servers, topic, 1)
    for first, is_aborted in ((0, False), (10, True), (20, False), (30, True)):
        produce(servers, topic, 10, first=first, is_aborted=is_aborted)
    assert read(kafka_streams.settings, topic) == {0: [*range(10), *range(20, 30)]}
    assert read(kafka_streams.settings, topic, most=14) == {0: [28, 29]}  # two markers of ends are offsets too
    assert read(kafka_streams.settings, topic, most=5) == {}


@pytest.mark.slow
@pytest.mark.integration
def test_a_sample_goes_back_until_it_has_enough(kafka_streams: KafkaStreams, topic: str) -> None:
    """A first look at a topic whose newest transactions were aborted would find nothing."""
    create(kafka_streams.servers, topic, 2)
    for first, is_aborted in ((0, False), (10, True), (40, True)):
        produce(kafka_streams.servers, topic, 30 if is_aborted else 10, first=first, is_aborted=is_aborted)
    assert sampled(kafka_streams.settings, topic, 4) == {0: [6, 7, 8, 9]}
    assert sampled(kafka_streams.settings, topic, 1_000) == {0: list(range(10))}


@pytest.mark.integration
def test_reading_ends_where_the_topic_ended(kafka_streams: KafkaStreams, topic: str) -> None:
    """A topic that is written faster than it is read would never be over, and an open transaction never decided."""
    create(kafka_streams.servers, topic, 1)
    produce(kafka_streams.servers, topic, 10)
    with (
        TopicHistory(topic, kafka_streams.settings) as history,
        closing(KafkaProducer(bootstrap_servers=kafka_streams.servers, transactional_id=topic)) as producer,
    ):
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"10", partition=0).get(10)
        produce(kafka_streams.servers, topic, 5, first=11)
        assert numbers(history.read(history.held)) == {0: list(range(10))}
        assert read(kafka_streams.settings, topic) == {0: list(range(10))}
        producer.commit_transaction()
    assert read(kafka_streams.settings, topic) == {0: list(range(16))}


@pytest.mark.integration
def test_since_is_the_time_the_records_were_written(kafka_streams: KafkaStreams, topic: str) -> None:
    """The last fortnight means the last fortnight, in every partition; and who asks for the future is told."""
    create(kafka_streams.servers, topic, 2)
    produce(kafka_streams.servers, topic, 20)
    produce(kafka_streams.servers, topic, 5, partition=1)
    settings, second = kafka_streams.settings, 1_000
    assert read(settings, topic, since_ms=START_MS + 15 * second) == {0: [15, 16, 17, 18, 19]}
    assert read(settings, topic, since_ms=START_MS + 3 * second + 1, most=4) == {0: [17, 18, 19], 1: [4]}
    assert read(settings, topic, since_ms=-5) == {0: list(range(20)), 1: list(range(5))}
    with pytest.raises(
        DataError, match=rf"topic {topic} holds no record since 2033-05-18T03:33:20\+00:00 by its Kafka"
    ):
        read(settings, topic, since_ms=2_000_000_000_000)


@pytest.mark.integration
def test_a_topic_without_records_is_named(kafka_streams: KafkaStreams, topic: str) -> None:
    """Also when nothing was ever committed to it."""
    create(kafka_streams.servers, topic, 2)
    with pytest.raises(DataError, match=f"topic {topic} holds no record$"):
        read(kafka_streams.settings, topic)
    produce(kafka_streams.servers, topic, 5, is_aborted=True)
    with pytest.raises(DataError, match=f"topic {topic} holds no record$"):
        sample_topic(topic, kafka_streams.settings, 10)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["{}x", "{}/with spaces and a slash"])
def test_a_topic_that_is_missing_is_answered_with_those_that_are_near(
    kafka_streams: KafkaStreams, topic: str, name: str
) -> None:
    """A name written wrongly is the commonest cause."""
    create(kafka_streams.servers, topic, 1)
    missing = name.format(topic)
    with pytest.raises(DataError, match=f"there is no topic {missing} at .* may not see it; there (is|are) .*{topic}"):
        TopicHistory(missing, kafka_streams.settings)
    assert missing not in kafka_io.topics(kafka_streams.servers)


@pytest.mark.integration
def test_records_deleted_while_others_are_read_are_passed_over(kafka_streams: KafkaStreams, topic: str) -> None:
    """Old records of a large topic reach their age while they wait for their turn."""
    create(kafka_streams.servers, topic, 2)
    for partition in (0, 1):
        produce(kafka_streams.servers, topic, 20, partition=partition)
    with TopicHistory(topic, kafka_streams.settings) as history:
        batches = history.read(history.held)
        first = next(batches)
        kafka_io.delete_before(kafka_streams.servers, topic, 1, 15)
        assert numbers(iter([first])) == {0: list(range(20))}
        assert numbers(batches) == {1: list(range(15, 20))}
        kafka_io.delete_before(kafka_streams.servers, topic, 1, 20)
        assert numbers(history.read(history.held)) == {0: list(range(20))}


@pytest.mark.slow
@pytest.mark.integration
def test_a_compacted_topic_is_read_to_its_end(kafka_streams: KafkaStreams, topic: str) -> None:
    """Of a key only the newest record is kept: most offsets hold none, and it must not be waited for them."""
    often = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    kafka_io.create_topics(kafka_streams.servers, topic, configs=often)
    written = 0

    def is_compacted() -> bool:
        nonlocal written
        produce(kafka_streams.servers, topic, 10, first=written)
        written += 10
        return len(kafka_io.read_all(kafka_streams.servers, topic)) < written

    wait_until(is_compacted, "the log cleaner", timeout_s=60, interval_s=0.2)
    found = read(kafka_streams.settings, topic, most=10_000)[0]
    assert found[-1] == written - 1
    assert len(found) < written
    assert sampled(kafka_streams.settings, topic, 2)[0] == found[-2:]


@pytest.mark.integration
def test_a_broker_that_is_not_there_is_not_waited_for_without_end(topic: str) -> None:
    """Who waits at a terminal learns which address does not answer."""
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(RetryableError, match=f"topic {topic}: Kafka is not reached at {nowhere}"):
        TopicHistory(topic, KafkaSettings(bootstrap_servers=nowhere, request_timeout_ms=1_000))


@pytest.mark.slow
@pytest.mark.integration
def test_a_broker_that_falls_silent_is_not_waited_for_without_end(
    fragile_kafka: KafkaBroker, fresh_name: Callable[[str], str]
) -> None:
    """It may die amid a long reading, or right after it was reached."""
    topic, servers = fresh_name("topic"), fragile_kafka.bootstrap_servers
    create(servers, topic, 2)
    for partition in (0, 1):
        produce(servers, topic, 20, partition=partition)
    settings = KafkaSettings(bootstrap_servers=servers, request_timeout_ms=2_000)
    with TopicHistory(topic, settings) as history:
        batches = history.read(history.held)
        next(batches)
        fragile_kafka.pause()
        with pytest.raises(RetryableError, match=f"partition 1 of topic {topic}: nothing comes after offset 0 of 20"):
            list(batches)
        with pytest.raises(RetryableError, match=f"topic {topic}: "):
            history.newest(5, since_ms=START_MS)
        fragile_kafka.resume()


@pytest.mark.slow
@pytest.mark.integration
def test_a_topic_that_may_not_be_read_is_named(secured_kafka: SecuredBroker, fresh_name: Callable[[str], str]) -> None:
    """Rights to see a topic are not those to read it; the user and password are the daemon's."""
    topic, settings = fresh_name("topic"), secured_kafka.settings(fresh_name("group"))
    create(secured_kafka.bootstrap_servers, topic, 1)
    produce(secured_kafka.bootstrap_servers, topic, 5)
    with pytest.raises(DataError, match=f"there is no topic {topic} at .*, or our user may not see it"):
        TopicHistory(topic, settings)
    secured_kafka.allow(ResourceType.TOPIC, topic, ACLOperation.DESCRIBE)

    def refusal() -> str:
        with pytest.raises(DataError) as caught:
            read(settings, topic)
        return str(caught.value)

    wait_until(lambda: refusal() == f"topic {topic} may not be read: grant READ on it to our user", "the right to see")
    secured_kafka.allow(ResourceType.TOPIC, topic, ACLOperation.READ)
    wait_until(lambda: _reads(settings, topic), "the rights to take effect")


def _reads(settings: KafkaSettings, topic: str) -> bool:
    try:
        return read(settings, topic) == {0: list(range(5))}
    except DataError:
        return False
