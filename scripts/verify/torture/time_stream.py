"""A stream in which time goes wrong: keys that stop, clocks that jump or are set back, late records, equal times.

Composed of a `Workload`, which gives values, anomalies and the order of a row; everything else follows from its seed.
Must not know: how any of this is judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scripts.verify.torture.workload import FEATURES, LARGEST_QUIET, SPIKE, START_MS, STEP_MS, Workload

LATENESS_MS, MAX_JUMP_MS = 5_000, 600_000  # window.lateness_ms and window.max_jump_ms of the workers
JITTER_MS = 900  # of a record within its row's step
PAUSE_MS = 300_000  # in which no key at all says anything
JUMP_MS, SET_BACK_MS = 20 * 3_600_000, 3 * 3_600_000
LATE_ROWS, TOO_LATE_ROWS = 3, 9  # a record comes behind so many later rows of its key: allowed, not allowed
STOP_ROWS = (4, 45)  # how long a key says nothing: from unnoticed to forgotten
GATEWAY_ROWS = 14
ROWS_LEFT = 14  # behind a clock that was put right: more than it takes to be believed
SHARES = {"damaged": 0.08, "gone": 0.05, "stops": 0.15, "jumps": 0.06, "set_back": 0.03}
LATE_SHARE, TOO_LATE_SHARE, AGAIN_SHARE, MORE_SHARE = 0.1, 0.01, 0.02, 0.02  # of the records
VICTIM_SPIKE_ROWS = 16  # between two anomalies of a key whose state will be damaged: one is open most of the time
QUIET_ROWS = 30  # without these at the end: all episodes of such a key have an end


class Sent(NamedTuple):
    """One record as it is sent.

    Attributes:
        key: its index.
        time_ms: event time.
        values: of all features.
    """

    key: int
    time_ms: int
    values: tuple[int, ...]


class Place(NamedTuple):
    """Where in the order of production a record stands: behind all that compare less."""

    row: int
    position: int
    part: int = 0


@dataclass(frozen=True)
class TimeStream:
    """A `Stream`; equal descriptions are equal streams.

    Attributes:
        base: gives values, the order of keys within a row, and how many of both there are.
    """

    base: Workload

    @property
    def keys(self) -> int:
        """Distinct keys."""
        return self.base.keys

    @property
    def partitions(self) -> int:
        """Partitions of the input topic; key i is in partition i modulo this."""
        return self.base.partitions

    @property
    def records(self) -> int:
        """Records of the whole stream."""
        return len(self.sent)

    @property
    def name(self) -> str:
        """Short name that differs where the streams differ."""
        return f"time-{self.base.name}"

    @cached_property
    def roles(self) -> dict[str, tuple[int, ...]]:
        """Key indices by what happens to them, see `SHARES`; a key has one role at most.

        One key of each partition runs ahead: two would be the time of their partition.
        """
        left = self._random(1).permutation(self.keys).tolist()
        ahead = [next(key for key in left if key % self.partitions == index) for index in range(self.partitions)]
        left = [key for key in left if key not in ahead]
        found = {"runs_ahead": tuple(ahead)}
        for role, share in SHARES.items():
            count = max(1, int(self.keys * share))
            found[role], left = tuple(left[:count]), left[count:]
        return found

    @cached_property
    def stops(self) -> dict[int, list[tuple[int, int]]]:
        """Rows [from, to) in which a key says nothing, by key index; to the end of the stream where it never comes back.

        One gateway takes half the keys of a partition with it. A key that stops and has an anomaly stops right after it.
        """
        rng, rows = self._random(2), self.base.rows
        found: dict[int, list[tuple[int, int]]] = {}
        for key in self.roles["stops"] + self.roles["gone"]:
            start = self.base.spikes.get(key, int(rng.integers(12, rows * 2 // 3))) + int(rng.integers(1, 4))
            length = int(rng.integers(*STOP_ROWS)) if key in self.roles["stops"] else rows
            found[key] = [(start, min(start + length, rows))]
        gateway, start = int(rng.integers(self.partitions)), rows // 2
        special = {key for keys in self.roles.values() for key in keys}
        behind = [key for key in range(gateway, self.keys, self.partitions) if key not in special]
        return found | {key: [(start, start + GATEWAY_ROWS)] for key in behind[::2]}

    @cached_property
    def sent(self) -> tuple[Sent, ...]:
        """All records in order of production."""
        return tuple(record for _, record in sorted(self._placed(), key=lambda each: each[0]))

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Offset of each record in its partition, (N,), in order of production."""
        following = dict.fromkeys(range(self.partitions), 0)
        offsets = np.empty(self.records, dtype=np.int64)
        for number, record in enumerate(self.sent):
            partition = record.key % self.partitions
            offsets[number] = following[partition]
            following[partition] += 1
        return offsets

    def key(self, index: int) -> bytes:
        """Return the record key of a key index."""
        return self.base.key(index)

    def ends(self, count: int | None = None) -> dict[int, int]:
        """Return the end offset of each partition after the first `count` records; None = all."""
        owners = [record.key % self.partitions for record in self.sent[:count]]
        return dict(enumerate(np.bincount(owners, minlength=self.partitions).tolist()))

    def produced(self, start: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (partition, key, value) of the records [start, end) in order of production."""
        for record in self.sent[start:end]:
            content = dict(zip(FEATURES, record.values, strict=True)) | {"ts": record.time_ms}
            yield record.key % self.partitions, self.key(record.key), json.dumps(content).encode()

    def _placed(self) -> Iterator[tuple[Place, Sent]]:
        rng, base = self._random(3), self.base
        jitter = rng.integers(0, JITTER_MS, (base.rows, base.keys))
        chances = rng.random((base.rows, base.keys, 3))
        victims, jumps = set(self.roles["damaged"]), self._jumps()
        clocks = self._clocks()
        for number, key in enumerate(base.order.tolist()):
            row = number // base.keys
            if any(start <= row < end for start, end in self.stops.get(key, ())):
                continue
            pause_ms = PAUSE_MS if row >= base.rows * 3 // 5 else 0
            time_ms = START_MS + row * STEP_MS + int(jitter[row, key]) + pause_ms
            time_ms += sum(shift_ms for start, end, shift_ms in clocks.get(key, ()) if start <= row < end)
            record = Sent(key, time_ms, self._values(row, key, key in victims))
            delay, again, more = chances[row, key]
            behind = int(rng.integers(1, LATE_ROWS, endpoint=True)) if delay < LATE_SHARE else 0
            if key not in victims and delay > 1 - TOO_LATE_SHARE:
                behind = TOO_LATE_ROWS
            place = Place(row + behind, number)
            if (key, row) in jumps:
                yield place, record._replace(time_ms=time_ms + JUMP_MS)
                continue
            yield place, record
            if key in victims:
                continue
            if again < AGAIN_SHARE:
                yield Place(place.row + int(rng.integers(2)), number, 1), record
            if more < MORE_SHARE:
                yield from self._more(place, record, int(rng.integers(1, 3)))

    def _values(self, row: int, key: int, is_victim: bool) -> tuple[int, ...]:
        first, *rest = self.base.values[row, key].tolist()
        is_time = VICTIM_SPIKE_ROWS < row < self.base.rows - QUIET_ROWS
        is_spike = is_victim and is_time and (row + key) % VICTIM_SPIKE_ROWS == 0
        return (SPIKE if is_spike else first, *rest)

    def _more(self, place: Place, record: Sent, count: int) -> Iterator[tuple[Place, Sent]]:
        """Yield records of the same time that say something else, right behind."""
        first, *rest, last = record.values
        for part in range(1, count + 1):
            other = (last + LARGEST_QUIET + part) % (2 * LARGEST_QUIET + 1) - LARGEST_QUIET
            yield Place(place.row, place.position, 1 + part), record._replace(values=(first, *rest, other))

    def _jumps(self) -> set[tuple[int, int]]:
        """Return key and row of the records whose stamp alone is far ahead."""
        rng = self._random(4)
        return {(key, int(rng.integers(5, self.base.rows))) for key in self.roles["jumps"] for _ in range(2)}

    def _clocks(self) -> dict[int, list[tuple[int, int, int]]]:
        """Return rows [from, to) in which a clock goes wrong, with its error, by key index.

        Both kinds are put right again: then one goes forward by hours, the other back.
        """
        rng, rows, found = self._random(5), self.base.rows, dict[int, list[tuple[int, int, int]]]()
        for key in self.roles["set_back"] + self.roles["runs_ahead"]:
            start = int(rng.integers(8, rows // 2 - 4))
            end = start + int(rng.integers(8, rows // 2 - ROWS_LEFT))
            shift_ms = -SET_BACK_MS if key in self.roles["set_back"] else JUMP_MS // 2
            found[key] = [(start, end, shift_ms)]
        return found

    def _random(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.base.seed, 20, part])
