"""What every threshold rule is: parameters, the state it keeps of a key, and how it judges and learns a score.

A rule is a small frozen record of parameters; what it remembers of a key lies in `Columns` that hold the rule's own
fields. What a rule says about itself is in `spec.py`.
Knows nothing about settings, keys' names or what is done with a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Floats, Ints, Slots
from streamae.core.columns import Columns, Field
from streamae.core.scoring import ScoreHistory


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """Scores of n distinct keys, one each.

    Attributes:
        slots: (n,) int32, none twice.
        totals, forecasts: (n,) float64 as in `ScoreBatch`.
        channels: (n, F) float32 as in `ScoreBatch`.
        end_times_ms: (n,) int64 event time of the window's newest row.
        is_fresh: (n,) bool, first window of a key since it was new or came back after a gap.
    """

    slots: Slots
    totals: Doubles
    forecasts: Doubles
    channels: Floats
    end_times_ms: Ints
    is_fresh: Flags

    def take(self, rows: Ints) -> Wave:
        """Return the scores at `rows`."""
        return Wave(*(getattr(self, name).take(rows, axis=0) for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a rule says about a wave, before it has learnt it.

    Attributes:
        scores: (n,) float64 what is compared with the threshold.
        thresholds: (n,) float64 entry threshold; infinity where the key knows too little.
        means, sds: (n,) float64 usual level of `scores` and its spread.
        rarities: (n,) float64 natural logarithm of the number of windows in which this key, behaving as usual, brings
            one score as high as this one; may be negative for everyday scores.
        counts: (n,) int64 scores of its own that the key has learnt.
        workings: (n, ...) what `learn` would otherwise have to compute again; the rule's own business.
    """

    scores: Doubles
    thresholds: Doubles
    means: Doubles
    sds: Doubles
    rarities: Doubles
    counts: Ints
    workings: tuple[Doubles, ...] = ()

    def take(self, rows: Ints) -> Judgement:
        """Return what is said about the scores at `rows`."""
        plain = {name: getattr(self, name)[rows] for name in self.__slots__ if name != "workings"}
        return Judgement(**plain, workings=tuple(array[rows] for array in self.workings))


class ThresholdRule(Protocol):
    """One way to hold scores against a key's own past. All methods are vectorised over keys.

    Among the fields is `count` (int64 or int32): scores of its own that the key has learnt.
    """

    def fields(self, features: int) -> dict[str, Field]:
        """Return the state of one key with F `features`; initial values are those of a key without any prior."""
        ...

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Prepare K fresh `states` to learn the K keys of `history`, which comes next; may look at all of it."""
        ...

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Judge the scores of a wave by what the keys knew before. Changes nothing."""
        ...

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:
        """Let the keys learn the wave they were judged by.

        Args:
            states: mutated at the slots of the wave.
            wave, judgement: as given to and returned by `judge`.
            alarms: (n,) bool, which of the scores became an alarm.
        """
        ...

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """Merge K `states` that have learnt training keys to the initial values of a new key, by field."""
        ...


def mean_state(states: Columns, levels: Mapping[str, str], others: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Return the mean over keys of some fields, with the spread between keys added to the variances.

    A key that nobody has seen is as far from the mean key as those are from each other: variance = mean variance +
    variance of the levels (law of total variance).

    Args:
        states: K keys.
        levels: name of the variance field by name of the level field.
        others: fields that are averaged.

    Example:
        >>> states = Columns(2, {"mean": Field("<f8"), "variance": Field("<f8")})
        >>> states["mean"][:] = [1.0, 3.0]
        >>> {name: float(value) for name, value in mean_state(states, {"mean": "variance"}).items()}
        {'mean': 2.0, 'variance': 1.0}
    """
    found: dict[str, NDArray[Any]] = {name: states[name].mean(axis=0, dtype=np.float64) for name in others}
    for level, variance in levels.items():
        found[level] = states[level].mean(axis=0, dtype=np.float64)
        found[variance] = states[variance].mean(axis=0, dtype=np.float64) + states[level].var(axis=0, dtype=np.float64)
    return found
