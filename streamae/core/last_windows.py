"""The newest scored window of every key: what a change tells that no window of its own decided on.

A key that falls silent brings no window; its events carry the one before. Follows scores in their order, so that what
is told between two windows is told the same wherever a batch ended. Must not know episodes or keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamae.batches import KeyState, VerdictBatch, WindowBatch
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """What was decided about one window; see `WindowBatch` and `VerdictBatch`."""

    start_ms: int
    end_ms: int
    score: float
    threshold: float
    mean: float
    sd: float
    count: int
    state: KeyState
    imputed_share: float

    @classmethod
    def of(cls, verdicts: VerdictBatch, windows: WindowBatch, index: int) -> WindowFacts:
        """Return those of the window at `index`."""
        return cls(
            start_ms=int(windows.start_times_ms[index]),
            end_ms=int(windows.end_times_ms[index]),
            score=float(verdicts.scores[index]),
            threshold=float(verdicts.thresholds[index]),
            mean=float(verdicts.means[index]),
            sd=float(verdicts.sds[index]),
            count=int(verdicts.counts[index]),
            state=KeyState(int(verdicts.states[index])),
            imputed_share=float(windows.imputed_shares[index]),
        )

    @classmethod
    def unknown(cls, at_ms: int) -> WindowFacts:
        """Return those of a key of which no window is known: there is nothing but a time."""
        return cls(at_ms, at_ms, 0.0, np.inf, 0.0, 0.0, 0, KeyState.LEARNING, 0.0)


class LastWindows:
    """What is told of the newest window of every key. State per key: see `columns`; survives a restart through it."""

    def __init__(self, capacity: int) -> None:
        """Prepare for `capacity` key slots."""
        fields = {
            "start_ms": Field("<i8"),
            "end_ms": Field("<i8", (), NEVER),
            "score": Field("<f8"),
            "threshold": Field("<f8", (), np.inf),
            "mean": Field("<f8"),
            "sd": Field("<f8"),
            "count": Field("<i4"),
            "state": Field("|u1"),
            "imputed": Field("<f4"),
        }
        self.columns = Columns(capacity, {name: replace(one, since=2) for name, one in fields.items()}, "last")

    def note(self, verdicts: VerdictBatch, windows: WindowBatch) -> None:
        """Take over the B windows just judged; those of one key in event-time order: the last one stays."""
        columns, slots = self.columns, windows.slots
        columns["start_ms"][slots] = windows.start_times_ms
        columns["end_ms"][slots] = windows.end_times_ms
        columns["score"][slots] = verdicts.scores
        columns["threshold"][slots] = verdicts.thresholds
        columns["mean"][slots] = verdicts.means
        columns["sd"][slots] = verdicts.sds
        columns["count"][slots] = verdicts.counts
        columns["state"][slots] = verdicts.states
        columns["imputed"][slots] = windows.imputed_shares

    def of(self, slot: int, otherwise_ms: int) -> WindowFacts:
        """Return what is known of the newest window of a key; where there was none, a time stands for it."""
        columns = self.columns
        if columns["end_ms"][slot] == NEVER:
            return WindowFacts.unknown(otherwise_ms)
        return WindowFacts(
            start_ms=int(columns["start_ms"][slot]),
            end_ms=int(columns["end_ms"][slot]),
            score=float(columns["score"][slot]),
            threshold=float(columns["threshold"][slot]),
            mean=float(columns["mean"][slot]),
            sd=float(columns["sd"][slot]),
            count=int(columns["count"][slot]),
            state=KeyState(int(columns["state"][slot])),
            imputed_share=float(columns["imputed"][slot]),
        )
