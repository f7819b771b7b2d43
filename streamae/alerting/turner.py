"""A thread that turns one thing until told to stop: built when its services are there, turned, drained, closed.

Must not know: what it turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol

from streamae.errors import RetryableError
from streamae.observe.logs import get_logger

FIRST_WAIT_S, LAST_WAIT_S = 0.1, 5.0


class Turned(Protocol):
    """What a thread turns. It alone calls these."""

    @property
    def rest_s(self) -> float:
        """How long to rest before the next turn; 0 = it waits by itself."""
        ...

    def step(self, now_ms: int, wall_ms: int) -> None:
        """Turn once; `now_ms` is monotonic."""
        ...

    def drain(self, now_ms: int) -> None:
        """Finish what is in hand."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


def monotonic_ms() -> int:
    """Return the time that never goes back."""
    return time.monotonic_ns() // 1_000_000


def wall_clock_ms() -> int:
    """Return the time since the epoch."""
    return time.time_ns() // 1_000_000


class Turner:
    """One such thread. What is raised ends it, and asks all others to stop.

    Args:
        name: of the thread.
        build: makes what is turned; may raise RetryableError and is then called again.
        stop: set from outside, or here when something was raised.

    Attributes:
        progress_ms: when it last came round, monotonic.
        error: what ended it, None = nothing did.
        trouble: why it cannot be built yet, "" = it can.
    """

    def __init__(self, name: str, build: Callable[[], Turned], stop: Event) -> None:
        self.name, self._build, self._stop = name, build, stop
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self.progress_ms = monotonic_ms()
        self.error: BaseException | None = None
        self.trouble = ""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(max(0.0, timeout_s))

    def _run(self) -> None:
        turned: Turned | None = None
        try:
            turned = self._built()
            while turned is not None and not self._stop.is_set():
                turned.step(monotonic_ms(), wall_clock_ms())
                self.progress_ms = monotonic_ms()
                if turned.rest_s:
                    self._stop.wait(turned.rest_s)
            if turned is not None:
                turned.drain(monotonic_ms())
        except BaseException as error:  # noqa: BLE001 - the process ends with it, and the supervisor starts it again
            self.error = error
            get_logger().error("crashed", thread=self.name, kind=type(error).__name__, error=str(error), exc_info=error)
            self._stop.set()
        finally:
            if turned is not None:
                self._close(turned)

    def _built(self) -> Turned | None:
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            try:
                turned = self._build()
            except RetryableError as error:
                if not self.trouble:
                    get_logger().warning("retrying", thread=self.name, error=str(error))
                self.trouble = str(error)
                self.progress_ms = monotonic_ms()
                self._stop.wait(wait_s)
                wait_s = min(LAST_WAIT_S, 2 * wait_s)
            else:
                self.trouble, self.progress_ms = "", monotonic_ms()
                return turned
        return None

    def _close(self, turned: Turned) -> None:
        try:
            turned.close()
        except Exception:  # noqa: BLE001 - the work is done or will be done again
            get_logger().exception("close_failed", thread=self.name)
