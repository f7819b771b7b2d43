"""A Redis server on a loopback port with its own folder.

Must not know: a Redis client; readiness is asked with one PING.
"""

from __future__ import annotations

from collections.abc import Mapping

from scripts.services.process import Service, ask, free_port, require

REMEDY = "install redis-server, version 7 or later (Debian: redis-server)"


class RedisServer(Service):
    """A server to talk to at `url`, as a context manager.

    Args:
        is_durable: write an append-only file, synced at every write, so that data survives `kill`.
        settings: server settings added to the defaults, by their names in redis.conf.
        port: to listen on; 0 = any free one.

    `stop`, `kill` and `start` may be called in any order inside the block: port and folder stay the same.
    """

    def __init__(self, *, is_durable: bool = False, settings: Mapping[str, str] | None = None, port: int = 0) -> None:
        super().__init__("redis")
        self._settings = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes" if is_durable else "no",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **(settings or {}),
        }
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, or start it again on the same port and folder; wait until it has loaded its data.

        Raises:
            ServiceUnavailableError: redis-server is missing or did not come up.
        """
        command = [require("redis-server", REMEDY), "--port", str(self.port), "--dir", str(self.folder)]
        for name, value in self._settings.items():
            command += [f"--{name}", value]
        self.process.start(command, self._is_ready)

    def _is_ready(self) -> bool:
        # A server with a password answers NOAUTH: it is up as well.
        return ask(self.port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))
