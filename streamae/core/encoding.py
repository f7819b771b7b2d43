"""Raw fields to features: logarithms, categories, time since the key's previous record, hour and weekday.

One implementation for training and the live stream, between codec and grid; rates come behind it (`core/rates.py`). What is derived is frozen in the bundle
(`Encoding`); the only state is the time of each key's newest record (`Encoder`). Inputs are numbers as they come and
codes of categories (`categories.py`); this module must not know how records are read, scaled or scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from streamae.batches import Doubles, Flags, Ints, RecordBatch, Slots, Words
from streamae.core.categories import Vocabulary
from streamae.core.columns import Columns, Field
from streamae.core.derivations import TIMED, Category, Derivation, Interval, Numbers, Records, Surprise
from streamae.core.grid import NEVER
from streamae.core.origins import ZERO, narrowed
from streamae.core.segments import Segments
from streamae.core.wording import signed_log
from streamae.core.zones import Zone

MAX_OFFSET_MINUTES = 18 * 60  # of local time from UTC, as ISO 8601 allows
INTERVAL = Interval.source
TIME_FEATURES = tuple(name for name in TIMED if name != INTERVAL)  # those that are settings of their own


class FeatureOptions(Protocol):
    """What to derive: the features section of the settings says what each means."""

    @property
    def log_fields(self) -> tuple[str, ...]: ...
    @property
    def rate_fields(self) -> tuple[str, ...]: ...
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
        timed: what is made of a record's time, out of `TIMED`.
        utc_offset_minutes: of the clock of hour and weekday, where it is always the same.
        zone: that clock, where it is the one of a place.
        rate_fields: those of `fields` that are counters, of which the growth a second is the feature.

    Raises:
        ValueError: parts contradict each other; the message names the part.
    """

    fields: tuple[str, ...]
    log_fields: tuple[str, ...] = ()
    categories: tuple[Vocabulary, ...] = ()
    timed: tuple[str, ...] = ()
    utc_offset_minutes: int = 0
    zone: Zone | None = None
    rate_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("at least one numeric field is needed")
        for name, named in (("log_fields", self.log_fields), ("rate_fields", self.rate_fields)):
            _check_known(name, named, self.fields)
        if both := sorted(set(self.log_fields) & set(self.rate_fields)):
            raise ValueError(f"rate_fields: {both[0]!r} is one of log_fields too: leave it out of one of them")
        if unknown := sorted(set(self.timed) - set(TIMED)):
            raise ValueError(f"time_features: {unknown[0]!r} is none of {', '.join(TIME_FEATURES)}")
        if abs(self.utc_offset_minutes) > MAX_OFFSET_MINUTES:
            raise ValueError(f"utc_offset_minutes is {self.utc_offset_minutes}, at most {MAX_OFFSET_MINUTES}")
        if self.zone is not None and self.utc_offset_minutes:
            raise ValueError(f"utc_offset_minutes and time_zone {self.zone.name} are two clocks: one is needed")
        for names in ((*self.inputs, *self.timed), self.features):
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
        zone: Zone | None = None,
    ) -> Encoding | None:
        r"""Return the encoding that `options` ask for, None where features are the fields as they are.

        Args:
            fields: numeric fields.
            categories: C category fields.
            words: (N, C) values of these in the training rows.
            options: what to derive; a dot that belongs to a name is escaped there (`\.`), as in all paths.
            zone: that `options` name for hour and weekday; None = they name none.

        Raises:
            ValueError: options contradict the fields.
        """
        cap, buckets = options.category_cap, options.hash_buckets
        asked = (*options.time_features, *((INTERVAL,) if options.since_previous else ()))
        named = {name: _plain(getattr(options, name)) for name in ("log_fields", "rate_fields")}
        for name, asked_of in named.items():
            _check_known(name, asked_of, fields)
        log_fields, rate_fields = (tuple(field for field in fields if field in asked_of) for asked_of in named.values())
        found = cls(
            tuple(fields),
            log_fields,
            tuple(
                Vocabulary.learn(field, column, cap=cap, buckets=buckets)
                for field, column in zip(categories, words.T, strict=True)
            ),
            tuple(name for name in TIMED if name in asked),
            options.utc_offset_minutes,
            zone,
            rate_fields=rate_fields,
        )
        return None if found.features == found.inputs else found

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs: numeric fields, then category fields."""
        return (*self.fields, *(vocabulary.field for vocabulary in self.categories))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the derived features, in order."""
        return tuple(name for part in self._parts for name in part.names)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """For each feature the input it comes from; else `interval`, `hour` or `weekday`, which then are no inputs."""
        return tuple(source for part in self._parts for source in part.sources)

    @property
    def has_interval(self) -> bool:
        """Whether the time since the key's previous record is needed."""
        return INTERVAL in self.timed

    @cached_property
    def _parts(self) -> tuple[Derivation, ...]:
        """What features are made by, in their order."""
        categories = [Category(of, column) for column, of in enumerate(self.categories, len(self.fields))]
        clock = self.zone or Zone.fixed(self.utc_offset_minutes)
        timed = [TIMED[name](clock) for name in self.timed]
        return (Numbers(self.fields, self.log_fields, self.rate_fields), *categories, *timed)

    @property
    def least_scales(self) -> Doubles:
        """Smallest scale (F,) of each feature."""
        return np.array([part.least_scale for part in self._parts for _ in part.names])

    def constants(self, constant: float) -> dict[str, float]:
        """Return, by feature, what a constant in the units of the numeric fields is; nothing of others, as rates are."""
        names = zip(self.features, self.fields, strict=False)
        return {
            name: float(signed_log(constant)) if field in self.log_fields else constant
            for name, field in names
            if field not in self.rate_fields
        }

    @property
    def counters(self) -> tuple[int, ...]:
        """Numbers of the features that hold a counter as long as `core.rates.Rates` has not made a rate of it."""
        return tuple(number for number, field in enumerate(self.fields) if field in self.rate_fields)

    def apply(self, values: Doubles, event_times_ms: Ints, intervals_ms: Doubles) -> Doubles:
        """Return (N, F) float64 features.

        Args:
            values: (N, I) inputs, codes for categories; NaN = missing, and stays so in every feature derived from it.
            event_times_ms: (N,).
            intervals_ms: (N,) since the key's previous record; NaN = it has none.
        """
        records = Records(values, event_times_ms, intervals_ms)
        return np.concatenate([part.apply(records) for part in self._parts], axis=1)

    def exact_rows(self, is_exact: Flags) -> Flags:
        """Return (F,) which features keep 64 bits up to the rows: those of `is_exact`, and counters, whose growth tells."""
        flags = np.broadcast_to(is_exact, len(self.features)).copy()
        flags[list(self.counters)] = True
        return flags

    def exact_inputs(self, is_exact: Flags) -> Flags:
        """Return (I,) of which inputs 64 bits are needed.

        Args:
            is_exact: (F,) the same of the features, or one for all.
        """
        flags = np.broadcast_to(is_exact, len(self.features)).tolist()
        needed = {source for source, flag in zip(self.sources, flags, strict=True) if flag}
        return np.array([name in needed for name in self.inputs])

    def exact_features(self, is_exact: Flags) -> Flags:
        """Return (F,) which features are made of numeric fields that keep 64 bits, `is_exact` (one a field)."""
        exact = {name for name, flag in zip(self.fields, is_exact.tolist(), strict=True) if flag}
        return np.array([source in exact for source in self.sources])

    def explain(self, feature: int, actual: float, expected: float, time_ms: int) -> str:
        """Return a sentence about one feature of one row, for a person who knows the fields.

        Args:
            feature: its number.
            actual, expected: value and forecast, in the feature's own unit; finite.
            time_ms: event time of the row.

        Example:
            >>> Encoding(("amount",), log_fields=("amount",)).explain(0, 7.2, 3.0, 0)
            'amount 1,338, expected about 19.1'
        """
        for part in self._parts:
            if feature < len(part.names):
                return part.explain(Surprise(feature, actual, expected, time_ms))
            feature -= len(part.names)
        raise IndexError(feature)


class Encoder:
    """Encodes records in arrival order. State per key: the newest event time, only where intervals are derived."""

    def __init__(self, capacity: int, encoding: Encoding, is_exact: Flags = ZERO.is_exact) -> None:
        """Prepare for `capacity` key slots.

        Args:
            capacity: key slots (K).
            encoding: how inputs become features.
            is_exact: (F,) features that keep 64 bits, or one for all; the others hold 32.
        """
        self.encoding, self.is_exact = encoding, is_exact
        self._exact_inputs = encoding.exact_inputs(is_exact)
        fields = {"newest": Field("<i8", (), NEVER)} if encoding.has_interval else {}
        self.columns = Columns(capacity, fields, "encoder")

    def encode(self, records: RecordBatch, slots: Slots) -> RecordBatch:
        """Return the records with features for values.

        A late record's interval is 0: it changes nothing, and the grid hands it back.

        Args:
            records: N records, per key in arrival order; values (N, I) as in `Encoding.apply`.
            slots: (N,) int32 slot of each record.
        """
        inputs = narrowed(records.values, self._exact_inputs)
        values = self.encoding.apply(inputs, records.event_times_ms, self._intervals(records, slots))
        return dataclasses.replace(records, values=narrowed(values, self.is_exact))

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


def _plain(names: Sequence[str]) -> list[str]:
    r"""Return the names that paths mean: a dot that belongs to a name is escaped (`\.`) in a path."""
    return [name.replace("\\.", ".") for name in names]


def _check_known(setting: str, names: Sequence[str], fields: Sequence[str]) -> None:
    """Raise ValueError where one of `names` is no numeric field."""
    if unknown := sorted(set(names) - set(fields)):
        raise ValueError(f"{setting}: {unknown[0]!r} is none of the numeric fields {', '.join(fields)}")
