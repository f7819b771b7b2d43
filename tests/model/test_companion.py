"""The linear companion: an error counts as the geometric mean of the network's and that of closed forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamae.core.scoring import score
from streamae.model.architecture import BASELINES, COMPANION, MAX_COMPANION_INPUTS, Architecture, is_of_network
from streamae.model.bundle import Bundle, load_bundle
from streamae.model.companion import Companion, fitted_companion
from streamae.model.runner import Runner
from streamae.model.train_options import TrainOptions
from streamae.model.training import train
from tests.model.models import architecture, bundle, raw_windows, sines, without_companion

QUICK = TrainOptions(window_size=12, hidden_size=4, recent_steps=4, max_steps=10, memory_windows=5, threads=1)


def linear_errors(of: Bundle, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the closed forms' errors of scaled windows with numpy, as their formulas read."""
    parts = {
        name.removeprefix(COMPANION): array.astype(np.float64)
        for name, array in of.weights.items()
        if name.startswith(COMPANION)
    }
    flat = z.reshape(len(z), -1) - parts["pca.mean"]
    whole = (parts["pca.mean"] + flat @ parts["pca.directions"] @ parts["pca.directions"].T).reshape(z.shape)
    before = z[:, -1 - of.architecture.companion_context : -1].reshape(len(z), -1)
    forecast = before @ parts["ridge.weight"] + parts["ridge.bias"]
    recent = np.square(z - whole)[:, -of.architecture.recent_steps :].mean(axis=1)
    return recent, np.square(z[:, -1] - forecast)


@pytest.mark.parametrize("kind", ["lstm", "dense", "conv"])
def test_errors_are_the_geometric_mean(kind: str) -> None:
    """Only what neither the network nor the straight lines explain is unusual; what is expected says the network."""
    of = bundle(architecture(kind, companion_components=3))  # type: ignore[arg-type]
    values = raw_windows(of, 20)
    both, network = Runner(of, "cpu").run(values), Runner(without_companion(of), "cpu").run(values)
    recent, forecast = linear_errors(of, of.scaling.apply(values).astype(np.float64))
    np.testing.assert_allclose(both.recent, np.sqrt(network.recent * recent), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(both.forecast, np.sqrt(network.forecast * forecast), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(both.expected, network.expected)


def test_scores_do_not_depend_on_what_shares_the_batch() -> None:
    """A replay batches otherwise than the first run and must come to the same verdicts."""
    of = bundle(architecture("lstm", 32, 8, hidden_size=16, recent_steps=8, companion_components=16))
    values = raw_windows(of, 70)
    whole = score(Runner(of, "cpu").run(values), of.calibration).totals
    for size in (1, 3, 32):
        runner = Runner(of, "cpu")
        parts = [score(runner.run(values[start : start + size]), of.calibration).totals for start in range(0, 70, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_names_and_shapes_are_those_of_the_module() -> None:
    """A bundle is checked against them before anything is loaded."""
    of = architecture(companion_components=3)
    found = {COMPANION + name: tuple(tensor.shape) for name, tensor in Companion(of).state_dict().items()}
    assert found == {name: shape for name, shape in of.shapes().items() if name.startswith(COMPANION)}
    assert not any(is_of_network(name) for name in found)


def test_straight_lines_are_explained_completely() -> None:
    """What principal components and the last rows say exactly has no error left, whatever the network makes of it."""
    of = architecture(window_size=12, features=2, companion_components=2)
    t = np.arange(400.0)[:, None] + np.arange(12)
    z = np.stack([np.sin(t / 5), np.cos(t / 5)], axis=2).astype(np.float32)
    companion = Companion(of)
    companion.fit(z)
    with torch.inference_mode():
        reconstruction, forecasts = companion(torch.from_numpy(z), 4, 1)
    np.testing.assert_allclose(reconstruction.numpy(), z[:, -4:], atol=1e-3)
    np.testing.assert_allclose(forecasts.numpy(), z[:, -1:], atol=0.02)  # the penalty keeps it short of exact
    assert set(fitted_companion(of, z)) == {name for name in of.shapes() if name.startswith(COMPANION)}


def test_training_fits_it_and_the_bundle_keeps_it(tmp_path: Path) -> None:
    """It is part of what is served, and read back as it was written."""
    found = train([sines()], QUICK)
    assert found.architecture.companion_components > 0
    found.save(tmp_path / "bundle")
    read = load_bundle(tmp_path / "bundle")
    assert read.architecture == found.architecture
    for name, array in found.weights.items():
        np.testing.assert_array_equal(read.weights[name], array)


def test_it_can_be_left_out() -> None:
    """Without it the score is the network's alone, and the bundle says nothing of it."""
    found = train([sines()], replace(QUICK, linear_companion=False))
    assert found.architecture.companion_components == 0
    assert all(is_of_network(name) or name == "memory.windows" for name in found.weights)


def test_baselines_have_none() -> None:
    """They are what it is made of."""
    assert train([sines()], replace(QUICK, kind="pca")).architecture.companion_components == 0
    for kind in ("pca", "ridge"):
        assert kind in BASELINES
        with pytest.raises(ValueError, match="companion_components"):
            Architecture(kind, 12, 2, 1, 1, 4, components=1, companion_components=1)


def test_training_further_fits_it_anew() -> None:
    """Newer data has other straight lines; the old bundle need not have had any."""
    start = train([sines()], replace(QUICK, linear_companion=False))
    found = train([sines(seed=1)], QUICK, start=start)
    assert found.architecture.companion_components > 0


@pytest.mark.parametrize(("features", "context"), [(1, 6), (38, 6), (1_000, 4), (4_096, 1)])
def test_wide_rows_look_back_less(features: int, context: int) -> None:
    """The equations of the forecast stay few enough to be solved."""
    of = Architecture("lstm", 12, features, 1, 1, 4, companion_components=1)
    assert of.companion_context == context
    assert of.companion_context * features <= MAX_COMPANION_INPUTS
