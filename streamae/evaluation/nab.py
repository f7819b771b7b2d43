"""The score of the Numenta Anomaly Benchmark, standard profile: early alarms inside a window are worth more.

Events of the labels are the benchmark's windows (its own labels are windows already; it widens point labels to 10 %
of the rows, which is not done here). Every row in alarm outside the windows costs, so it is the score of detectors
that alarm briefly. This module knows nothing about detectors or files.

Reference: Lavin & Ahmad 2015, Evaluating Real-time Anomaly Detection Algorithms, section 3, as in the benchmark's
scorer of version 1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamae.batches import Doubles, Flags, Floats
from streamae.evaluation.metrics import runs

FOUND, FALSE, MISSED = 1.0, 0.11, 1.0  # the standard profile: worth of a window found, cost of a false row, of a miss
FAR = 3.0  # window widths behind a window; from there on a false row costs its full price


@dataclass(frozen=True, slots=True)
class NabScore:
    """Raw score of one series, or the sum over several.

    Attributes:
        raw: worth of what was found less what was missed or false.
        windows: that counted.
    """

    raw: float
    windows: int

    @property
    def perfect(self) -> float:
        """Raw score of an alarm on the first row of every window and nowhere else."""
        return self.windows * FOUND

    @property
    def null(self) -> float:
        """Raw score of silence."""
        return -self.windows * MISSED

    @property
    def normalised(self) -> float:
        """The raw score with silence at 0 and perfection at 100, without a lower end; NaN without windows."""
        return 100.0 * (self.raw - self.null) / (self.perfect - self.null) if self.windows else float("nan")


class NabSeries(NamedTuple):
    """One series of a corpus: `labels` (N,) bool, `scores` (N,) (NaN = none), rows that are not judged."""

    labels: Flags
    scores: Doubles | Floats
    probation_rows: int


class BestThreshold(NamedTuple):
    """The published protocol's outcome: alarms are rows at or above `threshold`, which was chosen with the labels."""

    threshold: float
    score: NabScore


def nab_score(labels: Flags, alarms: Flags, probation_rows: int = 0) -> NabScore:
    """Return the score of one series at the detector's own alarms.

    Per window that ends after the probation: the worth of its first alarm row, s(p) / s(-1) with
    s(p) = 2 / (1 + exp(5 p)) - 1 and p from -1 (first row) towards 0 (behind the last), or -1 if there is none. Per
    alarm row outside: 0.11 s(p), p = distance to the last row of the window before it in units of that window's
    width less one; -0.11 where no window came before, or more than `FAR` widths behind.

    Args:
        labels: (N,) bool, the windows; windows that touch are one.
        alarms: (N,) bool.
        probation_rows: the first rows, whose alarms do not count; a window inside them does not count either.

    Raises:
        ValueError: the lengths differ.

    Example:
        >>> labels = np.zeros(100, bool); labels[40:50] = True
        >>> alarms = np.zeros(100, bool); alarms[40] = True
        >>> nab_score(labels, alarms).normalised
        100.0
    """
    if labels.shape != alarms.shape:
        raise ValueError(f"labels {labels.shape} and alarms {alarms.shape} must have one entry a row")
    worth, rows = _worth(labels), np.flatnonzero(alarms)
    rows = rows[rows >= probation_rows]
    starts, ends = _windows(labels, probation_rows)
    first, behind = np.searchsorted(rows, starts), np.searchsorted(rows, ends)
    found = rows[first[first < behind]]
    missed = len(starts) - len(found)
    raw = worth[found].sum() + worth[rows[~labels[rows]]].sum() - missed * MISSED
    return NabScore(float(raw), len(starts))


def corpus_score(scores: Iterable[NabScore]) -> NabScore:
    """Add up the series of a corpus; normalised, this is the figure that the benchmark publishes.

    Series without windows add their false rows. A failed series counts as silence: `nab_score` without alarms.
    """
    every = list(scores)
    return NabScore(sum(score.raw for score in every), sum(score.windows for score in every))


def best_threshold(corpus: Sequence[NabSeries]) -> BestThreshold:
    """Return the one threshold, the same for all series, at which the corpus scores best: the benchmark's protocol.

    It is chosen with the labels of the test rows, so it is no forecast of what a detector earns: report it as
    optimised. Of equal thresholds the highest; infinity is silence.

    Raises:
        ValueError: labels and scores of a series differ in length.
    """
    scores, gains, windows = [np.zeros(0)], [np.zeros(0)], 0
    for series in corpus:
        if series.labels.shape != series.scores.shape:
            raise ValueError(f"labels {series.labels.shape} and scores {series.scores.shape} must have one entry a row")
        windows += len(_windows(series.labels, series.probation_rows)[0])
        rows = np.flatnonzero(~np.isnan(series.scores))
        rows = rows[rows >= series.probation_rows]
        scores.append(series.scores[rows].astype(np.float64))
        gains.append(_gains(series)[rows])
    every, gained = np.concatenate(scores), np.concatenate(gains)
    order = np.argsort(-every, kind="stable")
    ladder = every[order]
    lasts = np.flatnonzero(np.append(ladder[1:] != ladder[:-1], True)) if len(ladder) else np.zeros(0, np.int64)
    totals = np.append(0.0, np.cumsum(gained[order])[lasts])
    best = int(np.argmax(totals))
    threshold = float(ladder[lasts[best - 1]]) if best else float("inf")
    return BestThreshold(threshold, NabScore(float(totals[best]) - windows * MISSED, windows))


def _windows(labels: Flags, probation_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends of the windows that count."""
    starts, ends = runs(labels)
    return starts[ends > probation_rows], ends[ends > probation_rows]


def _worth(labels: Flags) -> Doubles:
    """Return (N,) float64, what an alarm on each row is worth: inside a window if it is the first there."""
    starts, ends = runs(labels)
    worth = np.full(len(labels), -FALSE)
    if not len(starts):
        return worth
    rows = np.arange(len(labels))
    window = np.searchsorted(starts, rows, side="right") - 1  # the one around or before the row
    widths, behind = (ends - starts)[window], rows - ends[window]
    place = np.where(labels, behind / widths, (behind + 1) / np.maximum(widths - 1, 1e-9))
    place = np.where(place > FAR, np.inf, place)
    sigmoid = -np.tanh(2.5 * place)  # = 2 / (1 + exp(5 p)) - 1
    return np.where(window < 0, worth, sigmoid * np.where(labels, FOUND / np.tanh(2.5), FALSE))


def _gains(series: NabSeries) -> Doubles:
    """Return (N,) float64, what each row adds when the threshold sinks to its score: more only if it is earlier."""
    gains = _worth(series.labels)
    for start, end in zip(*_windows(series.labels, series.probation_rows), strict=True):
        rows = np.arange(max(start, series.probation_rows), end)
        rows = rows[~np.isnan(series.scores[rows])]
        rows = rows[np.argsort(-series.scores[rows], kind="stable")]
        gains[rows] = np.diff(np.maximum.accumulate(np.append(-MISSED, gains[rows])))
    return gains
