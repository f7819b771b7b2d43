"""The isolation forest: splits as in the paper, walks as by hand, scores as of the library that everyone uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamae.batches import Doubles, Floats
from streamae.model.architecture import ISOLATION_DEPTH, Architecture
from streamae.model.isolation import MAX_CELLS, NEVER, SUBSAMPLE, IsolationForest, average_length, grow
from streamae.training.injection import auc

W = 4


def forest(rows: Floats, trees: int = 100) -> IsolationForest:
    """Return a forest grown on rows (N, F)."""
    found = IsolationForest(Architecture("iforest", W, rows.shape[1], 1, 1, 1, 0, trees))
    with torch.no_grad():
        found.fit(windows(rows))
    return found.requires_grad_(requires_grad=False)


def windows(rows: Floats) -> Tensor:
    """Return windows (N, W, F) whose rows are all alike."""
    return torch.from_numpy(np.repeat(rows[:, None], W, axis=1).copy())


def errors(of: IsolationForest, rows: Floats) -> Doubles:
    """Return the squared distances (N, F) of the newest row from its reconstruction."""
    z = windows(rows)
    found, forecasts = of(z, 1)
    assert forecasts is None
    assert found is not None
    squares: Doubles = (z[:, -1:] - found).double().square()[:, 0].numpy()
    return squares


def cloud(count: int = 2_000, features: int = 3, seed: int = 0) -> Floats:
    """Return normal rows."""
    return np.random.default_rng(seed).normal(size=(count, features)).astype(np.float32)


@pytest.mark.parametrize("n", [3, 10, 100, 256, 10_000])
def test_the_average_length_is_that_of_the_harmonic_numbers(n: int) -> None:
    """c(n) = 2 H(n - 1) - 2 (n - 1) / n; the logarithm of the paper falls short of H by at most 1 / (2 (n - 1))."""
    exact = 2.0 * sum(1.0 / k for k in range(1, n)) - 2.0 * (n - 1) / n
    assert average_length(np.array([n]))[0] == pytest.approx(exact, abs=1.0 / (n - 1))


def test_a_far_point_is_cut_off_in_proportion_to_its_distance() -> None:
    """Of 0, 1 and 10 the first split leaves 10 alone in nine trees of ten: thresholds are uniform between the ends."""
    feature, threshold, length = grow(np.array([[0.0], [1.0], [10.0]], dtype=np.float32), 4_000, 3)
    assert not feature.any()
    assert float((threshold[:, 0] >= 1.0).mean()) == pytest.approx(0.9, abs=0.015)
    alone = threshold[:, 0] >= 1.0
    assert set(length[alone, -1]) == {1.0}  # the rightmost leaf: 10, at depth one
    assert set(length[alone, 0]) == {2.0}  # 0, after one more split


def test_features_are_chosen_alike() -> None:
    """Whatever their scale, and never one that does not move."""
    rows = cloud(features=4) * np.array([1.0, 1e6, 1e-6, 0.0], dtype=np.float32)
    feature, threshold, _ = grow(rows, 400, SUBSAMPLE)
    shares = np.bincount(feature[threshold < NEVER].astype(np.int64), minlength=4) / (threshold < NEVER).sum()
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 1 / 3, 0.0], atol=0.02)


def test_a_walk_is_as_by_hand() -> None:
    """Row by row and tree by tree in plain Python: the same mean depth, the same score, the same shares."""
    of, rows = forest(cloud(), 20), cloud(15, seed=1) * 3.0
    feature, threshold, length = (getattr(of, name).numpy() for name in ("feature", "threshold", "length"))
    expected = np.zeros(rows.shape)
    for number, row in enumerate(rows):
        depths, shares = [], np.zeros(rows.shape[1])
        for tree in range(20):
            at, path = 0, []
            for _ in range(ISOLATION_DEPTH):
                if threshold[tree, at] < NEVER:
                    path.append(int(feature[tree, at]))
                at = 2 * at + 1 + int(row[int(feature[tree, at])] > threshold[tree, at])
            depths.append(length[tree, at - (2**ISOLATION_DEPTH - 1)])
            for chosen in path:
                shares[chosen] += 2.0 ** -depths[-1]
        score = 2.0 ** (average_length(np.array(SUBSAMPLE)) - np.mean(depths))
        expected[number] = score * shares / shares.sum() * rows.shape[1]
    np.testing.assert_allclose(errors(of, rows), expected, rtol=1e-4)


def test_leaves_know_how_deep_they_are_and_what_they_hold() -> None:
    """The length of a leaf is the number of splits above it, and c(n) for the n rows that it was grown with."""
    rows = np.round(cloud(SUBSAMPLE, 2) * 4.0)  # each tree gets all of them; many are equal and cannot be split
    feature, threshold, length = grow(rows, 10, SUBSAMPLE)
    for tree in range(10):
        at, splits = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows))
        for _ in range(ISOLATION_DEPTH):
            splits += threshold[tree, at] < NEVER
            at = 2 * at + 1 + (rows[np.arange(len(rows)), feature[tree, at].astype(np.int64)] > threshold[tree, at])
        leaves = at - (2**ISOLATION_DEPTH - 1)
        counts = np.bincount(leaves, minlength=2**ISOLATION_DEPTH)[leaves]
        np.testing.assert_allclose(length[tree, leaves], splits + average_length(counts), rtol=1e-6)


def test_outliers_stand_out_by_name() -> None:
    """A row far out in one feature scores above the cloud, and that feature has most of it."""
    of, usual = forest(cloud(features=5)), cloud(300, 5, seed=2)
    odd = usual.copy()
    odd[:, 3] = 8.0
    found = errors(of, odd)
    assert auc(errors(of, usual).mean(axis=1).astype(np.float32), found.mean(axis=1).astype(np.float32)) > 0.9
    assert (found.argmax(axis=1) == 3).mean() > 0.95
    reconstruction, _ = of(windows(odd), 1)
    assert reconstruction is not None
    assert bool((reconstruction[:, 0, 3] < 8.0).all())  # what is expected lies towards the mean


def test_the_mean_over_features_is_the_score() -> None:
    """Around one for usual rows, many times that for what no tree has seen: a scale on which thresholds can work."""
    of = forest(cloud())
    found = errors(of, np.concatenate([cloud(50, seed=3), np.full((1, 3), 50.0, dtype=np.float32)])).mean(axis=1)
    assert found.min() > 0.0
    assert 0.2 < float(np.median(found)) < 2.0
    assert found[-1] == found.max() > 20.0 * float(np.median(found))


@pytest.mark.parametrize(
    "rows",
    [np.zeros((50, 2)), np.zeros((1, 1)), np.ones((8, 3)), np.repeat([[1.0, 2.0], [3.0, 2.0]], 20, axis=0), cloud(5)],
    ids=["constant", "one row", "few and constant", "two values", "few"],
)
def test_odd_rows_grow_trees_too(rows: Floats) -> None:
    """Constant or few: finite scores, and no tree where nothing can be split."""
    of = forest(rows.astype(np.float32), 10)
    found = errors(of, rows.astype(np.float32))
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()


def test_the_same_rows_grow_the_same_forest() -> None:
    """A bundle is reproducible; the process's own random numbers stay as they were."""
    before = torch.random.get_rng_state()
    first, second = forest(cloud()), forest(cloud())
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_many_rows_are_grown_on_in_blocks() -> None:
    """Memory is bounded: a block of trees at a time, all of them different."""
    rows = cloud(MAX_CELLS // 3, 1)
    feature, threshold, length = grow(rows, 7, SUBSAMPLE)
    assert (feature.shape, threshold.shape, length.shape) == ((7, 255), (7, 255), (7, 256))
    assert len({tree.tobytes() for tree in threshold}) == 7


def test_a_hostile_bundle_reads_nothing_beyond_its_features() -> None:
    """Numbers of features come from a file: those out of range are bounded."""
    of = forest(cloud())
    for wrong in (1e9, -5.0):
        of.feature.fill_(wrong)
        assert np.isfinite(errors(of, cloud(5))).all()


@pytest.mark.slow
@pytest.mark.parametrize("features", [1, 5])
def test_scores_are_those_of_the_library(features: int) -> None:
    """They differ from scikit-learn's by no more than two of its forests differ from each other."""
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    rows = cloud(features=features)
    odd = np.concatenate([cloud(200, features, 4), 3.0 * cloud(200, features, 5)])
    theirs = [-ensemble.IsolationForest(n_estimators=300, random_state=s).fit(rows).score_samples(odd) for s in (0, 1)]
    ours = errors(forest(rows, 300), odd).mean(axis=1) ** (1.0 / average_length(np.array(SUBSAMPLE))) / 2.0
    assert np.abs(ours - theirs[0]).mean() < 1.5 * np.abs(theirs[0] - theirs[1]).mean()
    assert np.corrcoef(ours, theirs[0])[0, 1] > 0.98
