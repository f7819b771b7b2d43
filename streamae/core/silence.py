"""Signs of life of a partition's keys, and what their silence brings at which record.

What was found stands apart from what was looked for (`core/silence_look.py`), since it may have to be taken back: the
state of a key that is told of must be in memory, and the store may be away. Must not know windows, events or stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from streamae.batches import Ints, Partition
from streamae.core.marks import KeyMark, SilenceStep, TimeMark
from streamae.core.roster import CLOSED, LOST, NONE, Roster
from streamae.reasons import CloseReason

SAVED = ("sign", "heard", "total", "gaps", "flags", "silence", "opened", "changed")
COUNTS = ("heard_keys", "silent_keys", "waiting_keys", "earliest_ms")


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """Accepted records of one partition, N > 0 in order of offset.

    Attributes:
        rows: (N,) rows of their keys.
        offsets, times_ms: (N,) where they stand, and their event times.
        active_ms: (N,) active time of the partition after each.
        before_ms: active time before the first.
        replay_until: nothing is published of records below this offset.
    """

    rows: Ints
    offsets: Ints
    times_ms: Ints
    active_ms: Ints
    before_ms: int
    replay_until: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What comes due for one row.

    Attributes:
        index: of the record that brings it.
        is_before: whether the windows of that record come behind.
        row: whose.
        mark: without its slot.
    """

    index: int
    is_before: bool
    row: int
    mark: KeyMark


@dataclass(slots=True, eq=False)
class Followed:
    """What records brought.

    Attributes:
        found: in order.
        cut: number of records after which the others must be taken anew, since a key is forgotten and then sends again;
            None = all were followed.
    """

    roster: Roster
    signs: Signs
    found: list[Found] = field(default_factory=list)
    cut: int | None = None
    firsts: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    saved: list[tuple[Ints, dict[str, Any]]] = field(default_factory=list)
    counts: tuple[int, ...] = ()
    orphans: list[int] = field(default_factory=list)

    @property
    def wanted(self) -> list[int]:
        """Rows whose state must be in memory for what is told of them."""
        slots = self.roster["slot"]
        rows = {one.row for one in self.found if slots[one.row] < 0 and self._is_told(one)}
        return sorted(rows)

    def part(self, rows: Ints, offsets: Ints) -> None:
        """Cut where a key is forgotten of which a record comes behind that, though it is none of the signs.

        Args:
            rows, offsets: (n,) of such records.
        """
        if self.cut is None and len(rows):
            ends = {one.row: one.index for one in self.found if one.mark.is_forgotten}
            behind = [
                ends[row]
                for row, offset in zip(rows.tolist(), offsets.tolist(), strict=True)
                if row in ends and offset > self.signs.offsets[ends[row]]
            ]
            self.cut = min(behind) + 1 if behind else None

    def undo(self) -> None:
        """Put the roster back to where it was: these records are followed again.

        What turned out not to be readable meanwhile stays so: its key is in memory now, and is not looked at again.
        """
        flags = self.roster["flags"]
        is_lost = flags & LOST
        for rows, columns in reversed(self.saved):
            for name, values in columns.items():
                self.roster[name][rows] = values
        flags |= is_lost
        for name, value in zip(COUNTS, self.counts, strict=True):
            setattr(self.roster, name, value)
        self.roster.orphans = self.orphans

    def marks(self, partition: Partition, matters: Callable[[int], bool]) -> list[TimeMark]:
        """Return the marks, now that all states are in memory; forgotten rows leave the roster.

        Args:
            partition: of the records.
            matters: whether an episode of a row may be open; where none is, nothing is closed.
        """
        roster, signs = self.roster, self.signs
        firsts, marks = self.firsts, []
        silent, keys = self.counts[1], self.counts[0]
        start = 0
        found = self.found
        while start < len(found):
            first = found[start]
            stop = start
            while stop < len(found) and (found[stop].index, found[stop].is_before) == (first.index, first.is_before):
                stop += 1
            chosen = []
            for one in map(self._readable, found[start:stop]):
                step = one.mark.silence
                silent += (step == SilenceStep.OPENS) - (step in (SilenceStep.RETURNS, SilenceStep.ENDS))
                keys -= one.mark.is_forgotten
                if step or one.mark.is_forgotten or one.mark.lost or matters(one.row):
                    chosen.append(replace(one.mark, slot=int(roster["slot"][one.row])))
            if chosen:
                known = keys + int(np.searchsorted(firsts, first.index, side="left" if first.is_before else "right"))
                at = int(signs.offsets[first.index]), int(signs.times_ms[first.index])
                marks.append(TimeMark(partition, *at, first.is_before, tuple(chosen), silent, known))
            start = stop
        for one in found:
            if one.mark.is_forgotten:
                roster.remove(one.row)
        return marks

    def _readable(self, one: Found) -> Found:
        """Return what was found, told of an episode that turned out not to be readable when its key was loaded.

        In a silent replay nobody would tell its end: it is looked at again with the next point of the raster.
        """
        roster, row = self.roster, one.row
        if one.mark.closes is not CloseReason.SILENT or not roster["flags"][row] & LOST:
            return one
        if self.signs.offsets[one.index] < self.signs.replay_until:
            roster["flags"][row] &= np.uint8(0xFF & ~CLOSED)
            roster.earliest_ms = 0
            return one
        lost = roster.lost(row)
        roster["flags"][row] &= np.uint8(0xFF & ~LOST)
        roster["opened"][row] = NONE
        return replace(one, mark=replace(one.mark, closes=CloseReason.STATE_LOST, lost=lost))

    def _is_told(self, one: Found) -> bool:
        is_open = self.roster["opened"][one.row] != NONE
        return one.mark.silence != SilenceStep.NONE or (one.mark.closes is not None and bool(is_open))

    def save(self, rows: Ints) -> None:
        """Keep how rows (n,) stand, before they change."""
        self.saved.append((rows, {name: self.roster[name][rows] for name in SAVED}))
