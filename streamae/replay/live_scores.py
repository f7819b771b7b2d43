"""A score, a threshold and an alarm flag for every row of series that went through the live engine in memory.

Rows are told apart by their offset, so that scores stand exactly where their labels do. Memory grows with the rows.
This module must not know labels, files, or what is made of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from streamae.batches import Doubles, Flags, Ints, Series, Status
from streamae.errors import FatalError
from streamae.model.bundle import Bundle
from streamae.replay.play import Played, arrival
from streamae.replay.recording import Recording

SMOOTHING = 0.3  # of the score that rows are ranked by: weight of the newest window
WARM_UP_ROWS = 4_000  # from which a key learns its usual scores, where the bundle has none for it to start from


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """What the engine thought of the N rows of one series.

    Attributes:
        scores: (N,) float64 exponentially weighted mean of the model's total scores; NaN = no window ended here.
        judged: (N,) float64 score that was held against the threshold; NaN likewise.
        thresholds: (N,) float64; infinity while the key learns, NaN likewise.
        alarms: (N,) bool, judged anomalous.
    """

    scores: Doubles
    judged: Doubles
    thresholds: Doubles
    alarms: Flags

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, rows: int) -> RowScores:
        """Return rows of which nothing is known yet."""
        return cls(np.full(rows, np.nan), np.full(rows, np.nan), np.full(rows, np.nan), np.zeros(rows, dtype=np.bool_))

    @property
    def scored(self) -> int:
        """At how many rows a window ended that was scored."""
        return int((~np.isnan(self.scores)).sum())

    def since(self, row: int) -> RowScores:
        """Return the rows from `row` on."""
        return RowScores(*(getattr(self, name)[row:] for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class LiveRun(Played):
    """What came of a run, and `rows`: by series, in the order given."""

    rows: list[RowScores]


def lead_in(bundle: Bundle) -> int:
    """Return how many rows before the first that counts are fed: its window is full then, its key knows the usual."""
    return bundle.architecture.window_size - 1 + (WARM_UP_ROWS if bundle.history is None else 0)


def score_live(series: Sequence[Series], played: Played) -> LiveRun:
    """Return what the engine thought of each row of all series.

    Args:
        series: as given to `play.play`, which made them the keys of one stream of one partition.
        played: what it returned.

    Raises:
        FatalError: a window belongs to another row than its offset says: scores would not align with rows.
    """
    rows = _by_row(series, played.recording, played.slots, has_own_times=played.has_own_times)
    return LiveRun(**{one.name: getattr(played, one.name) for one in fields(Played)}, rows=rows)


def _by_row(
    series: Sequence[Series], recording: Recording, slots: list[int], *, has_own_times: bool
) -> list[RowScores]:
    """Lay every scored window on the row whose record completed it."""
    found = [RowScores.empty(len(one)) for one in series]
    if not recording.windows:
        return found
    owners, rows = arrival(series)
    windows, verdicts = recording.windows, recording.verdicts
    offsets = np.concatenate([batch.offsets for batch in windows])
    ends = np.concatenate([batch.end_times_ms for batch in windows])
    taken = np.concatenate([batch.slots for batch in windows])
    fresh = np.concatenate([batch.is_first for batch in windows])
    totals = np.concatenate([batch.totals for batch in recording.scores]).astype(np.float64)
    judged = np.concatenate([batch.scores for batch in verdicts])
    thresholds = np.concatenate([batch.thresholds for batch in verdicts])
    alarms = np.concatenate([batch.statuses for batch in verdicts]) == Status.ANOMALOUS
    for number, (one, into) in enumerate(zip(series, found, strict=True)):
        mine = np.flatnonzero(owners[offsets] == number)
        at = rows[offsets[mine]]
        _check(one, at, taken[mine] == slots[number], ends[mine] if has_own_times else None)
        into.scores[at] = smoothed(totals[mine], fresh[mine])
        into.judged[at], into.thresholds[at], into.alarms[at] = judged[mine], thresholds[mine], alarms[mine]
    return found


def _check(one: Series, at: Ints, is_own: Flags, ends_ms: Ints | None) -> None:
    """Raise unless each window is of this key, in a row of its own, in order, and ends at that row's time."""
    is_aligned = bool(is_own.all()) and bool((np.diff(at) > 0).all())
    if ends_ms is not None:
        is_aligned &= np.array_equal(one.event_times_ms[at], ends_ms)
    if not is_aligned:
        raise FatalError(f"{one.key}: scores do not stand at the rows they belong to; this is a bug, please report it")


def smoothed(totals: Doubles, fresh: Flags) -> Doubles:
    """Return x += SMOOTHING (total - x), beginning anew where `fresh`; (B,) each, windows of one key in order.

    Example:
        >>> smoothed(np.array([1.0, 2.0, 5.0]), np.array([True, False, True])).tolist()
        [1.0, 1.3, 5.0]
    """
    found = np.empty(len(totals))
    level = 0.0
    for number, (total, is_fresh) in enumerate(zip(totals.tolist(), fresh.tolist(), strict=True)):
        level = total if is_fresh else level + SMOOTHING * (total - level)
        found[number] = level
    return found
