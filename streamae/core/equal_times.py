"""Records of one key and one time: which are the same record again, and which have something else to say.

Several transactions can fall into one second, and each counts; a record that came twice counts once. A key remembers
the digests of its newest rows at its newest time, so what is a repetition depends on the key's own earlier rows only,
never on batch borders. Must not know what a record says, or how rows are made of it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from streamae.batches import Digests, Flags, Ints, Slots
from streamae.core.columns import Columns, Field
from streamae.core.segments import Segments

REMEMBERED = 8  # rows of a key at its newest time


class Timely(NamedTuple):
    """Records that are not late, sorted by slot, those of a slot in arrival order.

    Attributes:
        slots: (M,).
        contents: (M,) digests, see `core/contents.py`.
        is_tie: (M,) bool: its time is that of the key's newest record before it.
    """

    slots: Slots
    contents: Digests
    is_tie: Flags


class EqualTimes:
    """Tells records of a key's newest time apart. The state is in the `Columns` it is given."""

    def __init__(self, *, keeps: bool) -> None:
        """Prepare.

        Args:
            keeps: whether other content at the newest time is a row of its own.
        """
        self.keeps = keeps

    def fields(self) -> dict[str, Field]:
        """Return the state of a key: digests of its newest rows at its newest time, newest first, 0 = none."""
        return {"contents": Field("<u8", (REMEMBERED,), since=2)}

    def sort_out(self, columns: Columns, records: Timely) -> tuple[Flags, Flags]:
        """Tell which records are no rows, and remember those that are.

        Args:
            columns: with the state of `fields`, mutated.
            records: M of them.

        Returns:
            (M,) which repeat one of the newest rows of their key at their time, and (M,) which say something else at
            that time although only one row of a time is wanted.
        """
        slots, contents, is_tie = records
        nothing = np.zeros(len(slots), dtype=np.bool_)
        if not is_tie.any():  # nearly always: no two records of a key have one time
            self._remember(columns, records, np.arange(len(slots)), _Times.of(slots, is_tie))
            return nothing, nothing
        times = _Times.of(slots, is_tie)
        if self.keeps:
            repeats, others = _repeats(columns["contents"], records, times), nothing
        else:
            known = np.where(times.goes_on[:, None], columns["contents"][slots[times.starts]], np.uint64(0))
            known[~times.goes_on, 0] = contents[times.starts[~times.goes_on]]
            repeats = is_tie & (known[times.ids] == contents[:, None]).any(axis=1)
            others = is_tie & ~repeats
        self._remember(columns, records, np.flatnonzero(~(repeats | others)), times)
        return repeats, others

    @staticmethod
    def _remember(columns: Columns, records: Timely, rows: Ints, times: _Times) -> None:
        """Keep the digests of the newest rows at each key's newest time.

        Args:
            rows: indices of the records that are rows, ascending.
        """
        segments = Segments.of(records.slots[rows])  # sorted already, so its order is the identity
        newest = times.ids[rows[segments.ends]]  # of each key
        is_newest = times.ids[rows] == newest[segments.ids]
        ages = segments.ends[segments.ids] - np.arange(len(rows))
        known = columns["contents"]
        found = np.zeros((len(newest), REMEMBERED), dtype=np.uint64)
        goes_on = np.flatnonzero(times.goes_on[newest])
        if len(goes_on):
            new = np.bincount(segments.ids[is_newest], minlength=len(newest))[goes_on]
            places = np.arange(REMEMBERED) - new[:, None]
            before = np.take_along_axis(known[segments.uniques[goes_on]], np.maximum(places, 0), axis=1)
            found[goes_on] = np.where(places >= 0, before, np.uint64(0))
        chosen = is_newest & (ages < REMEMBERED)
        found[segments.ids[chosen], ages[chosen]] = records.contents[rows[chosen]]
        known[segments.uniques] = found


class _Times(NamedTuple):
    """Records grouped by key and time, G groups.

    Attributes:
        ids: (M,) number of the group of each record.
        starts: (G,) first record of each.
        goes_on: (G,) whether the key has rows of that time already.
    """

    ids: Ints
    starts: Ints
    goes_on: Flags

    @classmethod
    def of(cls, slots: Slots, is_tie: Flags) -> _Times:
        is_start = ~is_tie
        is_start[:1] = True
        is_start[1:] |= slots[1:] != slots[:-1]
        starts = np.flatnonzero(is_start)
        return cls(np.cumsum(is_start) - 1, starts, is_tie[starts])


def _repeats(known: Digests, records: Timely, times: _Times) -> Flags:
    """Tell which records repeat one of the newest rows of their key at their time, (M,).

    As long as a time has few contents, or none of them twice, that is each but the first of a content. Else it depends
    on which of them were rows, one after the other.
    """
    slots, contents, _ = records
    groups = np.flatnonzero(times.goes_on)
    stored = known[slots[times.starts[groups]]]  # (C, REMEMBERED)
    is_there = stored > 0
    owners = np.append(np.repeat(groups, is_there.sum(axis=1)), times.ids)
    digests = np.append(stored[is_there], contents)
    order = np.lexsort((digests, owners))  # stable: what is stored stays in front of the records
    is_again = np.zeros(len(order), dtype=np.bool_)
    is_again[1:] = (owners[order][1:] == owners[order][:-1]) & (digests[order][1:] == digests[order][:-1])
    counts = np.bincount(owners[order][~is_again], minlength=len(times.starts))
    found = np.zeros(len(order), dtype=np.bool_)
    found[order] = is_again
    repeats: Flags = found[len(found) - len(slots) :]
    ends = np.append(times.starts[1:], len(slots))
    for group in np.unique(times.ids[repeats]):
        if counts[group] > REMEMBERED:
            start, end = times.starts[group], ends[group]
            before = known[slots[start]] if times.goes_on[group] else known[:0, 0]
            repeats[start:end] = _one_by_one(before, contents[start:end])
    return repeats


def _one_by_one(known: Digests, contents: Digests) -> list[bool]:
    """Return which of a time's `contents`, in arrival order, are among the newest rows before them."""
    newest = deque(known[known > 0][::-1].tolist(), maxlen=REMEMBERED)
    found = []
    for content in contents.tolist():
        found.append(content in newest)
        if not found[-1]:
            newest.append(content)
    return found
