"""Calibration over blocks of time: nobody is judged on what it was trained on, and every block counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.batches import ErrorBatch, Floats
from streamae.core.scoring import LEVEL_FLOOR, Calibration
from streamae.errors import DataError
from streamae.model.architecture import Architecture
from streamae.model.baselines import baseline, usual_components
from streamae.settings.tree import Settings
from streamae.training.folds import blocks, errors_by_fold, joined
from streamae.training.options import TrainOptions
from streamae.training.run import train
from streamae.training.windows import training_windows
from tests.model.models import QUICK, STEP_MS, changed, series, sines
from tests.training.test_run import Recorder

OPTIONS = changed(TrainOptions(), window_size=6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(60, 200), min_size=1, max_size=4),
    starts=st.lists(st.integers(0, 100), min_size=4, max_size=4),
    size=st.integers(2, 8),
    count=st.integers(2, 5),
)
def test_no_row_is_trained_on_and_judged(lengths: list[int], starts: list[int], size: int, count: int) -> None:
    """Whatever the keys' lengths and beginnings; blocks follow each other, and few windows are left out."""
    ends = np.concatenate(
        [np.arange(start + size - 1, start + length) for start, length in zip(starts, lengths, strict=False)]
    ).astype(np.int64)
    begins = ends - (size - 1)
    taken = np.zeros(len(ends), dtype=np.int64)
    last = -1
    for train_on, judged in blocks(begins, ends, count):
        rows = [
            {row for s, e in zip(begins[m], ends[m], strict=True) for row in range(s, e + 1)}
            for m in (train_on, judged)
        ]
        assert not rows[0] & rows[1]
        assert min(rows[1]) > last
        last = max(rows[1])
        taken += judged
    assert taken.max() == 1
    assert (taken == 0).sum() <= (count - 1) * (size - 1) * len(lengths)


def test_blocks_hold_about_as_many_windows() -> None:
    """Also where most keys begin late."""
    ends = np.concatenate([np.arange(1_000), np.arange(900, 1_000), np.arange(950, 1_000)]).astype(np.int64)
    sizes = [int(judged.sum()) for _, judged in blocks(ends, ends, 4)]
    assert sum(sizes) == len(ends)
    assert max(sizes) - min(sizes) <= 0.02 * len(ends)


def test_each_block_is_judged_by_what_was_trained_on_all_others() -> None:
    """In the units of the calibration windows, with a title for the progress; the newest block comes last as it is."""
    rows = np.arange(300.0)[:, None]
    windows = training_windows([series(rows)], OPTIONS)
    newest = _errors(windows.calibration)
    seen: list[tuple[set[int], set[int]]] = []
    titles: list[str] = []

    def judge(others: Floats, judged: Floats, title: str) -> ErrorBatch:
        trained = np.rint(windows.scaling.invert(others)).astype(int)
        seen.append((set(trained.ravel().tolist()), set(np.rint(judged).astype(int).ravel().tolist())))
        titles.append(title)
        return _errors(judged)

    found = errors_by_fold(windows, 5, newest, judge)
    assert titles == [f"calibration block {number} of 5" for number in range(1, 5)]
    assert not any(trained & judged for trained, judged in seen)
    assert set().union(*(judged for _, judged in seen)) == set(range(240))
    assert not set().union(*(trained for trained, _ in seen)) & set(range(240, 300))
    np.testing.assert_array_equal(found.recent[-len(newest.recent) :], newest.recent)
    assert len(found.recent) > 240


def _errors(windows: Floats) -> ErrorBatch:
    """Return something that tells the windows apart."""
    newest = windows[:, -1]
    return ErrorBatch(newest, newest, newest, newest)


def test_levels_are_the_means_over_all_blocks() -> None:
    """Recomputed by hand with a closed form: fit to the other blocks, judge this one, then the newest by the whole."""
    one = sines(rows=500)
    options = changed(QUICK, kind="pca", memory_windows=0, calibration_folds=3, components=3)
    windows = training_windows([one], options)

    def errors(fit: Floats, judged: Floats) -> Floats:
        components = usual_components("pca", 3, len(fit), 12, 2)
        model = baseline(Architecture("pca", 12, 2, 1, 1, 4, 0, components))
        with torch.no_grad():
            model.fit(torch.from_numpy(fit))
            drawn = model(torch.from_numpy(judged), 4)[0]
        assert drawn is not None
        return np.square(judged[:, -4:] - drawn.numpy()).mean(axis=1)

    z, newest = windows.fit, windows.scaling.apply(windows.calibration)
    parts = [errors(z[t], z[j]) for t, j in blocks(windows.fit_starts_ms, windows.fit_times_ms, 2)]
    expected = np.concatenate([*parts, errors(z, newest)]).mean(axis=0)
    found = train([one], options)
    np.testing.assert_allclose(found.calibration.recent_levels, np.maximum(expected, LEVEL_FLOOR), rtol=1e-3)


@pytest.mark.slow
def test_the_network_is_the_same() -> None:
    """Folds say what is usual; what is served was trained on all rows, as without them. The others are told by title."""
    recorder = Recorder()
    options = changed(QUICK, max_steps=20, linear_companion=False)  # it leaves so little that the floor is the level
    plain, folded = train([sines()], options), train([sines()], changed(options, calibration_folds=4), recorder)
    for name, array in plain.weights.items():
        np.testing.assert_array_equal(folded.weights[name], array)
    assert bool((folded.calibration.recent_levels != plain.calibration.recent_levels).any())
    assert [text.split(":")[0] for text in recorder.summaries if text.startswith("calibration")] == [
        f"calibration block {number} of 4" for number in (1, 2, 3)
    ]
    again = train([sines()], changed(options, calibration_folds=4))
    assert again.version == folded.version


def test_a_newest_part_that_is_too_quiet_does_not_set_the_level() -> None:
    """A plant that stood still last week: with folds its usual errors are those of weeks in which it ran."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1_000, 1))
    values[800:] *= 0.05
    options = changed(QUICK, kind="ridge", memory_windows=0)
    newest, folded = (train([series(values)], changed(options, calibration_folds=k)).calibration for k in (1, 5))
    assert newest.forecast_levels[0] == LEVEL_FLOOR
    assert 0.6 < folded.forecast_levels[0] < 1.1  # noise of variance one in four blocks of five


def test_a_block_with_too_few_windows_is_refused() -> None:
    """With what to do about it."""
    one = sines(rows=120)
    times = one.event_times_ms.copy()
    times[20:60] += 10_000 * STEP_MS  # a long silence behind a short beginning
    times[60:] += 20_000 * STEP_MS
    options = changed(QUICK, kind="pca", calibration_folds=12, max_gap_ms=STEP_MS)
    with pytest.raises(DataError, match=r"calibration_folds: block \d+ of 12 .*fewer folds, or a longer series"):
        train([replace(one, event_times_ms=times)], options)


def test_two_folds_are_none() -> None:
    """One older block has no older rest to be trained on."""
    with pytest.raises(ValueError, match="calibration_folds: 2 leaves no older rows"):
        Settings.model_validate({"train": {"calibration_folds": 2}})


def test_errors_join_with_and_without_a_memory() -> None:
    """All parts in order; what is missing stays missing."""
    first, second = (_errors(np.full((n, 2, 1), n, dtype=np.float32)) for n in (2, 3))
    both = joined([first, second])
    assert both.recent[:, 0].tolist() == [2, 2, 3, 3, 3]
    assert both.memory is not None
    without = joined([replace(first, memory=None), replace(second, memory=None)])
    assert without.memory is None
    assert Calibration.fit(without).memory_levels is None
