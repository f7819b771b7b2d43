"""The HTTP endpoints: status codes, bodies, and robustness against whoever asks."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from streamae.daemon.health import LIVE_PATH, METRICS_PATH, READY_PATH, HealthServer


class Process:
    """What the server reports on."""

    def __init__(self) -> None:
        self.live_reasons: list[str] = []
        self.ready_reasons: list[str] = []
        self.metrics: Callable[[], tuple[bytes, str]] = lambda: (b"streamae_x 1\n", "text/plain; version=9")
        self.warnings: list[str] = []
        answers = (lambda: self.live_reasons, lambda: self.ready_reasons, self.render)
        self.server = HealthServer("127.0.0.1", 0, *answers, warnings=lambda: self.warnings)

    def render(self) -> tuple[bytes, str]:
        """Answer with whatever a test has put there."""
        return self.metrics()

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes, str]:
        """Return status, body and content type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "")
        finally:
            connection.close()


@pytest.fixture
def process() -> Iterator[Process]:
    """A running server."""
    process = Process()
    process.server.start()
    yield process
    process.server.close()


def test_the_paths_are_a_contract() -> None:
    """Probes and scrape configurations name these paths."""
    assert (LIVE_PATH, READY_PATH, METRICS_PATH) == ("/livez", "/readyz", "/metrics")


@pytest.mark.parametrize("path", [LIVE_PATH, READY_PATH])
def test_no_reason_means_ok(process: Process, path: str) -> None:
    """A healthy process answers 200."""
    status, body, content_type = process.ask(path)
    assert (status, json.loads(body), content_type) == (200, {"status": "ok", "reasons": []}, "application/json")


def test_reasons_mean_unavailable(process: Process) -> None:
    """Each endpoint gives its own reasons, with 503."""
    process.live_reasons, process.ready_reasons = ["stuck"], ["starting", "state not saved for 61 s"]
    assert process.ask(LIVE_PATH)[0] == 503
    status, body, _ = process.ask(READY_PATH)
    assert status == 503
    assert json.loads(body) == {"status": "unavailable", "reasons": ["starting", "state not saved for 61 s"]}


def test_warnings_stand_beside_readiness(process: Process) -> None:
    """A stream that is read wrongly is told, with or without reasons: a restart of the pod would not mend it."""
    process.warnings = ["half of the records are refused"]
    status, body, _ = process.ask(READY_PATH)
    assert (status, json.loads(body)) == (200, {"status": "ok", "reasons": [], "warnings": process.warnings})
    assert process.ask(LIVE_PATH)[1] == b'{"status": "ok", "reasons": []}\n'
    process.ready_reasons = ["starting"]
    status, body, _ = process.ask(READY_PATH)
    assert (status, json.loads(body)["warnings"]) == (503, process.warnings)


def test_answers_follow_the_process(process: Process) -> None:
    """Nothing is cached: the next request sees the recovery."""
    process.ready_reasons = ["starting"]
    assert process.ask(READY_PATH)[0] == 503
    process.ready_reasons = []
    assert process.ask(READY_PATH)[0] == 200


def test_liveness_and_readiness_are_apart(process: Process) -> None:
    """Not being ready never gets a process killed."""
    process.ready_reasons = ["starting"]
    assert process.ask(LIVE_PATH)[0] == 200


def test_metrics_are_passed_through(process: Process) -> None:
    """Body and content type come from the telemetry."""
    assert process.ask(METRICS_PATH) == (200, b"streamae_x 1\n", "text/plain; version=9")


def test_a_query_is_ignored(process: Process) -> None:
    """Some probes add parameters."""
    assert process.ask(f"{LIVE_PATH}?verbose=1")[0] == 200


def test_head_has_no_body(process: Process) -> None:
    """HEAD answers as GET does, without the body."""
    with socket.create_connection(("127.0.0.1", process.server.port), timeout=5) as client:
        client.sendall(b"HEAD /livez HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4_096), b""))
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Length: 32\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["/", "/livez/", "/LIVEZ", "/../etc/passwd"])
def test_other_paths_are_not_found(process: Process, path: str) -> None:
    """Whoever asks for something else is told what there is."""
    status, body, _ = process.ask(path)
    assert status == 404
    assert b"/livez, /readyz, /metrics" in body


def test_other_methods_are_refused(process: Process) -> None:
    """Nothing can be changed through this port."""
    assert process.ask(LIVE_PATH, "POST")[0] == 501


def test_an_error_while_answering_is_an_answer(process: Process) -> None:
    """A bug behind an endpoint shows as 503 with its type; the server goes on."""

    def broken() -> tuple[bytes, str]:
        raise KeyError("secret detail")

    process.metrics = broken
    status, body, _ = process.ask(METRICS_PATH)
    assert status == 503
    assert json.loads(body)["reasons"] == ["cannot tell: KeyError"]
    assert process.ask(LIVE_PATH)[0] == 200


def test_a_silent_client_blocks_nobody(process: Process) -> None:
    """A connection that never asks neither delays other probes nor the stop."""
    with socket.create_connection(("127.0.0.1", process.server.port)):
        assert process.ask(LIVE_PATH)[0] == 200
        process.server.close()


def test_a_client_that_hangs_up_leaves_no_trace(process: Process, capfd: pytest.CaptureFixture[str]) -> None:
    """A probe that gave up does not fill standard error with tracebacks."""
    asked, released = threading.Event(), threading.Event()

    def slow() -> tuple[bytes, str]:
        asked.set()
        released.wait(5)
        return b"x" * 10_000_000, "text/plain"

    process.metrics = slow
    with socket.create_connection(("127.0.0.1", process.server.port)) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert asked.wait(5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    released.set()
    assert process.ask(LIVE_PATH)[0] == 200
    assert capfd.readouterr().err == ""


def test_requests_are_not_logged(process: Process, capfd: pytest.CaptureFixture[str]) -> None:
    """Probes come every few seconds and would drown the log."""
    process.ask(LIVE_PATH)
    process.ask("/nowhere")
    assert capfd.readouterr() == ("", "")


def test_closing_frees_the_port_and_may_be_repeated(process: Process) -> None:
    """After the stop the port can be taken at once by the next process."""
    port = process.server.port
    process.server.close()
    process.server.close()
    again = HealthServer("127.0.0.1", port, list, list, lambda: (b"", ""))
    assert again.port == port
    again.close()


def test_a_port_in_use_is_an_error(process: Process) -> None:
    """Two processes on one port would hide each other."""
    with pytest.raises(OSError, match="in use"):
        HealthServer("127.0.0.1", process.server.port, list, list, lambda: (b"", ""))


def test_ipv6_addresses_work() -> None:
    """A host with colons is listened on as IPv6."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = HealthServer("::1", 0, list, list, lambda: (b"", ""))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    server.start()
    connection = http.client.HTTPConnection("::1", server.port, timeout=5)
    connection.request("GET", LIVE_PATH)
    assert connection.getresponse().status == 200
    connection.close()
    server.close()
