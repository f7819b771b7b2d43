"""What to train, how, and how rows become training windows, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamae.core.encoding import FeatureOptions
from streamae.model.architecture import Kind

MIN_WINDOWS = 8  # of each kind; fewer can neither be learnt from nor calibrated on
MOST_SHARE = 0.5  # of the rows that are kept for calibration where the usual share holds too few windows

Policy = Literal["previous", "constant", "reject"]
SMALL_HIDDEN_SIZE = 128  # up to here a second thread gains a fifth, and on a busy machine costs a factor of four


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How rows become windows; the plain values of the window settings, and of the split.

    Attributes:
        window_size: W.
        stride: rows between two windows of a key in the live stream (all windows are used in training).
        grid_ms, grid_merge: merging of records by time bucket, None = off.
        max_gap_ms: a longer gap restarts the window.
        missing, missing_overrides: policy for missing values, and by feature name; with `reject` the row is left out.
        missing_constant: constant to fill in, for all or by feature name; else the mean of the training rows.
        max_imputed_share: windows with more imputed cells are left out.
        calibration_share: newest part of each series that is kept for calibration, in (0, 1); of a short one more, see
            `calibration_part`; the half of all where gaps leave fewer than `MIN_WINDOWS` windows in it.
        max_windows: most windows to train on; more are thinned evenly.
        features: what is derived from the fields first.
        scaling: by all training rows, or each key by its own running level (`core/key_levels.py`).
    """

    window_size: int = 32
    stride: int = 1
    grid_ms: int | None = None
    grid_merge: Literal["last", "mean"] = "last"
    max_gap_ms: int = 3_600_000
    missing: Policy = "previous"
    missing_overrides: Mapping[str, Policy] = field(default_factory=dict)
    missing_constant: float | Mapping[str, float] | None = None
    max_imputed_share: float = 0.5
    calibration_share: float = 0.2
    max_windows: int = 200_000
    features: FeatureOptions = field(default_factory=FeatureOptions)
    scaling: Literal["global", "key"] = "global"

    def calibration_part(self, rows: int) -> float:
        """Return the share of a series of so many rows that is kept for calibration, in (0, 1).

        A short series, whose usual share is less than two windows long, keeps that much, up to the half; one whose half
        would not hold `MIN_WINDOWS` windows keeps the usual share, because others may be there to calibrate on.

        Example:
            >>> [round(WindowOptions(window_size=32).calibration_part(rows), 2) for rows in (60, 80, 200, 1_000)]
            [0.2, 0.5, 0.32, 0.2]
        """
        least = self.window_size + MIN_WINDOWS
        if rows < 2 * least:
            return self.calibration_share
        return max(self.calibration_share, min(MOST_SHARE, max(2 * self.window_size, least) / rows))


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
