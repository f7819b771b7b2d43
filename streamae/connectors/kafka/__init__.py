"""Kafka: a source that delivers only what was asked for, and sinks that hold what they promise.

Only the modules of this package import the client library. It is pinned exactly: they guard against hazards
found by reading and breaking that very release, and name each of them where it is closed.

Must not know: what the bytes mean, or how partitions are recovered.
"""

from streamae.connectors.kafka.at_least_once import AtLeastOnceSink
from streamae.connectors.kafka.sink import KafkaSink, KafkaTransaction
from streamae.connectors.kafka.source import KafkaMembership, KafkaSource
from streamae.connectors.kafka.topic_history import TopicHistory, sample_topic
from streamae.connectors.kafka.topic_tail import TopicTail

__all__ = [
    "AtLeastOnceSink",
    "KafkaMembership",
    "KafkaSink",
    "KafkaSource",
    "KafkaTransaction",
    "TopicHistory",
    "TopicTail",
    "sample_topic",
]
