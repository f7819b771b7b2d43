"""The services that tests are built on answer, keep their data over a restart, and leave nothing behind."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.protocol.metadata import CoordinatorType

import tests.conftest as fixtures
from scripts.services import KafkaBroker, KafkaCluster, RedisServer, ServiceUnavailableError
from scripts.services.__main__ import choose_port, main
from scripts.services.http_server import HttpServer
from scripts.services.kafka_broker import fetch_libraries
from scripts.services.kafka_cluster import partition_of
from scripts.services.process import ServiceProcess, ask, free_port, is_free, require
from tests.kafka_io import committed_offset, create_topics, produce, read_all
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.integration


def test_kafka_answers_and_keeps_committed_data_over_a_kill(fresh_name: Callable[[str], str]) -> None:
    """A killed broker comes back on the same address with what it had acknowledged."""
    topic = fresh_name("input")
    with fixtures.running(KafkaBroker()) as broker:
        create_topics(broker.bootstrap_servers, topic, partitions=2)
        produce(broker.bootstrap_servers, topic, [(b"k", b"1"), (b"k", b"2")], partition=1)
        broker.kill()
        assert broker.process.pid is None
        broker.start()
        assert [record.value for record in read_all(broker.bootstrap_servers, topic)] == [b"1", b"2"]
    assert not broker.folder.exists()


def test_a_broker_sends_clients_of_the_proxy_back_to_it_and_others_not(fresh_name: Callable[[str], str]) -> None:
    """Faults on the proxy's way meet whoever was sent there, and nobody who looks on beside it."""
    proxy_port = free_port()
    with fixtures.running(KafkaBroker(proxy_port=proxy_port)) as broker:
        assert _advertised_ports(broker.proxied_port) == {proxy_port}
        assert _advertised_ports(broker.port) == {broker.port}


def _advertised_ports(port: int) -> set[int]:
    admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    try:
        return {node.port for node in admin._manager.cluster.brokers()}
    finally:
        admin.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Three brokers; a test that takes one away brings it back."""
    with fixtures.running(KafkaCluster()) as brokers:
        yield brokers
    assert not any(node.folder.exists() for node in brokers.nodes.values())


def test_a_cluster_goes_on_without_the_node_that_led(cluster: KafkaCluster, fresh_name: Callable[[str], str]) -> None:
    """A killed leader takes nothing with it that was acknowledged, and catches up when it comes back."""
    topic, servers = fresh_name("input"), cluster.bootstrap_servers
    create_topics(servers, topic, partitions=3)
    produce(servers, topic, [(b"k", b"1")])
    wait_until(cluster.is_in_sync, "three replicas of all")
    leader = cluster.leader(topic)
    assert leader is not None
    cluster.nodes[leader].kill()
    try:
        wait_until(lambda: cluster.leader(topic) not in {leader, None}, "another leader")
        assert not cluster.is_in_sync()
        produce(servers, topic, [(b"k", b"2")])
    finally:
        cluster.start()
    wait_until(cluster.is_in_sync, "the node to catch up", timeout_s=60)
    assert [record.value for record in read_all(servers, topic)] == [b"1", b"2"]


def test_a_cluster_names_the_coordinators(cluster: KafkaCluster, fresh_name: Callable[[str], str]) -> None:
    """A fault meant for a coordinator hits it: the names' hash is the brokers' own."""
    servers, topic = cluster.bootstrap_servers, fresh_name("input")
    create_topics(servers, topic)
    groups, ids = [[fresh_name(kind) for _ in range(6)] for kind in ("group", "transactions")]
    for group in groups:
        committed_offset(servers, group, topic)
    for name in ids:
        producer = KafkaProducer(bootstrap_servers=servers, transactional_id=name)
        producer.init_transactions()
        producer.close(5)
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        told = admin._manager.run(admin._find_coordinator_ids, groups)
        assert told == {group: cluster.group_coordinator(group) for group in groups}
        told = admin._manager.run(admin._find_coordinator_ids, ids, CoordinatorType.TRANSACTION)
        assert told == {name: cluster.transaction_coordinator(name) for name in ids}
    finally:
        admin.close()


def test_a_cluster_nobody_can_ask_says_nothing() -> None:
    """While no node runs, no leader is made up and no next fault is let through."""
    brokers = KafkaCluster()
    try:
        assert brokers.leader("input") is None
        assert brokers.group_coordinator("group") is None
        assert not brokers.is_in_sync()
    finally:
        brokers.close()


@pytest.mark.parametrize(("name", "code"), [("", 0), ("hello", 99_162_322), ("sensor-group", -1_322_767_700)])
def test_coordinators_are_found_by_java_hash(name: str, code: int) -> None:
    """The hash is that of the language the brokers are written in, sign included."""
    assert partition_of(name, 2**31) == abs(code)


def test_free_ports_are_none_that_outgoing_connections_get() -> None:
    """A client that keeps trying a dead server never meets itself on the server's port."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_port() for _ in range(200)) < lowest


@pytest.mark.parametrize(("is_durable", "kept"), [(True, b"$1\r\nv\r\n"), (False, b"$-1\r\n")])
def test_redis_keeps_data_over_a_kill_only_when_durable(is_durable: bool, kept: bytes) -> None:
    """The durability switch decides what a power cut leaves."""
    with fixtures.running(RedisServer(is_durable=is_durable)) as server:
        assert ask(server.port, b"SET k v\r\n") == b"+OK\r\n"
        server.kill()
        server.start()
        assert kept == ask(server.port, b"GET k\r\n")
    assert not server.folder.exists()


def test_a_paused_server_is_silent_until_resumed(redis_server: RedisServer) -> None:
    """Pause means connections without answers, not an ended process."""
    redis_server.pause()
    try:
        assert ask(redis_server.port, b"PING\r\n", timeout_s=0.2) == b""
    finally:
        redis_server.resume()
    assert ask(redis_server.port, b"PING\r\n") == b"+PONG\r\n"


def test_a_service_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A test run that is killed leaves no server behind."""
    require("redis-server", "needed here")
    require("setpriv", "needed here")
    script = (
        "from scripts.services import RedisServer; import sys\n"
        "server = RedisServer(); server.start(); print(server.process.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"TMPDIR": str(tmp_path)}
    ) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    server.wait(timeout=10)
    assert not server.is_running()


def test_a_service_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    """The person who runs the tests sees why a service did not come up."""
    process = ServiceProcess(tmp_path / "log")
    with pytest.raises(ServiceUnavailableError, match="no such luck"):
        process.start(["sh", "-c", "echo no such luck; exit 3"], lambda: False)
    assert not process.is_running()


def test_a_service_listens_on_the_port_asked_for() -> None:
    """People and settings can rely on a port."""
    with fixtures.running(RedisServer(port=free_port())) as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert ask(server.port, b"PING\r\n") == b"+PONG\r\n"
        assert not is_free(server.port)
    assert is_free(server.port)


def test_the_usual_port_is_taken_when_free(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has to be set for services on the ports that the settings name by default."""
    usual = free_port()
    assert choose_port("Redis", None, usual) == usual
    assert choose_port("Redis", usual, 1) == usual
    assert capsys.readouterr().err == ""


def test_a_taken_usual_port_is_replaced_and_said_so(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody's own Redis is no obstacle, and nobody talks to it by mistake."""
    other = choose_port("Redis", None, redis_server.port)
    assert other != redis_server.port
    said = f"port {redis_server.port} is taken: Redis listens on {other} instead; set the variable below\n"
    assert capsys.readouterr().err == said


def test_a_taken_port_that_was_asked_for_is_an_error(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who names a port gets it or hears why not."""
    assert main(["--kafka-port", "0", "--redis-port", str(redis_server.port)]) == 1
    assert f"port {redis_server.port} is taken: give Redis another one with --redis-port" in capsys.readouterr().err


def test_services_start_by_one_command_and_end_with_it(
    kafka: KafkaBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    """`make services` prints two variables that can be exported, and leaves nothing behind after SIGTERM."""
    command = [sys.executable, "-m", "scripts.services", "--kafka-port", "0", "--redis-port", "0"]
    environment = dict(os.environ, TMPDIR=str(tmp_path))
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            variables = dict(child.stdout.readline().strip().split("=", 1) for _ in range(2))
        finally:
            child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    assert set(variables) == {"STREAMAE_KAFKA__BOOTSTRAP_SERVERS", "STREAMAE_STATE__REDIS_URL"}
    assert list(tmp_path.glob("streamae-*")) == []
    assert is_free(int(variables["STREAMAE_KAFKA__BOOTSTRAP_SERVERS"].rpartition(":")[2]))


def test_a_missing_program_is_named_with_its_remedy() -> None:
    """A machine without a service says what to install."""
    with pytest.raises(ServiceUnavailableError, match=r"no-such-program is not installed: install it"):
        require("no-such-program", "install it")


def test_present_jars_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run needs neither Maven nor a network."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fetch_libraries(tmp_path) == tmp_path
    with pytest.raises(ServiceUnavailableError, match="mvn is not installed"):
        fetch_libraries(tmp_path / "absent")


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("CI", pytest.fail.Exception),
        ("REQUIRE_SERVICES", pytest.fail.Exception),
        (None, pytest.skip.Exception),
    ],
)
def test_missing_services_skip_locally_and_fail_where_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, expected: type[BaseException]
) -> None:
    """A gate never passes by skipping its integration tests."""
    for name in ("CI", "REQUIRE_SERVICES"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    server = RedisServer()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(expected, match="redis-server is not installed"):
            fixtures.start_or_skip(server)
    finally:
        server.close()


def test_a_web_server_that_is_closed_answers_nobody() -> None:
    """Who keeps a connection open would else be told by a server that is gone, while another has its address."""
    with HttpServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/")
        with connection.getresponse() as answer:
            assert answer.read() == b""
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.request("GET", "/")
        connection.getresponse()
    connection.close()
    assert len(server.asked) == 1
