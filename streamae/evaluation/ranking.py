"""How well scores rank: figures that need no threshold of the detector's own.

`average_precision` looks at rows, `vus_pr` at rows with soft borders round the events, `recall_at` at events under a
fixed budget of false alarms. Scores that are NaN stand for rows without a score: they rank below all others. This
module knows nothing about detectors or files.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Doubles, Flags, Floats, Ints
from streamae.evaluation.metrics import GAP_ROWS, PER_ROWS, false_blocks, runs

THRESHOLDS = 250  # of the surface under which VUS-PR is the volume
NO_PERIOD = 125  # window where the autocorrelation has no peak to take
PERIOD_ROWS = 20_000  # only so many rows are looked at
MIN_LAG, MAX_LAG = 3, 400  # lags of the autocorrelation that are looked at
MAX_PEAK = 300  # a highest peak further than this behind MIN_LAG, or closer than MIN_LAG, is no period


def average_precision(labels: Flags, scores: Doubles | Floats) -> float:
    """Return the area under the precision-recall steps, in (0, 1]; NaN without a row in an anomaly.

    AP = sum over thresholds of (R_n - R_n-1) P_n, one threshold for each distinct score, so that the order of tied
    rows cannot matter. The share of anomalous rows is what random scores get.

    Args:
        labels: (N,) bool, True in an anomaly.
        scores: (N,), higher is more anomalous.

    Raises:
        ValueError: the lengths differ.

    Example:
        >>> average_precision(np.array([True, False, True, False]), np.array([3.0, 2.0, 2.0, 1.0]))
        0.8333333333333333
    """
    scores = _ranked(labels, scores)
    events = int(labels.sum())
    if not events:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    lasts = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(scores) - 1)  # last row of each tied group
    hits = np.cumsum(labels[order])[lasts]
    gained = np.diff(hits, prepend=0) / events
    return float(np.sum(gained * hits / (lasts + 1)))


def vus_pr(labels: Flags, scores: Doubles | Floats, window: int) -> float:
    """Return the volume under the precision-recall surface, about in [0, 1]; NaN without a row in an anomaly.

    For each buffer w = 0..window an event also counts in the w // 2 rows before and behind it: at distance d by
    sqrt(1 - d / w), events added up to at most 1. With these soft labels y, over `THRESHOLDS` thresholds at even
    ranks of the scores, alarms being rows at or above the threshold:

        TP = sum of y over alarms        precision = TP / alarms
        P' = P + (TP - alarms in events) / 2, P = rows in events
        recall = min(TP / P', 1) * share of the (widened, where they meet joined) events with an alarm

    The result is the mean over w of the sum of recall gained times precision.

    Reference: Paparrizos et al. 2022, Volume Under the Surface, section 4; the details (P', the thresholds, what
    joins) are those of the TSB-AD benchmark (Liu & Paparrizos 2024), so that its published figures compare.

    Args:
        labels: (N,) bool, True in an anomaly.
        scores: (N,), higher is more anomalous.
        window: rows, at least 0: `period` of the first channel.

    Raises:
        ValueError: the lengths differ, or the window is negative.
    """
    scores = _ranked(labels, scores)
    if window < 0:
        raise ValueError(f"the window is {window} rows: it must not be negative")
    starts, ends = runs(labels)
    if not len(starts):
        return float("nan")
    ladder = np.sort(scores)[::-1][np.linspace(0, len(scores) - 1, THRESHOLDS).astype(np.int64)]
    steps = np.searchsorted(-ladder, -scores).astype(np.int64)  # the first threshold at which a row alarms
    alarms, hits = _sums(steps), _sums(steps[labels])
    count, rows = labels.sum(), _near(labels, window)
    total = 0.0
    for width in range(window + 1):
        soft = _soft_labels(labels, starts, ends - 1, width)
        found = _sums(steps[rows], soft[rows])
        recall = np.minimum(found / (count + (found - hits) / 2), 1) * _existence(steps, starts, ends, width // 2)
        total += float(np.sum(np.diff(recall, prepend=0.0) * found / alarms))
    return total / (window + 1)


def period(values: Doubles | Floats) -> int:
    """Return the period in rows that TSB-AD takes as window of VUS-PR: the highest peak of the autocorrelation.

    Peaks are strict local maxima at lags above 3 of the first `PERIOD_ROWS` rows; where the highest one is at a lag
    outside [6, 303] (that benchmark counts 3 to 300 from lag 3), or there is none, it is `NO_PERIOD`.

    Args:
        values: (N,) first channel; NaN counts as the mean.

    Example:
        >>> period(np.sin(np.arange(1_000) * 2 * np.pi / 48))
        48
    """
    head = values[:PERIOD_ROWS].astype(np.float64)
    known = np.isfinite(head)
    if not known.any() or head[known].min() == head[known].max():  # rounding alone would make peaks of a constant
        return NO_PERIOD
    head = np.where(known, head - head[known].mean(), 0.0)
    spectrum = np.fft.rfft(head, 2 * len(head))
    lags = np.fft.irfft(np.abs(spectrum) ** 2, 2 * len(head))[MIN_LAG : min(MAX_LAG + 1, len(head))]
    peaks = np.flatnonzero((lags[1:-1] > lags[:-2]) & (lags[1:-1] > lags[2:])) + 1
    if not len(peaks):
        return NO_PERIOD
    best = int(peaks[np.argmax(lags[peaks])])
    return best + MIN_LAG if MIN_LAG <= best <= MAX_PEAK else NO_PERIOD


def recall_at(labels: Flags, scores: Doubles | Floats, false_blocks_per_10k: float = 8.0) -> float:
    """Return the share of events found, in [0, 1], at the best threshold with so few false blocks; NaN without events.

    The threshold is the lowest score at which rows at or above it open at most that many false blocks per 10,000
    normal rows (blocks as in `EventReport.strict_f1`: 64 rows, tails behind events forgiven). It is chosen with the
    labels: what the score alone allows, not what a detector reaches.

    Args:
        labels: (N,) bool, True in an anomaly.
        scores: (N,), higher is more anomalous.
        false_blocks_per_10k: budget, at least 0; on short series less than one block is left: none is allowed then.

    Raises:
        ValueError: the lengths differ.
    """
    scores = _ranked(labels, scores)
    starts, ends = runs(labels)
    if not len(starts):
        return float("nan")
    budget = false_blocks_per_10k * int((~labels).sum()) / PER_ROWS
    ladder = np.unique(scores[scores > -np.inf])[::-1]
    low, high = 0, len(ladder)  # alarms at ladder[:low] keep the budget; more rows never open fewer blocks
    while low < high:
        middle = (low + high) // 2
        if false_blocks(labels, scores >= ladder[middle], GAP_ROWS) <= budget:
            low = middle + 1
        else:
            high = middle
    if not low:
        return 0.0
    peaks = np.maximum.reduceat(np.append(scores, -np.inf), np.column_stack([starts, ends]).ravel())[::2]
    return float((peaks >= ladder[low - 1]).mean())


def _ranked(labels: Flags, scores: Doubles | Floats) -> Doubles:
    """Return the scores as doubles, NaN lowest."""
    if labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must have one entry a row")
    ranked: Doubles = np.where(np.isnan(scores), -np.inf, scores).astype(np.float64)
    return ranked


def _sums(steps: Ints, weights: Doubles | None = None) -> Doubles:
    """Return (THRESHOLDS,) float64: at each threshold, the count (or weight) of the rows in alarm."""
    return np.cumsum(np.bincount(steps, weights, THRESHOLDS)).astype(np.float64)


def _near(labels: Flags, window: int) -> Ints:
    """Return the rows at most `window // 2` away from an event."""
    reach = window // 2
    counts = np.cumsum(np.pad(labels, (reach + 1, reach)).astype(np.int64))
    return np.flatnonzero(counts[2 * reach + 1 :] > counts[: -2 * reach - 1])


def _soft_labels(labels: Flags, firsts: Ints, lasts: Ints, width: int) -> Doubles:
    """Return (N,) float64: 1 in events, falling off beside them; `firsts`, `lasts`: (events,) their outer rows."""
    distances = np.arange(1, width // 2 + 1)
    rows = np.concatenate([(lasts[:, None] + distances).ravel(), (firsts[:, None] - distances).ravel()])
    weights = np.tile(np.sqrt(1.0 - distances / max(width, 1)), 2 * len(firsts))
    inside = (rows >= 0) & (rows < len(labels))
    soft = np.bincount(rows[inside], weights[inside], len(labels)) + labels
    return np.minimum(soft, 1.0)


def _existence(steps: Ints, starts: Ints, ends: Ints, reach: int) -> Doubles:
    """Return (THRESHOLDS,) the share of events, widened by `reach` rows and joined where they meet, with an alarm."""
    is_apart = starts[1:] - reach > ends[:-1] - 1 + reach
    firsts = np.maximum(starts[np.append(True, is_apart)] - reach, 0)
    behind = np.minimum(ends[np.append(is_apart, True)] + reach, len(steps))
    lowest = np.minimum.reduceat(np.append(steps, THRESHOLDS), np.column_stack([firsts, behind]).ravel())[::2]
    return _sums(lowest) / len(firsts)
