"""What a person sees while jobs run."""

from __future__ import annotations

import io
from collections.abc import Iterator

from streamae.evaluation.progress import JobProgress


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """It is."""
        return True


def clock(*seconds: float) -> Iterator[float]:
    """Give these times, one a call."""
    return iter(seconds)


def test_time_left_follows_the_weight_of_the_jobs() -> None:
    """Ten seconds for a quarter of the weight are thirty more, however many jobs that is; failures are counted."""
    stream, times = io.StringIO(), clock(0.0, 10.0, 40.0)
    bar = JobProgress(stream, [1, 3], kept=2, clock=lambda: next(times))
    bar.step(1, "a series")
    bar.step(3, "another", failed=1)
    bar.finish()
    assert stream.getvalue().splitlines() == [
        "2 of 4 jobs are done from before",
        "0/2 jobs",
        "1/2 jobs  left 30s  a series",
        "2/2 jobs  left 0s  1 failed  another",
    ]


def test_a_terminal_gets_one_line_that_is_redrawn() -> None:
    """No line feed before the end, and no line longer than a terminal is wide."""
    stream, times = Terminal(), clock(0.0, 10.0)
    bar = JobProgress(stream, [1, 1], clock=lambda: next(times))
    bar.step(1, "x" * 300)
    assert "\n" not in stream.getvalue()
    assert "############............" in stream.getvalue()
    assert max(map(len, stream.getvalue().split("\r"))) <= 120
    bar.finish()
    assert stream.getvalue().endswith("\n")


def test_nothing_to_do_draws_no_bar() -> None:
    """Everything was done from before: one sentence."""
    stream = Terminal()
    JobProgress(stream, [], kept=3).finish()
    assert stream.getvalue() == "3 of 3 jobs are done from before\n"
