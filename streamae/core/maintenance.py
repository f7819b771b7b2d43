"""Maintenance: stretches of event time without alerts, or in which nothing is to be learnt.

A stretch is one interval, or one that comes back on days of the week. Reads no clock: a window belongs to it by the
event time of its newest row, so a replay decides as it was decided before. Must not know keys or settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamae.batches import Flags, Ints
from streamae.core.derivations import DAY_MS, FIRST_WEEKDAY
from streamae.core.zones import Zone


@dataclass(frozen=True, slots=True)
class Interval:
    """From a moment to another one.

    Attributes:
        start_ms, end_ms: event time; the end does not belong to it.
    """

    start_ms: int
    end_ms: int

    def holds(self, times_ms: Ints) -> Flags:
        """Tell which event times (n,) lie in it."""
        found: Flags = (times_ms >= self.start_ms) & (times_ms < self.end_ms)
        return found


@dataclass(frozen=True, slots=True)
class Weekly:
    """From a time of day to another one, on some days of the week; over midnight where the second is not later.

    Attributes:
        days: those on which it begins; Monday = 0.
        from_ms, to_ms: time of day, in [0, 24 h]; the end does not belong to it.
        clock: that shows days and times of day.
    """

    days: frozenset[int]
    from_ms: int
    to_ms: int
    clock: Zone

    def holds(self, times_ms: Ints) -> Flags:
        """Tell which event times (n,) lie in it.

        Example:
            >>> import numpy as np
            >>> nights = Weekly(frozenset({3}), 22 * 3_600_000, 6 * 3_600_000, Zone.fixed(0))  # since a Thursday
            >>> nights.holds(np.array([21, 22, 29, 30, 46]) * 3_600_000).tolist()
            [False, True, True, False, False]
        """
        local = self.clock.local(times_ms)
        numbers, times = local // DAY_MS + FIRST_WEEKDAY, local % DAY_MS
        if self.from_ms < self.to_ms:
            return self._begins(numbers) & (times >= self.from_ms) & (times < self.to_ms)
        late = self._begins(numbers) & (times >= self.from_ms)
        return late | (self._begins(numbers - 1) & (times < self.to_ms))

    def _begins(self, numbers: Ints) -> Flags:
        """Tell on which of the days, counted from a Monday, it begins."""
        found: Flags = (1 << (numbers % 7)) & sum(1 << day for day in self.days) > 0
        return found


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A stretch of time for some keys.

    Attributes:
        pattern: of the keys; `*` stands for any text, `?` for a character.
        stretch: when.
        is_silent: no window of it alarms.
        is_unlearnt: no score of it is learnt.
    """

    pattern: str
    stretch: Interval | Weekly
    is_silent: bool = True
    is_unlearnt: bool = True
