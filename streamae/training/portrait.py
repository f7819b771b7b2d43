"""What a person looks at before trusting a network: its errors feature by feature, its code, and windows it drew.

Made from a finished training, on the CPU, in bounded time. Arrays come out; must not know how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamae.batches import Doubles, Floats, Ints
from streamae.core.origins import to_own_units
from streamae.core.scoring import score
from streamae.model.architecture import is_of_network
from streamae.model.bundle import Bundle
from streamae.model.encoder_decoder import EncoderDecoder
from streamae.model.networks import network_of
from streamae.model.runner import Runner
from streamae.training.outcome import Training

JUDGED_WINDOWS = 1_024  # calibration windows that are looked at
MAPPED_WINDOWS = 600  # of the rows trained on, and as many of the calibration rows
SAMPLES = 4
SHOWN_FEATURES = 3  # of a window, those with the largest score


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One calibration window beside what the network makes of it.

    Attributes:
        name: which one it is.
        end_time_ms: event time of its newest row.
        score: of the window.
        features: up to `SHOWN_FEATURES` indices, largest score first.
        original, reconstruction: (W, F) float64 in the features' own units; where each key has its own scaling, in
            standard deviations.
    """

    name: str
    end_time_ms: int
    score: float
    features: tuple[int, ...]
    original: Doubles
    reconstruction: Doubles


@dataclass(frozen=True, slots=True, eq=False)
class LatentMap:
    """Codes of windows on their two principal components.

    Attributes:
        places: (N, 2) float64.
        times_ms: (N,) event time of each window's newest row.
        explained: (2,) share of the codes' variance along each component.
        code_size: numbers of a code.
    """

    places: Doubles
    times_ms: Ints
    explained: Doubles
    code_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """What there is to see of a trained network; None where its kind does not have it.

    Attributes:
        reconstruction_errors, forecast_errors: (F,) mean squared error of the rows that are scored, over calibration
            windows, in variances of the feature.
        latent: the map of codes.
        examples: best, median and worst calibration window by score.
        samples: (n, W, F) float64 windows drawn from codes of a standard normal distribution, in the features' own
            units: what a variational network takes for usual.
    """

    reconstruction_errors: Floats | None
    forecast_errors: Floats | None
    latent: LatentMap | None
    examples: tuple[Example, ...]
    samples: Doubles | None


@torch.inference_mode()
def portray(training: Training) -> Portrait:
    """Look at a finished training."""
    bundle, windows = training.bundle, training.windows
    chosen = _spread(len(windows.calibration), JUDGED_WINDOWS)
    values, times = windows.calibration[chosen], windows.calibration_times_ms[chosen]
    network = _loaded(bundle)
    z = torch.from_numpy(bundle.input_scaling.apply(values))
    reconstruction, forecasts = network(z, z.shape[1], 1)
    recent = bundle.architecture.recent_steps
    coded = network if isinstance(network, EncoderDecoder) else None
    return Portrait(
        None if reconstruction is None else _mean_squares(z[:, -recent:] - reconstruction[:, -recent:]),
        None if forecasts is None else _mean_squares(z[:, -1:] - forecasts[:, -1:]),
        None if coded is None else _latent(coded, training),
        () if reconstruction is None else _examples(bundle, values, times, reconstruction),
        _samples(coded, bundle) if coded is not None and bundle.options.get("variational_weight") else None,
    )


def _loaded(bundle: Bundle) -> nn.Module:
    network = network_of(bundle.architecture)
    arrays = {name: array for name, array in bundle.weights.items() if is_of_network(name)}
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    return network.eval()


def _mean_squares(errors: Tensor) -> Floats:
    found: Floats = errors.double().square().mean(dim=(0, 1)).float().numpy()
    return found


def _latent(network: EncoderDecoder, training: Training) -> LatentMap:
    """Return the map of codes, old windows and new ones in the order of time."""
    windows = training.windows
    old, new = (_spread(len(part), MAPPED_WINDOWS) for part in (windows.fit, windows.calibration))
    z = np.concatenate([windows.fit[old], windows.inputs.apply(windows.calibration[new])])
    times = np.concatenate([windows.fit_times_ms[old], windows.calibration_times_ms[new]])
    codes = np.concatenate([network.encode(part, 1)[0].numpy() for part in torch.split(torch.from_numpy(z), 256)])
    centred = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    places, shares = np.zeros((len(codes), 2)), np.zeros(2)
    found = min(2, len(directions))
    places[:, :found] = centred @ directions[:found].T
    shares[:found] = sizes[:found] ** 2 / max(float((sizes**2).sum()), 1e-30)
    order = np.argsort(times, kind="stable")
    return LatentMap(places[order], times[order], shares, codes.shape[1])


def _examples(bundle: Bundle, values: Floats, times: Ints, reconstruction: Tensor) -> tuple[Example, ...]:
    """Return the windows with the least, the middle and the largest score."""
    scores = score(Runner(bundle, "cpu").run(values), bundle.calibration)
    order = np.argsort(scores.totals, kind="stable")
    origins = bundle.row_origins.of_windows
    drawn = to_own_units(bundle.input_scaling.invert(reconstruction.numpy()), origins)
    return tuple(
        Example(
            name,
            int(times[at]),
            float(scores.totals[at]),
            tuple(np.argsort(-scores.channels[at], kind="stable")[:SHOWN_FEATURES].tolist()),
            to_own_units(values[at], origins),
            drawn[at],
        )
        for name, at in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1]))
    )


def _samples(network: EncoderDecoder, bundle: Bundle) -> Doubles:
    of, seed = bundle.architecture, 0
    codes = torch.from_numpy(np.random.default_rng(seed).normal(size=(SAMPLES, of.code_size)).astype(np.float32))
    drawn = bundle.input_scaling.invert(network.decode(codes, of.window_size).numpy())
    return to_own_units(drawn, bundle.row_origins.of_windows)


def _spread(count: int, most: int) -> Ints:
    """Return up to `most` of the first `count` numbers, spread evenly, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
