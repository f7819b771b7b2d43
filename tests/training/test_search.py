"""The search for kind and size: by injected anomalies only, the cheapest of the best, within its time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from streamae.errors import ConfigError
from streamae.training.injection import FORMS
from streamae.training.options import TrainOptions
from streamae.training.outcome import Candidate, Training
from streamae.training.progress import NoProgress
from streamae.training.run import run_training, train
from streamae.training.search import KINDS, TOLERANCE, TUNE_SHARE, choose_kind, choose_size, table
from streamae.training.windows import training_windows
from tests.model.models import QUICK, architecture, changed, sines
from tests.training.test_run import Recorder

pytestmark = pytest.mark.slow

AUTO = changed(QUICK, kind="auto", max_steps=40)
TUNED = changed(QUICK, max_steps=80)


def marked(candidates: tuple[Candidate, ...] | list[Candidate]) -> int:
    """Return the place of the chosen one, of which there is one."""
    (place,) = [number for number, one in enumerate(candidates) if one.is_chosen]
    return place


def by_rule(candidates: tuple[Candidate, ...] | list[Candidate]) -> int:
    """Return the place of the first that comes near the best."""
    means = [one.mean for one in candidates if one.separation]
    return next(number for number, mean in enumerate(means) if mean >= max(means) - TOLERANCE)


@pytest.fixture(scope="module")
def found() -> tuple[Training, list[str]]:
    """A search for the kind, and what was said."""
    recorder = Recorder()
    return run_training([sines()], AUTO, recorder), recorder.summaries


def test_every_kind_is_tried_and_the_cheapest_of_the_best_is_taken(found: tuple[Training, list[str]]) -> None:
    """The table has them all, the mark follows the rule, and the bundle is of that kind."""
    training, _ = found
    assert tuple(one.name for one in training.candidates) == KINDS
    assert all(tuple(one.separation) == FORMS for one in training.candidates)
    assert marked(training.candidates) == by_rule(training.candidates)
    assert training.bundle.architecture.kind == KINDS[marked(training.candidates)]
    assert training.compared == "kind"


def test_the_winner_is_as_if_it_had_been_asked_for(found: tuple[Training, list[str]]) -> None:
    """Bit by bit: nothing of the search leaks into the bundle."""
    training, _ = found
    asked = train([sines()], changed(AUTO, kind=training.bundle.architecture.kind))
    assert training.bundle.version == asked.version


def test_the_search_is_told(found: tuple[Training, list[str]]) -> None:
    """Which candidate runs, what each reached, the table and the winner's warnings."""
    training, said = found
    text = "\n".join(said)
    for kind in KINDS:
        assert f"auto {kind}: " in text
    assert table(training.candidates) in said[-1]
    assert f"{training.bundle.architecture.kind} is taken" in said[-1]
    assert all(f"warning: {warning}" in said[-1] for warning in training.warnings)


def test_a_useful_detector_separates(found: tuple[Training, list[str]]) -> None:
    """On two clean sines a spike is plain to anyone, and what knows windows sees more than what knows rows."""
    by_name = {one.name: one for one in found[0].candidates}
    assert by_name["pca"].separation["spike"] > 0.95
    assert by_name["ridge"].mean > by_name["pca_row"].mean


def test_labels_have_no_say() -> None:
    """Whoever passes labelled series gets the same kind and the same bundle."""
    one = sines(rows=300)
    labelled = replace(one, labels=np.arange(300) % 7 == 0)
    assert train([one], AUTO).version == train([labelled], AUTO).version


def fit(options: TrainOptions, progress: object) -> Training:
    """Train on sines."""
    del progress
    return run_training([sines()], options)


def ticking(*seconds: float) -> Iterator[float]:
    """Return these times, then the last one for good."""
    yield from seconds
    while True:
        yield seconds[-1]


def test_no_candidate_is_begun_when_the_time_is_used_up() -> None:
    """The first is tried in any case; what was not tried says so and is never chosen."""
    clock = ticking(0.0, 0.0, 5.0, 5.0, 9.0, 61.0)  # begun; first begun and done; second begun and done; too late
    recorder, options = Recorder(), changed(AUTO, search_budget_ms=60_000)
    windows = training_windows([sines()], options).calibration
    training, candidates = choose_kind(options, windows, fit, recorder, lambda: next(clock))
    assert [bool(one.separation) for one in candidates] == [True, True, False, False, False, False]
    assert [one.seconds for one in candidates[:3]] == [5.0, 4.0, 0.0]
    assert training.bundle.architecture.kind == KINDS[marked(candidates)]
    assert recorder.summaries[-1] == "auto lstm: not tried, train.search_budget_ms is used up"


def test_the_smallest_good_bottleneck_is_found() -> None:
    """Sizes are tried with a part of the steps; the bundle is trained with all of them, in the size marked."""
    recorder = Recorder()
    training = run_training([sines()], TUNED, recorder, tune=True)
    assert [one.name for one in training.candidates] == ["2", "4", "8", "16", "32"]  # 32 = two states of 16
    assert marked(training.candidates) == by_rule(training.candidates)
    size = int(training.candidates[marked(training.candidates)].name)
    assert training.bundle.architecture.code_size == size
    assert training.compared == "size"
    lengths = [int(text.split(" steps")[0].split()[-1]) for text in recorder.summaries if " steps: " in text]
    assert lengths == [80 // TUNE_SHARE] * 5 + [80]
    assert any(f"train.bottleneck_size = {size % 32}" in text for text in recorder.summaries)


def test_the_size_asked_for_is_among_those_tried() -> None:
    """And sizes beyond the whole state are not."""
    options = changed(TUNED, max_steps=4, bottleneck_size=5)
    windows = training_windows([sines()], options).calibration
    of = architecture(window_size=12, features=2, hidden_size=4, bottleneck_size=5)
    _, candidates = choose_size(options, of, windows, fit, NoProgress())
    assert [one.name for one in candidates] == ["2", "4", "5", "8"]


@pytest.mark.parametrize(
    ("options", "tune", "has_start", "message"),
    [
        (changed(QUICK, kind="pca"), True, False, "and pca has none"),
        (changed(QUICK, kind="auto"), True, False, "--tune needs a train.kind"),
        (changed(QUICK, kind="auto"), False, True, "leave --tune, auto or --from out"),
        (QUICK, True, True, "leave --tune, auto or --from out"),
    ],
)
def test_what_does_not_go_together_is_refused(options: TrainOptions, tune: bool, has_start: bool, message: str) -> None:
    """Before any time is spent."""
    start = train([sines()], changed(QUICK, max_steps=1)) if has_start else None
    with pytest.raises(ConfigError, match=message):
        run_training([sines()], options, None, start, tune=tune)


def test_the_table_is_for_people() -> None:
    """One line each, the winner marked, forms that the data do not allow and what was not tried left open."""
    text = table(
        [
            Candidate("pca", 0.5, {"spike": 0.9, "noise": 0.7}, 0.25),
            Candidate("lstm", 0.25, {"spike": 1.0, "noise": 0.9}, 12.0, is_chosen=True),
            Candidate("gru"),
        ]
    )
    assert text.splitlines() == [
        "   candidate  separation  spike  noise  validation loss  seconds",
        "         pca       0.800  0.900  0.700           0.5000      0.2",
        "*       lstm       0.950  1.000  0.900           0.2500     12.0",
        "         gru           -      -      -                -      0.0",
    ]
    assert math.isnan(Candidate("gru").mean)
