"""The input of the torture runs is the workload, whatever becomes of the client that writes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.services import KafkaBroker
from scripts.verify.torture.outputs import create_topics, read
from scripts.verify.torture.producer import PacedProducer
from scripts.verify.torture.workload import Workload

WORKLOAD = Workload(keys=50, rows=20, partitions=3, seed=5)


@pytest.mark.integration
def test_a_client_begun_anew_goes_on_where_the_broker_is(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> None:
    """A client that confirms nothing is replaced, and each record is in the topic once, in order."""
    topic = fresh_name("paced")
    create_topics(kafka.bootstrap_servers, {topic: WORKLOAD.partitions})
    producer = PacedProducer(kafka.bootstrap_servers, topic, WORKLOAD)
    producer.write_to(300)
    producer.stuck_s = -1.0  # whatever waits has waited too long
    producer.write_to(600)
    producer.stuck_s = 30.0
    producer.finish()
    expected: dict[int, list[tuple[bytes, bytes]]] = {partition: [] for partition in range(WORKLOAD.partitions)}
    for partition, key, value in WORKLOAD.produced(0, WORKLOAD.records):
        expected[partition].append((key, value))
    found: dict[int, list[tuple[bytes, bytes]]] = {partition: [] for partition in expected}
    for message in read(kafka.bootstrap_servers, topic):
        found[message.partition].append((message.key, message.value))
    assert producer.renewals > 0
    assert producer.failures == []
    assert found == expected
