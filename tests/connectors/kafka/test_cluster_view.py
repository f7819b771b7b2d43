"""What other groups have committed and which topics exist, as a real cluster tells it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.services import KafkaBroker
from scripts.services.process import free_port
from streamae.batches import Partition
from streamae.connectors.kafka import KafkaSource
from streamae.connectors.kafka.cluster_view import ClusterView
from streamae.errors import RetryableError
from streamae.settings.connections import KafkaSettings
from tests.kafka_io import create_topics, produce, topics
from tests.waiting import wait_until


@pytest.mark.integration
def test_committed_offsets_are_seen_from_outside(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> None:
    """A detector's progress is a sign of life; a group that there is not has none."""
    topic, group = fresh_name("records"), fresh_name("detector")
    create_topics(kafka.bootstrap_servers, topic)
    produce(kafka.bootstrap_servers, topic, [(b"a", b"1"), (b"a", b"2")])
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, group_id=group)
    source, view = KafkaSource([topic], settings, 10), ClusterView(settings, "alerts")
    owned: list[Partition] = []
    wait_until(lambda: owned.extend(source.poll(100).assigned) or owned, "the partition")
    assert view.offsets_of([group, "nobody"]) == {group: {}, "nobody": {}}
    source.commit({owned[0]: 2})
    assert view.offsets_of([group]) == {group: {Partition(topic, 0): 2}}
    source.close()
    view.close()


@pytest.mark.integration
def test_missing_topics_are_named_and_not_created(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> None:
    """The operator hears which topic to create; asking must not bring it about."""
    here, gone = fresh_name("here"), fresh_name("gone")
    create_topics(kafka.bootstrap_servers, here)
    view = ClusterView(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers), "alerts")
    assert view.missing([gone, here]) == [gone]
    assert gone not in topics(kafka.bootstrap_servers)
    view.close()


def test_a_cluster_that_is_away_may_come_back() -> None:
    """Whoever asks tries again a minute later."""
    settings = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", request_timeout_ms=200)
    view = ClusterView(settings, "alerts")
    for _ in range(2):
        with pytest.raises(RetryableError):
            view.offsets_of(["pumps"])
    view.close()
