"""What the pinned client and the protocol do wrong, H1 to H12 and H15: each is shown on a real broker and stopped by its guard.

`python -m scripts.verify.guards` takes each guard away and runs its test here, which then has to fail.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError, UnstableOffsetCommitError
from kafka.producer import sender
from kafka.structs import MemberState, OffsetAndMetadata, TopicPartition

from scripts.services import KafkaBroker
from streamae.batches import Partition
from streamae.connectors.kafka import KafkaMembership, KafkaSink, KafkaSource
from streamae.connectors.kafka.sink import TRANSACTION_BACKOFF_MS
from streamae.connectors.kafka.source import QUIET
from streamae.connectors.protocols import Span
from streamae.errors import MembershipError, OutcomeUnknownError, RetryableError
from tests import kafka_io
from tests.connectors.kafka.expelled import expelled_while_joining
from tests.connectors.kafka.interceptor import Api, CutError, Interceptor, error_in, lose, renamed
from tests.connectors.streams import KafkaStreams, Reader, commit, is_stable, message, settle
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

OUT_OF_ORDER_SEQUENCE = 45


@pytest.fixture
def output(kafka_streams: KafkaStreams, topic: str) -> str:
    """An output topic."""
    kafka_streams.create_topic(f"{topic}-out", 1)
    return f"{topic}-out"


@pytest.fixture
def owner(kafka_streams: KafkaStreams, topic: str) -> Reader:
    """A source that owns both partitions of an input topic."""
    kafka_streams.create_topic(topic, 2)
    reader = kafka_streams.reader(topic, max_poll_interval_ms=60_000, session_timeout_ms=10_000)
    reader.poll_until_owner(2)
    return reader


class Intercepted:
    """A sink behind an interceptor, and why its producers were replaced."""

    def __init__(self, streams: KafkaStreams, between: Interceptor, **options: Any) -> None:
        self.recycled: list[str] = []
        options = {"bootstrap_servers": between.servers, "group_id": streams.group("group"), **options}
        self.sink = KafkaSink(streams.settings.model_copy(update=options), self.recycled.append)
        streams.track(self.sink)


def values(streams: KafkaStreams, topic: str) -> list[bytes | None]:
    """Return what readers of a topic see."""
    return [record.value for record in streams.read(topic)]


# H1: a member that lost its membership offers a proof that the broker does not check.


def test_the_broker_alone_would_accept_a_proof_without_generation(kafka_streams: KafkaStreams, topic: str) -> None:
    """H1: why `membership` checks: offered by a zombie, generation -1 moves the new owner's offset back."""
    kafka_streams.create_topic(topic, 1)
    zombie = kafka_streams.reader(topic)
    zombie.poll_until_owner(1)
    assert isinstance(zombie.source, KafkaSource)
    told = zombie.source._consumer.group_metadata
    wait_until(lambda: told().generation_id < 0, "the zombie to be told that it is none", timeout_s=20)
    owner = kafka_streams.reader(topic)
    owner.poll_until_owner(1)
    commit(kafka_streams.sink(), [], {Partition(topic, 0): 50}, owner.source.membership())
    metadata = told()
    assert (metadata.generation_id, metadata.member_id) == (-1, "")
    with pytest.raises(MembershipError, match=r"not a stable member.*generation -1"):
        zombie.source.membership()
    unchecked = KafkaMembership(metadata, frozenset({Partition(topic, 0)}))
    commit(kafka_streams.sink(), [], {Partition(topic, 0): 10}, unchecked)
    assert kafka_streams.committed(topic) == 10


# H2, H3: a commit that leaves out a record which failed.


def test_a_record_that_never_arrived_is_not_left_out_of_the_commit(
    kafka_streams: KafkaStreams, between: Interceptor, topic: str, output: str, owner: Reader
) -> None:
    """H2: the client would commit the offsets without the record, and the input would never be read again."""
    sink = Intercepted(kafka_streams, between).sink
    commit(sink, [message(output, b"0")])
    sink._producer._accumulator.config["delivery_timeout_ms"] = 700  # gives up while the commit still waits for it
    strange = "x" * len(output)  # no such topic: the broker takes nothing, and the client tries again
    between.on_request(Api.PRODUCE, renamed(output, strange), times=1_000)
    between.on_answer(Api.PRODUCE, renamed(strange, output), times=1_000)
    with pytest.raises(RetryableError, match=output):
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    between.forget()
    assert kafka_streams.committed(topic) is None
    owner.poll_until(lambda: is_stable(owner.source), "membership")
    commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    assert (values(kafka_streams, output), kafka_streams.committed(topic)) == ([b"0", b"1"], 7)


def test_a_commit_that_the_client_never_sent_is_not_called_done(
    kafka_streams: KafkaStreams, between: Interceptor, topic: str, output: str, owner: Reader
) -> None:
    """H3: a record refused while the commit waits makes the client start anew and call the commit a success."""
    sink = Intercepted(kafka_streams, between).sink
    between.on_answer(Api.PRODUCE, error_in(output, OUT_OF_ORDER_SEQUENCE))
    with pytest.raises(RetryableError, match=output):
        commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    assert (values(kafka_streams, output), kafka_streams.committed(topic)) == ([], None)
    owner.poll_until(lambda: is_stable(owner.source), "membership")
    commit(sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    assert (values(kafka_streams, output), kafka_streams.committed(topic)) == ([b"1"], 7)


# H4: rebalance listeners run on the client's IO thread.


def test_a_rebalance_waits_for_nobody(kafka_streams: KafkaStreams, topic: str, owner: Reader) -> None:
    """H4: a listener that asked the broker for anything would fail the poll; ours leaves flags for the next one."""
    second = kafka_streams.reader(topic)
    settle([owner, second], 2)
    assert (len(owner.owned), len(second.owned)) == (1, 1)
    second.source.close()
    settle([owner], 2)


# H5: what a failed or late transaction leaves behind must not reach the next one.


def test_a_commit_that_arrives_twice_does_not_end_the_next_transaction(
    kafka_streams: KafkaStreams, between: Interceptor, output: str
) -> None:
    """H5: the client sends a commit again when its connection drops; the first one is still on its way."""
    used = Intercepted(kafka_streams, between)
    stray: list[bytes] = []

    def hold(frame: bytes) -> bytes | None:
        stray.append(frame)
        raise CutError

    between.on_request(Api.END_TXN, hold)
    commit(used.sink, [message(output, b"1")])
    assert used.recycled == ["connection"]

    def is_torn() -> None:
        with used.sink.transaction() as transaction:
            transaction.send([message(output, b"half")])
            transaction.records.await_all(time.monotonic() + 10)
            between.inject(stray[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        is_torn()
    assert values(kafka_streams, output) == [b"1"]
    assert used.recycled == ["connection", "aborted"]


def test_a_producer_is_kept_while_all_is_well(kafka_streams: KafkaStreams, between: Interceptor, output: str) -> None:
    """Replacing costs a round of handshakes: not after every transaction."""
    used = Intercepted(kafka_streams, between)
    for number in range(3):
        commit(used.sink, [message(output, b"%d" % number)])
    assert (used.recycled, between.seen.count(Api.INIT_PRODUCER_ID)) == ([], 1)


def test_a_commit_without_an_answer_ends_its_producer(
    kafka_streams: KafkaStreams, between: Interceptor, topic: str, output: str, owner: Reader
) -> None:
    """H5: nobody knows whether it happened; it did, and asking for the offset tells."""
    used = Intercepted(kafka_streams, between, request_timeout_ms=3_000)
    between.on_answer(Api.END_TXN, lose)
    with pytest.raises(OutcomeUnknownError):
        commit(used.sink, [message(output, b"1")], {Partition(topic, 0): 7}, owner.source.membership())
    assert used.recycled == ["unknown"]
    assert owner.source.span(Partition(topic, 0)).committed == 7
    assert values(kafka_streams, output) == [b"1"]


def test_an_abort_without_an_answer_ends_its_producer(
    kafka_streams: KafkaStreams, between: Interceptor, output: str
) -> None:
    """H5: it may still be on its way, and would abort what comes next."""
    used = Intercepted(kafka_streams, between)
    between.on_answer(Api.END_TXN, lose)

    def fails() -> None:
        with used.sink.transaction() as transaction:
            transaction.send([message(output, b"1")])
            transaction.records.await_all(time.monotonic() + 10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert used.recycled == ["late"]
    commit(used.sink, [message(output, b"2")])
    assert values(kafka_streams, output) == [b"2"]


def test_a_process_that_stood_still_in_a_commit_replaces_its_producer(kafka_streams: KafkaStreams, output: str) -> None:
    """H5: a frozen process may find the answer when it wakes, long after brokers and network gave up on it."""
    seconds, recycled = iter([0.0, 60.0]), list[str]()
    sink = KafkaSink(kafka_streams.settings, recycled.append, clock=lambda: next(seconds))
    kafka_streams.track(sink)
    commit(sink, [message(output, b"1")])
    assert recycled == ["late"]


def test_the_client_alone_would_send_refused_offsets_again(
    kafka_streams: KafkaStreams, topic: str, owner: Reader
) -> None:
    """H5: why a producer that failed is thrown away: what it remembers ends in the next transaction."""
    stale = owner.source.membership().metadata._replace(generation_id=99)
    producer = KafkaProducer(
        bootstrap_servers=kafka_streams.servers, transactional_id=kafka_streams.group("raw"), retry_backoff_ms=5
    )
    producer.init_transactions()
    producer.begin_transaction()
    with pytest.raises(KafkaError):
        producer.send_offsets_to_transaction({TopicPartition(topic, 1): OffsetAndMetadata(1)}, stale)
    producer.abort_transaction()
    producer.begin_transaction()
    current = owner.source.membership().metadata
    producer.send_offsets_to_transaction({TopicPartition(topic, 0): OffsetAndMetadata(2)}, current)
    producer.commit_transaction()
    producer.close()
    assert (kafka_streams.committed(topic, 0), kafka_streams.committed(topic, 1)) == (2, 1)


# H6: the client's own ideas of where to read and when to commit.


def test_reading_alone_commits_nothing(kafka_streams: KafkaStreams, topic: str, owner: Reader) -> None:
    """H6: left alone, the client commits what it has delivered before it joins again, processed or not."""
    for partition in range(2):
        kafka_streams.produce(topic, [(b"k", b"1")], partition)
    owner.poll_until_values(2)
    second = kafka_streams.reader(topic)
    settle([owner, second], 2)
    assert (kafka_streams.committed(topic, 0), kafka_streams.committed(topic, 1)) == (None, None)


def test_records_that_are_gone_are_not_skipped_in_silence(kafka_streams: KafkaStreams, topic: str) -> None:
    """H6: left alone, the client goes on at the newest record when its offset is no longer kept."""
    kafka_streams.create_topic(topic, 1)
    kafka_streams.produce(topic, [(b"k", b"%d" % number) for number in range(5)])
    reader = kafka_streams.reader(topic)
    reader.starts_itself = False
    reader.poll_until_owner(1)
    kafka_streams.delete_before(Partition(topic, 0), 3)
    reader.source.start_at(Partition(topic, 0), 0)
    reader.poll_until(lambda: len(reader.assigned) == 2, "the partition to be planned anew")
    assert reader.revoked == [Partition(topic, 0)]
    reader.start(Partition(topic, 0))
    assert reader.poll_until_values(2) == [b"3", b"4"]


# H7: another owner's open transaction.


def test_span_waits_until_another_owners_transaction_is_decided(
    kafka_streams: KafkaStreams, topic: str, owner: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """H7: starting at an offset that is about to move would process records twice; and the wait is no error."""
    partition = Partition(topic, 0)
    sink = kafka_streams.sink()
    assert isinstance(sink, KafkaSink)
    spans: list[Span] = []
    with sink.transaction() as transaction:
        transaction.send_offsets({partition: 5}, owner.source.membership())
        sink._send_offsets(transaction)  # what the end of the block does first
        asking = threading.Thread(target=lambda: spans.append(owner.source.span(partition)))
        asking.start()
        asking.join(0.5)
        assert spans == []
    asking.join(10)
    assert [span[:3] for span in spans] == [(5, 0, 0)]
    assert [line for line in caplog.messages if UnstableOffsetCommitError.__name__ in line] == []


def test_only_the_clients_error_line_for_that_wait_is_dropped() -> None:
    """Fifty error lines a second about the expected would hide the unexpected."""
    logger = logging.getLogger("test")

    def passes(*arguments: object) -> bool:
        return bool(QUIET.filter(logger.makeRecord("test", logging.ERROR, "", 0, "%s %s", arguments, None)))

    assert not passes("partition", UnstableOffsetCommitError())
    assert passes("partition", KafkaError("other"))


# H8: a transaction right after another one.


class Pauses:
    """The `time` of the client's sender: notes how long it would sleep, and lets it go on at once."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Note it."""
        self.asked_s.append(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def test_transactions_in_a_row_do_not_wait_for_the_general_backoff(
    kafka_streams: KafkaStreams, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H8: the brokers need a few milliseconds to finish a commit; the client would sleep for its whole backoff."""
    sink, pauses = kafka_streams.sink(retry_backoff_ms=1_000), Pauses()
    commit(sink, [message(output, b"0")])
    monkeypatch.setattr(sender, "time", pauses)
    for _ in range(100):  # until one comes before the brokers have finished the one before
        commit(sink, [message(output, b"1")])
        if pauses.asked_s:
            break
    assert pauses.asked_s
    assert max(pauses.asked_s) * 1_000 <= TRANSACTION_BACKOFF_MS


# H9: the broker checks the member, not the partition.


def test_a_current_member_cannot_commit_for_its_neighbour(
    kafka_streams: KafkaStreams, topic: str, owner: Reader
) -> None:
    """H9: the broker would take the offset of a partition that was just given away."""
    second = kafka_streams.reader(topic)
    settle([owner, second], 2)
    (moved,), proof, sink = second.owned, owner.source.membership(), kafka_streams.sink()
    with pytest.raises(MembershipError, match="not the owner"):
        commit(sink, [], {moved: 5}, proof)
    assert kafka_streams.committed(*moved) is None
    commit(sink, [], {moved: 5}, proof._replace(owned=proof.owned | {moved}))
    assert kafka_streams.committed(*moved) == 5


def test_a_proof_is_not_given_between_a_rebalance_and_its_report(
    kafka_streams: KafkaStreams, topic: str, owner: Reader
) -> None:
    """H9: the engine must drop what it lost before it may commit what it kept."""
    assert isinstance(owner.source, KafkaSource)
    owner.source._changes.on_partitions_lost([TopicPartition(topic, 1)])
    with pytest.raises(MembershipError, match="since the last poll"):
        owner.source.membership()
    owner.poll()
    assert owner.source.membership().owned == {Partition(topic, 0)}


# H10: a partition that stays is fenced while others move.


def test_a_fence_during_a_cooperative_rebalance_is_waited_out(
    kafka_streams: KafkaStreams, topic: str, output: str, owner: Reader
) -> None:
    """H10: the same outputs go through once the group is stable, if the partition is still ours; nobody restarts."""
    proof, sink, recycled = owner.source.membership(), kafka_streams.sink(), len(owner.revoked)
    second = kafka_streams.reader(topic)
    settle([owner, second], 2)
    (kept,) = owner.owned
    with pytest.raises(MembershipError):
        commit(sink, [message(output, b"1")], {kept: 5}, proof)
    assert kept not in owner.revoked[recycled:]
    assert (values(kafka_streams, output), kafka_streams.committed(*kept)) == ([], None)
    owner.poll_until(lambda: is_stable(owner.source), "membership")
    commit(sink, [message(output, b"1")], {kept: 5}, owner.source.membership())
    assert (values(kafka_streams, output), kafka_streams.committed(*kept)) == ([b"1"], 5)


def test_a_proof_that_a_later_join_has_outdated_ends_nobody(kafka_streams: KafkaStreams, topic: str) -> None:
    """H10: a member that joined anew under its instance id is fenced with its own former proof: no reason to end."""
    kafka_streams.create_topic(topic, 1)
    former = kafka_streams.reader(topic, instance_id="a")
    former.poll_until_owner(1)
    proof = former.source.membership()
    later = kafka_streams.reader(topic, instance_id="a")
    later.poll_until_owner(1)
    with pytest.raises(MembershipError, match="FencedInstanceId"):
        commit(kafka_streams.sink(), [], {Partition(topic, 0): 5}, proof)
    commit(kafka_streams.sink(), [], {Partition(topic, 0): 7}, later.source.membership())
    assert kafka_streams.committed(topic) == 7


# H12: a member that is expelled while it joins anew is not told that others had its partitions meanwhile.


def test_a_partition_that_others_had_meanwhile_is_begun_anew(
    kafka_streams: KafkaStreams, between: Interceptor, topic: str
) -> None:
    """H12: the client would go on where it was, and publish again what another owner has published since."""
    former, second = expelled_while_joining(kafka_streams, between, topic)
    commit(kafka_streams.sink(), [], {Partition(topic, 0): 8, Partition(topic, 1): 8}, second.source.membership())
    second.source.close()
    heard = len(former.revoked), len(former.assigned)
    between.forget()
    former.poll_until(lambda: is_stable(former.source), "membership")
    former.poll()
    both = {Partition(topic, 0), Partition(topic, 1)}
    assert (set(former.revoked[heard[0] :]), set(former.assigned[heard[1] :])) == (both, both)


def test_a_proof_is_not_given_before_all_is_noted(kafka_streams: KafkaStreams, topic: str) -> None:
    """H12: the client is stable some moments before it has applied what it was given; the broker would take the proof."""
    kafka_streams.create_topic(topic, 1)
    reader = kafka_streams.reader(topic)
    source = reader.source
    assert isinstance(source, KafkaSource)
    apply, stable, given = source._changes._apply, [], []

    async def look_first(*joined: Any) -> None:
        stable.append(source._consumer.group_metadata().state == MemberState.STABLE)
        with suppress(MembershipError):
            given.append(source.membership())
        await apply(*joined)

    source._changes._apply = look_first
    reader.poll_until_owner(1)
    assert stable
    assert all(stable)
    assert given == []


# H15: a topic that is asked about is created, whatever the client was told.


@pytest.mark.slow  # a broker of its own
def test_a_topic_that_is_missing_is_not_created(topic: str) -> None:
    """H15: brokers create what is asked about, by default: a name written wrongly would become an empty topic, for good."""
    with KafkaBroker({"auto.create.topics.enable": "true"}) as broker:
        streams = KafkaStreams(broker.bootstrap_servers, "group")
        reader = streams.reader(topic)
        reader.poll_until(lambda: is_stable(reader.source), "membership")
        streams.close()
        assert topic not in kafka_io.topics(broker.bootstrap_servers)
