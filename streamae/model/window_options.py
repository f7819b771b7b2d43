"""How rows become training windows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamae.core.encoding import FeatureOptions

MIN_WINDOWS = 8  # of each kind; fewer can neither be learnt from nor calibrated on
MOST_SHARE = 0.5  # of the rows that are kept for calibration where the usual share holds too few windows

Policy = Literal["previous", "constant", "reject"]


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
