"""What to train, how, and how rows become training windows: sections of the settings, handed over whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from streamae.core.grid import longest_gap_ms
from streamae.settings.data import FeatureSettings, WindowSettings
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings

MIN_WINDOWS = 8  # of each kind; fewer can neither be learnt from nor calibrated on
MOST_SHARE = 0.5  # of the rows that are kept for calibration where the usual share holds too few windows
SMALL_HIDDEN_SIZE = 128  # up to here a second thread gains a fifth, and on a busy machine costs a factor of four


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The sections of the settings that have a say in training. What each setting means and defaults to stands there.

    Attributes:
        train: what is trained, on how much of the data, and when it ends.
        window: how rows become windows, as in the live stream; but all windows are used, whatever the stride, and
            late and repeated records are left out either way.
        features: what is derived from the fields first. The series name their own category fields.
        model: where to train (`device`, `threads`; 0 threads = one for small networks, see `SMALL_HIDDEN_SIZE`, else
            torch's choice). Its other settings do not count.
    """

    train: TrainSettings = field(default_factory=TrainSettings)
    window: WindowSettings = field(default_factory=WindowSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    @property
    def max_gap_ms(self) -> int:
        """The gap that a window may span."""
        window = self.window
        return longest_gap_ms(window.max_gap_ms, window.grid_ms, self.train.window_size, holds=window.holds)

    def with_train(self, **changes: object) -> TrainOptions:
        """Return the same with other settings of the `train` section, which are not validated."""
        return replace(self, train=self.train.model_copy(update=changes))

    def calibration_part(self, rows: int) -> float:
        """Return the share of a series of so many rows that is kept for calibration, in (0, 1).

        A short series, whose usual share is less than two windows long, keeps that much, up to the half; one whose half
        would not hold `MIN_WINDOWS` windows keeps the usual share, because others may be there to calibrate on.

        Example:
            >>> [round(TrainOptions().calibration_part(rows), 2) for rows in (60, 80, 200, 1_000)]
            [0.2, 0.5, 0.32, 0.2]
        """
        share, size = self.train.calibration_share, self.train.window_size
        least = size + MIN_WINDOWS
        if rows < 2 * least:
            return share
        return max(share, min(MOST_SHARE, max(2 * size, least) / rows))
