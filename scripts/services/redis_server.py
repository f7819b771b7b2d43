"""A Redis server on a loopback port with its own folder, and what can be done to it: older data, no memory, a replica.

Must not know: a Redis client, or what is stored; commands and answers are a few bytes written by hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from scripts.services.process import Service, ServiceUnavailableError, ask, free_port, require

REMEDY = "install redis-server, version 7 or later (Debian: redis-server)"
APPEND_ONLY_FOLDER = "appendonlydir"
MAX_SOCKET_PATH = 100  # bytes; the system takes 107


class RedisServer(Service):
    """A server to talk to at `url`, as a context manager.

    Args:
        is_durable: write an append-only file, synced at every write, so that data survives `kill`.
        settings: server settings added to the defaults, by their names in redis.conf.
        port: to listen on; 0 = any free one.

    `stop`, `kill` and `start` may be called in any order inside the block: port and folder stay the same.

    Attributes:
        socket_path: a Unix socket the server listens on as well.
    """

    def __init__(self, *, is_durable: bool = False, settings: Mapping[str, str] | None = None, port: int = 0) -> None:
        super().__init__("redis")
        self.socket_path = self.folder / "redis.sock"
        self._settings = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes" if is_durable else "no",
            "appendfsync": "always",
            "auto-aof-rewrite-percentage": "0",  # a copy taken meanwhile is whole
            "repl-diskless-sync-delay": "0",
            "maxmemory-policy": "noeviction",
            **(settings or {}),
        }
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._copies = 0

    def start(self) -> None:
        """Start the server, or start it again on the same port and folder; wait until it has loaded its data.

        Raises:
            ServiceUnavailableError: redis-server is missing or did not come up.
        """
        command = [require("redis-server", REMEDY), "--port", str(self.port), "--dir", str(self.folder)]
        if len(str(self.socket_path)) < MAX_SOCKET_PATH:
            command += ["--unixsocket", str(self.socket_path)]
        for name, value in self._settings.items():
            command += [f"--{name}", value]
        self.process.start(command, self._is_ready)

    def tell(self, *words: str, timeout_s: float = 10.0) -> str:
        """Send one command and return the start of its answer, without the type mark of a simple answer.

        Raises:
            ServiceUnavailableError: no answer in time, or a refusal.
        """
        request = b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words
        )
        answer = ask(self.port, request, timeout_s)
        if not answer or answer.startswith(b"-"):
            raise ServiceUnavailableError(f"Redis at port {self.port} does not {' '.join(words)}: {answer.decode()!r}")
        return answer.decode().removeprefix("+").strip()

    def copy_data(self) -> Path:
        """Return a copy of all data as it is on the disk now; the server may be running. Durable servers only."""
        self._copies += 1
        copy = self.folder / f"copy-{self._copies}"
        shutil.copytree(self.folder / APPEND_ONLY_FOLDER, copy)
        return copy

    def go_back_to(self, copy: Path) -> None:
        """Kill the server and start it with the data of `copy`: everything written since is lost."""
        self.kill()
        shutil.rmtree(self.folder / APPEND_ONLY_FOLDER)
        shutil.copytree(copy, self.folder / APPEND_ONLY_FOLDER)
        self.start()

    def limit_memory(self, limit_bytes: int) -> None:
        """Refuse writes while more than `limit_bytes` are used; 0 = no limit. Until the next start."""
        self.tell("CONFIG", "SET", "maxmemory", str(limit_bytes))

    def follow(self, primary: RedisServer | None) -> None:
        """Become a replica of `primary`, giving up the data held; None = accept writes again, with the data held."""
        if primary is None:
            self.tell("REPLICAOF", "NO", "ONE")
        else:
            self.tell("REPLICAOF", "127.0.0.1", str(primary.port))

    def is_in_step(self) -> bool:
        """Whether this replica has a live link to its primary and its first copy of the data."""
        # ROLE of a replica: "slave", host, port, state of the link, offset.
        return "$9\r\nconnected" in self.tell("ROLE")

    def _is_ready(self) -> bool:
        # A server with a password answers NOAUTH: it is up as well.
        return ask(self.port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))
