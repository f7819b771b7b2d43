"""Every service fails in every way it can; scoring goes on where it can, waits where it must, and nothing is missing.

Afterwards events and state are those of a run in which nothing failed (`Pumps.expected`). Each test proves that its
fault was there: by a metric, a log line, or a readiness that went and came back.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACLOperation, ConfigResource, ConfigResourceType, ResourceType
from redis import Redis

from scripts.services import KafkaBroker, RedisServer
from tests.connectors.kafka.secured import PASSWORD, USER, SecuredBroker
from tests.daemons import Daemon
from tests.kafka_io import create_topics
from tests.pumps import Pumps, train_pumps

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KNOWN = range(6)
STORED = 8  # of partition 0; met by a former process only
GROWTH_MB = 50

Make = Callable[..., Pumps]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for all tests here."""
    return train_pumps(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture
def make(bundle: Path, tmp_path: Path, fresh_name: Callable[[str], str]) -> Make:
    """A function that makes pumps with topics of their own."""

    def made(servers: str, redis_url: str, *, with_events: bool = True, **overrides: dict[str, object]) -> Pumps:
        name = fresh_name("pumps")
        create_topics(servers, name, partitions=2)
        create_topics(servers, f"{name}-dead", *([f"{name}-events"] if with_events else []))
        return Pumps(servers, redis_url, name, bundle, tmp_path, **overrides)

    return made


def assert_nothing_is_missing(pumps: Pumps) -> None:
    """Compare with the undisturbed run."""
    found, expected = pumps.found(), pumps.expected()
    assert len(expected[0]) >= 2 * len(KNOWN)
    assert found[0] == expected[0]
    assert found[1] == expected[1]


def reasons(daemon: Daemon) -> str:
    """Return what speaks against readiness, empty when nothing does."""
    status, body = daemon.get("/readyz")
    assert (status == 200) == (json.loads(body)["reasons"] == [])
    return " ".join(json.loads(body)["reasons"])


@pytest.mark.parametrize("fault", ["frozen", "gone"])
def test_without_redis_keys_in_memory_are_scored_and_new_ones_wait(
    kafka: KafkaBroker, own_redis: RedisServer, make: Make, fault: str
) -> None:
    """Events of known keys go out; a new key holds up its own partition only; readiness tells; then all is made up.

    The process took over from another one, and has not met all keys that one has stored: a key that is new to it may
    be one of them. (A process that knows them all asks nobody.)
    """
    pumps = make(kafka.bootstrap_servers, own_redis.url)
    pumps.write([*KNOWN, STORED], range(50))
    with pumps.daemon() as former:
        pumps.wait_until_saved(former)
        assert former.stop() == 0
    with pumps.daemon() as daemon:
        pumps.write(KNOWN, range(50, 100))
        pumps.wait_until_saved(daemon)
        before = len(pumps.event_ids())
        own_redis.pause() if fault == "frozen" else own_redis.kill()
        pumps.write(KNOWN, range(100, 200))
        pumps.wait_until_committed(daemon)
        assert len(pumps.event_ids()) > before
        Pumps.wait(daemon, lambda: "state not saved" in reasons(daemon), "readiness to end")
        assert daemon.get("/livez")[0] == 200

        pumps.write([6], range(150, 200))  # a new key, in partition 0
        Pumps.wait(daemon, lambda: daemon.logged("partition_waits_for_store"), "the new key to wait")
        pumps.write([1, 3, 5], range(200, 260))  # known keys, in partition 1
        pumps.wait_until_committed(daemon, [1])
        assert pumps.committed(0) < len(pumps.written[0])
        Pumps.wait(daemon, lambda: daemon.metric("partition_state", state="paused") == 1, "the gauge to show it")
        assert daemon.metric("partition_state", state="running") == 1
        assert daemon.metric("checkpoints_total", outcome="error") > 0
        assert daemon.metric("store_errors_total") > 0

        own_redis.resume() if fault == "frozen" else own_redis.start()
        Pumps.wait(daemon, lambda: not reasons(daemon), "readiness to come back")
        pumps.write([0, 2, 4, 6], range(200, 260))
        pumps.wait_until_saved(daemon)
        assert daemon.logged("partition_goes_on")
        assert daemon.metric("checkpoints_total", outcome="rolled_back") == 0
        assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)


def test_a_full_redis_costs_no_output(kafka: KafkaBroker, own_redis: RedisServer, make: Make) -> None:
    """Redis out of memory refuses checkpoints whole; scoring goes on, also of new keys; with memory all is saved."""
    pumps = make(kafka.bootstrap_servers, own_redis.url)
    pumps.write(KNOWN, range(100))
    with pumps.daemon() as daemon:
        pumps.wait_until_saved(daemon)
        saved = pumps.saved()
        own_redis.limit_memory(1_000_000)
        pumps.write([*KNOWN, 6], range(100, 200))
        pumps.wait_until_committed(daemon)
        Pumps.wait(daemon, lambda: "state not saved" in reasons(daemon), "readiness to end")
        assert "maxmemory" in daemon.logged("checkpoint_failed")[0]["error"]
        assert pumps.saved() == saved
        own_redis.limit_memory(0)
        Pumps.wait(daemon, lambda: not reasons(daemon), "readiness to come back")
        pumps.wait_until_saved(daemon)
        assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)


def empty(redis: RedisServer, pumps: Pumps, daemon: Daemon) -> None:
    """Delete everything, as an operator may."""
    redis.tell("FLUSHALL")


def set_back(redis: RedisServer, pumps: Pumps, daemon: Daemon) -> None:
    """Go back to older data, as a fail-over to a replica that lags behind does."""
    copy = redis.copy_data()
    pumps.write(KNOWN, range(100, 130))
    pumps.wait_until_saved(daemon)
    redis.go_back_to(copy)


def evict(redis: RedisServer, pumps: Pumps, daemon: Daemon) -> None:
    """Let it delete keys for want of memory, as a cache does, after it said that it would."""
    client = Redis.from_url(redis.url)
    client.config_set("maxmemory-policy", "allkeys-random")
    Pumps.wait(daemon, lambda: daemon.logged("store_problem"), "the warning")
    (warning,) = daemon.logged("store_problem")
    assert warning["problem"] == "evicts"
    assert "set it to noeviction" in warning["remedy"]
    assert daemon.metric("store_problems", problem="evicts") == 1
    client.config_set("maxmemory", 1_000_000)
    with contextlib.suppress(Exception):
        client.set("filler", "x")  # a write is what makes it look at its memory
    Pumps.wait(daemon, lambda: client.info("stats")["evicted_keys"] > 5, "keys to be evicted")
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    client.close()


@pytest.mark.parametrize("lose", [empty, set_back, evict], ids=lambda lose: lose.__name__)
def test_what_redis_loses_is_noticed_and_written_anew(
    kafka: KafkaBroker,
    own_redis: RedisServer,
    make: Make,
    lose: Callable[[RedisServer, Pumps, Daemon], None],
) -> None:
    """Emptied, set back or evicting under an owner that knows every key: the next checkpoint finds it and writes all anew."""
    pumps = make(kafka.bootstrap_servers, own_redis.url)
    pumps.write(KNOWN, range(100))
    with pumps.daemon() as daemon:
        pumps.wait_until_saved(daemon)
        lose(own_redis, pumps, daemon)
        pumps.write(KNOWN, range(130, 200))
        pumps.wait_until_saved(daemon)
        assert daemon.logged("state_written_anew"), "the loss met nobody who relied on it"
        assert daemon.metric("state_store_rollbacks_total") > 0
        assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)


def test_dangers_of_redis_are_told_at_the_start(kafka: KafkaBroker, own_redis: RedisServer, make: Make) -> None:
    """A server set up as a cache is used, with a warning that says what to set, before the first record is read."""
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    pumps = make(kafka.bootstrap_servers, own_redis.url)
    with pumps.daemon() as daemon:
        Pumps.wait(daemon, lambda: daemon.log.exists() and daemon.logged("started"), "the start")
        (warning,) = daemon.logged("store_problem")
        assert (warning["level"], warning["problem"]) == ("warning", "evicts")
        assert daemon.metric("store_problems", problem="evicts") == 1
        assert daemon.stop() == 0


@pytest.mark.parametrize("fault", ["frozen", "gone"])
def test_without_kafka_the_process_waits(
    fragile_kafka: KafkaBroker,
    redis_server: RedisServer,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """In the middle of the work the broker goes: no exit, no restart by a supervisor, no growth; then the rest is done."""
    pumps = make(fragile_kafka.bootstrap_servers, redis_server.url)
    pumps.write(KNOWN, range(600))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(10_000_000))

        def pings() -> int:
            found = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    found += supervisor.recv(4_096) == b"WATCHDOG=1"
            return found

        with pumps.daemon() as daemon:
            Pumps.wait(daemon, lambda: pumps.committed(0) > 300, "some work to be done")
            resident = psutil.Process(daemon.process.pid).memory_info().rss
            with daemon.held():
                pumps.write(KNOWN, range(600, 700))  # however fast it is, these wait for the broker to come back
                fragile_kafka.pause() if fault == "frozen" else fragile_kafka.kill()
            Pumps.wait(daemon, lambda: "retrying" in reasons(daemon), "readiness to end")
            tries = daemon.metric("retries_total")
            pings()  # what was sent so far
            Pumps.wait(daemon, lambda: daemon.metric("retries_total") >= tries + 2, "more tries")
            Pumps.wait(daemon, lambda: pings() >= 1, "the watchdog to be fed")
            assert daemon.get("/livez")[0] == 200
            assert psutil.Process(daemon.process.pid).memory_info().rss - resident < GROWTH_MB * 2**20
            fragile_kafka.resume() if fault == "frozen" else fragile_kafka.start()
            Pumps.wait(daemon, lambda: not reasons(daemon), "readiness to come back")
            pumps.wait_until_saved(daemon)
            assert len(daemon.logged("started")) == 1
            assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)


def held_back(pumps: Pumps, daemon: Daemon, why: str) -> None:
    """Wait until readiness names the reason, and prove that nothing was skipped meanwhile."""
    Pumps.wait(daemon, lambda: why in reasons(daemon), f"readiness to say {why}")
    committed = [pumps.committed(partition) for partition in (0, 1)]
    tries = daemon.metric("retries_total")
    Pumps.wait(daemon, lambda: daemon.metric("retries_total") >= tries + 2, "more tries")
    assert [pumps.committed(partition) for partition in (0, 1)] == committed
    assert sum(committed) < sum(map(len, pumps.written))
    assert daemon.metric("transactions_total", outcome="aborted") > 0
    assert daemon.get("/livez")[0] == 200


def test_a_missing_output_topic_is_waited_for(kafka: KafkaBroker, redis_server: RedisServer, make: Make) -> None:
    """Events without a topic are kept, not skipped: once it is created they are all there."""
    pumps = make(kafka.bootstrap_servers, redis_server.url, with_events=False)
    pumps.write(KNOWN, range(200))
    with pumps.daemon() as daemon:
        Pumps.wait(daemon, lambda: daemon.log.exists() and daemon.logged("started"), "the start")
        held_back(pumps, daemon, f"{pumps.name}-events")
        create_topics(kafka.bootstrap_servers, f"{pumps.name}-events")
        Pumps.wait(daemon, lambda: not reasons(daemon), "readiness to come back")
        pumps.wait_until_saved(daemon)
        assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)


def test_a_topic_that_refuses_an_event_for_its_size_gets_it_whole_later(
    kafka: KafkaBroker, redis_server: RedisServer, make: Make
) -> None:
    """An event is never cut nor dropped: it waits until the topic takes it."""
    pumps = make(kafka.bootstrap_servers, redis_server.url, with_events=False)
    topic = f"{pumps.name}-events"
    create_topics(kafka.bootstrap_servers, topic, configs={"max.message.bytes": "400"})
    pumps.write(KNOWN, range(200))
    with pumps.daemon() as daemon:
        Pumps.wait(daemon, lambda: daemon.log.exists() and daemon.logged("started"), "the start")
        held_back(pumps, daemon, "too large")
        assert pumps.event_ids() == []
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "1000000"})])
        admin.close()
        Pumps.wait(daemon, lambda: not reasons(daemon), "readiness to come back")
        pumps.wait_until_saved(daemon)
        assert daemon.logged("message_shortened") == []
        assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)


def test_an_output_topic_without_rights_is_waited_for(
    secured_kafka: SecuredBroker, redis_server: RedisServer, make: Make
) -> None:
    """A right that is missing is an outage, not a reason to skip: once it is granted everything comes out."""
    pumps = make(
        secured_kafka.bootstrap_servers,
        redis_server.url,
        kafka={
            "bootstrap_servers": f"127.0.0.1:{secured_kafka.user_port}",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": USER,
            "sasl_password": PASSWORD,
            "instance_id": "a",
        },
    )
    name = pumps.name
    secured_kafka.allow(ResourceType.TOPIC, name, ACLOperation.READ, ACLOperation.DESCRIBE)
    secured_kafka.allow(ResourceType.GROUP, name, ACLOperation.READ, ACLOperation.DESCRIBE)
    secured_kafka.allow(ResourceType.TOPIC, f"{name}-dead", ACLOperation.WRITE, ACLOperation.DESCRIBE)
    secured_kafka.allow(ResourceType.TRANSACTIONAL_ID, f"{name}-a", ACLOperation.WRITE, ACLOperation.DESCRIBE)
    pumps.write(KNOWN, range(200))
    with pumps.daemon() as daemon:
        Pumps.wait(daemon, lambda: daemon.log.exists() and daemon.logged("started"), "the start")
        held_back(pumps, daemon, f"{name}-events")
        secured_kafka.allow(ResourceType.TOPIC, f"{name}-events", ACLOperation.WRITE, ACLOperation.DESCRIBE)
        Pumps.wait(daemon, lambda: not reasons(daemon), "readiness to come back")
        pumps.wait_until_saved(daemon)
        assert daemon.stop() == 0
    assert_nothing_is_missing(pumps)
