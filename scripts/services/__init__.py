"""Real Kafka, Redis and Alertmanager for tests, benches and the demo: started here, without containers.

Needs `java` (17 or later) and `mvn` for Kafka, `redis-server` for Redis, `prometheus-alertmanager`. Every service listens on
loopback only, on a free port unless told otherwise, with its own folder, and ends with the process that started it.

Must not know: anything of streamae itself.
"""

from scripts.services.alertmanager import Alertmanager
from scripts.services.kafka_broker import KafkaBroker
from scripts.services.kafka_cluster import KafkaCluster
from scripts.services.process import ServiceUnavailableError
from scripts.services.redis_pair import RedisPair
from scripts.services.redis_server import RedisServer

__all__ = ["Alertmanager", "KafkaBroker", "KafkaCluster", "RedisPair", "RedisServer", "ServiceUnavailableError"]
