"""Raw fields to features: logarithms, categories, time since the key's previous record, hour and weekday.

One implementation for training and the live stream, between codec and grid. What is derived is frozen in the bundle
(`Encoding`); the only state is the time of each key's newest record (`Encoder`). Inputs are numbers as they come and
codes of categories (`categories.py`); this module must not know how records are read, scaled or scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from streamae.batches import Doubles, Floats, Ints, RecordBatch, Slots, Words
from streamae.core.categories import Vocabulary
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER
from streamae.core.scaling import KNEE
from streamae.core.segments import Segments

DAY_MS = 86_400_000
FIRST_WEEKDAY = 3  # the epoch was a Thursday; Monday = 0
MAX_OFFSET_MINUTES = 18 * 60  # of local time from UTC, as ISO 8601 allows
TIME_FEATURES = ("hour", "weekday")
INTERVAL = "interval"


class FeatureOptions(Protocol):
    """What to derive: the features section of the settings says what each means."""

    @property
    def log_fields(self) -> tuple[str, ...]: ...
    @property
    def category_cap(self) -> int: ...
    @property
    def hash_buckets(self) -> int: ...
    @property
    def time_features(self) -> tuple[str, ...]: ...
    @property
    def utc_offset_minutes(self) -> int: ...
    @property
    def since_previous(self) -> bool: ...


@dataclass(frozen=True)
class Encoding:
    """How inputs become features. Frozen at training.

    Attributes:
        fields: numeric input fields, at least one, in order.
        log_fields: those of them that enter as sign(x) log(1 + |x|).
        categories: of the category fields, in the order of their inputs behind `fields`.
        has_interval: log(1 + s) for s seconds since the key's previous record; NaN for its first.
        time_features: out of `TIME_FEATURES`; each becomes sine and cosine of its angle.
        utc_offset_minutes: of the clock of hour and weekday.

    Raises:
        ValueError: parts contradict each other; the message names the part.
    """

    fields: tuple[str, ...]
    log_fields: tuple[str, ...] = ()
    categories: tuple[Vocabulary, ...] = ()
    has_interval: bool = False
    time_features: tuple[str, ...] = ()
    utc_offset_minutes: int = 0

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("at least one numeric field is needed")
        if unknown := sorted(set(self.log_fields) - set(self.fields)):
            raise ValueError(f"log_fields: {unknown[0]!r} is none of the numeric fields {', '.join(self.fields)}")
        if unknown := sorted(set(self.time_features) - set(TIME_FEATURES)):
            raise ValueError(f"time_features: {unknown[0]!r} is none of {', '.join(TIME_FEATURES)}")
        if abs(self.utc_offset_minutes) > MAX_OFFSET_MINUTES:
            raise ValueError(f"utc_offset_minutes is {self.utc_offset_minutes}, at most {MAX_OFFSET_MINUTES}")
        derived = (*self.time_features, *((INTERVAL,) if self.has_interval else ()))
        for names in ((*self.inputs, *derived), self.features):
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"{twice!r} stands twice among the inputs and what is derived: rename or leave out")

    @classmethod
    def learn(
        cls,
        fields: Sequence[str],
        categories: Sequence[str],
        words: Words,
        options: FeatureOptions,
    ) -> Encoding | None:
        r"""Return the encoding that `options` ask for, None where features are the fields as they are.

        Args:
            fields: numeric fields.
            categories: C category fields.
            words: (N, C) values of these in the training rows.
            options: what to derive; a dot that belongs to a name is escaped there (`\.`), as in all paths.

        Raises:
            ValueError: options contradict the fields.
        """
        cap, buckets = options.category_cap, options.hash_buckets
        log_fields = [name.replace("\\.", ".") for name in options.log_fields]
        found = cls(
            tuple(fields),
            tuple(field for field in fields if field in log_fields),
            tuple(
                Vocabulary.learn(field, column, cap=cap, buckets=buckets)
                for field, column in zip(categories, words.T, strict=True)
            ),
            options.since_previous,
            tuple(name for name in TIME_FEATURES if name in options.time_features),
            options.utc_offset_minutes,
        )
        if unknown := sorted(set(log_fields) - set(fields)):
            raise ValueError(f"log_fields: {unknown[0]!r} is none of the numeric fields {', '.join(fields)}")
        return None if found.features == found.inputs else found

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs: numeric fields, then category fields."""
        return (*self.fields, *(vocabulary.field for vocabulary in self.categories))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the derived features, in order."""
        return tuple(name for name, _ in self._derived)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """For each feature the input it comes from; else `interval`, `hour` or `weekday`, which then are no inputs."""
        return tuple(source for _, source in self._derived)

    @cached_property
    def _derived(self) -> tuple[tuple[str, str], ...]:
        """(feature, source) in order."""
        found = [(f"{name}.log" if name in self.log_fields else name, name) for name in self.fields]
        for vocabulary in self.categories:
            found += [(name, vocabulary.field) for name in vocabulary.names]
        if self.has_interval:
            found.append((f"{INTERVAL}.log", INTERVAL))
        for name in self.time_features:
            found += [(f"{name}.sin", name), (f"{name}.cos", name)]
        return tuple(found)

    @property
    def least_scales(self) -> Doubles:
        """Smallest scale (F,) of each feature: a category's column of zeros and ones never leaves the linear part.

        By its own deviation a value seen once in 10,000 rows would lie 100 deviations away and drown all else.
        """
        names = {name for vocabulary in self.categories for name in vocabulary.names}
        return np.array([1.0 / KNEE if name in names else 0.0 for name in self.features])

    def constants(self, constant: float) -> dict[str, float]:
        """Return, by feature, what a constant in the units of the numeric fields is; nothing of categories and times."""
        names = zip(self.features, self.fields, strict=False)
        return {name: float(_signed_log(constant)) if field in self.log_fields else constant for name, field in names}

    def apply(self, values: Floats, event_times_ms: Ints, intervals_ms: Doubles) -> Floats:
        """Return (N, F) float32 features.

        Args:
            values: (N, I) inputs, codes for categories; NaN = missing, and stays so in every feature derived from it.
            event_times_ms: (N,).
            intervals_ms: (N,) since the key's previous record; NaN = it has none.
        """
        numbers = values[:, : len(self.fields)].astype(np.float64)
        is_log = np.array([name in self.log_fields for name in self.fields])
        parts = [np.where(is_log, _signed_log(numbers), numbers)]
        for column, vocabulary in enumerate(self.categories, len(self.fields)):
            codes = values[:, column : column + 1].astype(np.float64)
            parts.append(np.where(np.isnan(codes), np.nan, codes == np.arange(len(vocabulary))))
        if self.has_interval:
            parts.append(np.log1p(np.maximum(intervals_ms, 0.0) / 1_000)[:, None])
        for name in self.time_features:
            angles = 2.0 * np.pi * self._phases(name, event_times_ms)
            parts += [np.sin(angles)[:, None], np.cos(angles)[:, None]]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _phases(self, name: str, times_ms: Ints) -> Doubles:
        """Return the place in the day, or that of the day in the week, in [0, 1)."""
        local = times_ms + self.utc_offset_minutes * 60_000
        if name == "hour":
            return np.asarray((local % DAY_MS) / DAY_MS, dtype=np.float64)
        return np.asarray((local // DAY_MS + FIRST_WEEKDAY) % 7 / 7, dtype=np.float64)


class Encoder:
    """Encodes records in arrival order. State per key: the newest event time, only where intervals are derived."""

    def __init__(self, capacity: int, encoding: Encoding) -> None:
        """Prepare for `capacity` key slots."""
        self.encoding = encoding
        self.columns = Columns(capacity, {"newest": Field("<i8", (), NEVER)} if encoding.has_interval else {})

    def encode(self, records: RecordBatch, slots: Slots) -> RecordBatch:
        """Return the records with features for values.

        A late record's interval is 0: it changes nothing, and the grid hands it back.

        Args:
            records: N records, per key in arrival order; values (N, I) as in `Encoding.apply`.
            slots: (N,) int32 slot of each record.
        """
        values = self.encoding.apply(records.values, records.event_times_ms, self._intervals(records, slots))
        return dataclasses.replace(records, values=values)

    def _intervals(self, records: RecordBatch, slots: Slots) -> Doubles:
        """Return (N,) ms since the newest record of the same key before, NaN where there is none; learn the times."""
        found = np.full(len(records), np.nan)
        if not self.encoding.has_interval:
            return found
        segments, newest = Segments.of(slots), self.columns["newest"]
        times = records.event_times_ms[segments.order]
        before = np.maximum(
            segments.previous(segments.running_max(times), newest[segments.uniques]), newest[segments.slots]
        )
        is_known = before != NEVER
        found[segments.order[is_known]] = times[is_known] - before[is_known]
        np.maximum.at(newest, segments.slots, times)
        return found


def _signed_log(values: Any) -> Any:
    return np.copysign(np.log1p(np.abs(values)), values)
