"""A TCP proxy on loopback that makes a network bad: slow, cut, silent or unreachable, and losing single replies.

    with FaultProxy(broker.proxied_port, port, is_kafka=True) as proxy:
        proxy.delay(100, jitter_ms=50)      # each way, in order
        proxy.reset()                       # every open connection ends with a reset, now
        proxy.half_open()                   # connections open and to come are silent, and stay so
        proxy.black_hole()                  # nothing arrives or connects; what was on its way arrives late
        proxy.lose_reply(END_TXN)           # the broker acts on the next such request, nobody hears of it
        proxy.heal()
        proxy.counts                        # what happened, as proof

Of Kafka's protocol it knows the frame: length, then of a request its kind and correlation id, of a reply the latter.

Must not know: what is said on its connections, and why something is to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Self

END_TXN = 26  # Kafka's number of the request that ends a transaction
CHUNK_BYTES = 65_536
CALL_TIMEOUT_S = 10.0
ABORT_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Frames:
    """Cuts a byte stream into Kafka's frames, length included."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the frames that are complete with `chunk`."""
        self._rest += chunk
        frames = []
        while len(self._rest) >= 4 and len(self._rest) >= (size := 4 + struct.unpack_from(">i", self._rest)[0]):
            frames.append(bytes(self._rest[:size]))
            del self._rest[:size]
        return frames


class _Link:
    """One client's connection, and ours to the server on its behalf."""

    def __init__(self, client: Stream) -> None:
        self.client, self.server = client, client
        self.is_silent = False
        self.watched: dict[int, bool] = {}  # correlation ids whose reply gets lost: is the connection cut then?

    def abort(self) -> None:
        """End both connections with a reset."""
        for _, writer in {self.client, self.server}:
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT_ON_CLOSE)
            writer.transport.abort()


class FaultProxy:
    """Forwards `port` to `upstream_port` in a thread of its own, as a context manager; methods from any thread.

    Attributes:
        counts: `connections`, `resets` (of connections), `silenced` (connections), `swallowed_bytes`, `held` and
            `delayed` (pieces of data), `lost_replies` (the server had answered).

    Args:
        is_kafka: needed for `lose_reply`: data travels in whole frames.
        seed: of the jitter.
    """

    def __init__(self, upstream_port: int, port: int = 0, *, is_kafka: bool = False, seed: int = 0) -> None:
        self.upstream_port, self.is_kafka = upstream_port, is_kafka
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._delay_s, self._jitter_s = 0.0, 0.0
        self._to_lose: dict[int, list[bool]] = {}
        self._is_half_open = False
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._fillers: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._do(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()
        self._listener.close()

    def delay(self, latency_ms: float, jitter_ms: float = 0.0) -> None:
        """Let everything from now on take that long each way, plus up to `jitter_ms`; order is kept."""
        self._delay_s, self._jitter_s = latency_ms / 1_000, jitter_ms / 1_000

    def half_open(self) -> None:
        """Fall silent without a word: open connections for good, and those that come until `heal`."""

        async def silence() -> None:
            self._is_half_open = True
            for link in self._links:
                self._silence(link)

        self._do(silence)

    def black_hole(self) -> None:
        """Hold everything on its way, and answer no new connection, until `heal`."""

        async def hold() -> None:
            self._way.clear()
            self._accepting.cancel()
            self._listener.listen(0)
            while len(self._fillers) < 3:  # once its queue is full, the system answers no attempt to connect
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", self.port))
                self._fillers.append(filler)

        self._do(hold)

    @property
    def is_used(self) -> bool:
        """Whether somebody is connected now."""
        return bool(self._links)

    def heal(self) -> None:
        """End latency, half-open and black hole; silent connections stay silent: their client has to give them up."""

        async def mend() -> None:
            self._is_half_open = False
            self._delay_s = self._jitter_s = 0.0
            self._to_lose.clear()
            while self._fillers:
                self._fillers.pop().close()
            if not self._way.is_set():
                self._way.set()
                self._listener.listen()
                self._accepting = self._loop.create_task(self._accept())

        self._do(mend)

    def reset(self) -> int:
        """End all open connections with a reset; return how many there were."""

        async def cut() -> int:
            links = list(self._links)
            for link in links:
                link.abort()
            self.counts["resets"] += len(links)
            return len(links)

        return self._do(cut)

    def lose_reply(self, api_key: int, *, is_cut: bool = True) -> None:
        """Lose the reply to the next request of this kind: cut the connection there, or let it fall silent."""
        self._to_lose.setdefault(api_key, []).append(is_cut)

    def _do(self, action: Callable[[], Awaitable[int | None]]) -> int:
        async def run() -> int | None:
            return await action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(CALL_TIMEOUT_S) or 0

    async def _start(self) -> None:
        self._way = asyncio.Event()
        self._way.set()
        self._accepting = self._loop.create_task(self._accept())

    async def _stop(self) -> None:
        for link in self._links:
            link.abort()
        for filler in self._fillers:
            filler.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(self._listener)
            self.counts["connections"] += 1
            task = self._loop.create_task(self._serve(connection))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: socket.socket) -> None:
        link = _Link(await asyncio.open_connection(sock=connection))
        self._links.add(link)
        ways = []
        try:
            if self._is_half_open:
                self._silence(link)
            else:
                link.server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            ways = self._carry(link, link.client[0], link.server[1], is_request=True)
            if link.server is not link.client:
                ways += self._carry(link, link.server[0], link.client[1], is_request=False)
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # nobody there: the client is told below
        finally:
            for way in ways:
                way.cancel()
            link.abort()
            self._links.discard(link)
            await asyncio.gather(*ways, return_exceptions=True)

    def _carry(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> list[asyncio.Task[None]]:
        """Carry one direction; the first of the tasks to end ends the connection."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1_000)
        return [
            self._loop.create_task(self._take(link, reader, on_the_way, is_request=is_request)),
            self._loop.create_task(self._deliver(link, writer, on_the_way)),
        ]

    async def _take(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        on_the_way: asyncio.Queue[tuple[float, bytes]],
        *,
        is_request: bool,
    ) -> None:
        frames, due_s = Frames(), 0.0
        while chunk := await reader.read(CHUNK_BYTES):
            self.counts["delayed"] += bool(self._delay_s or self._jitter_s)
            due_s = self._loop.time() + self._delay_s + self._jitter_s * self._random.random()
            for piece in frames.feed(chunk) if self.is_kafka else [chunk]:
                if is_request:
                    self._watch(link, piece)
                elif self._is_lost(link, piece):
                    continue
                await on_the_way.put((due_s, piece))
        if link.is_silent and is_request:
            return
        if not link.is_silent:
            await on_the_way.put((due_s, b""))
        await self._loop.create_future()  # what is on its way arrives first; a silent server's end is never heard of

    async def _deliver(
        self, link: _Link, writer: asyncio.StreamWriter, on_the_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        while True:
            due_s, piece = await on_the_way.get()
            await asyncio.sleep(due_s - self._loop.time())
            if not self._way.is_set():
                self.counts["held"] += 1
                await self._way.wait()
            if link.is_silent:
                self.counts["swallowed_bytes"] += len(piece)
            elif not piece:
                return
            else:
                writer.write(piece)
                await writer.drain()

    def _watch(self, link: _Link, request: bytes) -> None:
        """Note a request whose reply is to get lost; it is itself delivered."""
        if self._to_lose and self.is_kafka:
            api_key, _version, correlation_id = struct.unpack_from(">hhi", request, 4)
            if self._to_lose.get(api_key):
                link.watched[correlation_id] = self._to_lose[api_key].pop(0)

    def _is_lost(self, link: _Link, reply: bytes) -> bool:
        """Tell whether this is a reply to lose; its connection ends or is silent with it."""
        if not link.watched or struct.unpack_from(">i", reply, 4)[0] not in link.watched:
            return False
        self.counts["lost_replies"] += 1
        if link.watched.pop(struct.unpack_from(">i", reply, 4)[0]):
            raise ConnectionResetError
        self._silence(link)
        return True

    def _silence(self, link: _Link) -> None:
        self.counts["silenced"] += not link.is_silent
        link.is_silent = True
