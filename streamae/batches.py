"""The columns that cross module borders, and the letters of their axes.

Axis letters, used in every docstring of the package:
    N records or rows    B windows    W steps of a window, oldest first    F features    K key slots

Clocks: `*_time_ms` is event time, milliseconds since the Unix epoch; `now_ms` is processing time on a
monotonic clock and is only ever an argument. Batches are frozen and their arrays are read-only by
convention: a stage that changes data returns a new array.

This module knows nothing about where data comes from or what is computed from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamae.reasons import Reason

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Slots = NDArray[np.int32]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Digests = NDArray[np.uint64]
Words = NDArray[np.object_]  # of str or None


class Partition(NamedTuple):
    """One partition of one input topic."""

    topic: str
    index: int  # type: ignore[assignment]  # Kafka says partition index; tuple.index is not missed here


class Cause(NamedTuple):
    """Where a row comes from, and so what an output was caused by: suppression in a replay goes by it.

    Attributes:
        partition: of the input.
        offset: of the record in it. Where one record holds many rows, their index joins here.
    """

    partition: Partition
    offset: int


class RawRecord(Protocol):
    """A record as the source delivers it: Kafka's own names, bytes untouched.

    kafka-python's `ConsumerRecord` and our own `Record` both satisfy it.
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...  # ms since the epoch, set by producer or broker
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes | None]]: ...


@dataclass(frozen=True, slots=True)
class Record:
    """A `RawRecord` made here: by the memory and file sources, and by generators."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class Status(IntEnum):
    """State of a key at decision time."""

    LEARNING = 0  # too few scores of its own: verdict withheld
    NORMAL = 1
    ANOMALOUS = 2  # score above the entry threshold


class KeyState(IntEnum):
    """How much a key knows of itself."""

    LEARNING = 0  # too few scores of its own and nothing to start from: verdicts are withheld
    PROVISIONAL = 1  # judged by what the training keys were like, until it has enough scores of its own
    READY = 2
    RESUMING = 3  # back after a gap: known statistics, a window that was just filled anew
    STARVED = 4  # records come, but no window of them can be scored


class Suspension(IntEnum):
    """Why a key may not alert now, whatever it scores; the lower-case name closes an episode that is open."""

    NONE = 0
    MAINTENANCE = 1
    MUTED = 2  # the operator never wants to hear of it


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch:
    """Decoded records in arrival order (per partition in offset order).

    Attributes:
        raw, partitions: the N original records, for dead letters, and the partitions they came from.
        keys: N keys as bytes.
        offsets: (N,) int64 Kafka offsets.
        event_times_ms: (N,) int64.
        values: (N, F) float64 in own units, NaN = missing; from the codec (N, I) inputs with codes for categories.
        labels, ids: (N,) bool, True = known anomaly, and N ids or None; each None where nobody asked for them.
        is_spoiled: (N,) bool: a field held no number and counts as missing; None = in no record.
        contents: (N,) uint64 digests of what they say, see `core/contents.py`; None = nobody needs them.
        bad_values: how many of these there are in the whole batch, by feature and reason.
        ignored: records of the same poll that are not meant, and so are nowhere.
    """

    raw: list[RawRecord]
    partitions: list[Partition]
    keys: list[bytes]
    offsets: Ints
    event_times_ms: Ints
    values: Doubles
    labels: Flags | None = None
    ids: list[str | None] | None = None
    is_spoiled: Flags | None = None
    contents: Digests | None = None
    bad_values: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def runs(self) -> Iterator[tuple[Partition, slice]]:
        """Yield each partition with where a run of its records stands; nearly always one run a partition."""
        start = 0
        for partition, run in groupby(self.partitions):
            stop = start + len(list(run))
            yield partition, slice(start, stop)
            start = stop

    def refused(self, index: int, reason: Reason) -> Rejected:
        """Return the record at `index` as one that cannot be used after all."""
        record_id = None if self.ids is None else self.ids[index]
        return Rejected(self.raw[index], reason, reason.meaning, record_id=record_id)

    def take(self, indices: Ints) -> RecordBatch:
        """Return the records at `indices` (n,), in that order; what is counted stays that of the whole batch."""
        taken: dict[str, Any] = {}
        for name in (*_LISTS, *_ARRAYS):
            if (one := getattr(self, name)) is not None:
                taken[name] = one[indices] if name in _ARRAYS else [one[index] for index in indices]
        return replace(self, **taken)


_LISTS = ("raw", "partitions", "keys", "ids")
_ARRAYS = ("offsets", "event_times_ms", "values", "labels", "is_spoiled", "contents")


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """All rows of one key, as read from files: what training and evaluation start from.

    Attributes:
        key: name of the key.
        features: F names, in the order of the columns.
        event_times_ms: (N,) int64, in the order of the source, not necessarily increasing.
        values: (N, F) float64 in the features' own units; NaN = missing.
        labels: (N,) bool, True = known anomaly; None when there are no labels. Never a feature.
        categories: C names of category fields.
        words: (N, C) text of these fields, None = missing; None when there are no such fields.
        ids: (N,) own ids of the rows, None where one has none; None when nobody asked for them.
    """

    key: str
    features: tuple[str, ...]
    event_times_ms: Ints
    values: Doubles
    labels: Flags | None = None
    categories: tuple[str, ...] = ()
    words: Words | None = None
    ids: Words | None = None

    def __len__(self) -> int:
        return len(self.event_times_ms)

    def take(self, rows: Ints | slice) -> Series:
        """Return the rows at these places, in that order."""
        columns = {name: getattr(self, name) for name in ("event_times_ms", "values", "labels", "words", "ids")}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Rows: one record each, or the merge of a key's records in one time bucket. Arrival order.

    Attributes:
        slots: (N,) int32 key slots.
        offsets: (N,) int64 offset of the record that completed the row.
        event_times_ms: (N,) int64; per key never falling, with a grid strictly increasing.
        values: (N, F) float64; NaN = missing.
    """

    slots: Slots
    offsets: Ints
    event_times_ms: Ints
    values: Doubles

    def __len__(self) -> int:
        return len(self.slots)


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """Windows due for scoring; windows of one key in event-time order.

    Attributes:
        slots: (B,) int32.
        offsets: (B,) int64 offset of the record that completed the window's newest row.
        start_times_ms, end_times_ms: (B,) int64 event time of the oldest and newest row.
        values: (B, W, F) float32 distances from `origins`, imputed where missing, oldest step first.
        imputed_shares: (B,) float32 in [0, 1], share of imputed cells.
        is_first: (B,) bool, first window of a key since it was new or resumed after a gap.
        levels: (B, 2, F) float64 mean and scale of the key's rows before the newest one; None = all are scaled alike.
        origins: (B, F) float64 in the features' units, what `values` count from (`core/origins.py`); None = from 0.
        ids: (B,) own ids of the records at `offsets`, None where one has none; None = nobody asked for them.
    """

    slots: Slots
    offsets: Ints
    start_times_ms: Ints
    end_times_ms: Ints
    values: Floats
    imputed_shares: Floats
    is_first: Flags
    levels: Doubles | None = None
    origins: Doubles | None = None
    ids: Words | None = None

    def __len__(self) -> int:
        return len(self.slots)


@dataclass(frozen=True, slots=True, eq=False)
class ErrorBatch:
    """What the model got wrong, on squashed and scaled inputs (core/scaling.py).

    Attributes:
        recent: (B, F) float32 mean squared reconstruction error of the newest steps.
        forecast: (B, F) float32 squared error of the one-step forecast of the newest steps (max over the
            steps that are new in this window, so that a stride above 1 does not dilute a spike).
        expected: (B, F) forecast of the newest row, in own units after `core.key_levels.in_own_units`.
        memory: (B, F) float32 mean squared distance to the nearest remembered window, each feature by itself; None
            where the model has no memory.
        latent: (B, L) float32 code of each window; None unless the runner was asked for it.
    """

    recent: Floats
    forecast: Floats
    expected: Floats | Doubles
    memory: Floats | None = None
    latent: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScoreBatch:
    """Anomaly scores; higher is more anomalous; about 1 on quiet data.

    Attributes:
        totals: (B,) float32 mean over features of `channels`.
        channels: (B, F) float32 whitened error per feature.
        expected: (B, F) as in `ErrorBatch`.
        forecasts: (B,) float32 mean over features of the whitened forecast error alone.
    """

    totals: Floats
    channels: Floats
    expected: Floats | Doubles
    forecasts: Floats

    def take(self, indices: slice) -> ScoreBatch:
        """Return the scores at `indices`."""
        return ScoreBatch(self.totals[indices], self.channels[indices], self.expected[indices], self.forecasts[indices])


@dataclass(frozen=True, slots=True, eq=False)
class VerdictBatch:
    """Scores held against each key's own threshold, with the statistics *before* this score was learnt.

    Attributes:
        statuses: (B,) int8 `Status`; a score above the threshold whose alert is suppressed is `NORMAL`.
        scores: (B,) float64 smoothed score that was compared.
        thresholds: (B,) float64 entry threshold; infinity while learning.
        means, sds: (B,) float64 rolling mean and standard deviation of the key's score.
        counts: (B,) int64 scores learnt by the key so far.
        rarities: (B,) float64 natural logarithm of the number of windows in which the key, behaving as usual, brings
            one score as high; on one scale for all rules.
        states: (B,) int8 `KeyState`.
        suspensions: (B,) int8 `Suspension`.
    """

    statuses: NDArray[np.int8]
    scores: Doubles
    thresholds: Doubles
    means: Doubles
    sds: Doubles
    counts: Ints
    rarities: Doubles
    states: NDArray[np.int8]
    suspensions: NDArray[np.int8]

    @classmethod
    def empty(cls, size: int) -> VerdictBatch:
        """Return room for the verdicts of `size` windows."""
        scores, thresholds, means, sds, rarities = np.zeros((5, size))
        statuses, states, suspensions = np.zeros((3, size), dtype=np.int8)
        counts = np.zeros(size, dtype=np.int64)
        return cls(statuses, scores, thresholds, means, sds, counts, rarities, states, suspensions)

    def take(self, indices: slice) -> VerdictBatch:
        """Return the verdicts at `indices`."""
        return VerdictBatch(**{name: getattr(self, name)[indices] for name in self.__slots__})


@dataclass(frozen=True, slots=True, eq=False)
class Rejected:
    """A record that cannot be used, with the reason for the dead-letter topic.

    Attributes:
        raw, reason: the untouched original, and why: of a closed set, a metric label.
        detail: one sentence for a person; never longer than 512 characters, never holds the payload.
        key: as it was read; None = unknown, or that of Kafka.
        record_id: the record's own id; None = unknown.
    """

    raw: RawRecord
    reason: Reason
    detail: str
    key: bytes | None = None
    record_id: str | None = None

    @property
    def cause(self) -> Cause:
        """The record's place in the input."""
        return Cause(Partition(self.raw.topic, self.raw.partition), self.raw.offset)
