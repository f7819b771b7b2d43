"""What a person sees of long work: one line that is redrawn on a terminal, lines in a log."""

from __future__ import annotations

import io

import pytest

from streamae.observe.progress import REDRAW_S, SHORT_S, Display, JobProgress, ReplayProgress, TrainingProgress


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

    def frames(self) -> list[str]:
        """Return what was drawn, each frame without the blanks that wipe out the one before."""
        return [frame.rstrip(" ") for frame in self.getvalue().split("\r")[1:]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_terminal_gets_a_bar_that_is_redrawn_and_cleared(clock: Clock) -> None:
    """One line moves, without a line feed; at its end it makes place for what comes."""
    stream = Terminal()
    with Display(stream, 4, clock=clock) as display:
        for done in (1, 2):
            clock.now += 1.0
            display.show(done, "so far so good")
    assert stream.frames() == [
        " 25% [##........] 00:03 left, so far so good",
        " 50% [#####.....] 00:02 left, so far so good",
        "",
        "",
    ]
    assert "\n" not in stream.getvalue()


def test_a_long_text_is_cut_at_the_edge(clock: Clock) -> None:
    """A line that wraps could not be redrawn."""
    stream = Terminal()
    Display(stream, 4, clock=clock).show(1, "x" * 300)
    assert [len(frame) for frame in stream.frames()] == [79]


def test_a_terminal_is_not_flooded(clock: Clock) -> None:
    """What comes faster than the eye is not drawn, but news always are."""
    stream = Terminal()
    display = Display(stream, 1_000, clock=clock)
    for done in range(1, 101):
        clock.now += REDRAW_S / 200
        display.show(done, str(done), is_news=done == 99)
    assert [frame.split(", ")[1] for frame in stream.frames()] == ["1", "99"]


def test_a_log_gets_a_line_each_tenth(clock: Clock) -> None:
    """With the time left by what is done; a log of a thousand lines helps nobody, and control codes are garbage there."""
    stream = io.StringIO()
    with Display(stream, 4_000, clock=clock) as display:
        for seconds, done in ((10.0, 1_000), (0.5, 1_050), (9.5, 2_000), (20.0, 4_000)):
            clock.now += seconds
            display.show(done, f"{done} done")
    assert stream.getvalue().splitlines() == [
        " 25%  00:30 left, 1000 done",
        " 50%  00:20 left, 2000 done",
        "100%  00:00 left, 4000 done",
    ]
    assert not {"\r", "\x1b"} & set(stream.getvalue())


def test_lines_can_be_had_on_a_terminal(clock: Clock) -> None:
    """Displays side by side would draw over each other."""
    stream = Terminal()
    with Display(stream, 2, is_redrawn=False, clock=clock) as display:
        display.show(1)
    assert stream.getvalue() == " 50%  ? left\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.125, "00:07"), (1.0, "01:00"), (65.0, "1:05:00")])
def test_time_left_is_readable(clock: Clock, seconds: float, text: str) -> None:
    """Hours, minutes and seconds, by the work so far."""
    stream = io.StringIO()
    display = Display(stream, 61, clock=clock)
    clock.now += seconds
    display.show(1)
    assert stream.getvalue() == f"  2%  {text} left\n"


def test_a_training_says_one_line_a_validation_in_a_log(clock: Clock) -> None:
    """Summary, a line for each validation with both losses, end."""
    stream = io.StringIO()
    progress = TrainingProgress(stream, clock)
    progress.start(100, "training on 5 windows")
    for step in range(1, 51):
        clock.now += 1.0
        progress.step(step, 0.5, 0.25 if step == 50 else None)
    progress.finish("done")
    assert stream.getvalue().splitlines() == [
        "training on 5 windows",
        " 50%  00:50 left, step 50/100, train 0.5000, validation 0.2500",
        "done",
    ]


def test_the_last_validation_stays_on_the_bar_of_its_training(clock: Clock) -> None:
    """Between two checks the newest known value is shown, and the next training begins without; the summary follows."""
    stream = Terminal()
    progress = TrainingProgress(stream, clock)
    for validation in (0.5, None):
        progress.start(10, "start")
        progress.step(1, 1.0, validation)
        clock.now += 1.0
        progress.step(2, 1.0, None)
    progress.finish("end")
    drawn = [frame.partition(" left, ")[2] for frame in stream.frames()]
    assert [text for text in drawn if text.startswith("step 2")] == [
        "step 2/10, train 1.0000, validation 0.5000",
        "step 2/10, train 1.0000",
    ]
    assert [frame for frame in stream.frames() if "\n" in frame] == ["start\n", "end\n"]


def test_time_left_follows_the_weight_of_the_jobs(clock: Clock) -> None:
    """Ten seconds for a quarter of the weight are thirty more, however many jobs that is; failures are counted."""
    stream = io.StringIO()
    with JobProgress(stream, [1, 3], kept=2, clock=clock) as bar:
        clock.now += 10.0
        bar.step(1, "a series")
        clock.now += 30.0
        bar.step(3, "another", failed=1)
    assert stream.getvalue().splitlines() == [
        "2 of 4 jobs are done from before",
        "  0%  ? left, 0/2 jobs",
        " 25%  00:30 left, 1/2 jobs, a series",
        "100%  00:00 left, 2/2 jobs, 1 failed, another",
    ]


def test_no_jobs_draw_no_bar() -> None:
    """Everything was done from before: one sentence."""
    stream = Terminal()
    with JobProgress(stream, [], kept=3):
        pass
    assert stream.getvalue() == "3 of 3 jobs are done from before\n"


def test_a_quick_replay_is_not_announced(clock: Clock) -> None:
    """A history of a second prints nothing, a long one says how far it is."""
    for stream in (io.StringIO(), Terminal()):
        progress = ReplayProgress(stream, 2_000, clock=clock)
        clock.now += SHORT_S / 2
        progress(1_000)
        progress(0)
        assert stream.getvalue() == ""
    progress = ReplayProgress(stream, 2_000, clock=clock)
    for left in (1_000, 0):
        clock.now += SHORT_S
        progress(left)
    assert stream.frames() == [
        " 50% [#####.....] 00:02 left, 1,000 of 2,000 rows",
        "100% [##########] 00:00 left, 2,000 of 2,000 rows",
        "",
        "",
    ]
