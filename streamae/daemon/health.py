"""The HTTP side of the process: /livez, /readyz, /metrics and /status.

Answers come from callables, asked anew for each request in a thread of the server; the engine is never
touched from here. This module must not know what makes the process alive or ready.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from typing import Any

LIVE_PATH = "/livez"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
STATUS_PATH = "/status"

Reasons = Callable[[], Sequence[str]]
_POLL_SECONDS = 0.05
_CLIENT_SECONDS = 5.0


class HealthServer:
    """Serves the paths from construction of `start` until `close`.

    Args:
        host, port: where to listen; port 0 takes any free one.
        live, ready: what speaks against it, one sentence each; empty = 200, else 503.
        warnings: what else is wrong, said beside readiness: a restart would mend none of it.
        metrics: the text and its content type.
        status: what there is to say for people, as JSON; None = there is no such path.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        live: Reasons,
        ready: Reasons,
        metrics: Callable[[], tuple[bytes, str]],
        status: Callable[[], Mapping[str, Any]] | None = None,
        warnings: Reasons = tuple,
    ) -> None:
        routes: dict[str, Callable[[], _Answer]] = {
            LIVE_PATH: lambda: _health(live()),
            READY_PATH: lambda: _health(ready(), warnings()),
            METRICS_PATH: lambda: (HTTPStatus.OK, *metrics()),
        }
        if status is not None:
            routes[STATUS_PATH] = lambda: (HTTPStatus.OK, json.dumps(status()).encode() + b"\n", "application/json")
        self._server = _server_class(host)((host, port), _handler_class(routes))
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port; idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


_Answer = tuple[HTTPStatus, bytes, str]


def _health(reasons: Sequence[str], warnings: Sequence[str] = ()) -> _Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    body = {"status": "unavailable" if reasons else "ok", "reasons": list(reasons)}
    if warnings:
        body["warnings"] = list(warnings)
    return status, json.dumps(body).encode() + b"\n", "application/json"


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    """Return a server for the address family of `host`."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True  # a silent client must not hold up the stop

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # without HTTPServer's reverse look-up of the host name, which can take long
            self.server_name, self.server_port = host, int(self.server_address[1])

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: a client that hung up is no event of ours."""

    return Server


def _handler_class(routes: dict[str, Callable[[], _Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "streamae"
        sys_version = ""
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            route = routes.get(self.path.partition("?")[0])
            if route is None:
                self._answer(HTTPStatus.NOT_FOUND, f"try {', '.join(routes)}\n".encode(), "text/plain; charset=utf-8")
                return
            try:
                answer = route()
            except Exception as error:  # noqa: BLE001 - whoever asks must learn it, the process goes on
                answer = _health([f"cannot tell: {type(error).__name__}"])
            self._answer(*answer)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is theirs
            """Say nothing: probes come every few seconds."""

    return Handler
