"""The stream of a torture run: seeded, computed from its description alone, with anomalies at known records.

The values are small integers, so that squares, means and float32 are exact and every score has one right answer.
Must not know: Kafka, or how a window is scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FEATURES = ("temp", "load")
START_MS, STEP_MS = 1_700_000_000_000, 1_000
SPIKE = 40  # far above every threshold: its score is (40^2 + x^2) / 2 >= 800, that of quiet rows at most 4
LARGEST_QUIET = 2
SPIKE_SHARE = 0.3  # of the keys have one anomaly
FIRST_SPIKE_ROW, LAST_SPIKE_ROW = 25, 40  # late enough to have learnt, early enough to close again


class Stream(Protocol):
    """What flows through a trial: records whose offsets are known beforehand."""

    @property
    def keys(self) -> int:
        """Distinct keys."""
        ...

    @property
    def partitions(self) -> int:
        """Partitions of the input topic."""
        ...

    @property
    def records(self) -> int:
        """Records of the whole stream."""
        ...

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Offset of each record in its partition, (N,), in order of production."""
        ...

    def ends(self, count: int | None = None) -> dict[int, int]:
        """Return the end offset of each partition after the first `count` records; None = all."""
        ...

    def produced(self, start: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (partition, key, value) of the records [start, end) in order of production."""
        ...


@dataclass(frozen=True)
class Workload:
    """A stream of `keys * rows` records; equal descriptions are equal streams.

    Attributes:
        keys: distinct keys; key i is in partition i modulo `partitions`.
        rows: records a key, one event-time step apart.
        partitions: of the input topic.
        seed: of values, order and anomalies.
    """

    keys: int = 1_000
    rows: int = 60
    partitions: int = 6
    seed: int = 0

    @property
    def records(self) -> int:
        """Records of the whole stream."""
        return self.keys * self.rows

    @property
    def name(self) -> str:
        """Short name that differs where the streams differ."""
        return "-".join(str(part) for part in asdict(self).values())

    @cached_property
    def order(self) -> NDArray[np.int32]:
        """Key index of each record in order of production, (N,): row by row, the keys of a row shuffled."""
        rng = np.random.default_rng([self.seed, 1])
        return np.concatenate([rng.permutation(self.keys) for _ in range(self.rows)]).astype(np.int32)

    @cached_property
    def values(self) -> NDArray[np.int32]:
        """Values by row, key and feature, (rows, keys, F)."""
        rng = np.random.default_rng([self.seed, 2])
        values = rng.integers(-LARGEST_QUIET, LARGEST_QUIET, (self.rows, self.keys, len(FEATURES)), endpoint=True)
        for key, row in self.spikes.items():
            values[row, key, 0] = SPIKE
        return values.astype(np.int32)

    @cached_property
    def spikes(self) -> dict[int, int]:
        """Row of the anomaly by key index; keys without one are not there."""
        rng = np.random.default_rng([self.seed, 3])
        chosen = np.sort(rng.choice(self.keys, int(self.keys * SPIKE_SHARE), replace=False))
        last = min(LAST_SPIKE_ROW, self.rows - 1)
        rows = rng.integers(min(FIRST_SPIKE_ROW, last), last, len(chosen), endpoint=True)
        return dict(zip(chosen.tolist(), rows.tolist(), strict=True))

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Offset of each record in its partition, (N,), in order of production."""
        offsets = np.empty(self.records, dtype=np.int64)
        partitions = self.order % self.partitions
        for partition in range(self.partitions):
            mine = np.flatnonzero(partitions == partition)
            offsets[mine] = np.arange(len(mine))
        return offsets

    def key(self, index: int) -> bytes:
        """Return the record key of a key index."""
        return b"key-%05d" % index

    def ends(self, count: int | None = None) -> dict[int, int]:
        """Return the end offset of each partition after the first `count` records; None = all."""
        counts = np.bincount(self.order[:count] % self.partitions, minlength=self.partitions)
        return dict(enumerate(counts.tolist()))

    def produced(self, start: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (partition, key, value) of the records [start, end) in order of production."""
        for number in range(start, min(end, self.records)):
            key, row = int(self.order[number]), number // self.keys
            content: dict[str, Any] = dict(zip(FEATURES, self.values[row, key].tolist(), strict=True))
            yield key % self.partitions, self.key(key), json.dumps(content | {"ts": START_MS + row * STEP_MS}).encode()
