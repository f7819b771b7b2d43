"""The settings of training: what is trained, on how much, and when it ends.

Must not know: other sections.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamae.settings.section import Millis, Positive, Section


class TrainSettings(Section):
    """`streamae train`."""

    kind: Literal[
        "lstm", "gru", "dense", "conv", "pca", "pca_row", "ridge", "nearest_windows", "zscore", "iforest", "auto"
    ] = Field(
        "lstm",
        description="Autoencoder: recurrent (lstm, gru), dense, or causal convolutions (conv); or a baseline without "
        "training steps; auto tries some and takes what tells injected anomalies best from calibration rows.",
    )
    search_budget_ms: Millis = Field(
        600_000, description="auto and --tune: once this time is used up, no further candidate is begun."
    )
    window_size: Annotated[int, Field(ge=4, le=4_096)] = Field(32, description="Steps of a window (W).")
    components: Annotated[int, Field(ge=0, le=4_096)] = Field(
        0,
        description="Baselines: principal components, rows looked back, windows kept, or trees; 0 = 16, 16, 1,024 and 100.",
    )
    hidden_size: Annotated[int, Field(ge=1, le=4_096)] = Field(64, description="Units of encoder and decoder (H).")
    layers: Annotated[int, Field(ge=1, le=4)] = Field(1, description="Stacked layers; conv: rounds of convolutions.")
    bottleneck_size: Annotated[int, Field(ge=0, le=4_096)] = Field(
        0,
        description="Numbers that are left of a window between encoder and decoder; 0 = the whole state (lstm, gru), "
        "a quarter of the window or hidden_size, whichever is less (dense, conv).",
    )
    recent_steps: Positive = Field(8, description="Newest steps whose reconstruction error is scored.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on encoder output and between layers.")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty (AdamW's decoupled weight decay).")
    l1: float = Field(0.0, ge=0, description="L1 penalty on the weights.")
    variational_weight: float = Field(
        0.0,
        ge=0,
        description="Above 0 = variational: the code is a distribution, this weighs its distance from a standard "
        "normal one; 1 suits errors as wide as the data, 0.01 to 0.1 is usual.",
    )
    noise_sd: float = Field(
        0.0, ge=0, description="Denoising: noise on the inputs of training, in standard deviations of a feature."
    )
    mask_share: float = Field(0.0, ge=0, lt=1, description="Denoising: share of the inputs of training to hide.")
    sparsity: float = Field(0.0, ge=0, description="L1 penalty on the code, the mean of its absolute values.")
    trim_share: float = Field(
        0.0, ge=0, lt=1, description="Worst share of a batch's windows to leave out: training data may hold anomalies."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Adam step size.")
    batch_size: Positive = Field(64, description="Windows per step.")
    max_epochs: Positive = Field(50, description="Passes over the training windows at most.")
    max_steps: Positive = Field(1_200, description="Optimiser steps at most.")
    patience: Positive = Field(5, description="Validation checks without improvement before stopping.")
    clip_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    calibration_share: float = Field(
        0.2, gt=0, lt=1, description="Newest part of each series kept for validation; of a short one up to half."
    )
    calibration_folds: Annotated[int, Field(ge=1, le=20)] = Field(
        1,
        description="Blocks of time whose errors tell the usual ones, each measured by a network not trained on it; 1 = "
        "the newest part only; k, 3 or more, trains k times.",
    )
    max_windows: Positive = Field(200_000, description="Most training windows, evenly thinned.")
    memory_windows: Annotated[int, Field(ge=0, le=4_096)] = Field(
        64, description="Training windows to remember; the distance to the nearest joins the score; 0 = off."
    )
    linear_companion: bool = Field(
        True,
        description="Beside a network: an error counts only as far as principal components and a ridge forecast of "
        "the same windows make it too; who is wrong by less on the calibration rows weighs more.",
    )
    whitening: Literal["feature", "overall"] = Field(
        "feature", description="Errors are divided by each feature's usual error, or by that of all features."
    )
    seed: int = Field(0, ge=0, description="Seed of weights, order and dropout.")

    def conflicts(self) -> list[str]:
        """Return what no single field can see, one line each: `train.field: what is wrong`."""
        checks = [
            (self.recent_steps > self.window_size, "train.recent_steps: must not exceed train.window_size"),
            (
                self.calibration_folds == 2,
                "train.calibration_folds: 2 leaves no older rows to train on: use 1, or 3 and more",
            ),
            (
                self.variational_weight > 0 and self.kind in {"lstm", "gru", "auto"} and not self.bottleneck_size,
                "train.variational_weight: needs train.bottleneck_size with kind = lstm, gru or auto",
            ),
        ]
        return [line for is_wrong, line in checks if is_wrong]
