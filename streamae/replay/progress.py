"""How far a history is: a bar with the time left on a terminal, a line each tenth anywhere else.

Knows nothing about the history but its rows, and reads one monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from streamae.training.progress import BAR_WIDTH, REDRAW_SECONDS, duration

SHORT_SECONDS = 2.0  # what takes less is not announced


class ReplayProgress:
    """Told how many records are still unread, it writes how far that is; listens to `replay.consume_all`."""

    def __init__(self, stream: TextIO, rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            stream: written to.
            rows: records of the whole.
            clock: monotonic seconds.
        """
        self._stream, self._rows, self._clock, self._started = stream, rows, clock, clock()
        self._is_terminal = stream.isatty()
        self._drawn, self._tenth, self._is_shown = self._started, 0, False

    def __call__(self, left: int) -> None:
        """Hear how many records are unread, again and again, and at the end 0."""
        now, done = self._clock(), self._rows - left
        took = now - self._started
        if not self._is_shown and (took < SHORT_SECONDS or not done or not left):
            return
        text = f"{done:,}/{self._rows:,} rows  left {duration(took / max(done, 1) * left)}"
        if self._is_terminal:
            if left and self._is_shown and now - self._drawn < REDRAW_SECONDS:
                return
            filled = BAR_WIDTH * done // max(self._rows, 1)
            bar = f"\r\x1b[K[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {text}"
            self._write(bar if left else f"{bar}\n")
        elif (tenth := 10 * done // max(self._rows, 1)) > self._tenth or not self._is_shown:
            self._tenth = tenth
            self._write(f"{text}\n")
        self._drawn, self._is_shown = now, True

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
