"""Records that come in another order than they happened: a key's rows wait until nothing older is allowed to come.

Stands before everything that goes by the order of rows. A row leaves when the key's own newest time is `lateness_ms` past
it, or when there is no room for one more; it carries the offset of the record that made it leave, because a replay meets
that record again, and so does what comes of the row. Nothing depends on batch borders, other keys or a clock.
Must not know: what the values mean, or what becomes of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Doubles, Ints, RecordBatch, Slots
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER, Strays
from streamae.core.segments import waves
from streamae.reasons import Reason

FREE = np.iinfo(np.int64).max  # event time of a place that holds no row


@dataclass(frozen=True, slots=True, eq=False)
class Released:
    """Rows that left, per key in event-time order.

    Attributes:
        slots: (M,) int32 their slots.
        records: M of them; offsets are those of the records that released them, and there are no originals.
        causes: (M,) int64 positions of these records in the pushed batch; None where no record of the key did.
    """

    slots: Slots
    records: RecordBatch
    causes: Ints | None = None


@dataclass(slots=True)
class _Out:
    """What left so far, in pieces."""

    causes: list[Ints] = field(default_factory=list)
    times_ms: list[Ints] = field(default_factory=list)
    values: list[Doubles] = field(default_factory=list)

    def add(self, causes: Ints, times_ms: Ints, values: Doubles) -> None:
        self.causes.append(causes)
        self.times_ms.append(times_ms)
        self.values.append(values)

    def joined(self, records: RecordBatch, slots: Slots) -> Released:
        """Return all in the order of their causes; what one record released stays in the order of time."""
        causes = np.concatenate(self.causes)
        order = np.argsort(causes, kind="stable")
        causes = causes[order]
        rows = _rows(records.offsets[causes], np.concatenate(self.times_ms)[order], np.concatenate(self.values)[order])
        return Released(slots[causes], rows, causes)


class Lateness:
    """Sorts the rows of each key by event time, as far as lateness is allowed.

    State per key: up to R rows in the order of time, in a ring that begins at `head`; the newest time of a record, and of
    a row that left.
    """

    def __init__(self, capacity: int, inputs: int, *, lateness_ms: int, most_rows: int, merges: bool) -> None:
        """Prepare for `capacity` key slots.

        Args:
            capacity: key slots (K).
            inputs: I, values of a record.
            lateness_ms: event time that a row waits for older ones, at least 1.
            most_rows: R, rows of a key that wait at most.
            merges: rows of one time belong together (a grid); else the second one is refused.
        """
        self.lateness_ms, self.most_rows, self.merges = lateness_ms, most_rows, merges
        self.columns = Columns(
            capacity,
            {
                "times": Field("<i8", (most_rows,), FREE, since=2),
                "values": Field("<f8", (most_rows, inputs), since=2),
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
            records: N records, per key in arrival order.
            slots: (N,) int32 slot of each record.
            taken_ms: (N,) int64 event time of the newest row that the stages behind have taken of each record's key, from
                before this stage was there; `NEVER` = none.
        """
        released = self.columns["released"]
        released[slots] = np.maximum(released[slots], taken_ms)
        out, refused = _Out(), np.zeros(len(records), dtype=np.int8)
        out.add(np.zeros(0, dtype=np.int64), records.event_times_ms[:0], records.values[:0])
        for chosen in waves(slots):
            times = records.event_times_ms[chosen]
            is_late = times < released[slots[chosen]]
            is_twice = (
                ~is_late & (self.columns["times"][slots[chosen]] == times[:, None]).any(axis=1) & (not self.merges)
            )
            refused[chosen] = np.where(is_late, 1, 2 * is_twice)
            taken = chosen[~(is_late | is_twice)]
            self._take(taken, slots[taken], records, out)
        indices = np.flatnonzero(refused)
        reasons = [Reason.LATE if code == 1 else Reason.DUPLICATE for code in refused[indices].tolist()]
        return out.joined(records, slots), Strays(indices, reasons)

    def flush(self, slots: Slots, offsets: Ints) -> Released:
        """Return all rows of keys that wait: for a key that falls silent, and for data that ends.

        What is older than these rows is late from now on.

        Args:
            slots: (n,) distinct slots.
            offsets: (n,) of the record that tells that nothing more is to be waited for.
        """
        due = (self.columns["times"][slots] != FREE).sum(axis=1)
        keys, times, values = self._pop(slots, due)
        return Released(slots[keys], _rows(offsets[keys], times, values))

    def restart(self, slots: Slots) -> None:
        """Let the time of keys begin anew, wherever their next record stands; `flush` them first."""
        self.columns["newest"][slots] = self.columns["released"][slots] = NEVER

    def _take(self, taken: Ints, slots: Slots, records: RecordBatch, out: _Out) -> None:
        """Take one record of each of these keys in: positions (n,) and slots (n,)."""
        columns, times = self.columns, records.event_times_ms[taken]
        held, newest = columns["times"][slots], np.maximum(columns["newest"][slots], times)
        leaves = (times <= newest - self.lateness_ms) | (times == columns["released"][slots])
        due = (held <= np.where(leaves, times, newest - self.lateness_ms)[:, None]).sum(axis=1)
        is_full = ~leaves & (due == 0) & (held != FREE).all(axis=1)
        is_oldest = is_full & (times < held.min(axis=1))
        leaves |= is_oldest
        due[is_full & ~is_oldest] = 1
        keys, gone_ms, values = self._pop(slots, due)
        out.add(taken[keys], gone_ms, values)
        out.add(taken[leaves], times[leaves], records.values[taken[leaves]])
        columns["newest"][slots] = newest
        columns["released"][slots[leaves]] = times[leaves]
        self._insert(slots[~leaves], times[~leaves], records.values[taken[~leaves]])

    def _pop(self, slots: Slots, due: Ints) -> tuple[Ints, Ints, Doubles]:
        """Remove the `due` (n,) oldest rows of each slot (n,); return whose they were, their times, and their values."""
        columns = self.columns
        keys = np.repeat(np.arange(len(slots)), due)
        ranks = np.arange(len(keys)) - np.repeat(np.cumsum(due) - due, due)
        heads, owners = columns["head"][slots], slots[keys]
        places = (heads[keys] + ranks) % self.most_rows
        times, values = columns["times"][owners, places], columns["values"][owners, places]
        columns["times"][owners, places] = FREE
        np.maximum.at(columns["released"], owners, times)
        columns["head"][slots] = (heads + due) % self.most_rows
        return keys, times, values

    def _insert(self, slots: Slots, times: Ints, values: Doubles) -> None:
        """Put one row of each of these keys (n,) in its place: behind all that are not newer."""
        columns = self.columns
        held, heads = columns["times"][slots], columns["head"][slots]
        counts, ranks = (held != FREE).sum(axis=1), (held <= times[:, None]).sum(axis=1)
        within = np.flatnonzero(ranks < counts)
        if len(within):
            self._make_room(slots[within], ranks[within])
        places = (heads + ranks) % self.most_rows
        columns["times"][slots, places], columns["values"][slots, places] = times, values

    def _make_room(self, slots: Slots, ranks: Ints) -> None:
        """Move the rows of slots (n,) from `ranks` (n,) on by one; there is room behind the newest."""
        columns, steps = self.columns, np.arange(self.most_rows)
        into = (columns["head"][slots][:, None] + steps) % self.most_rows
        source = np.where(steps > ranks[:, None], np.roll(into, 1, axis=1), into)
        for name in ("times", "values"):
            columns[name][slots[:, None], into] = columns[name][slots[:, None], source]


def _rows(offsets: Ints, times_ms: Ints, values: Doubles) -> RecordBatch:
    return RecordBatch([], [], [], offsets, times_ms, values)
