"""What a person sees while a history is replayed."""

from __future__ import annotations

import io

from streamae.replay.progress import ReplayProgress
from tests.evaluation.test_progress import Terminal, clock


def test_what_is_quick_is_not_announced() -> None:
    """A history of a second prints nothing."""
    stream, times = io.StringIO(), clock(0.0, 0.5, 1.0)
    progress = ReplayProgress(stream, 100, clock=lambda: next(times))
    progress(50)
    progress(0)
    assert stream.getvalue() == ""


def test_a_log_gets_a_line_each_tenth() -> None:
    """With the time left by the rows so far; turns within a tenth are not told."""
    stream, times = io.StringIO(), clock(0.0, 10.0, 10.5, 20.0, 40.0)
    progress = ReplayProgress(stream, 4_000, clock=lambda: next(times))
    for left in (3_000, 2_950, 2_000, 0):
        progress(left)
    assert stream.getvalue().splitlines() == [
        "1,000/4,000 rows  left 30s",
        "2,000/4,000 rows  left 20s",
        "4,000/4,000 rows  left 0s",
    ]


def test_a_terminal_gets_one_bar() -> None:
    """It is redrawn ten times a second at most and ends with its line."""
    stream, times = Terminal(), clock(0.0, 10.0, 10.01, 20.0)
    progress = ReplayProgress(stream, 100, clock=lambda: next(times))
    for left in (50, 49, 0):
        progress(left)
    drawn = stream.getvalue().split("\r\x1b[K")[1:]
    assert [text.split("] ")[1] for text in drawn] == ["50/100 rows  left 10s", "100/100 rows  left 0s\n"]
    assert drawn[0].startswith("[############............]")
