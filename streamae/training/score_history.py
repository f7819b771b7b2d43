"""Scores of the newest training rows, window after window: what threshold rules begin a new key with.

Made with the live stream's stride, by the same runner and scoring. Knows nothing about threshold rules.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from streamae.batches import ErrorBatch, Floats, RowBatch
from streamae.core.key_levels import HALF_LIFE_ROWS, standardised
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration, ScoreHistory, score
from streamae.errors import DataError
from streamae.training.derived_series import DerivedSeries
from streamae.training.options import TrainOptions
from streamae.training.windows import rows_of, windows_of

MAX_KEYS, MAX_WINDOWS = 16, 4_000
MAX_CELLS = 2**24  # of all scores, 64 MiB: with many features fewer windows are kept
MAX_CELLS_A_PUSH = 2**22  # of windows in flight
LEVEL_ROWS = 2 * HALF_LIFE_ROWS


class ErrorModel(Protocol):
    """What turns windows into errors, e.g. `model.runner.Runner`."""

    def run(self, values: Floats) -> ErrorBatch:
        """Return the errors of windows (B, W, F) in the features' own units."""
        ...


def score_history(
    derived: DerivedSeries,
    options: TrainOptions,
    scaling: Scaling,
    model: ErrorModel,
    calibration: Calibration,
    *,
    max_keys: int = MAX_KEYS,
    max_windows: int = MAX_WINDOWS,
) -> ScoreHistory:
    """Score the newest windows of some series, spread evenly over all.

    Args:
        derived: the training data, one series a key.
        options: how rows become windows.
        scaling: fitted on the training rows; its means fill in missing constants.
        model, calibration: of the trained network.
        max_keys, max_windows: most series, and windows of each.

    Raises:
        DataError: no series has a whole window, which training has refused before.
    """
    series, features = derived.series, len(derived.features)
    chosen = np.unique(np.linspace(0, len(series) - 1, min(max_keys, len(series))).round().astype(np.int64))
    most = min(max_windows, max(1, MAX_CELLS // (features * len(chosen))))
    scored = [_newest(derived, number, most, options, scaling, model, calibration) for number in chosen]
    scored = [(channels, forecasts) for channels, forecasts in scored if len(forecasts)]
    if not scored:
        raise DataError(f"no series has a window of {options.train.window_size} rows without gaps")
    lengths = np.array([len(forecasts) for _, forecasts in scored], dtype=np.int64)
    history = ScoreHistory(
        np.zeros((len(scored), lengths.max(), features), dtype=np.float32),
        np.zeros((len(scored), lengths.max()), dtype=np.float32),
        lengths,
    )
    for key, (channels, forecasts) in enumerate(scored):
        history.channels[key, : len(channels)], history.forecasts[key, : len(forecasts)] = channels, forecasts
    return history


def _newest(
    derived: DerivedSeries,
    number: int,
    most: int,
    options: TrainOptions,
    scaling: Scaling,
    model: ErrorModel,
    calibration: Calibration,
) -> tuple[Floats, Floats]:
    """Return channel and forecast scores of the newest windows of a series, (n, F) and (n,) with n <= `most`."""
    rows, _ = rows_of(derived, number, 0, options)
    if not len(rows):
        return np.zeros((0, len(derived.features)), dtype=np.float32), np.zeros(0, dtype=np.float32)
    before = LEVEL_ROWS if options.features.scaling == "key" else 0  # from which the key's level is known well enough
    stride = options.window.stride
    newest = max(0, len(rows) - most * stride - options.train.window_size + 1 - before)
    rows = RowBatch(*(getattr(rows, name)[newest:] for name in RowBatch.__slots__))
    found = [
        score(model.run(standardised(batch)), calibration)
        for batch in windows_of([rows], derived, scaling, options, MAX_CELLS_A_PUSH, stride=stride)
    ]
    return (
        np.concatenate([part.channels for part in found])[-most:],
        np.concatenate([part.forecasts for part in found])[-most:],
    )
