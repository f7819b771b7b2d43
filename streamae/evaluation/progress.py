"""How far a list of jobs is: a bar with the time left on a terminal, plain lines anywhere else.

Knows nothing about the jobs but how much each weighs, and reads one monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TextIO

from streamae.training.progress import BAR_WIDTH, duration


class JobProgress:
    """Writes to a text stream: on a terminal one line that is redrawn, else one line a job."""

    def __init__(
        self, stream: TextIO, weights: Sequence[int], kept: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin.

        Args:
            stream: written to.
            weights: of the jobs to do, in any unit.
            kept: jobs that were done before.
            clock: monotonic seconds.
        """
        self._stream, self._clock, self._started = stream, clock, clock()
        self._is_terminal = stream.isatty()
        self._jobs, self._weight = len(weights), sum(weights)
        self._done = self._done_weight = self._failed = 0
        if kept:
            self._write(f"{kept} of {kept + self._jobs} jobs are done from before\n")
        if self._jobs:
            self._draw("", "")

    def step(self, weight: int, title: str, failed: int = 0) -> None:
        """Hear that a job of this weight is done, `failed` of its results without figures."""
        self._done, self._done_weight, self._failed = self._done + 1, self._done_weight + weight, self._failed + failed
        left = (self._clock() - self._started) / self._done_weight * (self._weight - self._done_weight)
        self._draw(f"  left {duration(left)}", f"  {title}")

    def finish(self) -> None:
        """End the bar's line."""
        if self._is_terminal and self._jobs:
            self._write("\n")

    def _draw(self, left: str, title: str) -> None:
        failed = f"  {self._failed} failed" if self._failed else ""
        text = f"{self._done}/{self._jobs} jobs{left}{failed}{title}"
        if self._is_terminal:
            filled = BAR_WIDTH * self._done_weight // max(self._weight, 1)
            self._write(f"\r\x1b[K[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {text}"[:118])
        else:
            self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
