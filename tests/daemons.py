"""The program as its users run it: a child process with a settings file, seen through its log, ports and topics."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from streamae import fail_points
from tests.kafka_io import committed_offset
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0

Sections = dict[str, dict[str, Any]]


def write_settings(path: Path, sections: Sections) -> Path:
    """Write `sections` as TOML; values are text, numbers, lists or inner tables of text."""
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of `streamae` with these arguments."""
    return [sys.executable, "-m", "streamae", *map(str, arguments)]


def end_offsets(servers: str, topic: str) -> dict[int, int]:
    """Return the next offset of each partition of a topic."""
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, index) for index in sorted(consumer.partitions_for_topic(topic) or ())]
        return {partition.partition: end for partition, end in consumer.end_offsets(partitions).items()}
    finally:
        consumer.close()


class Daemon:
    """`streamae run` as a context manager; stopped by SIGTERM at its end, killed if that takes too long.

    Args:
        folder: for the settings file and the log.
        sections: settings; log format and a free health port are added.
    """

    environment: Mapping[str, str] = {}

    def __init__(self, folder: Path, sections: Sections) -> None:
        self.log = folder / "daemon.log"
        service = {"http_port": 0, "log_format": "json"} | sections.get("service", {})
        self.sections = sections | {"service": service}
        self.command = command("run", "--config", write_settings(folder / "streamae.toml", self.sections))

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far; what is not JSON (a traceback) as text under `event`."""
        found: list[dict[str, Any]] = []
        for text in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(json.loads(text))
            except ValueError:
                found.append({"event": text})
        return found

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines with this name."""
        return [line for line in self.lines() if line["event"] == event]

    def assert_runs(self) -> None:
        """Fail with the log when the process has ended."""
        assert self.process.poll() is None, "\n".join(str(line) for line in self.lines()[-30:])

    def get(self, path: str) -> tuple[int, str]:
        """Ask the health server."""
        connection = http.client.HTTPConnection("127.0.0.1", self.logged("starting")[0]["http_port"], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of one metric."""
        wanted = ",".join(f'{label}="{value}"' for label, value in labels.items())
        series = f"streamae_{name}" + (f"{{{wanted}}} " if wanted else " ")
        return next(
            float(text[len(series) :]) for text in self.get("/metrics")[1].splitlines() if text.startswith(series)
        )

    def wait_for_end(self, topic: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until everything in the input topic is processed and committed."""
        servers, group = (self.sections["kafka"][name] for name in ("bootstrap_servers", "group_id"))
        ends = end_offsets(servers, topic)

        def is_done() -> bool:
            self.assert_runs()
            return all(committed_offset(servers, group, topic, index) == end for index, end in ends.items() if end)

        wait_until(is_done, f"{topic} to be committed up to {ends}", timeout_s, interval_s=0.3)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the process standing where it is meanwhile (SIGSTOP), so that what it has not done cannot get done."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask the process to end and return its exit code."""
        self.assert_runs()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


class AlertProcess(Daemon):
    """`streamae alert` in the same way.

    Args:
        folder, sections: as for the daemon; a free health port is added.
        fail_point: where it dies, such as `after_alert_send:2`; None = nowhere.
    """

    def __init__(self, folder: Path, sections: Sections, fail_point: str | None = None) -> None:
        super().__init__(folder, sections | {"alerts": {"http_port": 0} | sections["alerts"]})
        self.command = command("alert", "--config", folder / "streamae.toml")
        self.environment = {} if fail_point is None else {fail_points.VARIABLE: fail_point}

    def wait_until_ready(self) -> None:
        """Wait until every receiver reads."""

        def is_ready() -> bool:
            self.assert_runs()
            return bool(self.logged("starting")) and self.get("/readyz")[0] == 200

        wait_until(is_ready, "alerting to be ready", START_TIMEOUT_S)
