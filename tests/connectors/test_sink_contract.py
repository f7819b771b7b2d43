"""What every sink promises, held against memory, Kafka with transactions and Kafka without alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from scripts.services import KafkaBroker
from streamae.batches import Partition
from streamae.errors import MembershipError, RetryableError
from tests.connectors.streams import (
    AtLeastOnceStreams,
    KafkaStreams,
    MemoryStreams,
    Reader,
    Streams,
    commit,
    message,
    settle,
)

KAFKA: dict[str, type[KafkaStreams]] = {"kafka": KafkaStreams, "at_least_once": AtLeastOnceStreams}


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.integration) for name in KAFKA)])
def streams(request: pytest.FixtureRequest, fresh_name: Callable[[str], str]) -> Iterator[Streams]:
    """A cluster, in memory and for real, with and without transactions."""
    if request.param == "memory":
        opened: Streams = MemoryStreams()
    else:
        broker: KafkaBroker = request.getfixturevalue("kafka")
        opened = KAFKA[request.param](broker.bootstrap_servers, fresh_name("test"))
    yield opened
    opened.close()


@pytest.fixture
def owner(streams: Streams, topic: str) -> Reader:
    """A source that owns both partitions of an input topic."""
    streams.create_topic(topic, 2)
    reader = streams.reader(topic)
    reader.poll_until_owner(2)
    return reader


@pytest.fixture
def output(streams: Streams, topic: str) -> str:
    """An output topic."""
    streams.create_topic(f"{topic}-out", 1)
    return f"{topic}-out"


def test_messages_and_offsets_appear_together(streams: Streams, topic: str, owner: Reader, output: str) -> None:
    """The heart of exactly-once: outputs and the input they came from are one decision."""
    with streams.sink().transaction() as transaction:
        transaction.send([message(output, b"1")])
        transaction.send([message(output, b"2")])
        transaction.send_offsets({Partition(topic, 0): 7, Partition(topic, 1): 9}, owner.source.membership())
        assert streams.read(output) == []
    assert [record.value for record in streams.read(output)] == [b"1", b"2"]
    assert (streams.committed(topic, 0), streams.committed(topic, 1)) == (7, 9)


def test_an_error_in_the_block_leaves_nothing(streams: Streams, topic: str, owner: Reader, output: str) -> None:
    """Whatever goes wrong before the end of the block, the same batch can be processed again."""
    sink = streams.sink()
    offsets, proof = {Partition(topic, 0): 7}, owner.source.membership()
    with pytest.raises(ZeroDivisionError):
        commit(sink, [message(output, b"lost")], offsets, proof, ZeroDivisionError())
    assert streams.committed(topic) is None
    commit(sink, [message(output, b"kept")])
    assert [record.value for record in streams.read(output)] == [b"kept"]


def test_offsets_alone_are_committed(streams: Streams, topic: str, owner: Reader) -> None:
    """Most batches have no anomaly; their progress counts all the same."""
    commit(streams.sink(), [], {Partition(topic, 0): 3}, owner.source.membership())
    assert (streams.committed(topic, 0), streams.committed(topic, 1)) == (3, None)


def test_an_empty_transaction_is_fine(streams: Streams) -> None:
    """Nothing to say is no error."""
    commit(streams.sink())


def test_transactions_follow_each_other(streams: Streams, topic: str, owner: Reader, output: str) -> None:
    """One producer carries many transactions, in order."""
    sink = streams.sink()
    for number in range(5):
        offsets = {Partition(topic, 0): number + 1}
        commit(sink, [message(output, b"%d" % number)], offsets, owner.source.membership())
    assert [record.value for record in streams.read(output)] == [b"0", b"1", b"2", b"3", b"4"]
    assert streams.committed(topic) == 5


def test_keys_values_and_headers_arrive_as_sent(streams: Streams, output: str) -> None:
    """Dead letters keep the original bytes; repeated header names are kept in order."""
    headers = (("a", b"\xff"), ("b", b""), ("a", b"2"))
    messages = [message(output, b"\x00\xff", b"\xfe", headers), message(output, None), message(output, b"")]
    commit(streams.sink(), messages)
    first, second, third = streams.read(output)
    assert (first.key, first.value, tuple(first.headers)) == (b"\xfe", b"\x00\xff", headers)
    assert (second.value, third.value) == (None, b"")


def test_a_record_without_key_and_value_can_be_sent(streams: Streams, output: str) -> None:
    """A dead letter of a keyless tombstone must not stop the stream."""
    commit(streams.sink(), [message(output, None, None, (("reason", b"tombstone"), ("empty", None)))])
    (record,) = streams.read(output)
    assert record.key is None
    assert not record.value
    assert [name for name, _ in record.headers] == ["reason", "empty"]


def test_a_zombie_is_refused(streams: Streams, topic: str, owner: Reader, output: str) -> None:
    """Who lost its membership cannot commit, even with a proof from before, and nothing of it is visible."""
    proof = owner.source.membership()
    streams.expel(owner)
    successor = streams.reader(topic)
    successor.poll_until_owner(2)
    commit(streams.sink(), [], {Partition(topic, 0): 50}, successor.source.membership())
    with pytest.raises(MembershipError):
        commit(streams.sink(), [message(output, b"zombie")], {Partition(topic, 0): 10}, proof)
    assert streams.committed(topic) == 50
    assert streams.read(output) == []


def test_a_former_generation_is_refused(streams: Streams, topic: str, owner: Reader, output: str) -> None:
    """A proof is good for the generation it was made in; after the rebalance the same member may go on."""
    proof = owner.source.membership()
    second = streams.reader(topic)
    settle([owner, second], 2)
    (partition,) = owner.owned
    sink = streams.sink()
    with pytest.raises(MembershipError):
        commit(sink, [message(output, b"stale")], {partition: 5}, proof)
    assert streams.committed(*partition) is None
    commit(sink, [], {partition: 6}, owner.source.membership())
    assert streams.committed(*partition) == 6


def test_offsets_of_a_failed_transaction_do_not_come_back(streams: Streams, topic: str, owner: Reader) -> None:
    """The client keeps refused offsets and would send them along later, over those of the partition's new owner."""
    proof = owner.source.membership()
    second = streams.reader(topic)
    settle([owner, second], 2)
    (kept,), (moved,) = owner.owned, second.owned
    sink = streams.sink()
    with pytest.raises(MembershipError):
        commit(sink, [], {kept: 1, moved: 1}, proof)
    commit(sink, [], {kept: 2}, owner.source.membership())
    assert (streams.committed(*kept), streams.committed(*moved)) == (2, None)


def test_offsets_of_a_partition_given_away_are_refused(streams: Streams, topic: str, owner: Reader) -> None:
    """The broker checks the member, not the partition: a current member could overwrite its neighbour's offsets."""
    second = streams.reader(topic)
    settle([owner, second], 2)
    (moved,) = second.owned
    with pytest.raises(MembershipError):
        commit(streams.sink(), [], {moved: 5}, owner.source.membership())
    assert streams.committed(*moved) is None


def test_errors_of_refused_transactions_may_be_retried(streams: Streams, topic: str, owner: Reader) -> None:
    """A refusal means "not committed": the loop polls on and tries again."""
    sink, offsets, proof = streams.sink(), {Partition(topic, 0): 1}, owner.source.membership()
    streams.expel(owner)
    with pytest.raises(RetryableError):
        commit(sink, [], offsets, proof)
    owner.poll_until(lambda: owner.revoked, "the loss to be noticed")
    settle([owner], 2)
    commit(sink, [], offsets, owner.source.membership())
    assert streams.committed(topic) == 1


def test_close_twice_is_fine(streams: Streams) -> None:
    """Shutdown code need not remember what it has closed."""
    sink = streams.sink()
    sink.close()
    sink.close()
