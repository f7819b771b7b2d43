"""Event-level figures: what an operator sees, not what single rows score.

Two views. `event_report` holds a 0/1 alarm per row against a 0/1 label per row of one series; `match_episodes`
holds published episodes (key, start, end) against true intervals in event time. Point adjustment (one alarm row
marks its whole event as found in every row) is not offered: a random score then passes 0.9. This module knows
nothing about detectors, files or topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamae.batches import Flags, Ints

GAP_ROWS = 64  # alarms this close are one episode; also the length of a block and of the tail behind an event
PER_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class EventReport:
    """Counts of one series, or of several added up with `pool`.

    Attributes:
        events: runs of True in the labels.
        found: events that hold an alarm row.
        episodes: groups of alarm rows no more than the gap apart.
        false_episodes: episodes without an alarm row in an event.
        false_blocks: see `strict_f1`.
        normal_rows: rows outside events.
        normal_alarm_rows: rows outside events in alarm.
        delays: rows from an event's start to its first alarm row, one for each event found, in order.
    """

    events: int
    found: int
    episodes: int
    false_episodes: int
    false_blocks: int
    normal_rows: int
    normal_alarm_rows: int
    delays: tuple[int, ...]

    @property
    def recall(self) -> float:
        """Share of events found, in [0, 1]; NaN without events."""
        return self.found / self.events if self.events else float("nan")

    @property
    def precision(self) -> float:
        """Share of episodes that are true, in [0, 1]; 0 without episodes: silence is a failure, not a gap."""
        return 1.0 - self.false_episodes / self.episodes if self.episodes else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; NaN without events. Constant alarm scores 1: read `strict_f1`."""
        return _harmonic(self.recall, self.precision)

    @property
    def strict_f1(self) -> float:
        """As `f1`, with precision = found / (found + false blocks).

        Every started block of gap rows in alarm outside events and the gap rows behind each counts as false, so
        that alarming without pause cannot pay.
        """
        answered = self.found + self.false_blocks
        return _harmonic(self.recall, self.found / answered if answered else 0.0)

    @property
    def false_per_10k(self) -> float:
        """False episodes per 10,000 normal rows; NaN without normal rows."""
        return self.false_episodes / self.normal_rows * PER_ROWS if self.normal_rows else float("nan")

    @property
    def alarm_share(self) -> float:
        """Share of normal rows in alarm, in [0, 1]; NaN without normal rows."""
        return self.normal_alarm_rows / self.normal_rows if self.normal_rows else float("nan")

    @property
    def median_delay(self) -> float:
        """Median of `delays` in rows; NaN when nothing was found."""
        return float(np.median(self.delays)) if self.delays else float("nan")


def _harmonic(recall: float, precision: float) -> float:
    """Return 2 R P / (R + P), 0 when both are 0, NaN when R is."""
    return 2.0 * recall * precision / (recall + precision) if recall + precision else 0.0


def event_report(labels: Flags, alarms: Flags, gap: int = GAP_ROWS) -> EventReport:
    """Count events and episodes of one series.

    Args:
        labels: (N,) bool, True in an anomaly.
        alarms: (N,) bool, True where the detector is in alarm at its own threshold.
        gap: rows; at least 1.

    Raises:
        ValueError: the lengths differ.

    Example:
        >>> labels = np.zeros(400, bool); labels[100:110] = True
        >>> alarms = np.zeros(400, bool); alarms[[103, 300]] = True
        >>> report = event_report(labels, alarms)
        >>> report.recall, report.precision, report.median_delay
        (1.0, 0.5, 3.0)
    """
    if labels.shape != alarms.shape:
        raise ValueError(f"labels {labels.shape} and alarms {alarms.shape} must have one entry a row")
    starts, ends = runs(labels)
    rows = np.flatnonzero(alarms)
    first = np.searchsorted(rows, starts)
    is_found = first < np.searchsorted(rows, ends)
    opens = np.flatnonzero(np.diff(rows, prepend=-gap - 1) > gap)
    is_true = np.logical_or.reduceat(labels[rows], opens) if len(rows) else np.zeros(0, np.bool_)
    return EventReport(
        events=len(starts),
        found=int(is_found.sum()),
        episodes=len(opens),
        false_episodes=int((~is_true).sum()),
        false_blocks=false_blocks(labels, alarms, gap),
        normal_rows=int((~labels).sum()),
        normal_alarm_rows=int((~labels[rows]).sum()),
        delays=tuple((rows[first[is_found]] - starts[is_found]).tolist()),
    )


def openings(alarms: Flags, gap: int = GAP_ROWS) -> Flags:
    """Return (N,) bool, the first row of each alarm, those within `gap` rows being one: what a person is woken by.

    Example:
        >>> np.flatnonzero(openings(np.isin(np.arange(200), [3, 4, 60, 150]))).tolist()
        [3, 150]
    """
    rows = np.flatnonzero(alarms)
    found = np.zeros(len(alarms), dtype=np.bool_)
    found[rows[np.diff(rows, prepend=-gap - 1) > gap]] = True
    return found


def runs(flags: Flags) -> tuple[Ints, Ints]:
    """Return starts and ends (excluded) of the runs of True, each (events,) int64.

    Example:
        >>> [edges.tolist() for edges in runs(np.array([True, False, True, True]))]
        [[0, 2], [1, 4]]
    """
    edges = np.diff(flags.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def false_blocks(labels: Flags, alarms: Flags, gap: int = GAP_ROWS) -> int:
    """Count blocks of `gap` rows opened by an alarm (N,) bool outside events and the `gap` rows behind each.

    The fewest such blocks that cover all these alarms, so that more alarms never count fewer.
    """
    _, ends = runs(labels)
    rows = np.flatnonzero(alarms & ~labels)
    previous = np.searchsorted(ends, rows, side="right") - 1
    behind = np.where(previous >= 0, rows - ends[np.maximum(previous, 0)] if len(ends) else gap, gap)
    rows = rows[behind >= gap]
    blocks, position = 0, 0
    while position < len(rows):
        blocks += 1
        position = int(np.searchsorted(rows, rows[position] + gap))
    return blocks


def pool(reports: Iterable[EventReport]) -> EventReport:
    """Add up the counts of several series (micro average: long series weigh more)."""
    every = list(reports)
    return EventReport(
        sum(report.events for report in every),
        sum(report.found for report in every),
        sum(report.episodes for report in every),
        sum(report.false_episodes for report in every),
        sum(report.false_blocks for report in every),
        sum(report.normal_rows for report in every),
        sum(report.normal_alarm_rows for report in every),
        tuple(delay for report in every for delay in report.delays),
    )


class Interval(NamedTuple):
    """Event time [start_ms, end_ms] of one key, both ends included."""

    key: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Published episodes against true intervals.

    Attributes:
        episode_of: (T,) int64 number of the first episode that meets each true interval, -1 = missed.
        delays_ms: (T,) int64 event time from the interval's start to that episode's, >= 0; 0 where missed.
        is_true: (E,) bool, the episode meets some interval.
    """

    episode_of: Ints
    delays_ms: Ints
    is_true: Flags

    @property
    def recall(self) -> float:
        """Share of intervals met, in [0, 1]; NaN without intervals."""
        return float((self.episode_of >= 0).mean()) if len(self.episode_of) else float("nan")

    @property
    def precision(self) -> float:
        """Share of episodes that are true, in [0, 1]; 0 without episodes."""
        return float(self.is_true.mean()) if len(self.is_true) else 0.0


def match_episodes(truth: Sequence[Interval], episodes: Sequence[Interval], tolerance_ms: int = 0) -> Matching:
    """Match within a key: an episode meets an interval in which, or right behind which, it begins.

    Behind: up to `tolerance_ms` after the interval's end, while a window still holds anomalous rows. An episode that
    was up before the anomaly began has not found it, however long it lasts. One episode may meet several intervals,
    several may meet one.
    """
    episode_of = np.full(len(truth), -1, dtype=np.int64)
    delays_ms = np.zeros(len(truth), dtype=np.int64)
    is_true = np.zeros(len(episodes), dtype=np.bool_)
    by_key: dict[str, list[int]] = {}
    for number in sorted(range(len(episodes)), key=lambda number: episodes[number].start_ms):
        by_key.setdefault(episodes[number].key, []).append(number)
    for index, (key, start_ms, end_ms) in enumerate(truth):
        meeting = [
            number for number in by_key.get(key, []) if start_ms <= episodes[number].start_ms <= end_ms + tolerance_ms
        ]
        is_true[meeting] = True
        if meeting:
            episode_of[index] = meeting[0]
            delays_ms[index] = episodes[meeting[0]].start_ms - start_ms
    return Matching(episode_of, delays_ms, is_true)


def intervals_of(key: str, labels: Flags, times_ms: Ints) -> list[Interval]:
    """Return the runs of True in `labels` (N,) as intervals from the first to the last row's time (N,)."""
    edges = zip(*runs(labels), strict=True)
    return [Interval(key, int(times_ms[start]), int(times_ms[end - 1])) for start, end in edges]
