"""A cluster of three Kafka brokers on loopback ports: nodes fail one at a time, and what they led moves on.

Everything is stored three times and acknowledged by two, so that one node may be away without anything being lost.

Must not know: who talks to the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from scripts.services.kafka_broker import KafkaBroker, Quorum
from scripts.services.process import free_port

NODES = (1, 2, 3)
HEAP_MB = 384
ADMIN_TIMEOUT_MS = 5_000
OFFSETS_TOPIC, TRANSACTIONS_TOPIC = "__consumer_offsets", "__transaction_state"

SETTINGS = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # three JVMs on two cores: a slow node is not a dead one
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "2000",
    "replica.lag.time.max.ms": "5000",
}


class KafkaCluster:
    """Three brokers to talk to at `bootstrap_servers`, as a context manager.

    `nodes` holds them by id: each can be stopped, killed, paused and started by itself. Use from one thread.

    Args:
        settings: broker settings of all nodes, added to or replacing the defaults of this module.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        quorum = Quorum({node_id: free_port() for node_id in NODES})
        chosen = SETTINGS | dict(settings or {})
        self.nodes = {
            node_id: KafkaBroker(chosen, node_id=node_id, quorum=quorum, heap_mb=HEAP_MB) for node_id in NODES
        }
        self.bootstrap_servers = ",".join(node.bootstrap_servers for node in self.nodes.values())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start all nodes that do not run, and wait until every one serves requests.

        Raises:
            ServiceUnavailableError: Java, Maven or the jars are missing, or a node did not come up.
        """
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.await_ready()

    def close(self) -> None:
        """End all nodes and delete their folders."""
        for node in self.nodes.values():
            node.close()

    def leader(self, topic: str, partition: int = 0) -> int | None:
        """Return the id of the node that leads a partition, None while there is none or nobody can say."""
        found = [each for each in self._partitions(topic) if each["partition_index"] == partition]
        return found[0]["leader_id"] if found and found[0]["leader_id"] in self.nodes else None

    def group_coordinator(self, group_id: str) -> int | None:
        """Return the id of the node that coordinates a consumer group; None as for `leader`.

        A cluster has no such node before its first group.
        """
        return self._coordinator(OFFSETS_TOPIC, group_id)

    def transaction_coordinator(self, transactional_id: str) -> int | None:
        """Return the id of the node that coordinates the transactions of an id; None as for `leader`."""
        return self._coordinator(TRANSACTIONS_TOPIC, transactional_id)

    def is_in_sync(self) -> bool:
        """Tell whether every partition has a leader and all its replicas are up to date: the next fault may come."""
        partitions = self._partitions()
        return bool(partitions) and all(
            each["leader_id"] in self.nodes and len(each["isr_nodes"]) == len(each["replica_nodes"])
            for each in partitions
        )

    def _coordinator(self, topic: str, name: str) -> int | None:
        partitions = len(self._partitions(topic))
        return self.leader(topic, partition_of(name, partitions)) if partitions else None

    def _partitions(self, *topics: str) -> list[dict[str, Any]]:
        """Return what the cluster says of the partitions of these topics, or of all; empty while it says nothing."""
        running = [node.bootstrap_servers for node in self.nodes.values() if node.process.is_running()]
        if not running:
            return []
        try:
            admin = KafkaAdminClient(bootstrap_servers=running, bootstrap_timeout_ms=ADMIN_TIMEOUT_MS)
            try:
                return [each for topic in admin.describe_topics(topics or None) for each in topic["partitions"]]
            finally:
                admin.close()
        except (KafkaError, OSError):  # the node that was asked has just gone, or does not know yet
            return []


def partition_of(name: str, partitions: int) -> int:
    """Return the partition whose leader coordinates a group or a transactional id: Java's hash of the name."""
    code = 0
    for character in name:
        code = (31 * code + ord(character)) & 0xFFFF_FFFF
    signed = code - 0x1_0000_0000 if code >= 0x8000_0000 else code
    return abs(signed) % partitions
