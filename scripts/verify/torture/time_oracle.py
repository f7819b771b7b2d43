"""What time must bring, computed from the records alone: dead letters by offset, and how silences open and close.

One record after the other, one dictionary a key, in the words of the documentation: no code of the engine takes part.
Must not know: the engine, Kafka, Redis, or how the stream was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

LONG_AGO = -(2**62)
IN_A_ROW = 8  # records of a clock that was set back
LEAST_GAPS, FULL_GAPS, KEPT_GAPS = 8, 128, 64  # of a usual gap: to be known; to be thinned out, and to how many
REMEMBERED = 8  # rows of a key at its newest time

Values = tuple[int, ...]


@dataclass(frozen=True)
class Rules:
    """The settings that count here, by their names.

    Attributes:
        max_jump_ms, lateness_ms, max_gap_ms: of the window section.
        window: rows of a window.
        max_step_ms, raster_ms, forget_ms, after_ms: of the silence section.
        after_gaps: by pattern of the keys, its multiple of the usual gap; for them `after_ms` does not count.
    """

    max_jump_ms: int
    lateness_ms: int
    max_gap_ms: int
    window: int
    max_step_ms: int
    raster_ms: int
    after_ms: int
    forget_ms: int
    after_gaps: Mapping[str, float] = field(default_factory=dict)


class Record(NamedTuple):
    """One record of a partition; its offset is its place in the sequence."""

    key: bytes
    time_ms: int
    values: Values


class Window(NamedTuple):
    """One window that is scored: the record that completes it, whose it is, and the time of its newest row."""

    offset: int
    key: bytes
    time_ms: int


class Silence(NamedTuple):
    """One change of a silence: the record that brings it, whose silence, and what happens (opened, returned, ended)."""

    offset: int
    key: bytes
    what: str


@dataclass
class Expected:
    """What must come of one partition.

    Attributes:
        letters: reason by offset.
        silences, windows: in order.
    """

    letters: dict[int, str] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)


@dataclass
class _Key:
    newest_ms: int = LONG_AGO  # that its clock has shown
    candidate_ms: int | None = None
    far_late: list[int] = field(default_factory=list)  # times in a row
    arrived_ms: int = LONG_AGO  # newest time that came into the buffer
    waiting: list[tuple[int, Values]] = field(default_factory=list)
    released_ms: int = LONG_AGO  # newest time that left the buffer
    said: list[Values] = field(default_factory=list)  # at that time
    rows: int = 0  # without a gap between them
    sign_ms: int | None = None  # active time of its newest record that was not refused for its time
    gaps: int = 0
    total_ms: int = 0
    is_over: bool = False  # its gap went beyond its limit
    is_silent: bool = False


class _Partition:
    def __init__(self, rules: Rules) -> None:
        self.rules, self.keys = rules, dict[bytes, _Key]()
        self.reached_ms = self.leader_ms = LONG_AGO
        self.leader = b""
        self.active_ms = 0
        self.candidate_ms: int | None = None
        self.found = Expected()

    def take(self, offset: int, record: Record) -> None:
        key, before_ms = self.keys.setdefault(record.key, _Key()), self.active_ms
        judgement = self._judge_clock(key, record.time_ms)
        if judgement == "ahead":
            self.found.letters[offset] = "clock_jump"
            return
        if judgement != "far late":
            self._advance(record)
        self._hear(offset, record.key, key)
        if self.active_ms // self.rules.raster_ms > before_ms // self.rules.raster_ms:
            self._look_around(offset)
        if judgement == "set back":
            self._release(offset, record.key, key)
            key.arrived_ms, key.released_ms, key.said, key.rows = LONG_AGO, LONG_AGO, [], 0
        reason = self._sort_in(offset, record, key)
        if reason:
            self.found.letters[offset] = reason

    def _judge_clock(self, key: _Key, time_ms: int) -> str:
        jump_ms, known_ms = self.rules.max_jump_ms, max(key.newest_ms, self.reached_ms)
        if known_ms != LONG_AGO and time_ms > known_ms + jump_ms:
            near = (each for each in (key.candidate_ms, self.candidate_ms) if each is not None)
            if not any(abs(time_ms - each) <= jump_ms for each in near):
                key.candidate_ms = self.candidate_ms = time_ms
                key.far_late = []
                return "ahead"
            key.newest_ms, key.candidate_ms, key.far_late = time_ms, None, []
            return "accepted"
        if key.newest_ms != LONG_AGO and time_ms < key.newest_ms - jump_ms:
            is_next = key.far_late and time_ms >= key.far_late[-1]
            key.far_late = [*key.far_late, time_ms] if is_next else [time_ms]
            if len(key.far_late) < IN_A_ROW:
                return "far late"
            key.newest_ms = time_ms
            self.candidate_ms = key.candidate_ms = None
            key.far_late = []
            return "set back"
        key.newest_ms = max(key.newest_ms, time_ms)
        self.candidate_ms = key.candidate_ms = None
        key.far_late = []
        return "accepted"

    def _advance(self, record: Record) -> None:
        key, time_ms = record.key, record.time_ms
        if time_ms <= self.reached_ms:
            return
        if self.leader_ms == LONG_AGO:
            self.leader, self.leader_ms = key, time_ms
        elif key == self.leader:
            self.leader_ms = max(self.leader_ms, time_ms)
        else:
            reached_ms = min(time_ms, self.leader_ms)
            if self.reached_ms != LONG_AGO:
                self.active_ms += min(reached_ms - self.reached_ms, self.rules.max_step_ms)
            self.reached_ms = reached_ms
            if time_ms > self.leader_ms:
                self.leader, self.leader_ms = key, time_ms

    def _hear(self, offset: int, name: bytes, key: _Key) -> None:
        if key.is_silent:
            self.found.silences.append(Silence(offset, name, "returned"))
        if key.sign_ms is not None and not key.is_over:
            key.gaps, key.total_ms = key.gaps + 1, key.total_ms + self.active_ms - key.sign_ms
            if key.gaps >= FULL_GAPS:
                key.gaps, key.total_ms = KEPT_GAPS, key.total_ms // 2
        key.sign_ms, key.is_over, key.is_silent = self.active_ms, False, False

    def _look_around(self, offset: int) -> None:
        for name, key in sorted(self.keys.items()):
            if key.sign_ms is None:
                continue
            gap_ms = self.active_ms - key.sign_ms
            limit_ms = self._limit_ms(name, key)
            if limit_ms is not None and gap_ms > limit_ms and not key.is_over:
                key.is_over = key.is_silent = True
                self._release(offset, name, key)
                self.found.silences.append(Silence(offset, name, "opened"))
            if gap_ms > self.rules.forget_ms:
                if key.is_silent:
                    self.found.silences.append(Silence(offset, name, "ended"))
                del self.keys[name]

    def _limit_ms(self, name: bytes, key: _Key) -> float | None:
        for pattern, factor in self.rules.after_gaps.items():
            if fnmatchcase(name.decode(), pattern):
                return max(1.0, factor * key.total_ms / key.gaps) if key.gaps >= LEAST_GAPS else None
        return self.rules.after_ms

    def _sort_in(self, offset: int, record: Record, key: _Key) -> str | None:
        time_ms, values = record.time_ms, record.values
        if time_ms < key.released_ms:
            return "late"
        said = key.said if time_ms == key.released_ms else []
        if values in said or (time_ms, values) in key.waiting:
            return "duplicate"
        key.arrived_ms = max(key.arrived_ms, time_ms)
        key.waiting.append((time_ms, values))
        self._release(offset, record.key, key, max(key.arrived_ms - self.rules.lateness_ms, key.released_ms))
        return None

    def _release(self, offset: int, name: bytes, key: _Key, up_to_ms: int = -LONG_AGO) -> None:
        due = sorted((row for row in key.waiting if row[0] <= up_to_ms), key=lambda row: row[0])
        key.waiting = [row for row in key.waiting if row[0] > up_to_ms]
        for time_ms, values in due:
            if time_ms - key.released_ms > self.rules.max_gap_ms:
                key.rows = 0
            if time_ms > key.released_ms:
                key.released_ms, key.said = time_ms, []
            key.said = [*key.said, values][-REMEMBERED:]
            key.rows += 1
            if key.rows >= self.rules.window:
                self.found.windows.append(Window(offset, name, time_ms))


def expected(records: Iterable[Record], rules: Rules) -> Expected:
    """Return what must come of the records of one partition, in order of offset."""
    partition = _Partition(rules)
    for offset, record in enumerate(records):
        partition.take(offset, record)
    return partition.found
