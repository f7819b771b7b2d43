"""A real HTTP server on a loopback port that answers as a test says, also badly; with TLS where that is asked for."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from scripts.services.process import ServiceUnavailableError


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An ordinary answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Bytes in place of an answer, then the end; `drip` = then one more byte whenever the other side waits, for ever."""

    data: bytes
    drip: bool = False


@dataclass(frozen=True)
class Hang:
    """No answer until the server is closed."""


Behaviour = Reply | Raw | Hang | Callable[[Asked], "Reply | Raw | Hang"]
OK = Reply()


class HttpServer:
    """Answers with `replies` in order, then with `usual` for ever; keeps what it was asked.

    Args:
        usual: answer once `replies` are used up, or what makes one of the request.
        certificate: PEM file with key and certificate for TLS.
        port: to listen on; 0 = any free one.
    """

    def __init__(self, usual: Behaviour = OK, certificate: Path | None = None, port: int = 0) -> None:
        self.usual = usual
        self.replies: deque[Behaviour] = deque()
        self.asked: list[Asked] = []
        self.connections = 0
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.tls = context
        self.port = self._server.server_address[1]
        self.scheme = "http" if certificate is None else "https"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_off()

    def next_reply(self, asked: Asked) -> Reply | Raw | Hang:
        """Note a request and return what it is answered with."""
        self.asked.append(asked)
        behaviour = self.replies.popleft() if self.replies else self.usual
        return behaviour if isinstance(behaviour, Reply | Raw | Hang) else behaviour(asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._connected: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connected.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connected.discard(request)
        super().shutdown_request(request)

    def cut_off(self) -> None:
        """End all connections: without this, what is open would be answered on and on."""
        with self._lock:
            for connection in self._connected:
                with suppress(OSError):  # the other side was first
                    connection.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with suppress(OSError):  # the other side did not trust us
            request.settimeout(5.0)
            with self.tls.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave."""


def _handler(server: HttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or an answer with a body waits 40 ms for the other side's acknowledgement

        def setup(self) -> None:
            super().setup()
            server.connections += 1

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.next_reply(Asked(self.command, self.path, headers, body))
            if isinstance(reply, Reply):
                self._reply(reply)
                return
            self.close_connection = True
            if isinstance(reply, Raw):
                self.wfile.write(reply.data)
                while reply.drip and not server.closing.wait(0.02):
                    self.wfile.write(b"x")
            else:
                server.closing.wait()

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as the base wants them

        def _reply(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            with suppress(OSError):  # who has read enough leaves
                self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def made_certificate(folder: Path, name: str) -> Path:
    """Return a PEM file with a key and a certificate for the host `name`, signed by itself.

    Raises:
        ServiceUnavailableError: openssl is not installed.
    """
    program = shutil.which("openssl")
    if program is None:
        raise ServiceUnavailableError("openssl is not installed: install it (Debian: openssl)")
    key, certificate, both = folder / f"{name}.key", folder / f"{name}.crt", folder / f"{name}.pem"
    kind = "IP" if name.replace(".", "").isdigit() else "DNS"
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName={kind}:{name}"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


def closed_port() -> int:
    """Return a loopback port at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
