"""What a worker, and perhaps a store, need over time: peaks, because single moments differ by what happens to wait.

Must not know: what is done to them meanwhile.
"""

from __future__ import annotations

import threading

from scripts.services import RedisServer
from scripts.verify.torture.workers import Worker

SAMPLE_INTERVAL_S = 0.25
# For a worker's environment: glibc gives freed blocks of this size and more back at once. By default it raises that
# limit with each large block that is freed, up to 32 MB, and how much it then keeps depends on timing.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(256 * 1024)}


class Memory:
    """Samples what a worker, and perhaps a store, need, in a thread."""

    def __init__(self, worker: Worker, server: RedisServer | None = None) -> None:
        self.worker, self._server = worker, server
        self.rss_bytes: list[int] = []
        self.store_bytes: list[int] = []
        self._seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._thread.start()

    def peak_bytes(self) -> int:
        """Return the most that the worker needed since this was asked last, or needs now."""
        found = [*self.rss_bytes[self._seen :], self.worker.rss_bytes()]
        self._seen = len(self.rss_bytes)
        return max(found)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            self.rss_bytes.append(self.worker.rss_bytes())
            if self._server is not None:
                self.store_bytes.append(store_bytes(self._server))


def store_bytes(server: RedisServer) -> int:
    """Return the memory a Redis server uses."""
    text = server.tell("INFO", "memory")
    return int(text.partition("used_memory:")[2].split()[0])
