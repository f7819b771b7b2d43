"""The history: the very scores of the newest training rows, in order, for rules to begin with."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.batches import Floats, Series
from streamae.core.key_levels import MIN_ROWS
from streamae.core.scoring import score
from streamae.errors import DataError
from streamae.model.bundle import Bundle
from streamae.model.runner import Runner
from streamae.training.derived_series import derive
from streamae.training.options import TrainOptions
from streamae.training.run import train
from streamae.training.score_history import score_history
from tests.model.models import QUICK, changed, series, sines

OPTIONS = changed(TrainOptions(), window_size=12)


@pytest.fixture(scope="module")
def trained() -> Bundle:
    """A bundle of two keys."""
    return train([sines("a"), sines("b", seed=1)], changed(QUICK, max_steps=20))


def scores_of(of: Bundle, one: Series, stride: int = 1) -> Floats:
    """Score all windows of a series without gaps, by plain slices."""
    size = of.architecture.window_size
    starts = range(0, len(one) - size + 1, stride)
    values = np.stack([one.values[start : start + size] for start in starts]).astype(np.float32)
    return score(Runner(of, "cpu", threads=1, stride=stride).run(values), of.calibration).channels


def test_a_bundle_carries_the_scores_of_its_training_rows(trained: Bundle) -> None:
    """A rule that begins with other scores than the live ones would begin at the wrong level."""
    assert trained.history is not None
    for key, one in enumerate([sines("a"), sines("b", seed=1)]):
        np.testing.assert_array_equal(trained.history.of(key).channels, scores_of(trained, one))


def test_only_the_newest_windows_are_kept(trained: Bundle) -> None:
    """Years of training data must not make a bundle of gigabytes."""
    runner = Runner(trained, "cpu", threads=1)
    found = score_history(
        derive([sines("a")], OPTIONS), OPTIONS, trained.scaling, runner, trained.calibration, max_windows=7
    )
    assert found.lengths.tolist() == [7]
    np.testing.assert_array_equal(found.of(0).channels, scores_of(trained, sines("a"))[-7:])


def test_many_keys_are_thinned_evenly(trained: Bundle) -> None:
    """A fleet of thousands is represented by some of its keys, not by the first ones."""
    many = [sines(str(seed), seed=seed) for seed in range(9)]
    runner = Runner(trained, "cpu", threads=1)
    found = score_history(derive(many, OPTIONS), OPTIONS, trained.scaling, runner, trained.calibration, max_keys=3)
    assert len(found) == 3
    for key, number in enumerate([0, 4, 8]):
        np.testing.assert_array_equal(found.of(key).channels, scores_of(trained, many[number]))


def test_a_stride_is_that_of_the_live_stream(trained: Bundle) -> None:
    """Blocks and smoothing count windows: a history at another pace would have other maxima."""
    runner = Runner(trained, "cpu", threads=1, stride=4)
    found = score_history(
        derive([sines("a")], changed(OPTIONS, stride=4)),
        changed(OPTIONS, stride=4),
        trained.scaling,
        runner,
        trained.calibration,
    )
    np.testing.assert_array_equal(found.of(0).channels, scores_of(trained, sines("a"), stride=4))


def test_a_series_too_short_for_a_window_is_left_out(trained: Bundle) -> None:
    """One key with three rows must not stop the training of a fleet."""
    short = series(sines("a").values[:3].astype(np.float64), "short")
    runner = Runner(trained, "cpu", threads=1)
    found = score_history(derive([short, sines("a")], OPTIONS), OPTIONS, trained.scaling, runner, trained.calibration)
    assert len(found) == 1
    with pytest.raises(DataError, match="no series has a window of 12 rows"):
        score_history(derive([short], OPTIONS), OPTIONS, trained.scaling, runner, trained.calibration)


def test_keys_with_levels_of_their_own_are_known_before_they_are_scored() -> None:
    """Rows before the kept windows let the key learn its level, so that its scores are those of a key long known."""
    options = changed(QUICK, scaling="key", max_steps=5)
    one = sines("a", rows=600)
    of = train([one], options)
    assert of.scaled_by == "key"
    assert of.history is not None
    assert of.history.lengths.tolist() == [600 - MIN_ROWS]
    runner = Runner(of, "cpu", threads=1)
    few = score_history(derive([one], options), options, of.scaling, runner, of.calibration, max_windows=50)
    assert few.channels.tobytes() == of.history.channels[:, -50:].tobytes()
