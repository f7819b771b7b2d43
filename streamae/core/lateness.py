"""Records that come in another order than they happened: a key's rows wait until nothing older is allowed to come.

Stands before everything that goes by the order of rows. A row leaves when the key's own newest time is `lateness_ms` past
it, or when there is no room for one more; it carries the offset of the record that made it leave, because a replay meets
that record again, and so does what comes of the row. Nothing depends on batch borders, other keys or a clock.
Must not know: what the values mean, or what becomes of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Digests, Doubles, Flags, Ints, RecordBatch, Slots
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER, STRAYS, Strays
from streamae.core.origins import narrowed
from streamae.core.segments import waves

FREE = np.iinfo(np.int64).max  # event time of a place that holds no row


@dataclass(frozen=True, slots=True, eq=False)
class Released:
    """Rows that left, per key in event-time order.

    Attributes:
        slots: (M,) int32 their slots.
        records: M of them, as far as the stages behind look at them: offsets are those of the records that released
            them, and there are no originals.
        causes: (M,) int64 positions of these records in the pushed batch; None where no record of the key did.
    """

    slots: Slots
    records: RecordBatch
    causes: Ints | None = None


class _Rows(NamedTuple):
    """Rows by themselves: event times (n,), values (n, I), and digests of what they say (n,)."""

    times_ms: Ints
    values: Doubles
    contents: Digests

    @classmethod
    def of(cls, records: RecordBatch, chosen: Ints) -> _Rows:
        contents = np.zeros(len(chosen), dtype=np.uint64) if records.contents is None else records.contents[chosen]
        return cls(records.event_times_ms[chosen], records.values[chosen], contents)

    def take(self, chosen: Flags | Ints) -> _Rows:
        return _Rows(self.times_ms[chosen], self.values[chosen], self.contents[chosen])

    def records(self, offsets: Ints) -> RecordBatch:
        return RecordBatch([], [], [], offsets, self.times_ms, self.values, contents=self.contents)


@dataclass(slots=True)
class _Out:
    """What left so far, in pieces."""

    causes: list[Ints] = field(default_factory=list)
    rows: list[_Rows] = field(default_factory=list)

    def add(self, causes: Ints, rows: _Rows) -> None:
        self.causes.append(causes)
        self.rows.append(rows)

    def joined(self, records: RecordBatch, slots: Slots) -> Released:
        """Return all in the order of their causes; what one record released stays in the order of time."""
        causes = np.concatenate(self.causes)
        order = np.argsort(causes, kind="stable")
        causes = causes[order]
        rows = _Rows(*map(np.concatenate, zip(*self.rows, strict=True))).take(order)
        return Released(slots[causes], rows.records(records.offsets[causes]), causes)


class Lateness:
    """Sorts the rows of each key by event time, as far as lateness is allowed.

    State per key: up to R rows in the order of time, in a ring that begins at `head`; the newest time of a record, and of
    a row that left. Rows of one time stay in the order they came; where rows do not merge, they are told apart here, as
    in `equal_times.py`, because of one that has waited nothing is left to be refused.
    """

    def __init__(
        self, capacity: int, is_exact: Flags, *, lateness_ms: int, most_rows: int, keeps_equal: bool | None
    ) -> None:
        """Prepare for `capacity` key slots.

        Args:
            capacity: key slots (K).
            is_exact: (I,) values of a record that keep 64 bits; the others hold 32.
            lateness_ms: event time that a row waits for older ones, at least 1.
            most_rows: R, rows of a key that wait at most.
            keeps_equal: whether a record that says something else at the time of one that waits is a row; None = nothing
                is refused for its time, as a grid merges it.
        """
        self.lateness_ms, self.most_rows, self.keeps_equal = lateness_ms, most_rows, keeps_equal
        self.is_exact = is_exact
        kinds = {"values": ("<f4", ~is_exact), "exact": ("<f8", is_exact)}
        self._parts = {name: np.flatnonzero(which) for name, (_, which) in kinds.items() if which.any()}  # of a row
        said = {} if keeps_equal is None else {"contents": Field("<u8", (most_rows,), since=2)}
        self.columns = Columns(
            capacity,
            {
                "times": Field("<i8", (most_rows,), FREE, since=2),
                **{name: Field(kinds[name][0], (most_rows, len(part)), since=2) for name, part in self._parts.items()},
                **said,
                "head": Field("<i4", since=2),
                "newest": Field("<i8", (), NEVER, since=2),
                "released": Field("<i8", (), NEVER, since=2),
            },
            "lateness",
        )

    def push(self, records: RecordBatch, slots: Slots, taken_ms: Ints) -> tuple[Released, Strays]:
        """Take records in; return the rows that leave for it, and the records that came too late or twice.

        A record of the time up to which rows have left leaves at once, so that whoever judges rows of one time meets it
        at its own offset.

        Args:
            records: N records, per key in arrival order; with `contents`, unless rows merge.
            slots: (N,) int32 slot of each record.
            taken_ms: (N,) int64 event time of the newest row that the stages behind have taken of each record's key, from
                before this stage was there; `NEVER` = none.
        """
        records, released = replace(records, values=narrowed(records.values, self.is_exact)), self.columns["released"]
        released[slots] = np.maximum(released[slots], taken_ms)
        out, refused = _Out(), np.zeros(len(records), dtype=np.int8)  # 0 = taken, 1 = the first of `STRAYS`
        nothing = np.zeros(0, dtype=np.int64)
        out.add(nothing, _Rows.of(records, nothing))
        for chosen in waves(slots):
            refused[chosen] = self._sort_out(slots[chosen], _Rows.of(records, chosen))
            taken = chosen[refused[chosen] == 0]
            self._take(taken, slots[taken], _Rows.of(records, taken), out)
        indices = np.flatnonzero(refused)
        return out.joined(records, slots), Strays(indices, [STRAYS[code - 1] for code in refused[indices].tolist()])

    def flush(self, slots: Slots, offsets: Ints) -> Released:
        """Return all rows of keys that wait: for a key that falls silent, and for data that ends.

        What is older than these rows is late from now on.

        Args:
            slots: (n,) distinct slots.
            offsets: (n,) of the record that tells that nothing more is to be waited for.
        """
        due = (self.columns["times"][slots] != FREE).sum(axis=1)
        keys, rows = self._pop(slots, due)
        return Released(slots[keys], rows.records(offsets[keys]))

    def _sort_out(self, slots: Slots, rows: _Rows) -> NDArray[np.int8]:
        """Return why one row of each of these keys (n,) is none, as numbers of `STRAYS` from 1 on; 0 = it is one."""
        reasons = (rows.times_ms < self.columns["released"][slots]).astype(np.int8)
        if self.keeps_equal is not None:
            ties = self.columns["times"][slots] == rows.times_ms[:, None]  # (n, R)
            tied = np.flatnonzero(ties.any(axis=1) & (reasons == 0))
            same = self.columns["contents"][slots[tied]] == rows.contents[tied, None]
            is_repeated = (same & ties[tied]).any(axis=1)
            reasons[tied] = np.where(is_repeated, 2, 0 if self.keeps_equal else 3)
        return reasons

    def _take(self, taken: Ints, slots: Slots, rows: _Rows, out: _Out) -> None:
        """Take one row of each of these keys in: positions of the records (n,), and slots (n,)."""
        columns, times = self.columns, rows.times_ms
        held, newest = columns["times"][slots], np.maximum(columns["newest"][slots], times)
        leaves = (times <= newest - self.lateness_ms) | (times == columns["released"][slots])
        due = (held <= np.where(leaves, times, newest - self.lateness_ms)[:, None]).sum(axis=1)
        is_full = ~leaves & (due == 0) & (held != FREE).all(axis=1)
        is_oldest = is_full & (times < held.min(axis=1))
        leaves |= is_oldest
        due[is_full & ~is_oldest] = 1
        keys, gone = self._pop(slots, due)
        out.add(taken[keys], gone)
        out.add(taken[leaves], rows.take(leaves))
        columns["newest"][slots] = newest
        columns["released"][slots[leaves]] = times[leaves]
        self._insert(slots[~leaves], rows.take(~leaves))

    def _pop(self, slots: Slots, due: Ints) -> tuple[Ints, _Rows]:
        """Remove the `due` (n,) oldest rows of each slot (n,); return whose they were, as positions in `slots`, and them."""
        columns = self.columns
        keys = np.repeat(np.arange(len(slots)), due)
        ranks = np.arange(len(keys)) - np.repeat(np.cumsum(due) - due, due)
        heads, owners = columns["head"][slots], slots[keys]
        places = (heads[keys] + ranks) % self.most_rows
        times, values = columns["times"][owners, places], np.empty((len(keys), len(self.is_exact)))
        for name, part in self._parts.items():
            values[:, part] = columns[name][owners, places]
        is_told = self.keeps_equal is not None
        contents = columns["contents"][owners, places] if is_told else np.zeros(len(keys), dtype=np.uint64)
        columns["times"][owners, places] = FREE
        np.maximum.at(columns["released"], owners, times)
        columns["head"][slots] = (heads + due) % self.most_rows
        return keys, _Rows(times, values, contents)

    def _insert(self, slots: Slots, rows: _Rows) -> None:
        """Put one row of each of these keys (n,) in its place: behind all that are not newer."""
        columns, times = self.columns, rows.times_ms
        held, heads = columns["times"][slots], columns["head"][slots]
        counts, ranks = (held != FREE).sum(axis=1), (held <= times[:, None]).sum(axis=1)
        within = np.flatnonzero(ranks < counts)
        if len(within):
            self._make_room(slots[within], ranks[within])
        places = (heads + ranks) % self.most_rows
        columns["times"][slots, places] = times
        for name, part in self._parts.items():
            columns[name][slots, places] = rows.values[:, part]
        if self.keeps_equal is not None:
            columns["contents"][slots, places] = rows.contents

    def _make_room(self, slots: Slots, ranks: Ints) -> None:
        """Move the rows of slots (n,) from `ranks` (n,) on by one; there is room behind the newest."""
        columns, steps = self.columns, np.arange(self.most_rows)
        into = (columns["head"][slots][:, None] + steps) % self.most_rows
        source = np.where(steps > ranks[:, None], np.roll(into, 1, axis=1), into)
        for name in ("times", *self._parts, *(("contents",) if self.keeps_equal is not None else ())):
            columns[name][slots[:, None], into] = columns[name][slots[:, None], source]
