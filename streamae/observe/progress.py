"""How far long work is: a bar on a terminal, a line now and then anywhere else. tqdm draws, this module says when.

Results go to standard output, progress to the stream that is given. Must not know what the work is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Self, TextIO

from tqdm import tqdm

REDRAW_S = 0.1
SHORT_S = 2.0  # a replay that takes less is not announced
WIDTH = 80  # columns of a terminal that does not tell
BAR, LINE = "{percentage:3.0f}% [{bar:10}] {remaining} left{postfix}", "{percentage:3.0f}%  {remaining} left{postfix}"

Clock = Callable[[], float]  # monotonic seconds


class Display:
    """One piece of work of known size. Use as a context manager, or close it: a line of its own is cleared then."""

    def __init__(
        self,
        stream: TextIO,
        total: int,
        *,
        quiet_s: float = 0.0,
        is_redrawn: bool | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            stream: written to.
            total: amount of work, in any unit.
            quiet_s: nothing is shown before.
            is_redrawn: one line that is redrawn, else lines; None = as the stream is a terminal or not.
            clock: for the time left.
        """
        self._stream, self._total, self._quiet_s, self._clock = stream, max(total, 1), quiet_s, clock
        redraws = stream.isatty() if is_redrawn is None else is_redrawn
        self._redraw = tqdm.status_printer(stream) if redraws else None
        self._started, self._shown, self._tenth = clock(), -float("inf"), -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def show(self, done: int, text: str = "", *, is_news: bool | None = None) -> None:
        """Show that `done` of the total is done, on a terminal at most every `REDRAW_S`.

        Args:
            done: so far, from the beginning.
            text: what else is to be seen.
            is_news: worth a line in a log, and shown at once; None = where another tenth is done.
        """
        now, tenth = self._clock(), 10 * done // self._total
        if now - self._started < self._quiet_s:
            return
        if self._redraw is not None:
            if is_news or now - self._shown >= REDRAW_S:
                self._redraw(self._meter(BAR, done, now, text, _width(self._stream)))
                self._shown = now
        elif is_news or (is_news is None and tenth > self._tenth):
            print(self._meter(LINE, done, now, text), file=self._stream, flush=True)
            self._tenth = tenth

    def close(self) -> None:
        """Clear a line that is redrawn, so that others can write there."""
        if self._redraw is not None and self._shown >= self._started:
            self._redraw("")
            print(end="\r", file=self._stream, flush=True)

    def _meter(self, form: str, done: int, now: float, text: str, width: int | None = None) -> str:
        taken = now - self._started
        return tqdm.format_meter(done, self._total, taken, width, ascii=".#", bar_format=form, postfix=text)


class TrainingProgress:
    """Shows a training: a line in a log for each validation. Satisfies `training.progress.Progress`."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        """Write to `stream`."""
        self._stream, self._clock = stream, clock
        self._begin(0)

    def start(self, steps: int, summary: str) -> None:
        """Print the summary and start the clock."""
        self.finish(summary)  # the one before, where several trainings follow each other
        self._begin(steps)

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Show losses; the newest validation stays."""
        is_news = validation_loss is not None
        if is_news:
            self._validation = f", validation {validation_loss:.4f}"
        text = f"step {step}/{self._steps}, train {train_loss:.4f}{self._validation}"
        self._display.show(step, text, is_news=is_news)

    def finish(self, summary: str) -> None:
        """Print the summary in place of the bar."""
        self._display.close()
        print(summary, file=self._stream, flush=True)

    def _begin(self, steps: int) -> None:
        self._steps, self._validation = steps, ""
        self._display = Display(self._stream, steps, clock=self._clock)


class JobProgress:
    """Shows a list of jobs: a line in a log for each; the time left goes by their weights."""

    def __init__(self, stream: TextIO, weights: Sequence[int], kept: int = 0, clock: Clock = time.monotonic) -> None:
        """Begin.

        Args:
            stream: written to.
            weights: of the jobs to do, in any unit.
            kept: jobs that were done before.
            clock: for the time left.
        """
        self._jobs, self._display = len(weights), Display(stream, sum(weights), clock=clock)
        self._done = self._done_weight = self._failed = 0
        if kept:
            print(f"{kept} of {kept + self._jobs} jobs are done from before", file=stream, flush=True)
        if weights:
            self._show("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._display.close()

    def step(self, weight: int, title: str, failed: int = 0) -> None:
        """Show that a job of this weight is done, `failed` of its results without figures."""
        self._done, self._done_weight, self._failed = self._done + 1, self._done_weight + weight, self._failed + failed
        self._show(f", {title}")

    def _show(self, title: str) -> None:
        failed = f", {self._failed} failed" if self._failed else ""
        self._display.show(self._done_weight, f"{self._done}/{self._jobs} jobs{failed}{title}", is_news=True)


class ReplayProgress:
    """Shows how many rows of a history are read; listens to `replay.play.consume_all`."""

    def __init__(self, stream: TextIO, rows: int, unit: str = "rows", clock: Clock = time.monotonic) -> None:
        """Write to `stream`; `rows` are those of the whole, `unit` is what they are called."""
        self._rows, self._unit = rows, unit
        self._display = Display(stream, rows, quiet_s=SHORT_S, clock=clock)

    def __call__(self, left: int) -> None:
        """Show that `left` rows are unread; call it at the end with 0."""
        self._display.show(self._rows - left, f"{self._rows - left:,} of {self._rows:,} {self._unit}")
        if not left:
            self._display.close()


def _width(stream: TextIO) -> int:
    """Return how many columns may be written without a line break."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns or WIDTH) - 1
    except OSError:
        return WIDTH - 1
