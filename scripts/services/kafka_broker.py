"""A Kafka broker (KRaft, combined mode) on loopback ports with a fresh data folder: alone, or a node of a cluster.

The jars come from Maven by `pom.xml` beside this file and are kept in the git-ignored cache folder.
Settings favour tests: replication 1, no rebalance delay, short session and transaction clean-up
intervals, no automatic topics.

Must not know: a Kafka client; readiness is asked with one hand-made request.
"""

from __future__ import annotations

import base64
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.services.process import Service, ServiceUnavailableError, ask, free_port, require

POM = Path(__file__).with_name("pom.xml")
LIBRARIES = Path(__file__).resolve().parents[2] / ".cache" / "kafka" / "libs"
JAVA_REMEDY = "install a Java runtime, version 17 or later (Debian: openjdk-17-jre-headless)"
MAVEN_REMEDY = "install Maven (Debian: maven); it fetches the broker once"
FETCH_TIMEOUT_S = 600.0
FORMAT_TIMEOUT_S = 60.0

# ApiVersions version 0, correlation id 1, no client id: answered only once the broker serves requests.
API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)

SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "broker.heartbeat.interval.ms": "300",
    "broker.session.timeout.ms": "1000",  # a killed broker may come back only after its old session has ended
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "100",
}


def fetch_libraries(target: Path = LIBRARIES) -> Path:
    """Return the folder of the broker's jars, fetched by Maven if it is not complete yet.

    The folder appears in one rename, so that two processes asking at once do not see half of it.

    Raises:
        ServiceUnavailableError: Maven is missing or failed.
    """
    if target.is_dir():
        return target
    maven = require("mvn", MAVEN_REMEDY)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fetched = Path(scratch) / "libs"
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        command.append(f"-DoutputDirectory={fetched}")
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
        if done.returncode != 0:
            raise ServiceUnavailableError(f"mvn could not fetch the Kafka broker:\n{done.stdout[-2_000:]}")
        try:
            fetched.rename(target)
        except OSError:  # another process was faster; its copy is as good as ours
            if not target.is_dir():
                raise
    return target


@dataclass(frozen=True)
class Quorum:
    """The nodes that form a cluster together.

    Attributes:
        controller_ports: by node id, of every node.
        cluster_id: the same for all of them.
    """

    controller_ports: Mapping[int, int]
    cluster_id: str = field(default_factory=lambda: base64.b64encode(uuid.uuid4().bytes, b"__").decode().rstrip("="))

    def voters(self) -> str:
        """Return the nodes as the setting `controller.quorum.voters` wants them."""
        return ",".join(f"{node_id}@127.0.0.1:{port}" for node_id, port in self.controller_ports.items())


class KafkaBroker(Service):
    """A broker to talk to at `bootstrap_servers`, as a context manager.

    Args:
        settings: broker settings added to, or replacing, the defaults of this module.
        port: to listen on; 0 = any free one.
        proxy_port: where a proxy listens that forwards to `proxied_port` of this broker. Clients that are given the
            proxy as bootstrap server are sent to it for everything; those that use `bootstrap_servers` pass it by.
        node_id: of this broker in `quorum`.
        quorum: the cluster it is part of; None = it is alone.
        heap_mb: most memory of the JVM's heap.

    `stop`, `kill` and `start` may be called in any order inside the block: ports and data stay the same.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        port: int = 0,
        *,
        proxy_port: int = 0,
        node_id: int = 1,
        quorum: Quorum | None = None,
        heap_mb: int = 512,
    ) -> None:
        super().__init__("kafka")
        self._extra = dict(settings or {})
        self.port = port or free_port()
        self.node_id, self.heap_mb = node_id, heap_mb
        self.quorum = quorum or Quorum({node_id: free_port()})
        self.proxy_port = proxy_port
        self.proxied_port = free_port() if proxy_port else 0
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self._is_formatted = False

    def start(self) -> None:
        """Start the broker, or start it again on the same ports and data; wait until it serves requests.

        Raises:
            ServiceUnavailableError: Java, Maven or the jars are missing, or the broker did not come up.
        """
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the broker and do not wait: the first node of a cluster serves only once a second one is there.

        Raises:
            ServiceUnavailableError: Java, Maven or the jars are missing, or the data folder cannot be formatted.
        """
        java = require("java", JAVA_REMEDY)
        command = [java, f"-Xmx{self.heap_mb}m", "-XX:TieredStopAtLevel=1", "-cp", f"{fetch_libraries()}/*"]
        properties = self._write_properties()
        if not self._is_formatted:
            self._format([*command, "kafka.tools.StorageTool"], properties)
        self.process.launch([*command, "kafka.Kafka", str(properties)])

    def await_ready(self) -> None:
        """Wait until the broker serves requests.

        Raises:
            ServiceUnavailableError: it did not come up.
        """
        self.process.await_ready(self._is_ready)

    def _is_ready(self) -> bool:
        return ask(self.port, API_VERSIONS_REQUEST) != b""

    def _write_properties(self) -> Path:
        listening = {"PLAINTEXT": self.port, "CONTROLLER": self.quorum.controller_ports[self.node_id]}
        advertised = {"PLAINTEXT": self.port}
        if self.proxy_port:
            listening["PROXIED"], advertised["PROXIED"] = self.proxied_port, self.proxy_port
        own = {
            "node.id": str(self.node_id),
            "listeners": _listeners(listening),
            "advertised.listeners": _listeners(advertised),
            "controller.quorum.voters": self.quorum.voters(),
            "log.dirs": str(self.folder / "data"),
        }
        path = self.folder / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in (SETTINGS | own | self._extra).items()))
        return path

    def _format(self, tool: list[str], properties: Path) -> None:
        command = [*tool, "format", "-t", self.quorum.cluster_id, "-c", str(properties)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S)
        if done.returncode != 0:
            raise ServiceUnavailableError(f"Kafka could not format its data folder:\n{done.stdout}{done.stderr}")
        self._is_formatted = True


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
