"""One request to one address of the settings: bounded in time and size, no redirects, the host resolved once.

The only module that imports urllib3. What is asked lies in the settings alone: proxies of the environment are not
looked at. Must not know: what is sent.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, SSLError

from streamae import __version__
from streamae.alerting.addresses import Target, allowed_addresses
from streamae.alerting.answers import Answer, ForbiddenAddressError, UnreachableError

MOST_BYTES = 65_536
MOST_ABANDONED = 8  # of one origin: what hangs there holds up no other
FRESH_S = 60.0  # a connection is used again so long: then the host is resolved anew

_LOGGER = logging.getLogger("urllib3")
_LOGGER.setLevel(logging.ERROR)  # below that it names paths, which can hold secrets


@dataclass(slots=True)
class _Line:
    """A connection, and when it was opened on the monotonic clock."""

    connection: HTTPConnection
    since_s: float


@dataclass(slots=True)
class Request:
    """A request on its way, in a thread of its own: neither DNS nor a server that drips can hold the caller.

    Attributes:
        target: where it goes.
        is_abandoned: nobody waits for it any more: what is not sent yet never is.
        is_sent: sending has begun: the other side may have all of it.
    """

    target: Target
    method: str
    body: bytes
    headers: Mapping[str, str]
    most_bytes: int
    deadline_s: float
    is_abandoned: bool = False
    is_sent: bool = False
    line: _Line | None = None
    answer: Answer | None = None
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)  # either it is done, or it was abandoned


class HttpClient:
    """Asks web services; one for each receiver, whose thread may have several requests on their way.

    Args:
        timeout_ms: longest time from the call to the whole answer.
        ca_file: PEM file of trusted authorities in place of the system's.
        clock: monotonic seconds.

    Raises:
        OSError: `ca_file` cannot be read, or holds no certificate.
    """

    def __init__(
        self, timeout_ms: int, ca_file: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.timeout_ms = timeout_ms
        self.clock = clock
        self._tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._lines: dict[tuple[str, str, int], _Line] = {}
        self._abandoned: list[Request] = []

    def request(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        within_s: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        """Ask and wait for the answer.

        Args:
            method: GET, POST, DELETE.
            url: where.
            body: what is sent.
            headers: besides those of the connection.
            within_s: longest time, if that is less than the client's.
            most_bytes: of the answer's body that are read.

        Raises:
            UnreachableError: no whole answer in time.
            ForbiddenAddressError: the host leads to an address that is never asked.
        """
        return self.result(self.start(method, url, body, headers, within_s=within_s, most_bytes=most_bytes))

    def start(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        within_s: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Request:
        """Ask as `request` does, and do not wait: `result` has the answer, and what is raised."""
        longest_s = self.timeout_ms / 1_000
        deadline_s = self.clock() + (longest_s if within_s is None else min(within_s, longest_s))
        try:
            target = Target.read(url)
        except ForbiddenAddressError as error:
            request = Request(Target("http", "", 0, ""), method, body, {}, most_bytes, deadline_s, error=error)
            request.done.set()
            return request
        request = Request(target, method, body, dict(headers or {}), most_bytes, deadline_s)
        self._abandoned = [other for other in self._abandoned if not other.done.is_set()]
        if sum(other.target.origin == target.origin for other in self._abandoned) >= MOST_ABANDONED:
            request.error = UnreachableError(f"{target.host}: {MOST_ABANDONED} earlier requests still hang")
            request.done.set()
            return request
        request.line = self._line_to(target)
        threading.Thread(target=self._run, args=(request,), name=f"ask-{target.host}", daemon=True).start()
        return request

    def result(self, request: Request) -> Answer:
        """Wait for the answer of a request that was started.

        Raises:
            UnreachableError: no whole answer in time.
            ForbiddenAddressError: the host leads to an address that is never asked.
        """
        request.done.wait(max(request.deadline_s - self.clock(), 0.0))
        with request.lock:
            request.is_abandoned = not request.done.is_set()
        if request.is_abandoned:
            self._abandoned.append(request)
            _hang_up(request.line)
            raise _unreachable(request, f"{request.target.host} did not answer in time")
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        if request.line is not None:
            earlier = self._lines.pop(request.target.origin, None)
            if earlier is not None:
                earlier.connection.close()
            self._lines[request.target.origin] = request.line
        return request.answer

    def close(self) -> None:
        """Close all connections; idempotent."""
        while self._lines:
            self._lines.popitem()[1].connection.close()
        for request in self._abandoned:
            _hang_up(request.line)

    def _line_to(self, target: Target) -> _Line | None:
        """Return the open connection to `target`; None where there is none that is fresh and alive."""
        line = self._lines.pop(target.origin, None)
        if line is None:
            return None
        if self.clock() - line.since_s < FRESH_S and line.connection.is_connected:
            return line
        line.connection.close()
        return None

    def _run(self, request: Request) -> None:
        """Do the request and note what came of it; in its own thread."""
        host = request.target.host
        try:
            request.answer = self._ask(request)
        except (UnreachableError, ForbiddenAddressError) as error:
            request.error = error
        except (ssl.SSLError, SSLError) as error:
            request.error = _unreachable(request, f"{host}: {_why_not_trusted(error)}")
        except TimeoutError:
            request.error = _unreachable(request, f"{host} did not answer in time")
        except (HTTPError, HTTPException, OSError) as error:
            request.error = _unreachable(request, f"{host}: no HTTP answer ({type(error).__name__})")
        except Exception as error:  # noqa: BLE001 - raised where somebody waits, and not lost with the thread
            request.error = error
        finally:
            with request.lock:
                request.done.set()
                is_wanted = request.answer is not None and not request.is_abandoned
            if request.line is not None and not is_wanted:
                request.line.connection.close()

    def _ask(self, request: Request) -> Answer:
        if request.line is None:
            request.line = self._open(request)
        connection = request.line.connection
        connection.timeout = self._left_s(request)
        headers = {
            "Host": request.target.host_header,
            "User-Agent": f"streamae/{__version__}",
            "Accept-Encoding": "identity",  # nothing can unfold into more than was sent
            **request.headers,
        }
        with request.lock:
            if request.is_abandoned:
                raise UnreachableError(f"{request.target.host}: it was too late to ask")
            request.is_sent = True
        connection.request(
            request.method, request.target.path, body=request.body or None, headers=headers, preload_content=False
        )
        response = connection.getresponse()
        body = b""
        while len(body) <= request.most_bytes:
            part = response.read(request.most_bytes + 1 - len(body), decode_content=False)
            if not part:  # the end; raises where more was announced
                break
            body += part
        is_whole = len(body) <= request.most_bytes
        if not is_whole:
            connection.close()
            request.line = None
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            body[: request.most_bytes],
            is_whole,
        )

    def _open(self, request: Request) -> _Line:
        """Resolve once, and connect to the first address that takes the connection."""
        target = request.target
        addresses = allowed_addresses(target.host, target.port)
        for number, address in enumerate(addresses, 1):
            connection = self._connection(target, address, self._left_s(request))
            line = request.line = _Line(connection, self.clock())  # from here on it can be hung up
            try:
                connection.connect()
            except (HTTPError, OSError) as error:
                connection.close()
                is_last = number == len(addresses) or isinstance(error, SSLError | ssl.SSLError)
                if is_last or request.is_abandoned:
                    raise
            else:
                break
        return line

    def _connection(self, target: Target, address: str, timeout_s: float) -> HTTPConnection:
        """Return a connection to `address` that speaks to `target.host`, also in TLS."""
        if target.scheme == "http":
            return HTTPConnection(address, target.port, timeout=timeout_s)
        return HTTPSConnection(
            address, target.port, timeout=timeout_s, server_hostname=target.host, ssl_context=self._tls
        )

    def _left_s(self, request: Request) -> float:
        """Return the time that is left, at least a moment: no time at all would mean "do not wait" to a socket."""
        return max(request.deadline_s - self.clock(), 0.001)


def _unreachable(request: Request, why: str) -> UnreachableError:
    return UnreachableError(why, may_have_arrived=request.is_sent)


def _hang_up(line: _Line | None) -> None:
    """Wake the thread that waits for a connection. Its owner closes it."""
    live = line.connection.sock if line is not None else None
    if live is not None:
        with suppress(OSError):
            live.shutdown(socket.SHUT_RDWR)


def _why_not_trusted(error: Exception) -> str:
    """Return what is wrong with the other side's TLS."""
    inner: object = error
    while isinstance(inner, SSLError) and inner.args:
        inner = inner.args[0]
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({inner.verify_message})"
    return "no TLS"
