"""The fault proxy makes exactly the faults it is told to, and counts them: torture runs rest on that."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from scripts.verify.torture.proxy import END_TXN, FaultProxy, Frames
from tests.waiting import wait_until

FETCH = 1


class Echo(socketserver.ThreadingTCPServer):
    """Sends everything back, and remembers it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.received = bytearray()
        self.endings = 0


class EchoHandler(socketserver.BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        try:
            while chunk := self.request.recv(65_536):
                self.server.received += chunk
                self.request.sendall(chunk)
        except OSError:
            pass
        self.server.endings += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server on loopback."""
    with Echo() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    """A proxy for any bytes in front of it."""
    with FaultProxy(echo.server_address[1]) as proxy:
        yield proxy


def connect(proxy: FaultProxy, timeout_s: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_s)


def ask(connection: socket.socket, data: bytes) -> bytes:
    """Send and return as many bytes of answer, fewer at an end."""
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data) and (chunk := connection.recv(65_536)):
        answer += chunk
    return answer


def frame(api_key: int, correlation_id: int, body: bytes = b"") -> bytes:
    """Return a request; an echo of it is no reply, since that begins with the correlation id."""
    content = struct.pack(">hhi", api_key, 0, correlation_id) + body
    return struct.pack(">i", len(content)) + content


def test_without_faults_everything_passes_both_ways(echo: Echo, proxy: FaultProxy) -> None:
    """The proxy itself changes nothing."""
    data = bytes(range(256)) * 4_096
    with connect(proxy) as connection:
        threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
        answer = bytearray()
        while len(answer) < len(data):
            answer += connection.recv(65_536)
    assert bytes(answer) == data
    wait_until(lambda: echo.endings == 1, "the server to hear of the end")
    assert set(proxy.counts) <= {"connections", "delayed"}
    assert proxy.counts["connections"] == 1
    assert proxy.counts["delayed"] == 0


def test_a_server_that_is_down_is_a_connection_that_ends(echo: Echo) -> None:
    """Whoever sits behind the proxy is not hidden by it."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with FaultProxy(port) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as connection:
        connection.recv(1)


def test_latency_delays_each_way_and_keeps_order(proxy: FaultProxy) -> None:
    """A round trip takes twice the delay, and jitter never swaps two pieces."""
    proxy.delay(30, jitter_ms=10)
    pieces = [bytes([index]) for index in range(40)]
    with connect(proxy) as connection:
        started = time.monotonic()
        assert ask(connection, b"x") == b"x"
        assert time.monotonic() - started >= 0.06
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while len(answer) < len(pieces):
            answer += connection.recv(65_536)
        assert answer == b"".join(pieces)
        assert proxy.counts["delayed"] > 0
        proxy.heal()
        counted = proxy.counts["delayed"]
        assert ask(connection, b"y") == b"y"
        assert proxy.counts["delayed"] == counted


def test_reset_ends_every_open_connection_at_once(echo: Echo, proxy: FaultProxy) -> None:
    """Client and server see a reset; the next connection is fine."""
    with connect(proxy) as first, connect(proxy) as second:
        assert ask(first, b"a") == ask(second, b"a")
        assert proxy.reset() == 2
        for connection in (first, second):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    wait_until(lambda: echo.endings == 2, "the server to hear of it")
    assert proxy.counts["resets"] == 2
    with connect(proxy) as connection:
        assert ask(connection, b"b") == b"b"


def test_half_open_connections_are_silent_for_good(echo: Echo, proxy: FaultProxy) -> None:
    """What is sent into them is gone, old or new, also after the end of the fault; only later ones work."""
    with connect(proxy) as old:
        assert ask(old, b"a") == b"a"
        proxy.half_open()
        with connect(proxy) as new:
            old.sendall(b"bb")
            new.sendall(b"ccc")
            wait_until(lambda: proxy.counts["swallowed_bytes"] == 5, "five bytes to vanish")
            proxy.heal()
            for connection in (old, new):
                connection.sendall(b"d")
            wait_until(lambda: proxy.counts["swallowed_bytes"] == 7, "two more to vanish")
            assert proxy.counts["silenced"] == 2
            with connect(proxy) as later:
                assert ask(later, b"e") == b"e"
    assert echo.received == b"ae"


def test_a_black_hole_delivers_late_and_connects_nobody(echo: Echo, proxy: FaultProxy) -> None:
    """Data on open connections arrives after the fault; meanwhile an attempt to connect is not even refused."""
    with connect(proxy) as old:
        assert ask(old, b"a") == b"a"
        proxy.black_hole()
        old.sendall(b"b")
        wait_until(lambda: proxy.counts["held"] == 1, "the byte to be held")
        with pytest.raises(TimeoutError):
            connect(proxy, timeout_s=0.2)
        assert echo.received == b"a"
        proxy.heal()
        assert old.recv(1) == b"b"
        with connect(proxy) as new:
            assert ask(new, b"c") == b"c"


def test_frames_are_cut_wherever_the_bytes_are_split() -> None:
    """TCP's pieces are not Kafka's."""
    whole = [frame(FETCH, 1, b"x" * 300), frame(END_TXN, 2), frame(FETCH, 3, b"y")]
    stream, frames = b"".join(whole), Frames()
    found = [each for at in range(0, len(stream), 7) for each in frames.feed(stream[at : at + 7])]
    assert found == whole


class Broker(socketserver.ThreadingTCPServer):
    """Answers each frame with its correlation id, and counts what it was asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BrokerHandler)
        self.asked: list[int] = []


class BrokerHandler(socketserver.BaseRequestHandler):
    server: Broker

    def handle(self) -> None:
        frames = Frames()
        while chunk := self.request.recv(65_536):
            for request in frames.feed(chunk):
                api_key, _version, correlation_id = struct.unpack_from(">hhi", request, 4)
                self.server.asked.append(api_key)
                self.request.sendall(struct.pack(">ii", 4, correlation_id))


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A server that speaks frames."""
    with Broker() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("is_cut", [True, False])
def test_the_reply_to_one_kind_of_request_is_lost(broker: Broker, is_cut: bool) -> None:
    """The server has acted, the client never hears of it: neither of others nor of later ones is anything lost."""
    with FaultProxy(broker.server_address[1], is_kafka=True) as proxy, connect(proxy) as connection:
        proxy.lose_reply(END_TXN, is_cut=is_cut)
        connection.sendall(frame(FETCH, 7))
        assert connection.recv(8) == struct.pack(">ii", 4, 7)
        assert proxy.counts["lost_replies"] == 0
        connection.sendall(frame(END_TXN, 8))
        wait_until(lambda: proxy.counts["lost_replies"] == 1, "the reply to be lost")
        assert broker.asked == [FETCH, END_TXN]
        if is_cut:
            with pytest.raises(ConnectionResetError):
                connection.recv(8)
        else:
            connection.sendall(frame(FETCH, 9))
            wait_until(lambda: proxy.counts["swallowed_bytes"] == len(frame(FETCH, 9)), "the next to vanish")
        with connect(proxy) as later:
            later.sendall(frame(END_TXN, 10))
            assert later.recv(8) == struct.pack(">ii", 4, 10)
    assert proxy.counts["lost_replies"] == 1
