"""What people see of a training: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io

import pytest

from streamae.training.progress import NoProgress, StreamProgress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_a_validation_check() -> None:
    """A log file of a thousand progress lines helps nobody."""
    stream, clock = io.StringIO(), Clock()
    progress = StreamProgress(stream, clock)
    progress.start(100, "training on 5 windows")
    for step in range(1, 51):
        clock.now += 1.0
        progress.step(step, 0.5, 0.25 if step == 50 else None)
    progress.finish("done")
    assert stream.getvalue().splitlines() == [
        "training on 5 windows",
        "step 50/100  train 0.5000  validation 0.2500  left 50s",
        "done",
    ]


def test_no_control_codes_outside_a_terminal() -> None:
    """Logs and pipes show them as garbage."""
    stream = io.StringIO()
    progress = StreamProgress(stream, Clock())
    progress.start(2, "start")
    progress.step(1, 0.5, 0.5)
    progress.finish("end")
    assert not {"\r", "\x1b"} & set(stream.getvalue())


def test_a_terminal_gets_a_bar_that_is_redrawn() -> None:
    """One line moves; at the end it makes place for the summary."""
    stream, clock = Terminal(), Clock()
    progress = StreamProgress(stream, clock)
    progress.start(4, "start")
    for step in range(1, 5):
        clock.now += 1.0
        progress.step(step, 1.0, None)
    progress.finish("done")
    frames = stream.getvalue().split("\r\x1b[K")
    assert frames[0] == "start\n"
    assert frames[2] == "[############............] step 2/4  train 1.0000  left 2s"
    assert frames[-1] == "done\n"


def test_a_terminal_is_not_flooded() -> None:
    """Steps faster than the eye are not drawn one by one, but a validation result always is."""
    stream, clock = Terminal(), Clock()
    progress = StreamProgress(stream, clock)
    progress.start(1_000, "start")
    for step in range(1, 101):
        clock.now += 0.001
        progress.step(step, 1.0, 0.75 if step == 99 else None)
    frames = stream.getvalue().split("\r\x1b[K")[1:]
    assert [frame.split("] ")[1].split("  ")[0] for frame in frames] == ["step 1/1000", "step 99/1000"]
    assert "validation 0.7500" in frames[-1]


def test_the_last_validation_stays_on_the_bar() -> None:
    """Between two checks the newest known value is shown."""
    stream, clock = Terminal(), Clock()
    progress = StreamProgress(stream, clock)
    progress.start(10, "start")
    progress.step(1, 1.0, 0.5)
    clock.now += 1.0
    progress.step(2, 1.0, None)
    assert "validation 0.5000" in stream.getvalue().split("\r\x1b[K")[-1]


@pytest.mark.parametrize(("seconds_a_step", "text"), [(0.1, "left 6s"), (1.0, "left 1m00s"), (65.0, "left 65m00s")])
def test_time_left_is_readable(seconds_a_step: float, text: str) -> None:
    """Minutes and seconds, extrapolated from the steps so far."""
    stream, clock = io.StringIO(), Clock()
    progress = StreamProgress(stream, clock)
    progress.start(61, "start")
    clock.now += seconds_a_step
    progress.step(1, 1.0, 1.0)
    assert stream.getvalue().rstrip().endswith(text)


def test_no_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Library use is silent."""
    progress = NoProgress()
    progress.start(1, "start")
    progress.step(1, 1.0, 1.0)
    progress.finish("end")
    assert capsys.readouterr() == ("", "")
