"""What a person sees while a model trains: a bar on a terminal, plain lines anywhere else.

Knows nothing about models: it is told step numbers and losses, and reads one monotonic clock for the time left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TextIO

BAR_WIDTH = 24
REDRAW_SECONDS = 0.1


class Progress(Protocol):
    """Listener to a training run."""

    def start(self, steps: int, summary: str) -> None:
        """Hear that training begins: at most `steps` optimiser steps; `summary` says on what."""
        ...

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Hear about optimiser step `step` (from 1); `validation_loss` only where one was measured."""
        ...

    def finish(self, summary: str) -> None:
        """Hear that training ended and why."""
        ...


class NoProgress:
    """Says nothing."""

    def start(self, steps: int, summary: str) -> None: ...

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None: ...

    def finish(self, summary: str) -> None: ...


class PartProgress:
    """Passes on what one of several trainings says, with its name in front; warnings of each would only confuse."""

    def __init__(self, whole: Progress, title: str) -> None:
        """Speak through `whole`."""
        self._whole, self._title = whole, title

    def start(self, steps: int, summary: str) -> None:
        """Pass on, titled."""
        self._whole.start(steps, f"{self._title}: {summary}")

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Pass on."""
        self._whole.step(step, train_loss, validation_loss)

    def finish(self, summary: str) -> None:
        """Pass the first line on, titled."""
        self._whole.finish(f"{self._title}: {summary.partition(chr(10))[0]}")


class StreamProgress:
    """Writes to a text stream: on a terminal one line that is redrawn, else one line a validation check."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream`; `clock` returns monotonic seconds."""
        self._stream, self._clock = stream, clock
        self._is_terminal = stream.isatty()
        self._steps = 0
        self._started = self._drawn = 0.0
        self._validation: float | None = None

    def start(self, steps: int, summary: str) -> None:
        """Print the summary and start the clock."""
        self._steps, self._started, self._validation = steps, self._clock(), None
        self._drawn = self._started - REDRAW_SECONDS
        self._write(f"{summary}\n")

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Redraw the bar at most every `REDRAW_SECONDS`, or print a line where validation was measured."""
        if validation_loss is not None:
            self._validation = validation_loss
        now = self._clock()
        if self._is_terminal:
            if now - self._drawn < REDRAW_SECONDS and validation_loss is None:
                return
            self._drawn = now
            filled = BAR_WIDTH * step // max(self._steps, 1)
            self._write(f"\r\x1b[K[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {self._text(step, train_loss, now)}")
        elif validation_loss is not None:
            self._write(f"{self._text(step, train_loss, now)}\n")

    def finish(self, summary: str) -> None:
        """End the bar's line and print the summary."""
        self._write(f"\r\x1b[K{summary}\n" if self._is_terminal else f"{summary}\n")

    def _text(self, step: int, train_loss: float, now: float) -> str:
        validation = "" if self._validation is None else f"  validation {self._validation:.4f}"
        left = (now - self._started) / step * (self._steps - step)
        return f"step {step}/{self._steps}  train {train_loss:.4f}{validation}  left {duration(left)}"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def duration(seconds: float) -> str:
    """Return minutes and seconds, such as `1m05s`."""
    whole = round(max(seconds, 0.0))
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
