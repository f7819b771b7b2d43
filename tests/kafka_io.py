"""Plain Kafka in and out for integration tests, apart from the connector under test."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError
from kafka.structs import TopicPartition

from tests.waiting import wait_until

Entry = tuple[bytes | None, bytes | None]


def create_topics(servers: str, *names: str, partitions: int = 1, configs: dict[str, str] | None = None) -> None:
    """Create topics; they are there when this returns."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.create_topics(
            [NewTopic(name, num_partitions=partitions, replication_factor=-1, topic_configs=configs) for name in names]
        )
    finally:
        admin.close()


def add_partitions(servers: str, name: str, count: int) -> None:
    """Let a topic have `count` partitions."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.create_partitions({name: NewPartitions(count)})
    finally:
        admin.close()


def topics(servers: str) -> set[str]:
    """Return the names of all topics."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return set(admin.list_topics())
    finally:
        admin.close()


def groups(servers: str) -> set[str]:
    """Return the names of all groups that have members or offsets."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return {group["group_id"] for group in admin.list_groups()}
    finally:
        admin.close()


def recreate_topic(servers: str, name: str) -> None:
    """Delete a topic of one partition and create it again at once, empty."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.delete_topics([name])
    finally:
        admin.close()
    wait_until(lambda: _is_created(servers, name), f"{name} to be created again")


def _is_created(servers: str, name: str) -> bool:
    try:
        create_topics(servers, name)
    except TopicAlreadyExistsError:  # its deletion is not through
        return False
    return True


def produce(servers: str, topic: str, entries: Sequence[Entry], partition: int | None = 0) -> None:
    """Write (key, value) pairs and wait until the broker has them all. `partition=None` goes by key."""
    producer = KafkaProducer(bootstrap_servers=servers)
    try:
        futures = [producer.send(topic, key=key, value=value, partition=partition) for key, value in entries]
        producer.flush(30)
        for future in futures:
            future.get(1)
    finally:
        producer.close(5)


def read_all(servers: str, topic: str, *, isolation: str = "read_committed", timeout_s: float = 15.0) -> list[Any]:
    """Return every record of a topic, partition by partition, up to the end as it was when called.

    With `read_committed` that end is the last stable offset: records of open transactions are not waited for.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=servers, isolation_level=isolation, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        partitions = [TopicPartition(topic, index) for index in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        consumer.seek_to_beginning(*partitions)
        records: dict[TopicPartition, list[Any]] = {partition: [] for partition in partitions}
        deadline = time.monotonic() + timeout_s
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            assert time.monotonic() < deadline, f"could not read {topic} to its end"
            for partition, batch in consumer.poll(timeout_ms=100).items():
                records[partition].extend(batch)
        return [record for partition in partitions for record in records[partition]]
    finally:
        consumer.close()


def delete_before(servers: str, topic: str, partition: int, offset: int) -> None:
    """Delete the records of a partition below `offset`."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.delete_records({TopicPartition(topic, partition): offset})
    finally:
        admin.close()


def committed_offset(servers: str, group: str, topic: str, partition: int = 0) -> int | None:
    """Return the offset a group has committed, None if it has none."""
    consumer = KafkaConsumer(
        bootstrap_servers=servers, group_id=group, isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        offset: int | None = consumer.committed(TopicPartition(topic, partition))
        return offset
    finally:
        consumer.close()


def transaction_state(servers: str, transactional_id: str) -> str:
    """Return what the broker says of a transaction: ONGOING, COMPLETE_COMMIT, COMPLETE_ABORT, ..."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        return str(admin.describe_transactions([transactional_id])[transactional_id].state.name)
    finally:
        admin.close()
