"""What a person is shown of a network is what the network does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamae.core.scoring import score
from streamae.model.architecture import BASELINES, Kind
from streamae.model.networks import network_of, trained_network
from streamae.model.runner import Runner
from streamae.training.outcome import Training
from streamae.training.portrait import MAPPED_WINDOWS, SAMPLES, SHOWN_FEATURES, Portrait, portray
from streamae.training.run import run_training
from tests.model.models import KINDS, QUICK, changed, network_weights, sines, without_companion

OPTIONS = changed(QUICK, max_steps=60)


@pytest.fixture(scope="module")
def training() -> Training:
    """Four features, some of them hard: noise that nobody can know."""
    one = sines(features=4)
    one.values[:, 3] = np.random.default_rng(5).normal(size=len(one))
    return run_training([one], OPTIONS)


@pytest.fixture(scope="module")
def portrait(training: Training) -> Portrait:
    """Its portrait."""
    return portray(training)


def test_errors_are_those_that_are_scored(training: Training, portrait: Portrait) -> None:
    """Feature by feature the mean of what the runner finds of the network alone, which is what the report is about."""
    errors = Runner(without_companion(training.bundle), "cpu").run(training.windows.calibration)
    assert portrait.reconstruction_errors is not None
    assert portrait.forecast_errors is not None
    np.testing.assert_allclose(portrait.reconstruction_errors, errors.recent.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(portrait.forecast_errors, errors.forecast.mean(axis=0), rtol=1e-4)
    assert int(portrait.reconstruction_errors.argmax()) == 3


def test_examples_are_the_best_the_median_and_the_worst(training: Training, portrait: Portrait) -> None:
    """By score over the calibration windows, with the window's time and its guiltiest features first."""
    windows = training.windows
    scores = score(Runner(training.bundle, "cpu").run(windows.calibration), training.bundle.calibration)
    names, wanted = ("best", "median", "worst"), np.sort(scores.totals)[[0, len(scores.totals) // 2, -1]]
    assert tuple(one.name for one in portrait.examples) == names
    assert [one.score for one in portrait.examples] == pytest.approx(wanted.tolist())
    for one in portrait.examples:
        (at,) = np.flatnonzero(windows.calibration_times_ms == one.end_time_ms)
        np.testing.assert_array_equal(one.original, windows.calibration[at])
        assert one.features[0] == int(scores.channels[at].argmax())
        assert len(one.features) == SHOWN_FEATURES


def test_reconstructions_are_in_units(training: Training, portrait: Portrait) -> None:
    """The whole window as the network draws it, beside the original on the same axis."""
    bundle = training.bundle
    network = network_of(bundle.architecture)
    network.load_state_dict(network_weights(bundle))
    for one in portrait.examples:
        z = torch.from_numpy(bundle.scaling.apply(one.original[None]))
        with torch.inference_mode():
            drawn = network.eval()(z, bundle.architecture.window_size, 1)[0]
        np.testing.assert_allclose(one.reconstruction, bundle.scaling.invert(drawn.numpy())[0], rtol=1e-4, atol=1e-3)


def test_the_map_is_a_principal_projection_in_order_of_time(training: Training, portrait: Portrait) -> None:
    """Centred, uncorrelated, largest variance first, the shares those of the codes; old and new windows."""
    latent, windows = portrait.latent, training.windows
    assert latent is not None
    assert latent.code_size == training.bundle.architecture.code_size
    assert (np.diff(latent.times_ms) >= 0).all()
    assert latent.times_ms[0] == windows.fit_times_ms[0]
    assert latent.times_ms[-1] == windows.calibration_times_ms[-1]
    np.testing.assert_allclose(latent.places.mean(axis=0), 0.0, atol=1e-5)
    covariance = np.cov(latent.places.T)
    assert abs(covariance[0, 1]) < 1e-6 * covariance[0, 0]
    assert covariance[0, 0] >= covariance[1, 1]
    network = trained_network(training.bundle.architecture)
    network.load_state_dict(network_weights(training.bundle))
    z = np.concatenate([windows.fit, windows.scaling.apply(windows.calibration)])  # few enough that all are mapped
    assert len(windows.fit) < MAPPED_WINDOWS
    with torch.inference_mode():
        codes = network.eval().encode(torch.from_numpy(z), 1)[0].double().numpy()
    total = np.cov(codes.T)
    np.testing.assert_allclose(np.diag(covariance) / np.trace(total), latent.explained, rtol=1e-4)
    assert latent.explained[0] == pytest.approx(np.linalg.eigvalsh(total)[-1] / np.trace(total), rel=1e-4)


def test_many_windows_are_thinned() -> None:
    """A picture of a year stays a picture."""
    found = portray(run_training([sines(rows=4_000)], changed(OPTIONS, kind="dense", max_steps=2)))
    assert found.latent is not None
    assert len(found.latent.times_ms) == 2 * MAPPED_WINDOWS


@pytest.mark.slow
def test_a_variational_network_shows_what_it_takes_for_usual() -> None:
    """Windows from random codes, in the range of the data, each different; other networks have no such distribution."""
    options = changed(QUICK, kind="dense", variational_weight=0.05)
    bundle_samples = portray(run_training([sines()], options)).samples
    assert bundle_samples is not None
    assert bundle_samples.shape == (SAMPLES, 12, 2)
    assert bundle_samples.min() > 35.0  # sines of 5 around 50
    assert bundle_samples.max() < 65.0
    assert len({sample.tobytes() for sample in bundle_samples}) == SAMPLES
    assert portray(run_training([sines()], changed(OPTIONS, kind="dense"))).samples is None


@pytest.mark.parametrize("kind", [*KINDS, *BASELINES])
def test_every_kind_has_a_portrait(kind: Kind) -> None:
    """What a kind does not have is None, not an error: baselines have no code, ridge draws nothing."""
    found = portray(run_training([sines(rows=300)], changed(OPTIONS, kind=kind, max_steps=2)))
    assert (found.latent is not None) == (kind in KINDS)
    assert (found.reconstruction_errors is None) == (kind == "ridge")
    assert (found.forecast_errors is None) == (kind in BASELINES and kind != "ridge")
    assert bool(found.examples) == (kind != "ridge")


def test_a_code_of_one_number_has_a_map() -> None:
    """On a line."""
    found = portray(run_training([sines(rows=300)], changed(OPTIONS, kind="dense", bottleneck_size=1, max_steps=2)))
    assert found.latent is not None
    assert not found.latent.places[:, 1].any()
    assert found.latent.explained.tolist() == pytest.approx([1.0, 0.0])
