"""Injected anomalies: each form is what its name says, they are drawn alike each time, and the measure is the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from streamae.batches import Doubles, Floats
from streamae.training.injection import FORMS, LEAST_CHANGE, NOISE, SHIFT, SPIKE, auc, inject, separation

SCALES = np.array([1.0, 10.0, 0.5, 2.0, 3.0])
ROWS, NEWEST = 32, 8


def waves(count: int = 200, seed: int = 0, rows: int = ROWS) -> Floats:
    """Return windows of noisy sines, (count, rows, 5), each feature with its own scale."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 6, (count, 1, 5))
    steps = np.arange(rows)[:, None] / np.array([2.0, 3.0, 4.0, 5.0, 6.0])
    return ((np.sin(steps + phases) + 0.1 * rng.normal(size=(count, rows, 5))) * SCALES + 7.0).astype(np.float32)


def changes(form: str, windows: Floats | None = None) -> Doubles:
    """Return what a form adds, in standard deviations."""
    windows = waves() if windows is None else windows
    changed, _ = inject(windows, SCALES, 0)[form]
    return (changed.astype(np.float64) - windows) / SCALES


@pytest.mark.parametrize("form", FORMS)
def test_a_quarter_of_the_features_changes(form: str) -> None:
    """Two of five, not always the same: neither a change of everything nor of one favourite sensor."""
    is_changed = (np.abs(changes(form)) > 1e-4).any(axis=1)  # (B, F)
    assert is_changed.sum(axis=1).max() == 2
    assert is_changed.mean(axis=0) == pytest.approx(0.4, abs=0.12)


@pytest.mark.parametrize("form", [name for name in FORMS if name != "time-stretched"])
def test_only_the_newest_rows_change(form: str) -> None:
    """What is scored is the newest part; older rows are the context that makes it odd."""
    assert np.abs(changes(form)[:, :-NEWEST]).max() < 1e-4


def test_a_spike_is_one_row() -> None:
    """3 standard deviations up or down, in one of the newest rows of each feature that changes."""
    found = changes("spike")
    assert (np.abs(found) > 1e-4).sum(axis=1).max() == 1
    assert set(np.round(found[np.abs(found) > 1e-4], 3)) == {-SPIKE, SPIKE}
    assert len(set(np.abs(found).max(axis=2).argmax(axis=1))) == NEWEST


def test_a_level_shift_is_the_same_in_all_newest_rows() -> None:
    """1.5 standard deviations, up or down."""
    newest = changes("level shift")[:, -NEWEST:]
    assert np.ptp(newest, axis=1).max() < 1e-4
    assert set(np.round(newest.ravel(), 3)) == {-SHIFT, 0.0, SHIFT}


def test_a_frozen_feature_stands_still() -> None:
    """At the last value before."""
    windows = waves()
    changed, _ = inject(windows, SCALES, 0)["frozen"]
    moved = (changed != windows).any(axis=1)
    newest = changed[:, -NEWEST - 1 :].transpose(0, 2, 1)[moved]
    assert np.ptp(newest, axis=1).max() == 0.0


def test_noise_has_its_size() -> None:
    """One standard deviation of the feature, whatever its unit."""
    found = changes("noise", waves(2_000))[:, -NEWEST:]
    for feature in range(5):
        drawn = found[:, :, feature][np.abs(found[:, :, feature]).max(axis=1) > 1e-4]
        assert drawn.std() == pytest.approx(NOISE, rel=0.05)


def test_a_scaled_amplitude_keeps_the_centre() -> None:
    """Twice as far from the window's mean."""
    windows = waves()
    changed, _ = inject(windows, SCALES, 0)["scaled amplitude"]
    means = windows.mean(axis=1, keepdims=True, dtype=np.float64)
    moved = (changed != windows).any(axis=1)
    before, after = ((of - means)[:, -NEWEST:].transpose(0, 2, 1)[moved] for of in (windows, changed))
    np.testing.assert_allclose(after, 2.0 * before, rtol=1e-3, atol=1e-4)


def test_stretched_time_runs_at_half_the_speed() -> None:
    """The newest half of the window fills all of it: a straight line has half its slope, and the newest row stays."""
    line = np.repeat(np.arange(ROWS, dtype=np.float32)[None, :, None], 5, axis=2)
    changed, _ = inject(line, np.ones(5), 0)["time-stretched"]
    which = (changed != line).any(axis=(0, 1))
    np.testing.assert_allclose(np.diff(changed[0][:, which], axis=0), 0.5, rtol=1e-5)
    np.testing.assert_array_equal(changed[:, -1], line[:, -1])


def test_the_seed_decides() -> None:
    """Two detectors are compared on the same anomalies; another seed gives others."""
    first, again, other = inject(waves(), SCALES, 3), inject(waves(), SCALES, 3), inject(waves(), SCALES, 4)
    for form in FORMS:
        np.testing.assert_array_equal(first[form][0], again[form][0])
        assert (first[form][0] != other[form][0]).any()


@pytest.mark.parametrize(("rows", "features"), [(2, 1), (3, 2), (4, 5)])
def test_the_smallest_windows_can_be_changed(rows: int, features: int) -> None:
    """At least one feature, at most all rows but the first."""
    windows = waves(20, rows=rows)[:, :, :features]
    for changed, visible in inject(windows, SCALES[:features], 0).values():
        assert changed.shape == windows.shape
        assert changed.dtype == np.float32
        assert visible.shape == (20,)


def test_the_windows_given_stay_as_they_are() -> None:
    """They are the clean ones of the comparison."""
    windows = waves()
    before = windows.copy()
    inject(windows, SCALES, 0)
    np.testing.assert_array_equal(windows, before)


def test_what_changes_nothing_is_no_anomaly() -> None:
    """A constant cannot freeze, and has neither amplitude nor speed: no detector is blamed for not seeing that."""
    constant = np.full((50, ROWS, 5), 3.0, dtype=np.float32)
    visible = {form: float(which.mean()) for form, (_, which) in inject(constant, SCALES, 0).items()}
    assert visible == {
        "spike": 1.0,
        "level shift": 1.0,
        "frozen": 0.0,
        "noise": 1.0,
        "scaled amplitude": 0.0,
        "time-stretched": 0.0,
    }
    assert set(separation(lambda values: values.max(axis=(1, 2)), constant, SCALES, 0)) == {
        "spike",
        "level shift",
        "noise",
    }


def test_visible_is_what_changes_more_than_the_least() -> None:
    """The bound holds exactly as documented."""
    for changed, visible in inject(waves(), SCALES, 0).values():
        largest = (np.abs(changed.astype(np.float64) - waves()) / SCALES).max(axis=(1, 2))
        np.testing.assert_array_equal(visible, largest >= LEAST_CHANGE)


@pytest.mark.parametrize("seed", range(5))
def test_the_measure_is_that_of_mann_and_whitney(seed: int) -> None:
    """U over the number of pairs, with ties, by an independent implementation."""
    rng = np.random.default_rng(seed)
    clean, injected = (rng.integers(0, 12, size=n).astype(np.float32) for n in (70, 31))
    expected = stats.mannwhitneyu(injected, clean).statistic / (70 * 31)
    assert auc(clean, injected) == pytest.approx(expected, abs=1e-12)


def test_a_score_that_sees_nothing_separates_nothing() -> None:
    """A coin is 0.5, whatever is injected, and one that asks the answer is 1."""
    windows, rng = waves(2_000), np.random.default_rng(0)
    blind = separation(lambda values: rng.random(len(values)).astype(np.float32), windows, SCALES, 0)
    assert set(blind) == set(FORMS)
    assert max(abs(found - 0.5) for found in blind.values()) < 0.05
    known = {window.tobytes() for window in windows}
    told = separation(lambda v: np.array([w.tobytes() not in known for w in v], dtype=np.float32), windows, SCALES, 0)
    assert min(told.values()) == 1.0
