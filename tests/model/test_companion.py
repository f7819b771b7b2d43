"""The linear companion: an error counts as the weighted geometric mean of the network's and that of closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamae.model.architecture import BASELINES, COMPANION, MAX_COMPANION_INPUTS, Architecture, is_of_network
from streamae.model.bundle import Bundle, load_bundle
from streamae.model.companion import Companion, fitted_companion
from streamae.model.runner import Runner
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.model.models import architecture, bundle, changed, raw_windows, sines, without_companion

QUICK = TrainOptions(
    TrainSettings(window_size=12, hidden_size=4, recent_steps=4, max_steps=10, memory_windows=5),
    model=ModelSettings(threads=1),
)


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
def test_errors_are_the_weighted_geometric_mean(kind: str) -> None:
    """Only what neither the network nor the straight lines explain is unusual; what is expected says the network."""
    of = bundle(architecture(kind, companion_components=3))  # type: ignore[arg-type]
    values = raw_windows(of, 20)
    both, network = Runner(of, "cpu").run(values), Runner(without_companion(of), "cpu").run(values)
    recent, forecast = linear_errors(of, of.scaling.apply(values).astype(np.float64))
    a, b = of.weights[f"{COMPANION}shares"].astype(np.float64)
    np.testing.assert_allclose(both.recent, network.recent ** (1 - a) * recent**a, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(both.forecast, network.forecast ** (1 - b) * forecast**b, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(both.expected, network.expected)


@pytest.mark.slow
@pytest.mark.parametrize("features", [1, 8])
def test_errors_do_not_depend_on_what_shares_the_batch(features: int) -> None:
    """A replay batches otherwise than the first run and must come to the same verdicts."""
    of = bundle(architecture("lstm", 32, features, hidden_size=16, recent_steps=8, companion_components=16))
    values = raw_windows(of, 300)
    whole = Runner(of, "cpu").run(values)
    for size in (1, 3, 17, 32):
        runner = Runner(of, "cpu")
        parts = [runner.run(values[start : start + size]) for start in range(0, 300, size)]
        np.testing.assert_array_equal(np.concatenate([part.recent for part in parts]), whole.recent)
        np.testing.assert_array_equal(np.concatenate([part.forecast for part in parts]), whole.forecast)


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
    found = fitted_companion(of, z, Always(0.0), z[:50])
    assert set(found) == {name for name in of.shapes() if name.startswith(COMPANION)}
    assert (found[f"{COMPANION}shares"] > 0.99).all()


class Always(torch.nn.Module):
    """Says the same number, whatever it sees."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.tensor(number))

    def forward(self, z: torch.Tensor, decode_steps: int, forecast_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        said = self.number.expand_as(z)
        return said[:, -decode_steps:], said[:, -forecast_steps:]


@pytest.mark.parametrize("rows", [1, 300])
def test_who_is_wrong_by_less_weighs_more(rows: int) -> None:
    """share = e_network^4 / (e_network^4 + e_linear^4), each head by itself, whatever the size of the chunks."""
    of = architecture(companion_components=3)
    companion = Companion(of)  # nothing fitted: always says 0
    z = np.random.default_rng(0).normal(0.3, 1.0, (rows, of.window_size, of.features)).astype(np.float32)
    companion.weigh(Always(0.5), z)
    exact = z.astype(np.float64)
    errors = [
        (np.square(exact[:, -of.recent_steps :] - said).mean() + 1e-3, np.square(exact[:, -1] - said).mean() + 1e-3)
        for said in (0.5, 0.0)
    ]
    network, linear = np.array(errors) ** 4
    np.testing.assert_allclose(companion.shares.detach().numpy(), network / (network + linear), rtol=1e-5)


def test_where_both_are_right_both_weigh_the_same() -> None:
    """A constant that both know must not make one of them count alone by the last digits of nothing."""
    of = architecture(companion_components=3)
    companion = Companion(of)
    companion.weigh(Always(1e-4), np.zeros((8, of.window_size, of.features), dtype=np.float32))
    np.testing.assert_allclose(companion.shares.detach().numpy(), 0.5, atol=1e-4)


@pytest.mark.slow
def test_training_fits_it_and_the_bundle_keeps_it(tmp_path: Path) -> None:
    """It is part of what is served, and read back as it was written."""
    found = train([sines()], QUICK)
    assert found.architecture.companion_components > 0
    found.save(tmp_path / "bundle")
    read = load_bundle(tmp_path / "bundle")
    assert read.architecture == found.architecture
    for name, array in found.weights.items():
        np.testing.assert_array_equal(read.weights[name], array)


@pytest.mark.slow
def test_it_can_be_left_out() -> None:
    """Without it the score is the network's alone, and the bundle says nothing of it."""
    found = train([sines()], changed(QUICK, linear_companion=False))
    assert found.architecture.companion_components == 0
    assert all(is_of_network(name) or name == "memory.windows" for name in found.weights)


def test_baselines_have_none() -> None:
    """They are what it is made of."""
    assert train([sines()], changed(QUICK, kind="pca")).architecture.companion_components == 0
    for kind in ("pca", "ridge"):
        assert kind in BASELINES
        with pytest.raises(ValueError, match="companion_components"):
            Architecture(kind, 12, 2, 1, 1, 4, components=1, companion_components=1)


def test_training_further_fits_it_anew() -> None:
    """Newer data has other straight lines; the old bundle need not have had any."""
    start = train([sines()], changed(QUICK, linear_companion=False))
    found = train([sines(seed=1)], QUICK, start=start)
    assert found.architecture.companion_components > 0


@pytest.mark.parametrize(("features", "context"), [(1, 6), (38, 6), (1_000, 4), (4_096, 1)])
def test_wide_rows_look_back_less(features: int, context: int) -> None:
    """The equations of the forecast stay few enough to be solved."""
    of = Architecture("lstm", 12, features, 1, 1, 4, companion_components=1)
    assert of.companion_context == context
    assert of.companion_context * features <= MAX_COMPANION_INPUTS
