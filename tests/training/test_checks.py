"""Checks after training: networks that copy are found out, and simple methods that are better are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from streamae.batches import Floats
from streamae.model.architecture import BASELINES, Kind
from streamae.model.baselines import Heads
from streamae.training.checks import COMPARED_WINDOWS, check_copying, check_network
from streamae.training.run import train
from tests.model.models import KINDS, QUICK, architecture, changed, series, sines
from tests.training.test_run import Recorder


class Copy(nn.Module):
    """Reconstructs a share of what it is shown; forecasts what comes next with an error of `miss`."""

    def __init__(self, share: float, miss: float = 0.0) -> None:
        super().__init__()
        self.share, self.miss, self.shapes = nn.Parameter(torch.tensor(share)), miss, list[tuple[int, ...]]()

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int) -> Heads:
        self.shapes.append(tuple(z.shape))
        return self.share * z[:, -decode_steps:], z[:, -forecast_steps:] + self.miss


def windows(count: int = 300, seed: int = 0) -> Floats:
    """Return windows of a random walk that a straight line forecasts well, (count, 12, 3)."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(count, 1, 3)) + 0.05 * rng.normal(size=(count, 12, 3))
    return (0.3 * np.cumsum(steps, axis=1)).astype(np.float32)


@pytest.mark.parametrize(("share", "copied"), [(1.0, 1.0), (0.5, 0.75), (0.0, 0.0)])
def test_the_copied_share_is_that_of_the_definition(share: float, copied: float) -> None:
    """Half of a change leaves a quarter of its square."""
    found = check_copying(Copy(share), torch.from_numpy(windows()), 4)
    assert found.metrics["anomaly_copied_share"] == pytest.approx(copied, abs=1e-5)
    assert bool(found.warnings) == (share > 0.0)
    if share == 1.0:
        assert found.warnings[0].startswith("it reconstructs anomalies as well as normal rows: 100%")


def test_a_network_that_knows_better_is_trusted() -> None:
    """Normal rows come through and changes do not: the projection on the plane in which normal windows lie."""
    z = torch.from_numpy(windows())
    flat = z.flatten(1)
    _, _, right = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)

    class Plane(nn.Module):
        def forward(self, z: Tensor, decode_steps: int, forecast_steps: int) -> Heads:
            del forecast_steps
            return (z.flatten(1) @ right[:3].T @ right[:3]).view_as(z)[:, -decode_steps:], None

    found = check_copying(Plane(), z, 4)
    assert found.metrics["normal_reconstructed_share"] > 0.9
    assert found.metrics["anomaly_copied_share"] < 0.6
    assert found.warnings == ()


def test_a_network_without_a_reconstruction_copies_nothing() -> None:
    """A forecast cannot see its own row."""

    class Forecast(nn.Module):
        def forward(self, z: Tensor, decode_steps: int, forecast_steps: int) -> Heads:
            del decode_steps
            return None, z[:, -forecast_steps:]

    found = check_copying(Forecast(), torch.from_numpy(windows()), 4)
    assert (found.metrics, found.warnings) == ({}, ())


@pytest.mark.parametrize(("miss", "is_beaten"), [(0.0, False), (5.0, True)])
def test_a_closed_form_that_is_better_is_named(miss: float, is_beaten: bool) -> None:
    """The forecast is compared with ridge on rows that neither was fitted to; both errors are recorded."""
    found = check_network(Copy(1.0, miss), architecture(), windows(), windows(seed=1))
    assert found.metrics["forecast_error"] == pytest.approx(miss * miss)
    assert 0.0 < found.metrics["ridge_forecast_error"] < 0.1
    assert any("forecast of ridge" in text and "train.kind = ridge" in text for text in found.warnings) == is_beaten
    assert found.metrics["reconstruction_error"] == 0.0
    assert not any("pca" in text for text in found.warnings[1:])


def test_principal_components_that_are_better_are_named() -> None:
    """Always saying the mean is worse than sixteen components."""
    found = check_network(Copy(0.0), architecture(), windows(), windows(seed=1))
    assert any("reconstruction of pca" in text for text in found.warnings)
    assert found.metrics["pca_reconstruction_error"] < found.metrics["reconstruction_error"]


def test_training_windows_that_are_better_are_named() -> None:
    """Of few shapes that come again and again a memory knows more than a network that says the mean."""
    shapes = np.random.default_rng(5).normal(size=(6, 12, 3)).astype(np.float32)
    again = shapes[np.random.default_rng(6).integers(6, size=400)]
    found = check_network(Copy(0.0), architecture(), again, again[:100])
    assert any("reconstruction of nearest_windows" in text for text in found.warnings)
    assert found.metrics["nearest_windows_reconstruction_error"] == 0.0


def test_time_is_bounded() -> None:
    """Neither many windows nor wide ones make the checks long: they look at few, and leave out what is too slow."""
    network = Copy(1.0)
    many = np.resize(windows(), (3 * COMPARED_WINDOWS, 12, 3))
    check_network(network, architecture(), many, many)
    assert max(shape[0] for shape in network.shapes) <= 256
    wide = np.zeros((9, 100, 300), dtype=np.float32)
    of = architecture(window_size=100, features=300)
    found = check_network(network, of, wide, wide)
    assert "pca_reconstruction_error" not in found.metrics
    assert "nearest_windows_reconstruction_error" in found.metrics


@pytest.mark.slow
def test_a_training_that_learns_to_copy_says_so() -> None:
    """White noise through a code as wide as the window: a fine loss, and of no use."""
    noise = series(np.random.default_rng(0).normal(size=(600, 1)))
    options = changed(QUICK, kind="dense", window_size=4, hidden_size=48, bottleneck_size=8, max_steps=500, patience=99)
    recorder = Recorder()
    found = train([noise], options, recorder)
    assert found.metrics["anomaly_copied_share"] > 0.8
    assert "warning: it reconstructs anomalies as well as normal rows" in recorder.summaries[-1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *BASELINES])
def test_every_training_is_checked(kind: Kind) -> None:
    """Sines are learnt without copying; what was measured is in the bundle, whatever the kind."""
    recorder = Recorder()
    metrics = train([sines()], changed(QUICK, kind=kind, components=4), recorder).metrics
    assert ("anomaly_copied_share" in metrics) == (kind != "ridge")
    assert ("ridge_forecast_error" in metrics) == (kind in KINDS)
    if kind in KINDS:  # of two features without relation, one component of rows copies half of everything
        assert metrics["normal_reconstructed_share"] > 0.7
        assert "as well as normal" not in recorder.summaries[-1]
