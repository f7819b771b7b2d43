"""Partitions that would stay without an owner for ever: H13 and H14, each shown on a real group and stopped by its guard."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.structs import MemberState

from streamae.batches import Partition
from streamae.connectors.kafka import KafkaSource
from tests import kafka_io
from tests.connectors.kafka.expelled import expelled_while_joining
from tests.connectors.kafka.interceptor import Interceptor
from tests.connectors.streams import KafkaStreams, Reader, is_stable, settle
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

AGE_MS = 500  # of metadata, and between two looks for partitions without owner
PATIENT = {"max_poll_interval_ms": 60_000, "session_timeout_ms": 30_000, "metadata_max_age_ms": AGE_MS}


def member(streams: KafkaStreams, topic: str, name: str, **options: Any) -> Reader:
    """Start a member of a stable name that is not expelled within a test."""
    return streams.reader(topic, instance_id=f"{topic}-{name}", **(PATIENT | options))


def coordinator(reader: Reader) -> Any:
    """Return the client's part that talks to the group."""
    assert isinstance(reader.source, KafkaSource)
    return reader.source._consumer._coordinator


def test_a_member_claims_nothing_that_it_has_lost(
    kafka_streams: KafkaStreams, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """H13: what a member claims that slept too long is kept from the others, and it does not give it up either."""
    kafka_streams.create_topic(topic, 4)
    sleeper = member(kafka_streams, topic, "sleeper", max_poll_interval_ms=3_000)
    sleeper.poll_until_owner(4)
    second = member(kafka_streams, topic, "second")
    second.poll_until(lambda: coordinator(second).state == MemberState.REBALANCING, "the request to join")
    kafka_streams.expel(sleeper)
    settle([sleeper, second], 4)
    assert (len(sleeper.owned), len(second.owned)) == (2, 2)
    assert "no member of group" not in caplog.text


def test_a_member_expelled_while_it_joins_claims_nothing(
    kafka_streams: KafkaStreams, between: Interceptor, topic: str
) -> None:
    """H13: it hears that it is no member in the midst of joining, and joins on with partitions noted as its own."""
    former, second = expelled_while_joining(kafka_streams, between, topic)
    (assignor,) = coordinator(former)._assignors.values()
    owned, expelled = assignor._owned, []

    def watched() -> Any:
        claimed = owned()
        if coordinator(former)._generation.is_lost():
            expelled.append((claimed, former.source._consumer.assignment()))  # type: ignore[attr-defined]
        return claimed

    assignor._owned = watched
    between.forget()
    settle([former, second], 2)
    assert any(noted for _, noted in expelled), "it joined with partitions noted as its own"
    assert all(claimed == set() for claimed, _ in expelled)


def test_a_member_that_comes_back_within_a_move_leaves_no_partition_behind(
    kafka_streams: KafkaStreams, topic: str
) -> None:
    """H14: it gave up two partitions and died before it asked for the rebalance that gives them to the other one."""
    kafka_streams.create_topic(topic, 4)
    dying = member(kafka_streams, topic, "dying")
    dying.poll_until_owner(4)
    other = member(kafka_streams, topic, "other")
    dying.timeout_ms = 0  # not so long that it takes the next step as well

    def has_given_up() -> bool:
        other.poll()
        dying.poll()
        return bool(dying.revoked)

    wait_until(has_given_up, "partitions to be given up")
    again = member(kafka_streams, topic, "dying")
    settle([again, other], 4)
    assert (len(again.owned), len(other.owned)) == (2, 2)


@pytest.mark.parametrize("assignor", ["cooperative_sticky", "range"])
def test_new_partitions_are_noticed_after_the_leader_came_back(
    kafka_streams: KafkaStreams, topic: str, assignor: str
) -> None:
    """H14: the leader watches the topics, and one that is not told that it leads does not."""
    kafka_streams.create_topic(topic, 1)
    member(kafka_streams, topic, "leader", assignor=assignor).poll_until_owner(1)
    again = member(kafka_streams, topic, "leader", assignor=assignor)
    again.poll_until_owner(1)
    kafka_io.add_partitions(kafka_streams.servers, topic, 3)
    again.poll_until(lambda: len(again.owned) == 3 and is_stable(again.source), "the new partitions", timeout_s=30)
    assert again.owned == {Partition(topic, index) for index in range(3)}


def test_nobody_joins_anew_while_every_partition_has_an_owner(kafka_streams: KafkaStreams, topic: str) -> None:
    """Looking is not to disturb: after several looks by each member the group is in the generation it was in."""
    kafka_streams.create_topic(topic, 3)
    members = [member(kafka_streams, topic, name) for name in ("a", "b")]
    settle(members, 3)
    generation = coordinator(members[0])._generation.generation_id
    looks = [0, 0]

    def have_looked() -> bool:
        for index, reader in enumerate(members):
            assert isinstance(reader.source, KafkaSource)
            before = reader.source._unowned._answer
            reader.poll()
            looks[index] += before is not None and reader.source._unowned._answer is None
        return min(looks) >= 4

    wait_until(have_looked, "four looks of each")
    assert {coordinator(reader)._generation.generation_id for reader in members} == {generation}
