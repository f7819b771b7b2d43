"""A one-node Kafka broker (KRaft, combined mode) on loopback ports with a fresh data folder.

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
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
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


class KafkaBroker(Service):
    """A broker to talk to at `bootstrap_servers`, as a context manager.

    Args:
        settings: broker settings added to, or replacing, the defaults of this module.
        port: to listen on; 0 = any free one.

    `stop`, `kill` and `start` may be called in any order inside the block: ports and data stay the same.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, port: int = 0) -> None:
        super().__init__("kafka")
        self._extra = dict(settings or {})
        self.port = port or free_port()
        self.controller_port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self._is_formatted = False

    def start(self) -> None:
        """Start the broker, or start it again on the same ports and data; wait until it serves requests.

        Raises:
            ServiceUnavailableError: Java, Maven or the jars are missing, or the broker did not come up.
        """
        java = require("java", JAVA_REMEDY)
        command = [java, "-Xmx512m", "-cp", f"{fetch_libraries()}/*"]
        properties = self._write_properties()
        if not self._is_formatted:
            self._format([*command, "kafka.tools.StorageTool"], properties)
        self.process.start([*command, "kafka.Kafka", str(properties)], self._is_ready)

    def _is_ready(self) -> bool:
        return ask(self.port, API_VERSIONS_REQUEST) != b""

    def _write_properties(self) -> Path:
        own = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "log.dirs": str(self.folder / "data"),
        }
        path = self.folder / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in (SETTINGS | own | self._extra).items()))
        return path

    def _format(self, tool: list[str], properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        command = [*tool, "format", "-t", cluster_id, "-c", str(properties)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S)
        if done.returncode != 0:
            raise ServiceUnavailableError(f"Kafka could not format its data folder:\n{done.stdout}{done.stderr}")
        self._is_formatted = True
