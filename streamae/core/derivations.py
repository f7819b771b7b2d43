"""Kinds of features that are made of a record: each says its features' names, their numbers, and what they mean in words.

One more kind that is made of a record's time is a class here with a line in `TIMED`, and its name among the values of
the setting `features.time_features`: training, live stream, bundles and events take it from there. Knows nothing about
events, keys or languages other than English.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from streamae.batches import Doubles, Ints
from streamae.core.categories import Vocabulary
from streamae.core.scaling import KNEE
from streamae.core.wording import duration_in_words, number_in_words, signed_exp, signed_log
from streamae.core.zones import MINUTE_MS, Zone

DAY_MS = 86_400_000
FIRST_WEEKDAY = 3  # the epoch was a Thursday; Monday = 0
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Records(NamedTuple):
    """What features are made of.

    Attributes:
        values: (N, I) inputs, codes for categories; NaN = missing.
        event_times_ms: (N,).
        intervals_ms: (N,) since the key's previous record; NaN = it has none.
    """

    values: Doubles
    event_times_ms: Ints
    intervals_ms: Doubles


class Surprise(NamedTuple):
    """What a sentence is about.

    Attributes:
        feature: number of the feature among those of its derivation.
        actual, expected: value and forecast, in the feature's own unit; finite.
        time_ms: event time of the row.
    """

    feature: int
    actual: float
    expected: float
    time_ms: int


class Derivation(Protocol):
    """One kind of feature.

    Attributes:
        least_scale: smallest scale of its features.
    """

    least_scale: ClassVar[float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its K features."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """For each feature the input it comes from; for those of the record's time what it tells, which is no input."""
        ...

    def apply(self, records: Records) -> Doubles:
        """Return (N, K) float64 features; what is missing stays so in every feature derived from it."""
        ...

    def explain(self, what: Surprise) -> str:
        """Return a sentence about one of its features, for a person who knows the fields."""
        ...


@dataclass(frozen=True)
class Numbers:
    """The numeric fields, which come first among the inputs; those of `log_fields` as sign(x) log(1 + |x|).

    Those of `rate_fields` stay as they are here: what they grow by is known between rows only (`core/rates.py`).
    """

    fields: tuple[str, ...]
    log_fields: tuple[str, ...]
    rate_fields: tuple[str, ...] = ()
    least_scale: ClassVar[float] = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """See `Derivation`."""
        ends = dict.fromkeys(self.log_fields, ".log") | dict.fromkeys(self.rate_fields, ".rate")
        return tuple(name + ends.get(name, "") for name in self.fields)

    @property
    def sources(self) -> tuple[str, ...]:
        """See `Derivation`."""
        return self.fields

    def apply(self, records: Records) -> Doubles:
        """See `Derivation`."""
        numbers = records.values[:, : len(self.fields)]
        is_log = np.array([name in self.log_fields for name in self.fields])
        return np.where(is_log, signed_log(numbers), numbers)

    def explain(self, what: Surprise) -> str:
        """See `Derivation`: nobody reads logarithms."""
        name, actual, expected = self.fields[what.feature], what.actual, what.expected
        if name in self.log_fields:
            actual, expected = signed_exp(actual), signed_exp(expected)
        found = number_in_words(actual)
        grew = f"grew by {found} a second" if name in self.rate_fields else found
        return f"{name} {grew}, expected about {number_in_words(expected)}"


@dataclass(frozen=True)
class Category:
    """One category field, in a column of codes: a feature for each value that training knew, and for the others.

    By its own deviation a value seen once in 10,000 rows would lie 100 deviations away and drown all else: with this
    least scale a column of zeros and ones never leaves the linear part of the scaling.
    """

    vocabulary: Vocabulary
    column: int
    least_scale: ClassVar[float] = 1.0 / KNEE

    @property
    def names(self) -> tuple[str, ...]:
        """See `Derivation`."""
        return self.vocabulary.names

    @property
    def sources(self) -> tuple[str, ...]:
        """See `Derivation`."""
        return (self.vocabulary.field,) * len(self.vocabulary)

    def apply(self, records: Records) -> Doubles:
        """See `Derivation`."""
        codes = records.values[:, self.column : self.column + 1]
        return np.where(np.isnan(codes), np.nan, codes == np.arange(len(self.vocabulary)))

    def explain(self, what: Surprise) -> str:
        """See `Derivation`."""
        name, known, is_it = self.vocabulary.field, self.vocabulary.known, what.actual >= 0.5
        likely = f"expected with {min(max(what.expected, 0.0), 1.0):.0%}"
        if what.feature < len(known):
            return f"{name} is {'' if is_it else 'not '}{known[what.feature]}, {likely}"
        if is_it:
            return f"{name} is a value that training did not know"
        return f"{name} is a value that training knew, an unknown one was {likely}"


@dataclass(frozen=True)
class Timed:
    """What is made of a record's time; base of the kinds in `TIMED`.

    Attributes:
        clock: that a day's hours and a week's days are read from.
    """

    clock: Zone
    source: ClassVar[str]
    ends: ClassVar[tuple[str, ...]]  # of the names of its features
    least_scale: ClassVar[float] = 0.0

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See `Derivation`."""
        return tuple(f"{self.source}.{end}" for end in self.ends)

    @property
    def sources(self) -> tuple[str, ...]:
        """See `Derivation`."""
        return (self.source,) * len(self.ends)


class Interval(Timed):
    """log(1 + s) for s seconds since the key's previous record; NaN for its first."""

    source = "interval"
    ends = ("log",)

    def apply(self, records: Records) -> Doubles:
        """See `Derivation`."""
        return np.asarray(np.log1p(np.maximum(records.intervals_ms, 0.0) / 1_000)[:, None])

    def explain(self, what: Surprise) -> str:
        """See `Derivation`."""
        usual = duration_in_words(what.expected)
        return f"{duration_in_words(what.actual)} since the record before, expected about {usual}"


class Cycle(Timed, ABC):
    """Sine and cosine of the angle of the event time in a cycle."""

    ends = ("sin", "cos")

    @abstractmethod
    def phases(self, local_ms: Ints) -> Doubles:
        """Return the place (N,) of local times in the cycle, in [0, 1)."""

    def _shown(self, time_ms: int) -> int:
        """Return what the clock shows at an event time."""
        return int(self.clock.local(np.array([time_ms], np.int64))[0])

    def apply(self, records: Records) -> Doubles:
        """See `Derivation`."""
        angles = 2.0 * np.pi * self.phases(self.clock.local(records.event_times_ms))
        return np.column_stack([np.sin(angles), np.cos(angles)])


class Hour(Cycle):
    """The place in the day."""

    source = "hour"

    def phases(self, local_ms: Ints) -> Doubles:
        """See `Cycle`."""
        return np.asarray((local_ms % DAY_MS) / DAY_MS, dtype=np.float64)

    def explain(self, what: Surprise) -> str:
        """See `Derivation`."""
        minutes = self._shown(what.time_ms) % DAY_MS // MINUTE_MS
        return f"at {minutes // 60:02d}:{minutes % 60:02d} {self.clock.name}, unusual here"


class Weekday(Cycle):
    """The place of the day in the week, which begins on Monday."""

    source = "weekday"

    def phases(self, local_ms: Ints) -> Doubles:
        """See `Cycle`."""
        return np.asarray((local_ms // DAY_MS + FIRST_WEEKDAY) % 7 / 7, dtype=np.float64)

    def explain(self, what: Surprise) -> str:
        """See `Derivation`."""
        return f"on a {WEEKDAYS[(self._shown(what.time_ms) // DAY_MS + FIRST_WEEKDAY) % 7]}, unusual here"


TIMED = {kind.source: kind for kind in (Interval, Hour, Weekday)}  # by name, in the order of their features
