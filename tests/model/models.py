"""Small networks, bundles, series and windows for the tests of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamae.batches import Floats, Series
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration, ScoreHistory
from streamae.model.architecture import COMPANION, MEMORY, TRAINED, Architecture, Kind, is_of_network
from streamae.model.bundle import Bundle
from streamae.model.networks import network_of
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions

STEP_MS = 60_000
KINDS = TRAINED

# Small enough to train in about a second on one thread, large enough to learn two sines.
QUICK = TrainOptions(
    TrainSettings(window_size=12, hidden_size=16, recent_steps=4, learning_rate=1e-2, batch_size=32, max_steps=150),
    model=ModelSettings(device="cpu", threads=1),
)


def changed(options: TrainOptions, **settings: Any) -> TrainOptions:
    """Return options with other settings, each in the section that has one of this name."""
    for section in ("train", "window", "features", "model"):
        of = getattr(options, section)
        given = {name: settings.pop(name) for name in list(settings) if name in type(of).model_fields}
        options = replace(options, **{section: type(of).model_validate(of.model_dump() | given)})
    assert not settings
    return options


def architecture(
    kind: Kind = "lstm",
    window_size: int = 12,
    features: int = 3,
    hidden_size: int = 8,
    layers: int = 1,
    recent_steps: int = 4,
    memory_windows: int = 5,
    bottleneck_size: int = 0,
    companion_components: int = 0,
) -> Architecture:
    """Return shapes of a small network."""
    return Architecture(
        kind,
        window_size,
        features,
        hidden_size,
        layers,
        recent_steps,
        memory_windows,
        bottleneck_size=bottleneck_size,
        companion_components=companion_components,
    )


def bundle(of: Architecture | None = None, seed: int = 0) -> Bundle:
    """Return an untrained bundle whose features have means 10, 20, ... and scales 1, 2, ..."""
    of = of or architecture()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = {name: tensor.numpy() for name, tensor in network_of(of).state_dict().items()}
    numbers = np.arange(1.0, of.features + 1)
    rng = np.random.default_rng(seed)
    if of.memory_windows:
        weights[MEMORY] = rng.normal(size=of.shapes()[MEMORY]).astype(np.float32)
    companion = {name: shape for name, shape in of.shapes().items() if name.startswith(COMPANION)}
    weights |= {name: rng.normal(0.0, 0.1, shape).astype(np.float32) for name, shape in companion.items()}
    if companion:
        weights[f"{COMPANION}shares"] = np.array([0.3, 0.8], dtype=np.float32)
    scores = rng.exponential(size=(2, 9, of.features + 1)).astype(np.float32)
    return Bundle(
        of,
        tuple(f"feature {i}" for i in range(of.features)),
        Scaling(10.0 * numbers, numbers),
        Calibration(0.5 * numbers, 0.25 * numbers, 1.0, 0.1, 2.0 * numbers if of.memory_windows else None),
        weights,
        float(STEP_MS),
        {"validation_loss": 0.5},
        {"seed": seed, "kind": of.kind},
        "0" * 64,
        {"streamae": "test"},
        ScoreHistory(scores[..., 1:], scores[..., 0], np.array([9, 4])),
    )


def without_companion(of: Bundle) -> Bundle:
    """Return the same bundle whose errors are the network's alone."""
    weights = {name: array for name, array in of.weights.items() if not name.startswith(COMPANION)}
    return replace(of, architecture=replace(of.architecture, companion_components=0), weights=weights)


def network_weights(of: Bundle) -> dict[str, Tensor]:
    """Return the weights of a bundle's network, without its memory and companion."""
    return {name: torch.from_numpy(array) for name, array in of.weights.items() if is_of_network(name)}


def raw_windows(of: Bundle, count: int, seed: int = 1) -> Floats:
    """Return (count, W, F) windows in the features' own units, some cells far out."""
    shape = (count, of.architecture.window_size, of.architecture.features)
    numbers = np.random.default_rng(seed).standard_t(3, size=shape)
    return (numbers * of.scaling.scales + of.scaling.means).astype(np.float32)


def sines(key: str = "a", rows: int = 600, features: int = 2, seed: int = 0, start_ms: int = 0) -> Series:
    """Return noisy sines of different periods, in units far from zero."""
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    columns = [np.sin(t / (3.0 + 2 * i) + i) for i in range(features)]
    values = 50.0 + 5.0 * np.stack(columns, axis=1) + rng.normal(0, 0.2, (rows, features))
    return series(values, key, start_ms)


def series(values: NDArray[np.float64], key: str = "a", start_ms: int = 0, step_ms: int = STEP_MS) -> Series:
    """Return a series of `values` (N, F) with one row every `step_ms`."""
    times = start_ms + step_ms * np.arange(len(values), dtype=np.int64)
    names = tuple(f"x{i}" for i in range(values.shape[1]))
    return Series(key, names, times, values.astype(np.float64))
