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

JSON_TYPE = {"Content-Type": "application/json"}
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


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        method: GET, POST, DELETE.
        url: where.
        body: what is sent.
        headers: besides those of the connection.
        within_s: longest time, if that is less than the client's.
        most_bytes: of the answer's body that are read.
    """

    method: str
    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    within_s: float | None = None
    most_bytes: int = MOST_BYTES


NOWHERE = Target("http", "", 0, "")


@dataclass(slots=True)
class Pending:
    """A request on its way, in a thread of its own: neither DNS nor a server that drips can hold the caller.

    Attributes:
        asked: what is asked.
        deadline_s: monotonic clock.
        target: where it goes.
        is_abandoned: nobody waits for it any more: what is not sent yet never is.
        is_sent: sending has begun: the other side may have all of it.
    """

    asked: Request
    deadline_s: float
    target: Target = NOWHERE
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
        self._abandoned: list[Pending] = []

    def ask(self, request: Request) -> Answer:
        """Ask and wait for the answer; raises what `result` raises."""
        return self.result(self.start(request))

    def start(self, request: Request) -> Pending:
        """Ask and do not wait: `result` has the answer, and what is raised."""
        longest_s = self.timeout_ms / 1_000
        deadline_s = self.clock() + (longest_s if request.within_s is None else min(request.within_s, longest_s))
        pending = Pending(request, deadline_s)
        self._abandoned = [other for other in self._abandoned if not other.done.is_set()]
        try:
            target = pending.target = Target.read(request.url)
            if sum(other.target.origin == target.origin for other in self._abandoned) >= MOST_ABANDONED:
                raise UnreachableError(f"{target.host}: {MOST_ABANDONED} earlier requests still hang")
        except (ForbiddenAddressError, UnreachableError) as error:
            pending.error = error
            pending.done.set()
            return pending
        pending.line = self._line_to(target)
        threading.Thread(target=self._run, args=(pending,), name=f"ask-{target.host}", daemon=True).start()
        return pending

    def result(self, pending: Pending) -> Answer:
        """Wait for the answer of a request that was started.

        Raises:
            UnreachableError: no whole answer in time.
            ForbiddenAddressError: the host leads to an address that is never asked.
        """
        pending.done.wait(max(pending.deadline_s - self.clock(), 0.0))
        with pending.lock:
            pending.is_abandoned = not pending.done.is_set()
        if pending.is_abandoned:
            self._abandoned.append(pending)
            _hang_up(pending.line)
            raise _unreachable(pending, f"{pending.target.host} did not answer in time")
        if pending.error is not None:
            raise pending.error
        assert pending.answer is not None
        if pending.line is not None:
            earlier = self._lines.pop(pending.target.origin, None)
            if earlier is not None:
                earlier.connection.close()
            self._lines[pending.target.origin] = pending.line
        return pending.answer

    def close(self) -> None:
        """Close all connections; idempotent."""
        while self._lines:
            self._lines.popitem()[1].connection.close()
        for pending in self._abandoned:
            _hang_up(pending.line)

    def _line_to(self, target: Target) -> _Line | None:
        """Return the open connection to `target`; None where there is none that is fresh and alive."""
        line = self._lines.pop(target.origin, None)
        if line is None:
            return None
        if self.clock() - line.since_s < FRESH_S and line.connection.is_connected:
            return line
        line.connection.close()
        return None

    def _run(self, pending: Pending) -> None:
        """Do the request and note what came of it; in its own thread."""
        host = pending.target.host
        try:
            pending.answer = self._exchange(pending)
        except (UnreachableError, ForbiddenAddressError) as error:
            pending.error = error
        except (ssl.SSLError, SSLError) as error:
            pending.error = _unreachable(pending, f"{host}: {_why_not_trusted(error)}")
        except TimeoutError:
            pending.error = _unreachable(pending, f"{host} did not answer in time")
        except (HTTPError, HTTPException, OSError) as error:
            pending.error = _unreachable(pending, f"{host}: no HTTP answer ({type(error).__name__})")
        except Exception as error:  # noqa: BLE001 - raised where somebody waits, and not lost with the thread
            pending.error = error
        finally:
            with pending.lock:
                pending.done.set()
                is_wanted = pending.answer is not None and not pending.is_abandoned
            if pending.line is not None and not is_wanted:
                pending.line.connection.close()

    def _exchange(self, pending: Pending) -> Answer:
        asked = pending.asked
        if pending.line is None:
            pending.line = self._open(pending)
        connection = pending.line.connection
        connection.timeout = self._left_s(pending)
        headers = {
            "Host": pending.target.host_header,
            "User-Agent": f"streamae/{__version__}",
            "Accept-Encoding": "identity",  # nothing can unfold into more than was sent
            **asked.headers,
        }
        with pending.lock:
            if pending.is_abandoned:
                raise UnreachableError(f"{pending.target.host}: it was too late to ask")
            pending.is_sent = True
        connection.request(
            asked.method, pending.target.path, body=asked.body or None, headers=headers, preload_content=False
        )
        response = connection.getresponse()
        body = b""
        while len(body) <= asked.most_bytes:
            part = response.read(asked.most_bytes + 1 - len(body), decode_content=False)
            if not part:  # the end; raises where more was announced
                break
            body += part
        is_whole = len(body) <= asked.most_bytes
        if not is_whole:
            connection.close()
            pending.line = None
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            body[: asked.most_bytes],
            is_whole,
        )

    def _open(self, pending: Pending) -> _Line:
        """Resolve once, and connect to the first address that takes the connection."""
        target = pending.target
        addresses = allowed_addresses(target.host, target.port)
        for number, address in enumerate(addresses, 1):
            connection = self._connection(target, address, self._left_s(pending))
            line = pending.line = _Line(connection, self.clock())  # from here on it can be hung up
            try:
                connection.connect()
            except (HTTPError, OSError) as error:
                connection.close()
                is_last = number == len(addresses) or isinstance(error, SSLError | ssl.SSLError)
                if is_last or pending.is_abandoned:
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

    def _left_s(self, pending: Pending) -> float:
        """Return the time that is left, at least a moment: no time at all would mean "do not wait" to a socket."""
        return max(pending.deadline_s - self.clock(), 0.001)


def _unreachable(pending: Pending, why: str) -> UnreachableError:
    return UnreachableError(why, may_have_arrived=pending.is_sent)


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
