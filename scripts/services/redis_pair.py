"""Two Redis servers, one following the other, behind one address that survives a fail-over.

The address is a Unix socket: a link to the socket of the current primary. Turning the link is what a virtual
address or a service of a cluster does: new connections find the new primary, existing ones stay where they are.

Must not know: a Redis client, or what is stored.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Self

from scripts.services.process import POLL_INTERVAL_S, ServiceUnavailableError
from scripts.services.redis_server import RedisServer

IN_STEP_TIMEOUT_S = 30.0


class RedisPair:
    """A primary and its replica at `url`, as a context manager; both durable."""

    def __init__(self) -> None:
        self.primary, self.replica = RedisServer(is_durable=True), RedisServer(is_durable=True)
        self._folder = Path(tempfile.mkdtemp(prefix="streamae-redis-pair-"))
        self._link = self._folder / "redis.sock"
        self.url = f"unix://{self._link}"

    def __enter__(self) -> Self:
        try:
            self.primary.start()
            self.replica.start()
            self._pair_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def fail_over(self, *, is_crash: bool) -> None:
        """Let the replica take over, and pair up again with the roles exchanged.

        Args:
            is_crash: kill the primary first: writes it had not passed on yet are lost. Otherwise it steps down
                alive: connections to it stay open, and it refuses writes on them from then on.
        """
        if is_crash:
            self.primary.kill()
        self.replica.follow(None)
        self.primary, self.replica = self.replica, self.primary
        if is_crash:
            self.replica.start()
        self._pair_up()

    def close(self) -> None:
        """End both servers and delete their folders."""
        self.primary.close()
        self.replica.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pair_up(self) -> None:
        """Point the address at the primary and wait until the replica has caught up with it once.

        Raises:
            ServiceUnavailableError: the replica did not.
        """
        turned = self._folder / "turned.sock"
        turned.symlink_to(self.primary.socket_path)
        turned.replace(self._link)  # in one step: nobody finds the address missing
        self.replica.follow(self.primary)
        deadline = time.monotonic() + IN_STEP_TIMEOUT_S
        while not self.replica.is_in_step():
            if time.monotonic() > deadline:
                raise ServiceUnavailableError(f"the replica did not get in step:\n{self.replica.tell('ROLE')}")
            time.sleep(POLL_INTERVAL_S)
