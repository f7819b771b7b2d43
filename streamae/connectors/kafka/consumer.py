"""The client's consumer: how one is opened that reads what is committed, and nothing on its own account.

Must not know: groups, partitions, or what the bytes mean.
"""

from __future__ import annotations

import logging
from typing import Any

from kafka import KafkaConsumer

from streamae.connectors.kafka.client import client_arguments, client_opening
from streamae.connectors.kafka.header_names import tolerate_bad_names
from streamae.settings.connections import KafkaSettings

# Loggers that warn, at every start, of what is in order: a first import that takes 0.2 s, a group that has no
# coordinator yet, topics whose metadata is on its way.
ALARMING = ("kafka.net.selector", "kafka.coordinator", "kafka.coordinator.assignors.sticky.sticky_assignor")


def open_consumer(settings: KafkaSettings, name: str, max_poll_records: int, **more: Any) -> Any:
    """Return a connected consumer (read_committed) that neither resets nor commits positions, nor creates topics (H6).

    Args:
        settings: how to reach the cluster.
        name: told to the broker, for its logs and quotas.
        max_poll_records: most records of one poll.
        more: further arguments of the client, such as those of a group.

    Raises:
        ConfigError, FatalError, RetryableError: as `client_errors`.
    """
    for alarming in ALARMING:
        logging.getLogger(alarming).setLevel(logging.ERROR)
    tolerate_bad_names()
    with client_opening("Kafka consumer") as open_client:
        return KafkaConsumer(
            **client_arguments(settings),
            kafka_client=open_client,
            client_id=f"streamae-{name}",
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            max_poll_records=max_poll_records,
            fetch_max_bytes=settings.fetch_max_bytes,
            max_partition_fetch_bytes=settings.fetch_max_bytes,
            fetch_max_wait_ms=min(500, settings.request_timeout_ms // 2),
            **more,
        )
