"""How long a receiver, or one alert that it cannot take, is left alone before the next try. It never gives up.

Must not know: what is tried, or clocks.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_MS, LAST_MS = 500, 60_000
LONGEST_ASKED_MS = 3_600_000  # a receiver that asks for more is asked again all the same


class Patience:
    """Waits twice as long each time, up to a minute, give or take a half; or as long as it was asked to.

    Args:
        draw: a random number from 0 to 1, so that receivers that failed together do not come back together.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._wait_ms = 0
        self.until_ms = 0
        self.since_ms: int | None = None

    def is_waiting(self, now_ms: int) -> bool:
        """Tell whether it is to be left alone still."""
        return self.since_ms is not None and now_ms < self.until_ms

    def failed(self, now_ms: int, after_ms: int | None = None) -> None:
        """Note a failed try, and for how long the receiver asked to be left alone."""
        self.since_ms = now_ms if self.since_ms is None else self.since_ms
        self._wait_ms = min(LAST_MS, max(FIRST_MS, 2 * self._wait_ms))
        own_ms = int(self._wait_ms * (0.5 + 0.5 * self._draw()))
        self.until_ms = now_ms + max(own_ms, min(after_ms or 0, LONGEST_ASKED_MS))

    def succeeded(self) -> None:
        """Note that something was taken."""
        self._wait_ms, self.until_ms, self.since_ms = 0, 0, None
