"""What a cluster that withholds rights makes us say: where, what is missing, and what to do. On a real authorizer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from kafka.admin import ACLOperation, ResourceType

from scripts.bench.inputs import untrained_bundle
from scripts.services import KafkaBroker
from streamae.connectors.kafka import AtLeastOnceSink, KafkaSink, KafkaSource
from streamae.errors import ConfigError, ExitCode, RetryableError
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.connectors.kafka.interceptor import Api, Interceptor
from tests.connectors.kafka.secured import PASSWORD, SecuredBroker
from tests.connectors.streams import Reader, commit, message
from tests.daemons import Daemon
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

BOTH = (ACLOperation.DESCRIBE, ACLOperation.WRITE)


@pytest.fixture
def own(secured_kafka: SecuredBroker, fresh_name: Callable[[str], str]) -> KafkaSettings:
    """Settings of a user without any right, in a group of its own."""
    return secured_kafka.settings(fresh_name("group"), instance_id="a")


def refusal(own: KafkaSettings) -> str:
    """Return what a start with transactions is refused with."""
    with pytest.raises(ConfigError) as caught:
        KafkaSink(own)
    (problem,) = caught.value.problems
    return problem


def test_a_transactional_id_that_is_not_ours_refuses_to_start(secured_kafka: SecuredBroker, own: KafkaSettings) -> None:
    """Going on without transactions would break the promise in silence; the operator learns both ways out."""
    for missing in ((), (ACLOperation.DESCRIBE,)):
        if missing:
            secured_kafka.allow(ResourceType.TRANSACTIONAL_ID, f"{own.group_id}-a", *missing)
        problem = refusal(own)
        assert problem.startswith("output.delivery: exactly_once is not possible")
        assert f"grant our user WRITE and DESCRIBE on transactional id {own.group_id}-a" in problem
        assert "output.delivery = at_least_once" in problem
    secured_kafka.allow(ResourceType.TRANSACTIONAL_ID, f"{own.group_id}-a", *BOTH)
    wait_until(lambda: _opens(own), "the rights to take effect")


def _opens(own: KafkaSettings) -> bool:
    with suppress(ConfigError):
        KafkaSink(own).close()
        return True
    return False


def test_a_transaction_longer_than_the_brokers_allow_refuses_to_start(kafka: KafkaBroker) -> None:
    """No retry can help: the setting has to change."""
    problem = refusal(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, transaction_timeout_ms=10**9))
    assert "kafka.transaction_timeout_ms is above the brokers' transaction.max.timeout.ms" in problem


def test_brokers_without_transactions_refuse_to_start(kafka: KafkaBroker) -> None:
    """Old brokers do not know the request; the client finds no version of it."""
    between = Interceptor(kafka.port)
    number = Api.INIT_PRODUCER_ID.to_bytes(2, "big")

    def hide(frame: bytes) -> bytes:
        at = frame.index(number + b"\x00\x00")  # the request and its lowest version
        return frame[:at] + b"\x03\xe7" + frame[at + 2 :]

    between.on_answer(Api.API_VERSIONS, hide, times=20)
    try:
        problem = refusal(KafkaSettings(bootstrap_servers=between.servers, request_timeout_ms=5_000))
    finally:
        between.close()
    assert "the brokers are too old for transactions" in problem


def test_a_coordinator_that_never_comes_is_waited_for_and_named(fresh_name: Callable[[str], str]) -> None:
    """The topic of transactions may still get its replicas: no reason to give up, but one to say what is missing."""
    with KafkaBroker({"transaction.state.log.replication.factor": "3"}) as alone:
        where = {"bootstrap_servers": alone.bootstrap_servers, "group_id": fresh_name("group")}
        with pytest.raises(RetryableError, match=r"no transaction coordinator.*__transaction_state.*at_least_once"):
            KafkaSink(KafkaSettings(**where, request_timeout_ms=3_000))
        kafka_io.create_topics(alone.bootstrap_servers, "out")
        sink = AtLeastOnceSink(KafkaSettings(**where, request_timeout_ms=5_000))
        commit(sink, [message("out", b"1")])
        sink.close()
        assert len(kafka_io.read_all(alone.bootstrap_servers, "out")) == 1


@pytest.mark.parametrize("is_exact", [True, False], ids=["exactly_once", "at_least_once"])
def test_an_output_topic_without_rights_is_named_and_nothing_is_lost(
    secured_kafka: SecuredBroker, own: KafkaSettings, topic: str, is_exact: bool
) -> None:
    """Nothing is committed while it lasts; the operator grants the right, and the same batch goes through."""
    output, servers = f"{topic}-out", secured_kafka.bootstrap_servers
    kafka_io.create_topics(servers, topic)
    kafka_io.create_topics(servers, output)
    secured_kafka.allow(ResourceType.TRANSACTIONAL_ID, f"{own.group_id}-a", *BOTH)
    secured_kafka.allow(ResourceType.TOPIC, topic, ACLOperation.READ)
    secured_kafka.allow(ResourceType.GROUP, own.group_id, ACLOperation.READ)
    wait_until(lambda: _opens(own), "the rights to take effect")
    reader = Reader(KafkaSource([topic], own, 100))
    sink = (KafkaSink if is_exact else AtLeastOnceSink)(own)
    reader.poll_until_owner(1)
    (partition,) = reader.owned
    for granted in ((), (ACLOperation.DESCRIBE,)):
        if granted:
            secured_kafka.allow(ResourceType.TOPIC, output, *granted)
        with pytest.raises(RetryableError, match=f"output topic {output} may not be written: grant WRITE"):
            commit(sink, [message(output, b"1")], {partition: 7}, reader.source.membership())
    assert kafka_io.committed_offset(servers, own.group_id, topic) is None
    secured_kafka.allow(ResourceType.TOPIC, output, ACLOperation.WRITE)

    def is_through() -> bool:
        with suppress(RetryableError):
            commit(sink, [message(output, b"1")], {partition: 7}, reader.source.membership())
            return True
        return False

    wait_until(is_through, "the rights to take effect")
    assert [record.value for record in kafka_io.read_all(servers, output)] == [b"1"]
    assert kafka_io.committed_offset(servers, own.group_id, topic) == 7
    sink.close()
    reader.source.close()


def test_rights_to_read_are_enough_to_find_partitions_without_owner(
    secured_kafka: SecuredBroker, own: KafkaSettings, topic: str
) -> None:
    """Nobody would grant one right more for it: without READ on the group a process does not run at all."""
    kafka_io.create_topics(secured_kafka.bootstrap_servers, topic)
    secured_kafka.allow(ResourceType.TOPIC, topic, ACLOperation.READ)
    secured_kafka.allow(ResourceType.GROUP, own.group_id, ACLOperation.READ)
    often = {"metadata_max_age_ms": 500}
    first = Reader(KafkaSource([topic], own, 100, **often))

    def owns() -> bool:
        with suppress(RetryableError):
            first.poll()
        return len(first.owned) == 1

    wait_until(owns, "the rights to take effect", timeout_s=30)
    again = Reader(KafkaSource([topic], own, 100, **often))  # leads the group, and is not told
    again.poll_until_owner(1)
    kafka_io.add_partitions(secured_kafka.bootstrap_servers, topic, 2)
    again.poll_until(lambda: len(again.owned) == 2, "the new partition", timeout_s=30)
    for reader in (first, again):
        reader.source.close()


def test_a_group_that_is_not_ours_is_named(secured_kafka: SecuredBroker, own: KafkaSettings, topic: str) -> None:
    """The poll says which right is missing, at every try."""
    kafka_io.create_topics(secured_kafka.bootstrap_servers, topic)
    secured_kafka.allow(ResourceType.TOPIC, topic, ACLOperation.READ)
    source = KafkaSource([topic], own, 100)
    for _ in range(2):
        with pytest.raises(RetryableError, match=f"{own.group_id}; grant our user READ on this group"):
            source.poll(1_000)
    source.close()


def test_an_input_topic_that_is_not_ours_is_named(secured_kafka: SecuredBroker, own: KafkaSettings, topic: str) -> None:
    """Without this a member without partitions would look like one that merely waits."""
    kafka_io.create_topics(secured_kafka.bootstrap_servers, topic)
    secured_kafka.allow(ResourceType.GROUP, own.group_id, ACLOperation.READ)
    source = KafkaSource([topic], own, 100)

    def says_so() -> bool:
        try:
            source.poll(200)
        except RetryableError as error:
            return f"grant READ on topic {topic}" in str(error)
        return False

    wait_until(says_so, "the refusal")
    source.close()


def test_the_daemon_ends_with_the_code_of_settings_errors(
    secured_kafka: SecuredBroker, own: KafkaSettings, tmp_path: Path
) -> None:
    """Exit 78: the supervisor does not start again what cannot work, and the last line says what to do."""
    untrained_bundle(4, 1, 2).save(tmp_path / "bundle")
    kafka = {
        "bootstrap_servers": own.bootstrap_servers,
        "group_id": own.group_id,
        "security_protocol": own.security_protocol,
        "sasl_mechanism": own.sasl_mechanism,
        "sasl_username": own.sasl_username,
        "sasl_password": PASSWORD,
    }
    sections = {"kafka": kafka, "model": {"bundle": tmp_path / "bundle"}, "state": {"store": "memory"}}
    with Daemon(tmp_path, sections) as daemon:
        assert daemon.process.wait(120) == ExitCode.SETTINGS
        assert "output.delivery = at_least_once" in daemon.log.read_text()
