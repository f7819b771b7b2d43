"""Features whose last value stands until the next one comes: tags that speak on change.

What stands is known, not filled in, and so does not count as missing. State lies in the `Columns` of the windows, and
only where values stand for a limited time. Must not know how missing values are filled in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Flags, Ints, Slots
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER
from streamae.core.segments import Segments

Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Which values stand, and for how long.

    Attributes:
        features: numbers (H,) of the features.
        hold_ms: event time since a feature was last heard after which its value stands no longer; None = as long as
            the window does not restart.
    """

    features: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    hold_ms: int | None = None

    @property
    def is_timed(self) -> bool:
        """Whether values stand for a time of their own, also when the window restarts meanwhile."""
        return self.hold_ms is not None and len(self.features) > 0

    def fields(self) -> dict[str, Field]:
        """Return the state of a key: event time at which each of the features was last heard."""
        return {"heard": Field("<i8", (len(self.features),), NEVER)} if self.is_timed else {}

    def set_back(self, columns: Columns, slots: Slots, times_ms: Ints) -> None:
        """Let nothing be heard later than `times_ms` (n,): the clocks of these keys were set back to there."""
        if self.is_timed:
            columns["heard"][slots] = np.minimum(columns["heard"][slots], times_ms[:, None])

    def lasting(self, features: int) -> Flags:
        """Tell which of F `features` are known for a time of their own, (F,)."""
        found = np.zeros(features, dtype=np.bool_)
        found[self.features] = self.is_timed
        return found

    def standing(self, values: NDArray[Real]) -> NDArray[Real]:
        """Return rows (N, F) of one key, in order, with what was last heard of each feature in the place of holes.

        However long ago that was: it is what the usual size of a feature is taken from.
        """
        if not len(self.features):
            return values
        held = values[:, self.features]
        newest = np.maximum.accumulate(np.where(np.isnan(held), 0, np.arange(len(held))[:, None]), axis=0)
        found = values.copy()
        found[:, self.features] = np.take_along_axis(held, newest, axis=0)
        return found

    def stands(self, columns: Columns, segments: Segments, times_ms: Ints, newest: Ints) -> Flags:
        """Tell (N, H) whether what was last heard of each feature still stands at each row; learn when it was heard.

        Args:
            columns: with the state of `fields`, mutated.
            segments: of N rows.
            times_ms: (N,) sorted by segment.
            newest: (N, H) index of the newest row of the same key so far that has the feature, -1 = none in the batch.
        """
        if self.hold_ms is None:
            return np.ones(newest.shape, dtype=np.bool_)
        heard = np.where(newest >= 0, times_ms[np.maximum(newest, 0)], columns["heard"][segments.slots])
        columns["heard"][segments.uniques] = heard[segments.ends]
        found: Flags = heard >= (times_ms - self.hold_ms)[:, None]
        return found
