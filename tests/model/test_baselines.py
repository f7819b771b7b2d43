"""Baselines: each is what its name says, by its definition, and is trained, saved and served like a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from streamae.core.scoring import score
from streamae.model.architecture import BASELINES, Architecture, Kind
from streamae.model.baselines import NearestWindows, Ridge, RowPCA, WindowPCA, ZScore, baseline, usual_components
from streamae.model.bundle import Bundle, load_bundle
from streamae.model.runner import Runner
from streamae.training.run import train
from tests.model.models import QUICK, changed, sines

FEATURES, SIZE = 3, 12


def architecture(kind: Kind, components: int) -> Architecture:
    """Return the architecture of a baseline."""
    return Architecture(kind, SIZE, FEATURES, 1, 1, 4, 0, components)


def windows(count: int = 200, seed: int = 0) -> Tensor:
    """Return scaled windows (count, SIZE, FEATURES) of two hidden signals mixed into all features."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, SIZE, 2)).cumsum(axis=1)
    mixed = hidden @ np.array([[1.0, 0.5, -1.0], [0.2, -1.0, 0.3]])
    return torch.from_numpy((mixed + 0.05 * rng.normal(size=mixed.shape)).astype(np.float32))


def fitted(kind: Kind, components: int) -> WindowPCA | RowPCA | Ridge | NearestWindows | ZScore:
    """Return a baseline fitted to the windows."""
    found = baseline(architecture(kind, components))
    with torch.no_grad():
        found.fit(windows())
    return found.requires_grad_(requires_grad=False)


@pytest.mark.parametrize(("kind", "columns"), [("pca", slice(None)), ("pca_row", -1)])
def test_principal_components_are_those_of_a_decomposition(kind: Kind, columns: slice | int) -> None:
    """The reconstruction is the projection on the leading right singular vectors of the centred inputs."""
    rows = windows()[:, columns].reshape(200, -1).double().numpy()
    _, _, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    expected = rows.mean(0) + (rows - rows.mean(0)) @ right[:2].T @ right[:2]
    found, forecasts = fitted(kind, 2)(windows(), SIZE if kind == "pca" else 1)
    assert forecasts is None
    assert found is not None
    np.testing.assert_allclose(found.reshape(200, -1).numpy(), expected, atol=2e-4)


def test_wide_windows_find_their_components_too() -> None:
    """Beyond what a whole covariance allows an approximation takes over: it must explain about as much."""
    wide = Architecture("pca", 100, 30, 1, 1, 4, 0, 3)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3_000)) + 0.01 * rng.normal(size=(60, 3_000))
    z = torch.from_numpy(values.astype(np.float32)).view(60, 100, 30)
    found = baseline(wide)
    with torch.no_grad():
        found.fit(z)
        reconstruction, _ = found(z, 100)
    assert reconstruction is not None
    assert float((reconstruction - z).square().mean()) < 2e-4


@pytest.mark.parametrize("seed", [21, 34, 35, 36, 61, 65])
def test_windows_in_which_one_feature_of_many_changes_have_components(seed: int) -> None:
    """Command channels: a covariance of zeros but for one feature, on which LAPACK with one thread gave up."""
    rng, rows = np.random.default_rng(seed), np.zeros((600, 25))
    if seed % 3 == 0:
        rows[rng.integers(0, 600, 5), 0] = 1.0
    elif seed % 3 == 1:
        rows[:, 0] = np.repeat(rng.integers(0, 3, 60), 10)
    else:
        rows[:, 0] = np.sin(np.arange(600) / rng.uniform(2, 30))
    z = torch.from_numpy(rows).float().unfold(0, 32, 1).transpose(1, 2).contiguous()
    network, threads = WindowPCA(Architecture("pca", 32, 25, 1, 1, 4, 0, 8)), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            network.fit(z)
    finally:
        torch.set_num_threads(threads)
    found = network.directions.detach()
    torch.testing.assert_close(found.T @ found, torch.eye(8), atol=1e-5, rtol=0.0)


def test_a_ridge_forecast_is_the_closed_form() -> None:
    """Weights solve the penalised normal equations; the forecast of each row comes from the rows before it."""
    found = fitted("ridge", 3)
    assert isinstance(found, Ridge)
    z = windows().double().numpy()
    inputs, targets = z[:, -4:-1].reshape(200, -1), z[:, -1]
    centred = inputs - inputs.mean(0)
    products = centred.T @ centred
    penalty = 1e-2 * np.diag(products).mean()
    weight = np.linalg.solve(products + penalty * np.eye(9), centred.T @ (targets - targets.mean(0)))
    np.testing.assert_allclose(found.weight.numpy(), weight, atol=1e-4)
    _, forecasts = found(windows(5, seed=1), SIZE, 4)
    assert forecasts is not None
    rows = windows(5, seed=1).double().numpy()
    for step in range(4):
        before = rows[:, SIZE - 4 + step - 3 : SIZE - 4 + step].reshape(5, -1)
        expected = (before - inputs.mean(0)) @ weight + targets.mean(0)
        np.testing.assert_allclose(forecasts[:, step].numpy(), expected, atol=1e-3)


def test_a_forecast_sees_only_rows_before_its_own() -> None:
    """A spike must not announce itself to its own forecast."""
    found = fitted("ridge", 3)
    spoilt = windows(5, seed=1)
    spoilt[:, -1] += 50.0
    before, after = (found(z, SIZE, 1)[1] for z in (windows(5, seed=1), spoilt))
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)


def test_the_nearest_window_is_the_nearest() -> None:
    """Of the windows kept, the one at the least squared distance stands in for the reconstruction."""
    found = fitted("nearest_windows", 20)
    assert isinstance(found, NearestWindows)
    z = windows(15, seed=1)
    distances = (z[:, None] - found.windows[None]).square().flatten(2).sum(2)
    reconstruction, _ = found(z, 4)
    assert reconstruction is not None
    assert torch.equal(reconstruction, found.windows[distances.argmin(1), -4:])


def test_a_zscore_expects_the_mean() -> None:
    """Standardised inputs have the mean zero."""
    reconstruction, forecasts = fitted("zscore", 0)(windows(), 4)
    assert forecasts is None
    assert reconstruction is not None
    assert (tuple(reconstruction.shape), float(reconstruction.abs().max())) == ((200, 4, FEATURES), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("features", [1, 3])
def test_a_baseline_is_trained_saved_and_served_like_a_network(kind: Kind, features: int, tmp_path: Path) -> None:
    """One way for all: a spike stands out, and what was saved gives the same errors to the last bit."""
    options = changed(QUICK, kind=kind)
    found = train([sines("a", features=features), sines("b", features=features, seed=1)], options)
    found.save(tmp_path / "bundle")
    values = np.stack([sines("c", 40, features, seed=2).values[start : start + 12] for start in range(28)])
    loud = values.copy()
    loud[:, -1, 0] += 40.0
    quiet_scores, loud_scores = (totals(load_bundle(tmp_path / "bundle"), v) for v in (values, loud))
    np.testing.assert_array_equal(quiet_scores, totals(found, values))
    assert float(loud_scores.min()) > 2.0 * float(np.median(quiet_scores))
    assert found.metrics["validation_loss"] >= 0.0


def totals(
    of: Bundle, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the scores of windows."""
    return score(Runner(of, "cpu", threads=1).run(values), of.calibration).totals


def test_sizes_stay_within_what_the_data_allow() -> None:
    """As many components as inputs would reconstruct anything, an anomaly too."""
    assert usual_components("pca", 0, 5_000, 32, 1) == 16
    assert usual_components("pca", 100, 5_000, 32, 1) == 16
    assert usual_components("pca_row", 0, 5_000, 32, 38) == 9
    assert usual_components("pca_row", 0, 5_000, 32, 1) == 1
    assert usual_components("ridge", 0, 5_000, 12, 3) == 6
    assert usual_components("nearest_windows", 0, 300, 32, 3) == 300
    assert usual_components("zscore", 7, 300, 32, 3) == 0


def test_errors_may_share_one_level() -> None:
    """The textbook's score does not whiten: a loud feature stays loud."""
    series = [sines("a", features=2)]
    series[0].values[:, 1] *= 0.0
    series[0].values[::7, 1] += 1.0
    each, overall = (train(series, changed(QUICK, kind="zscore", whitening=how)) for how in ("feature", "overall"))  # type: ignore[arg-type]  # narrowed to str
    assert len(set(overall.calibration.recent_levels)) == 1
    assert len(set(each.calibration.recent_levels)) == 2
