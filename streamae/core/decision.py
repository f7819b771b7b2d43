"""Scores to verdicts: each key's smoothed score against its own threshold, scored first, learnt after.

The rolling statistics of a key (count, weighted mean and variance, quantile) live here. Everything is done for
all keys at once, wave by wave, which equals one score after the other. Reads no clock: forgetting follows the
windows' event time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Ints, ScoreBatch, Slots, Status, VerdictBatch, WindowBatch
from streamae.core.columns import Columns, Field
from streamae.core.moments import learn, weight
from streamae.core.segments import waves
from streamae.core.thresholds import Statistics, ThresholdRule, track_quantile

SD_FLOOR = 0.1  # of max(mean, 1): a key that was perfectly quiet must not alarm at its first breath


@dataclass(frozen=True, slots=True)
class Learning:
    """How a key's statistics follow its scores.

    Attributes:
        half_life_ms: event time after which a score counts half.
        cap_sigma: largest step of learning, in standard deviations.
        smoothing: weight of the newest score in the smoothed score, in (0, 1].
        min_windows: scores to learn before a key may alarm.
        quantile: probability of the tracked quantile, in (0.5, 1).
        prior_mean, prior_sd: level of the score on the model's calibration rows; where a new key starts.
    """

    half_life_ms: float
    cap_sigma: float
    smoothing: float
    min_windows: int
    quantile: float
    prior_mean: float
    prior_sd: float


class Decision:
    """Judges scores. State per key: see `columns`; survives a restart through it."""

    def __init__(self, capacity: int, rule: ThresholdRule, learning: Learning) -> None:
        """Prepare for `capacity` key slots."""
        self.rule, self.learning = rule, learning
        prior_sd = max(learning.prior_sd, SD_FLOOR)
        self.columns = Columns(
            capacity,
            {
                "count": Field("<i8"),
                "mean": Field("<f8", (), learning.prior_mean),
                "variance": Field("<f8", (), prior_sd**2),
                "quantile": Field("<f8", (), learning.prior_mean + 3.0 * prior_sd),
                "smoothed": Field("<f8"),
                "newest": Field("<i8"),
            },
        )

    def judge(self, scores: ScoreBatch, windows: WindowBatch) -> VerdictBatch:
        """Compare each score with its key's threshold, then let the key learn it.

        Args:
            scores: of the B windows; finite.
            windows: the same B windows; those of one key in event-time order.

        Returns:
            Verdicts with the statistics as they were before each score was learnt.
        """
        size = len(windows)
        verdicts = VerdictBatch(
            np.zeros(size, dtype=np.int8),
            np.zeros(size),
            np.zeros(size),
            np.zeros(size),
            np.zeros(size),
            np.zeros(size, dtype=np.int64),
        )
        totals = scores.totals.astype(np.float64)
        for wave in waves(windows.slots):
            self._judge_wave(wave, windows, totals[wave], verdicts)
        return verdicts

    def _judge_wave(self, wave: Ints, windows: WindowBatch, totals: Doubles, verdicts: VerdictBatch) -> None:
        """`judge` for windows of distinct keys; writes its part of `verdicts`."""
        columns, slots = self.columns, windows.slots[wave]
        counts, means = columns["count"][slots], columns["mean"][slots]
        sds = self._spreads(slots)
        last = columns["smoothed"][slots]
        fresh = windows.is_first[wave]  # after a gap the smoothed score starts anew
        smoothed = np.where(fresh, totals, last + self.learning.smoothing * (totals - last))
        thresholds = self.rule.thresholds(Statistics(means, sds, columns["quantile"][slots]))
        is_learning = counts < self.learning.min_windows
        thresholds = np.where(is_learning, np.inf, thresholds)
        verdicts.statuses[wave] = np.where(
            is_learning, Status.LEARNING, np.where(smoothed > thresholds, Status.ANOMALOUS, Status.NORMAL)
        )
        verdicts.scores[wave], verdicts.thresholds[wave] = smoothed, thresholds
        verdicts.means[wave], verdicts.sds[wave], verdicts.counts[wave] = means, sds, counts
        columns["smoothed"][slots] = smoothed
        self._learn(slots, smoothed, sds, windows.end_times_ms[wave])

    def _spreads(self, slots: Slots) -> Doubles:
        """Standard deviations with their floor."""
        means = self.columns["mean"][slots]
        found: Doubles = np.maximum(np.sqrt(self.columns["variance"][slots]), SD_FLOOR * np.maximum(means, 1.0))
        return found

    def _learn(self, slots: Slots, smoothed: Doubles, sds: Doubles, end_times_ms: Ints) -> None:
        columns = self.columns
        counts = columns["count"][slots]
        elapsed = np.where(counts > 0, np.maximum(end_times_ms - columns["newest"][slots], 0), 0)
        weights = weight(counts, elapsed, self.learning.half_life_ms)
        columns["mean"][slots], columns["variance"][slots] = learn(
            columns["mean"][slots], columns["variance"][slots], smoothed, weights, self.learning.cap_sigma * sds
        )
        columns["quantile"][slots] = track_quantile(columns["quantile"][slots], smoothed, sds, self.learning.quantile)
        columns["count"][slots] = counts + 1
        columns["newest"][slots] = end_times_ms
