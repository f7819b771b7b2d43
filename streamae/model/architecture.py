"""Shapes of the network, as plain numbers: what a bundle describes and checks before any weight is read.

Must not know: the framework; importing this costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lstm", "gru", "pca", "pca_row", "ridge", "nearest_windows", "zscore"]
RECURRENT: tuple[Kind, ...] = ("lstm", "gru")
BASELINES: tuple[Kind, ...] = ("pca", "pca_row", "ridge", "nearest_windows", "zscore")  # fitted in closed form

MAX_WINDOW_SIZE, MAX_FEATURES, MAX_HIDDEN_SIZE, MAX_LAYERS = 4_096, 4_096, 4_096, 4
MAX_MEMORY_WINDOWS, MAX_COMPONENTS = 4_096, 4_096
MAX_PARAMETERS = 2**28  # 1 GiB of float32: checked before anything is allocated
MEMORY = "memory.windows"  # name of the tensor of remembered windows
GATES = {"lstm": 4, "gru": 3}  # of a recurrent cell, stacked in one weight tensor


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that decides names and shapes of the weights.

    Attributes:
        kind: `lstm` and `gru` are recurrent autoencoders, the others baselines (see `model/baselines.py`).
        window_size: W.
        features: F.
        hidden_size: H, units of encoder and decoder; no matter to a baseline.
        layers: stacked recurrent layers of each; no matter to a baseline.
        recent_steps: newest steps whose reconstruction is scored; 1 <= recent_steps <= W.
        memory_windows: windows of the training data that are remembered (M), 0 = none.
        components: size of a baseline: principal components, rows that a forecast looks back, or windows kept.

    Raises:
        ValueError: a number is out of bounds, or the network would have more than `MAX_PARAMETERS` weights.
    """

    kind: Kind
    window_size: int
    features: int
    hidden_size: int
    layers: int
    recent_steps: int
    memory_windows: int = 0
    components: int = 0

    def __post_init__(self) -> None:
        if self.kind not in RECURRENT + BASELINES:
            raise ValueError(f"kind is {self.kind!r}, known are {', '.join(RECURRENT + BASELINES)}")
        bounds = {
            "window_size": (2, MAX_WINDOW_SIZE),
            "features": (1, MAX_FEATURES),
            "hidden_size": (1, MAX_HIDDEN_SIZE),
            "layers": (1, MAX_LAYERS),
            "recent_steps": (1, self.window_size),
            "memory_windows": (0, MAX_MEMORY_WINDOWS),
            "components": self._allowed_components(),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed are {low} to {high}")
        if self.parameters() > MAX_PARAMETERS:
            raise ValueError(f"the network would have {self.parameters():,} weights, at most {MAX_PARAMETERS:,}")

    def parameters(self) -> int:
        """Return the number of weights."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor of a bundle: those of `Autoencoder`, as the framework names them, and
        under `MEMORY` the remembered windows (M, W, F).
        """
        shapes = self._recurrent_shapes() if self.kind in RECURRENT else self._baseline_shapes()
        if self.memory_windows:
            shapes[MEMORY] = (self.memory_windows, self.window_size, self.features)
        return shapes

    def _allowed_components(self) -> tuple[int, int]:
        sizes = {
            "pca": self.window_size * self.features,
            "pca_row": self.features,
            "ridge": self.window_size - 1,
            "nearest_windows": MAX_COMPONENTS,
        }
        return (1, min(sizes[self.kind], MAX_COMPONENTS)) if self.kind in sizes else (0, 0)

    def _baseline_shapes(self) -> dict[str, tuple[int, ...]]:
        components, window, features = self.components, self.window_size, self.features
        shapes: dict[str, dict[str, tuple[int, ...]]] = {
            "pca": {"mean": (window * features,), "directions": (window * features, components)},
            "pca_row": {"mean": (features,), "directions": (features, components)},
            "ridge": {"weight": (components * features, features), "bias": (features,)},
            "nearest_windows": {"windows": (components, window, features)},
            "zscore": {},
        }
        return shapes[self.kind]

    def _recurrent_shapes(self) -> dict[str, tuple[int, ...]]:
        gates = GATES[self.kind] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for part, inputs in (("encoder", self.features), ("decoder", 1)):
            for layer in range(self.layers):
                width = self.hidden_size if layer else inputs
                shapes[f"{part}.weight_ih_l{layer}"] = (gates, width)
                shapes[f"{part}.weight_hh_l{layer}"] = (gates, self.hidden_size)
                shapes[f"{part}.bias_ih_l{layer}"] = shapes[f"{part}.bias_hh_l{layer}"] = (gates,)
        for head in ("reconstruct", "forecast"):
            shapes[f"{head}.weight"], shapes[f"{head}.bias"] = (self.features, self.hidden_size), (self.features,)
        return shapes
