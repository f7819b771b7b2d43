"""Streams, batches and verdicts for tests of the core, with everything a test does not care about filled in.

A stream is a plain list of arrivals in the order of one topic; the position is the offset. The strategies make
streams that are late, repeated, gappy and full of holes, and random ways to cut them into batches.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from streamae.batches import (
    KeyState,
    Partition,
    RecordBatch,
    RowBatch,
    ScoreBatch,
    Slots,
    Status,
    VerdictBatch,
    WindowBatch,
)
from streamae.core.columns import Columns
from streamae.core.contents import contents_of
from tests.records import Record

NAN = float("nan")
START_MS = 1_700_000_000_000
KEYS = 4
FEATURES = 2
PARTITION = Partition("sensors", 0)

# The same examples on every machine: as many as the profile says, and at most 60.
quick = settings(max_examples=min(60, settings.default.max_examples), deadline=None, derandomize=True)


class Arrival(NamedTuple):
    """One record, or one row, of a key."""

    slot: int
    time_ms: int
    values: tuple[float, ...]


def slots_of(*numbers: int) -> Slots:
    """Return slots as the core wants them."""
    return np.array(numbers, dtype=np.int32)


def every_slot(capacity: int = KEYS) -> Slots:
    """Return all slots of a table."""
    return np.arange(capacity, dtype=np.int32)


def cleared(stage: Any, capacity: int = KEYS) -> Any:
    """Return a stage whose slots are all those of new keys, as the engine prepares them."""
    stage.columns.reset(every_slot(capacity))
    return stage


def state_of(stage: Any, slots: Slots | None = None) -> bytes:
    """Return the packed state of a stage: what a checkpoint would store."""
    columns: Columns = stage.columns
    return columns.export(every_slot(len(columns[next(iter(columns.fields))])) if slots is None else slots).tobytes()


def record_batch(stream: Sequence[Arrival], start: int = 0, stop: int | None = None) -> tuple[RecordBatch, Slots]:
    """Return the records `start` to `stop` of a stream, with their slots."""
    part = stream[start:stop]
    features = len(stream[0].values) if stream else FEATURES
    values = np.array([arrival.values for arrival in part], dtype=np.float64).reshape(len(part), features)
    batch = RecordBatch(
        raw=[Record(None) for _ in part],
        partitions=[PARTITION] * len(part),
        keys=[b"%d" % arrival.slot for arrival in part],
        offsets=np.arange(start, start + len(part), dtype=np.int64),
        event_times_ms=np.array([arrival.time_ms for arrival in part], dtype=np.int64),
        values=values,
        contents=contents_of(values),
    )
    return batch, slots_of(*(arrival.slot for arrival in part))


def row_batch(stream: Sequence[Arrival], start: int = 0, stop: int | None = None) -> RowBatch:
    """Return the rows `start` to `stop` of a stream whose times never fall per key."""
    records, slots = record_batch(stream, start, stop)
    return RowBatch(slots, records.offsets, records.event_times_ms, records.values)


def series(slot: int, values: Sequence[float], step_ms: int = 100, start_ms: int = START_MS) -> list[Arrival]:
    """Return regular rows of one key; both features have the same value."""
    return [Arrival(slot, start_ms + i * step_ms, (value,) * FEATURES) for i, value in enumerate(values)]


def pieces(length: int, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return start and stop of the batches that `cuts` make of `length` elements; some may be empty."""
    return itertools.pairwise([0, *sorted(min(cut, length) for cut in cuts), length])


def per_key(batch: RowBatch | WindowBatch) -> dict[int, list[tuple[Any, ...]]]:
    """Return the elements of a batch by key, exact to the bit: arrays as bytes."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    names = type(batch).__slots__
    for position, slot in enumerate(batch.slots.tolist()):
        found[slot].append(
            tuple(
                _exact(getattr(batch, name)[position])
                for name in names
                if name != "slots" and getattr(batch, name) is not None
            )
        )
    return dict(found)


def merged(found: Sequence[dict[int, list[Any]]]) -> dict[int, list[Any]]:
    """Join what several batches gave, key by key."""
    total: dict[int, list[Any]] = defaultdict(list)
    for part in found:
        for slot, elements in part.items():
            total[slot] += elements
    return dict(total)


def frozen_bytes(*arrays: np.ndarray[Any, Any]) -> list[bytes]:
    """Return copies of arrays as bytes, to see later that nobody wrote into them."""
    return [array.tobytes() for array in arrays]


def window_batch(
    slots: Sequence[int],
    end_times_ms: Sequence[int],
    *,
    is_first: Sequence[bool] | None = None,
    first_offset: int = 0,
    newest: Any = None,
    imputed_share: float = 0.0,
) -> WindowBatch:
    """Return windows of two steps of 100 ms; `newest` (B, F) are the values of the newest step."""
    count = len(slots)
    ends = np.array(end_times_ms, dtype=np.int64)
    rows = np.zeros((count, FEATURES), np.float32) if newest is None else np.asarray(newest, dtype=np.float32)
    return WindowBatch(
        slots_of(*slots),
        np.arange(first_offset, first_offset + count, dtype=np.int64),
        ends - 100,
        ends,
        np.repeat(rows[:, None, :], 2, axis=1),
        np.full(count, imputed_share, dtype=np.float32),
        np.zeros(count, dtype=np.bool_) if is_first is None else np.array(is_first, dtype=np.bool_),
    )


def score_batch(totals: Sequence[float], channels: Any = None, expected: Any = None) -> ScoreBatch:
    """Return scores; every channel has the total unless told otherwise."""
    values = np.array(totals, dtype=np.float32)
    spread = np.repeat(values[:, None], FEATURES, axis=1)
    return ScoreBatch(
        values,
        spread if channels is None else np.asarray(channels, dtype=np.float32),
        np.zeros_like(spread) if expected is None else np.asarray(expected, dtype=np.float32),
        values,
    )


def verdict_batch(scores: Sequence[float], *, mean: float = 1.0, threshold: float = 2.0) -> VerdictBatch:
    """Return verdicts of keys that all have the same statistics; above the threshold is anomalous."""
    values = np.array(scores, dtype=np.float64)
    ratios = np.maximum((values - mean) / (threshold - mean), 1e-9)
    return VerdictBatch(
        np.where(values > threshold, Status.ANOMALOUS, Status.NORMAL).astype(np.int8),
        values,
        np.full(len(values), threshold),
        np.full(len(values), mean),
        np.full(len(values), 0.25),
        np.full(len(values), 50, dtype=np.int64),
        np.log(2_500.0 * ratios**2),  # severity 100 r / (1 + r)
        np.full(len(values), KeyState.READY, dtype=np.int8),
        np.zeros(len(values), dtype=np.int8),
    )


VALUES = st.sampled_from([NAN, NAN, 0.0, -0.0, 1.0, -2.5, 0.1, 1e-9, 3e7, -3e7, 1e30, 1.0 / 3.0])
CUTS = st.lists(st.integers(0, 60), max_size=5)


@st.composite
def streams(draw: st.DrawFn, steps_ms: Sequence[int] = (-230, -100, 0, 30, 100, 100, 250, 450, 2_000)) -> list[Arrival]:
    """Interleaved keys; each arrival is one of `steps_ms` from its key's last one, so late and repeated ones occur."""
    drawn = draw(st.lists(st.tuples(st.integers(0, KEYS - 1), st.sampled_from(steps_ms), VALUES, VALUES), max_size=60))
    clocks = [START_MS + 7 * slot for slot in range(KEYS)]
    found = []
    for slot, step_ms, *values in drawn:
        clocks[slot] += step_ms
        found.append(Arrival(slot, clocks[slot], tuple(values)))
    return found


def ordered_streams() -> st.SearchStrategy[list[Arrival]]:
    """Streams whose times never fall per key: several rows of one time, and gaps of more than a second, among them."""
    return streams(steps_ms=(0, 50, 100, 100, 100, 100, 1_000, 1_001, 5_000))


def _exact(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray) and value.ndim else value.item()
