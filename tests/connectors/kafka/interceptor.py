"""A man in the middle before the real broker: loses, holds, repeats or rewrites single requests and answers.

A real broker cannot be made to lose one answer or to see one request twice. Clients that start here stay here: the
broker's address in its answers is replaced by this one, which is as long.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum

Change = Callable[[bytes], bytes | None]


class Api(IntEnum):
    """Requests by their key on the wire."""

    PRODUCE = 0
    OFFSET_COMMIT = 8
    JOIN_GROUP = 11
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class CutError(Exception):
    """Raised by a change: close the connection instead of passing anything on."""


class Interceptor:
    """Listens on a loopback port and passes everything on to a broker, except what a change says otherwise.

    A change gets the frame without its length and returns what is passed on, or None for nothing; it may wait.
    """

    def __init__(self, broker_port: int) -> None:
        self._address = ("127.0.0.1", broker_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.servers = f"127.0.0.1:{port}"
        self._real, self._ours = (b"127.0.0.1" + struct.pack(">i", each) for each in (broker_port, port))
        self._requests: dict[Api, list[Change]] = {}
        self._answers: dict[Api, list[Change]] = {}
        self._sockets: list[socket.socket] = [self._listener]
        self.seen: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def on_request(self, api: Api, change: Change, times: int = 1) -> None:
        """Apply `change` to the next requests of this kind."""
        self._requests.setdefault(api, []).extend([change] * times)

    def on_answer(self, api: Api, change: Change, times: int = 1) -> None:
        """Apply `change` to the next answers to requests of this kind."""
        self._answers.setdefault(api, []).extend([change] * times)

    def forget(self) -> None:
        """Change nothing more."""
        self._requests.clear()
        self._answers.clear()

    def inject(self, frame: bytes) -> bytes:
        """Send a request seen earlier once more, as a network that kept it would; return the answer."""
        with socket.create_connection(self._address, timeout=10) as broker:
            broker.sendall(struct.pack(">i", len(frame)) + frame)
            answer = _read(broker)
        assert answer is not None
        return answer

    def close(self) -> None:
        """Close every connection."""
        for each in self._sockets:
            _close(each)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._address)
                self._sockets += [client, broker]
                asked: dict[int, int] = {}
                for pump in (self._pass_requests, self._pass_answers):
                    threading.Thread(target=pump, args=(client, broker, asked), daemon=True).start()

    def _pass_requests(self, client: socket.socket, broker: socket.socket, asked: dict[int, int]) -> None:
        with suppress(OSError, CutError):
            while (frame := _read(client)) is not None:
                api, _version, correlation = struct.unpack_from(">hhi", frame)
                asked[correlation] = api
                self.seen.append(api)
                _write(broker, self._changed(self._requests, api, frame))
        _close(client)
        _close(broker)

    def _pass_answers(self, client: socket.socket, broker: socket.socket, asked: dict[int, int]) -> None:
        with suppress(OSError, CutError):
            while (frame := _read(broker)) is not None:
                api = asked.pop(struct.unpack_from(">i", frame)[0])
                _write(client, self._changed(self._answers, api, frame.replace(self._real, self._ours)))
        _close(client)
        _close(broker)

    @staticmethod
    def _changed(changes: dict[Api, list[Change]], api: int, frame: bytes) -> bytes | None:
        waiting = changes.get(Api(api), []) if api in set(Api) else []
        return waiting.pop(0)(frame) if waiting else frame


def lose(_frame: bytes) -> None:
    """Pass nothing on."""


def cut(_frame: bytes) -> None:
    """Close the connection instead."""
    raise CutError


def renamed(old: str, new: str) -> Change:
    """Return a change that says `new` where the frame says `old`, which is as long."""
    assert len(old) == len(new)
    return lambda frame: frame.replace(old.encode(), new.encode())


def error_in(topic: str, code: int) -> Change:
    """Return a change that puts an error code into the answer to a Produce request of one batch."""

    def change(frame: bytes) -> bytes:
        at = frame.index(topic.encode()) + len(topic) + 1 + 4  # name, one partition, its number
        return frame[:at] + struct.pack(">h", code) + frame[at + 2 :]

    return change


def _read(connection: socket.socket) -> bytes | None:
    length = _receive(connection, 4)
    return _receive(connection, struct.unpack(">i", length)[0]) if length is not None else None


def _receive(connection: socket.socket, count: int) -> bytes | None:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            return None
        received += piece
    return received


def _write(connection: socket.socket, frame: bytes | None) -> None:
    if frame is not None:
        connection.sendall(struct.pack(">i", len(frame)) + frame)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
