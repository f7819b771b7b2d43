"""Shapes of the network, as plain numbers: what a bundle describes and checks before any weight is read.

Must not know: the framework; importing this costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lstm", "gru", "dense", "conv", "pca", "pca_row", "ridge", "nearest_windows", "zscore", "iforest"]
RECURRENT: tuple[Kind, ...] = ("lstm", "gru")
TRAINED: tuple[Kind, ...] = (*RECURRENT, "dense", "conv")  # by steps of an optimiser
BASELINES: tuple[Kind, ...] = (
    "pca",
    "pca_row",
    "ridge",
    "nearest_windows",
    "zscore",
    "iforest",
)  # fitted in closed form

MAX_WINDOW_SIZE, MAX_FEATURES, MAX_HIDDEN_SIZE, MAX_LAYERS = 4_096, 4_096, 4_096, 4
MAX_MEMORY_WINDOWS, MAX_COMPONENTS = 4_096, 4_096
MAX_PARAMETERS = 2**28  # 1 GiB of float32: checked before anything is allocated
ISOLATION_DEPTH = 8  # of the trees of an isolation forest
MEMORY = "memory.windows"  # name of the tensor of remembered windows
COMPANION = "companion."  # begins the names of the linear companion's tensors
COMPANION_ROWS = 16  # that its forecast looks back, at most
MAX_COMPANION_INPUTS = 4_096  # of its forecast: as many equations have to be solved
GATES = {"lstm": 4, "gru": 3}  # of a recurrent cell, stacked in one weight tensor


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that decides names and shapes of the weights.

    Attributes:
        kind: `lstm` and `gru` are recurrent autoencoders, `dense` is one of flat layers, `conv` one of causal
            convolutions, the others are baselines (see `model/baselines.py`).
        window_size: W.
        features: F.
        hidden_size: H, units of encoder and decoder; no matter to a baseline.
        layers: stacked recurrent layers of each, flat layers of each, or rounds of convolutions; no matter to a
            baseline.
        recent_steps: newest steps whose reconstruction is scored; 1 <= recent_steps <= W.
        memory_windows: windows of the training data that are remembered (M), 0 = none.
        components: size of a baseline: principal components, rows that a forecast looks back, windows kept, or trees.
        bottleneck_size: C, numbers that the decoder gets through a linear layer; 0 = the usual (see `code_size`).
        companion_components: principal components of the linear companion beside a trained network, 0 = there is none.

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
    bottleneck_size: int = 0
    companion_components: int = 0

    def __post_init__(self) -> None:
        if self.kind not in TRAINED + BASELINES:
            raise ValueError(f"kind is {self.kind!r}, known are {', '.join(TRAINED + BASELINES)}")
        bounds = {
            "window_size": (2, MAX_WINDOW_SIZE),
            "features": (1, MAX_FEATURES),
            "hidden_size": (1, MAX_HIDDEN_SIZE),
            "layers": (1, MAX_LAYERS),
            "recent_steps": (1, self.window_size),
            "memory_windows": (0, MAX_MEMORY_WINDOWS),
            "components": self._allowed_components(),
            "bottleneck_size": (0, 0 if self.kind in BASELINES else MAX_HIDDEN_SIZE),
            "companion_components": (0, 0 if self.kind in BASELINES else min(self.cells, MAX_COMPONENTS)),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed are {low} to {high}")
        if self.parameters() > MAX_PARAMETERS:
            raise ValueError(f"the network would have {self.parameters():,} weights, at most {MAX_PARAMETERS:,}")

    @property
    def cells(self) -> int:
        """Numbers in a window."""
        return self.window_size * self.features

    @property
    def summary_size(self) -> int:
        """S, what a trained network's encoder ends with: of recurrent ones the states of all layers, else H."""
        states = {"lstm": 2 * self.layers, "gru": self.layers}
        return states.get(self.kind, 1) * self.hidden_size

    @property
    def has_bottleneck(self) -> bool:
        """Whether a linear layer stands between encoder and decoder of a trained network."""
        return self.bottleneck_size > 0 or self.kind not in RECURRENT

    @property
    def code_size(self) -> int:
        """C, all that the decoder of a trained network gets.

        Usually the whole state of a recurrent network, which has to carry a window row by row; flat layers would
        learn to copy, so that theirs is at most a quarter of the window.
        """
        if not self.has_bottleneck:
            return self.summary_size
        return self.bottleneck_size or min(self.hidden_size, max(1, self.cells // 4))

    @property
    def forecast_context(self) -> int:
        """Rows before the one that `dense` forecasts from."""
        return self.window_size // 2

    @property
    def companion_context(self) -> int:
        """Rows that the companion's forecast looks back."""
        return max(1, min(COMPANION_ROWS, self.window_size // 2, MAX_COMPANION_INPUTS // self.features))

    @property
    def dilations(self) -> tuple[int, ...]:
        """Rows that each convolution of `conv` looks back: 1, 2, 4, ... until all of the window is seen."""
        return tuple(2**level for level in range((self.window_size - 1).bit_length())) * self.layers

    def parameters(self) -> int:
        """Return the number of weights."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor of a bundle: those of the network, as the framework names them, and
        under `MEMORY` the remembered windows (M, W, F); names of the companion's begin with `COMPANION`.
        """
        shapes = self._baseline_shapes() if self.kind in BASELINES else self._trained_shapes()
        if self.memory_windows:
            shapes[MEMORY] = (self.memory_windows, self.window_size, self.features)
        if self.companion_components:
            shapes |= self._companion_shapes()
        return shapes

    def _allowed_components(self) -> tuple[int, int]:
        sizes = {
            "pca": self.window_size * self.features,
            "pca_row": self.features,
            "ridge": self.window_size - 1,
            "nearest_windows": MAX_COMPONENTS,
            "iforest": MAX_COMPONENTS,
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
            "iforest": {
                "feature": (components, 2**ISOLATION_DEPTH - 1),
                "threshold": (components, 2**ISOLATION_DEPTH - 1),
                "length": (components, 2**ISOLATION_DEPTH),
                "usual": (1,),
            },
        }
        return shapes[self.kind]

    def _companion_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "pca.mean": (self.cells,),
            "pca.directions": (self.cells, self.companion_components),
            "ridge.weight": (self.companion_context * self.features, self.features),
            "ridge.bias": (self.features,),
            "shares": (2,),
        }
        return {COMPANION + name: shape for name, shape in shapes.items()}

    def _trained_shapes(self) -> dict[str, tuple[int, ...]]:
        hidden, features = self.hidden_size, self.features
        linear: dict[str, tuple[int, int]] = {"forecast": (features, hidden)}  # name: outputs, inputs
        if self.has_bottleneck:
            linear |= {"compress": (self.code_size, self.summary_size), "expand": (self.summary_size, self.code_size)}
        if self.kind in RECURRENT:
            return self._recurrent_shapes() | _with_biases(linear | {"reconstruct": (features, hidden)})
        linear["reconstruct"] = (self.cells, hidden)
        if self.kind == "dense":
            linear["look_back"] = (hidden, self.forecast_context * features)
            inputs = [self.cells] + [hidden] * (self.layers - 1)
            linear |= {f"decoder.{i}": (hidden, hidden) for i in range(self.layers - 1)}
        else:
            inputs = [2 * features] + [2 * hidden] * (len(self.dilations) - 1)
        return _with_biases(linear | {f"encoder.{i}": (hidden, wide) for i, wide in enumerate(inputs)})

    def _recurrent_shapes(self) -> dict[str, tuple[int, ...]]:
        gates = GATES[self.kind] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for part, inputs in (("encoder", self.features), ("decoder", 1)):
            for layer in range(self.layers):
                width = self.hidden_size if layer else inputs
                shapes[f"{part}.weight_ih_l{layer}"] = (gates, width)
                shapes[f"{part}.weight_hh_l{layer}"] = (gates, self.hidden_size)
                shapes[f"{part}.bias_ih_l{layer}"] = shapes[f"{part}.bias_hh_l{layer}"] = (gates,)
        return shapes


def is_of_network(name: str) -> bool:
    """Tell whether a tensor of a bundle is one of the network's own, and not of what stands beside it."""
    return name != MEMORY and not name.startswith(COMPANION)


def _with_biases(linear: dict[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Return shapes of weights and biases of linear layers, given as outputs and inputs by name."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linear.items()}
    return shapes | {f"{name}.bias": shape[:1] for name, shape in linear.items()}
