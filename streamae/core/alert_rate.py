"""How many episodes open a key and week, over the last week of event time: what an alert budget is held against.

Counts windows and episodes of all keys together, hour by hour. Decides nothing and is not stored: a new process counts
anew. Must not know budgets, rules or settings.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Ints
from streamae.core.thresholds.budget import rate_per_week

HOUR_MS = 3_600_000
HOURS = 7 * 24
NEVER = -(2**40)  # an hour before all others


class AlertRate:
    """Rolling counts of the newest `HOURS` hours of event time. Mutated by the engine's thread only."""

    def __init__(self, window_ms: float) -> None:
        """Begin with nothing seen; `window_ms` is the event time between two windows of a key."""
        self._window_ms = window_ms
        self._hours = np.full(HOURS, NEVER, dtype=np.int64)  # the hour since the epoch that each place counts
        self._counts = np.zeros((2, HOURS), dtype=np.int64)  # windows, episodes

    def add(self, window_ends_ms: Ints, opening_ends_ms: Ints) -> None:
        """Count scored windows and those of them that opened an episode, by event time; any order.

        Example:
            >>> rate = AlertRate(60_000.0)
            >>> rate.add(np.arange(10_080) * 60_000, np.array([0, 60_000]))
            >>> rate.per_week()
            2.0
        """
        for row, times_ms in enumerate((window_ends_ms, opening_ends_ms)):
            hours = times_ms // HOUR_MS
            if len(hours) and hours.min() == hours.max():  # nearly always
                self._count(row, int(hours[0]), len(hours))
            else:
                for hour, count in zip(*np.unique(hours, return_counts=True), strict=True):
                    self._count(row, int(hour), int(count))

    def per_week(self) -> float:
        """Return episodes a key and week; 0 before the first window."""
        is_recent = self._hours > self._hours.max() - HOURS
        windows, episodes = self._counts[:, is_recent].sum(axis=1).tolist()
        return rate_per_week(episodes, windows, self._window_ms)

    def _count(self, row: int, hour: int, count: int) -> None:
        place = hour % HOURS
        if self._hours[place] < hour:
            self._hours[place], self._counts[:, place] = hour, 0
        if self._hours[place] == hour:  # else it is more than a week behind
            self._counts[row, place] += count
