"""What to train and how, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamae.core.encoding import FeatureOptions
from streamae.model.architecture import Kind
from streamae.model.window_options import Policy, WindowOptions

SMALL_HIDDEN_SIZE = 128  # up to here a second thread gains a fifth, and on a busy machine costs a factor of four


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The plain values of the training and window settings; meanings and defaults as there (see the settings table).

    Attributes:
        kind: of the network; `auto` = the one of `search.KINDS` that tells injected anomalies best.
        search_budget_ms: time after which `auto` and tuning begin no further candidate.
        components, window_size, hidden_size, layers, bottleneck_size, recent_steps: shape of the network.
        dropout, weight_decay, l1, learning_rate, batch_size, clip_norm: of the optimiser.
        variational_weight, noise_sd, mask_share, sparsity, trim_share: variants of the loss (see `Objective`).
        max_epochs, max_steps, patience: when to stop.
        calibration_share, max_windows, memory_windows: what to train on, and how much of it to remember.
        linear_companion: whether an error counts only as far as principal components and a ridge forecast make it too.
        calibration_folds: blocks of time that error levels come from, 1 = the newest part alone.
        whitening: errors by the level of each feature, or by that of all.
        seed: of weights, order and dropout.
        stride, grid_ms, grid_merge, max_gap_ms, missing, missing_overrides, missing_constant, max_imputed_share: how
            rows become windows, as in the live stream.
        features: what is derived from the fields before anything else.
        scaling: by all training rows, or each key by its own running level.
        device, threads: where to train; threads 0 = one for small networks (`SMALL_HIDDEN_SIZE`), else torch's choice.
    """

    kind: Kind | Literal["auto"] = "lstm"
    search_budget_ms: int = 600_000
    window_size: int = 32
    components: int = 0
    hidden_size: int = 64
    layers: int = 1
    bottleneck_size: int = 0
    recent_steps: int = 8
    dropout: float = 0.0
    weight_decay: float = 1e-4
    l1: float = 0.0
    variational_weight: float = 0.0
    noise_sd: float = 0.0
    mask_share: float = 0.0
    sparsity: float = 0.0
    trim_share: float = 0.0
    learning_rate: float = 2e-3
    batch_size: int = 64
    max_epochs: int = 50
    max_steps: int = 1_200
    patience: int = 5
    clip_norm: float = 1.0
    calibration_share: float = 0.2
    calibration_folds: int = 1
    max_windows: int = 200_000
    memory_windows: int = 64
    linear_companion: bool = True
    whitening: Literal["feature", "overall"] = "feature"
    seed: int = 0
    stride: int = 1
    grid_ms: int | None = None
    grid_merge: Literal["last", "mean"] = "last"
    max_gap_ms: int = 3_600_000
    missing: Policy = "previous"
    missing_overrides: Mapping[str, Policy] = field(default_factory=dict)
    missing_constant: float | None = None
    max_imputed_share: float = 0.5
    features: FeatureOptions = field(default_factory=FeatureOptions)
    scaling: Literal["global", "key"] = "global"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0

    def windows(self) -> WindowOptions:
        """Return the part that decides how series become windows."""
        names = [entry.name for entry in dataclasses.fields(WindowOptions)]
        return WindowOptions(**{name: getattr(self, name) for name in names})
