"""What the operator knows better than the scores: overrides by key, maintenance, and which deviations matter.

A key's bytes are held against the patterns once, when it moves into its slot; from then on it is one number, and a
batch of windows costs a few look-ups. That is not stored: it follows from the settings and the key.
Must not know settings, threshold rules or what an alarm leads to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Ints, ScoreBatch, Suspension, WindowBatch
from streamae.core.columns import Columns, Field
from streamae.core.deviations import Deviations, largest
from streamae.core.maintenance import Maintenance
from streamae.core.origins import newest

OFF, CHANNELS = "recent_deviations", "recent_channels"


def fields(features: int) -> dict[str, Field]:
    """Return what is remembered of a key: how far each feature was off lately, and its score.

    Kept up only where a rule on deviations needs it.
    """
    return dict.fromkeys((OFF, CHANNELS), Field("<f4", (features,)))


@dataclass(frozen=True, slots=True)
class Override:
    """What is different for some keys.

    Attributes:
        pattern: of the keys; `*` stands for any text, `?` for a character.
        level_factor: by which the threshold is further from the key's usual score, > 0.
        is_muted: they never alarm.
        deviations: that matter; None = as for all other keys.
    """

    pattern: str
    level_factor: float = 1.0
    is_muted: bool = False
    deviations: Deviations | None = None


@dataclass(frozen=True, slots=True)
class AlertRules:
    """All of it.

    Attributes:
        overrides: the first one that matches a key counts.
        maintenance: all that match a key count.
        deviations: None = each one matters, for every key.
    """

    overrides: tuple[Override, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    deviations: Deviations | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Advice:
    """What the rules say about the B windows of a batch.

    Attributes:
        factors: (B,) float64 level factors.
        suspensions: (B,) int8 `Suspension`.
        is_learnt: (B,) bool, whether the key may learn the score.
        deviations: what matters, a row for each; None = everything.
        scores, windows: to look at those that alarm.
    """

    factors: Doubles
    suspensions: NDArray[np.int8]
    is_learnt: Flags
    deviations: Deviations | None
    scores: ScoreBatch
    windows: WindowBatch

    def thresholds(self, rows: Ints, thresholds: Doubles, means: Doubles) -> Doubles:
        """Return the thresholds (n,) of the windows `rows`, moved to mean + factor (threshold - mean).

        A threshold below the mean or infinite stays where it is.
        """
        distances = thresholds - means
        is_moved = np.isfinite(distances) & (distances > 0)
        extra = (self.factors[rows] - 1.0) * np.where(is_moved, distances, 0.0)
        found: Doubles = thresholds + extra
        return found

    def allowed(self, rows: Ints, alarms: Flags, is_fresh: Flags, states: Columns) -> Flags:
        """Return which of the alarms alert.

        Args:
            rows: (n,) numbers of windows of distinct keys.
            alarms: (n,) bool.
            is_fresh: (n,) bool as in `Wave`.
            states: with the fields of `fields`; mutated at the keys that may learn.
        """
        alerting: Flags = alarms & (self.suspensions[rows] == Suspension.NONE)
        if self.deviations is not None:
            slots, expected = self.windows.slots[rows], self.scores.expected[rows]
            now = {
                OFF: (newest(self.windows, rows) - expected).astype(np.float32),
                CHANNELS: self.scores.channels[rows],
            }
            found = {name: largest(states[name][slots], values, is_fresh) for name, values in now.items()}
            learnt, chosen = self.is_learnt[rows], np.flatnonzero(alerting)
            for name, values in found.items():
                states[name][slots[learnt]] = values[learnt]
            asked = self.deviations.take(rows[chosen])
            alerting[chosen] = asked.matters(found[CHANNELS][chosen], found[OFF][chosen], expected[chosen])
        return alerting


class KeyRules:
    """The rules in force, and which of them concern each key slot.

    Mutated by the engine's thread only. Does not survive a restart: keys are admitted again.
    """

    def __init__(self, capacity: int, rules: AlertRules | None = None) -> None:
        """Prepare for `capacity` key slots."""
        self._profiles = np.zeros(capacity, dtype=np.int32)  # 0 = concerned by nothing
        self.adopt(rules or AlertRules(), ())

    def adopt(self, rules: AlertRules, keys: Iterable[tuple[int, bytes]]) -> None:
        """Replace the rules; `keys` are all slots in use, with their keys."""
        self.rules = rules
        self._overrides = [_matcher(each.pattern) for each in rules.overrides]
        self._maintenance = [_matcher(each.pattern) for each in rules.maintenance]
        self._numbers: dict[tuple[int, tuple[bool, ...]], int] = {}
        self._number(-1, (False,) * len(rules.maintenance))
        self._profiles[:] = 0
        for slot, key in keys:
            self.admit(slot, key)

    def admit(self, slot: int, key: bytes) -> None:
        """Note that `key` lives in `slot` from now on."""
        if self._overrides or self._maintenance:
            text = key.decode(errors="backslashreplace")
            override = next((number for number, found in enumerate(self._overrides) if found(text)), -1)
            concerns = tuple(found(text) is not None for found in self._maintenance)
            self._profiles[slot] = self._number(override, concerns)

    def advise(self, scores: ScoreBatch, windows: WindowBatch) -> Advice | None:
        """Return what the rules say about the B windows; None where there are no rules."""
        rules = self.rules
        if not (rules.overrides or rules.maintenance or rules.deviations):
            return None
        profiles = self._profiles[windows.slots]
        suspensions = np.where(self._muted[profiles], Suspension.MUTED, Suspension.NONE).astype(np.int8)
        is_learnt = np.ones(len(windows), dtype=np.bool_)
        for number, each in enumerate(rules.maintenance):  # a handful of rules, never keys
            concerned = self._concerned[profiles, number]
            if concerned.any():
                concerned &= each.stretch.holds(windows.end_times_ms)
                if each.is_silent:
                    suspensions[concerned] = Suspension.MAINTENANCE
                if each.is_unlearnt:
                    is_learnt &= ~concerned
        deviations = None if self._deviations is None else self._deviations.take(profiles)
        return Advice(self._factors[profiles], suspensions, is_learnt, deviations, scores, windows)

    def suspension_of(self, key: bytes, time_ms: int) -> Suspension:
        """Return whether a key, in memory or not, may not alert at an event time, and why."""
        text = key.decode(errors="backslashreplace")
        number = next((number for number, found in enumerate(self._overrides) if found(text)), -1)
        if number >= 0 and self.rules.overrides[number].is_muted:
            return Suspension.MUTED
        at = np.array([time_ms], dtype=np.int64)
        for each, concerns in zip(self.rules.maintenance, self._maintenance, strict=True):
            if each.is_silent and concerns(text) and each.stretch.holds(at)[0]:
                return Suspension.MAINTENANCE
        return Suspension.NONE

    def _number(self, override: int, concerns: tuple[bool, ...]) -> int:
        """Return the number of a profile; a new one gets a row in the tables."""
        count = len(self._numbers)
        found = self._numbers.setdefault((override, concerns), count)
        if found == count:
            chosen = [Override("") if each < 0 else self.rules.overrides[each] for each, _ in self._numbers]
            self._factors = np.array([each.level_factor for each in chosen])
            self._muted = np.array([each.is_muted for each in chosen])
            usual = self.rules.deviations
            self._deviations = None if usual is None else Deviations.rows([each.deviations or usual for each in chosen])
            table = np.array([each for _, each in self._numbers], dtype=np.bool_)
            self._concerned = table.reshape(len(self._numbers), len(self._maintenance))
        return found


def _matcher(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(pattern)).match
