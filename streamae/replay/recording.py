"""What the engine thought of every window, kept to judge the same scores again, to lay them on rows, and to draw them.

Memory grows with the windows, so not for a daemon. This module must not know where the windows come from.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Doubles, Floats, Ints, ScoreBatch, VerdictBatch, WindowBatch


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the engine thought of one key's windows, in order of event time.

    Attributes:
        end_times_ms: (B,) int64 event time of each window's newest row.
        scores: (B,) float64 smoothed score that was compared.
        thresholds: (B,) float64; infinity while learning.
        expected: (B, F) forecast of the newest row, in the features' own units.
    """

    end_times_ms: Ints
    scores: Doubles
    thresholds: Doubles
    expected: Floats | Doubles


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """All that was scored, in order, without the windows' older rows: an engine's observer."""

    windows: list[WindowBatch] = field(default_factory=list)
    scores: list[ScoreBatch] = field(default_factory=list)
    verdicts: list[VerdictBatch] = field(default_factory=list)

    def __call__(self, windows: WindowBatch, scores: ScoreBatch, verdicts: VerdictBatch) -> None:
        """Keep a scored batch."""
        self.windows.append(dataclasses.replace(windows, values=windows.values[:, -1:].copy(), levels=None))
        self.scores.append(scores)
        self.verdicts.append(verdicts)

    @property
    def count(self) -> int:
        """Windows so far."""
        return sum(map(len, self.windows))

    def of(self, slot: int) -> Judgement:
        """Return everything about one key slot.

        Raises:
            ValueError: nothing was scored at all.
        """
        rows = [np.flatnonzero(batch.slots == slot) for batch in self.windows]
        return Judgement(
            np.concatenate([batch.end_times_ms[at] for batch, at in zip(self.windows, rows, strict=True)]),
            np.concatenate([batch.scores[at] for batch, at in zip(self.verdicts, rows, strict=True)]),
            np.concatenate([batch.thresholds[at] for batch, at in zip(self.verdicts, rows, strict=True)]),
            np.concatenate([batch.expected[at] for batch, at in zip(self.scores, rows, strict=True)]),
        )
