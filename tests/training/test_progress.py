"""Whoever listens to a training hears what it should."""

from __future__ import annotations

import io

import pytest

from streamae.observe.progress import TrainingProgress
from streamae.training.progress import NoProgress, PartProgress


def test_no_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Library use is silent."""
    progress = NoProgress()
    progress.start(1, "start")
    progress.step(1, 1.0, 1.0)
    progress.finish("end")
    assert capsys.readouterr() == ("", "")


def test_one_of_several_trainings_says_which_it_is() -> None:
    """Its name stands before what begins and ends, and only the first line of its end is passed on."""
    stream = io.StringIO()
    progress = PartProgress(TrainingProgress(stream), "gru")
    progress.start(1, "start")
    progress.step(1, 1.0, None)
    progress.finish("end\na warning")
    assert stream.getvalue() == "gru: start\ngru: end\n"
