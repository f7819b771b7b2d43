"""Who of a partition was last heard when, and what its silence brings: the rosters beside the key table.

A row follows its key into memory and out of it; no decision depends on where it is. Must not know windows, or what is
published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Ints, Partition, Slots, Suspension
from streamae.core.episodes import Episodes
from streamae.core.grid import NEVER
from streamae.core.key_rules import KeyRules
from streamae.core.key_table import NO_SLOT, KeyTable
from streamae.core.marks import TimeMark
from streamae.core.roster import LOST, NONE, Patience, Roster
from streamae.core.silence import Followed, Signs
from streamae.core.silence_look import follow
from streamae.engine.unlisted import Unlisted
from streamae.observe.logs import get_logger, shown

KEYS_TO_TELL = 3  # two by which the time of a partition goes, and one that falls silent
_NO_ROW = -1


@dataclass(frozen=True, slots=True, eq=False)
class RosterChanges:
    """What a checkpoint saves of a roster.

    Attributes:
        rows: that it covers.
        entries: to be saved.
        gone: keys whose entries are to go.
    """

    rows: Ints
    entries: Sequence[tuple[bytes, bytes]]
    gone: Sequence[bytes]


NO_CHANGES = RosterChanges(np.zeros(0, dtype=np.int64), (), ())


class SilenceWatch:
    """The rosters of all owned partitions. Mutated by the engine's thread only."""

    def __init__(
        self,
        patience: Patience,
        table: KeyTable,
        episodes: Episodes,
        key_rules: KeyRules,
    ) -> None:
        """Watch the keys of a table, which must tell who moves in and out.

        Args:
            patience: when silence means something.
            table: where keys live.
            episodes: what is open of them.
            key_rules: say who may not alert.
        """
        self.patience, self._table, self._episodes, self._key_rules = patience, table, episodes, key_rules
        self.rosters: dict[Partition, Roster] = {}
        self._rows = np.full(table.capacity, _NO_ROW, dtype=np.int64)  # by slot
        self._log = get_logger()

    def take(
        self,
        partition: Partition,
        entries: Sequence[tuple[bytes, bytes]],
        active_ms: int,
        unlisted: Sequence[Unlisted] = (),
    ) -> None:
        """Begin with a partition as it is stored.

        Args:
            partition: taken over.
            entries: its roster.
            active_ms: where its clock stands.
            unlisted: keys that have no entry, and an open episode: they count as heard now.
        """
        roster = self.rosters[partition] = Roster(self.patience)
        unreadable = roster.unpack(entries)
        roster.not_after(active_ms)
        for one in unlisted:
            roster.hear(one.key, active_ms, one.heard_ms, one.episode)
        if unreadable:
            self._log.warning("roster_unreadable", topic=partition.topic, partition=partition.index, keys=unreadable)

    def drop(self, partition: Partition) -> None:
        """Forget a partition."""
        self.rosters.pop(partition, None)

    def adopt(self, patience: Patience) -> None:
        """Follow these rules from now on."""
        self.patience = patience
        for roster in self.rosters.values():
            roster.adopt(patience)

    def moved_in(self, slot: int, key: bytes) -> None:
        """A key lives in `slot` from now on."""
        partition = self._table.owners[slot]
        roster = None if partition is None else self.rosters.get(partition)
        if roster is None:
            self._rows[slot] = _NO_ROW
            return
        row = roster.rows.get(key)
        if row is None:
            row = roster.add(key, slot)
        roster["slot"][row] = slot
        self._rows[slot] = row

    def moved_out(self, slots: Slots) -> None:
        """These slots are given up; their keys and owners still stand in the table."""
        rows, self._rows[slots] = self._rows[slots].copy(), _NO_ROW
        for slot, row in zip(slots.tolist(), rows.tolist(), strict=True):
            partition = self._table.owners[slot]
            roster = None if partition is None else self.rosters.get(partition)
            if roster is None or row == _NO_ROW:
                continue
            roster["slot"][row], roster["opened"][row] = NO_SLOT, NONE
            if not self.patience.waits:
                roster.remove(row)

    def lost(self, slots: Sequence[int]) -> None:
        """What was stored of the keys in these slots could not be read: what was open of them is to be closed."""
        for slot in slots:
            partition, row = self._table.owners[slot], int(self._rows[slot])
            if partition is not None and row != _NO_ROW:
                roster = self.rosters[partition]
                if roster["opened"][row] != NONE:
                    roster["flags"][row] |= LOST

    def hear(
        self,
        partition: Partition,
        slots: Slots,
        offsets: Ints,
        times_ms: Ints,
        active_ms: Ints,
        before: tuple[int, int],
        refused: tuple[Slots, Ints],
    ) -> Followed:
        """Take note of records of one partition, in order; see `Signs`.

        Args:
            partition, slots, offsets, times_ms, active_ms: of the records.
            before: active time before them, and the end of the replay.
            refused: slots and offsets of others between them that are no sign of life.
        """
        roster = self.rosters[partition]
        signs = Signs(self._rows[slots], offsets, times_ms, active_ms, *before)
        followed = follow(roster, signs, self._suspension)
        followed.part(self._rows[refused[0]], refused[1])
        return followed

    def marks(self, partition: Partition, followed: Followed, *, is_scoring: bool) -> list[TimeMark]:
        """Return what these records bring, once the states of all that is told of are in memory.

        Args:
            partition: of the records.
            followed: what was found.
            is_scoring: whether windows of it may still wait to be scored.
        """
        roster = self.rosters[partition]
        heard = set(followed.signs.rows.tolist())

        def matters(row: int) -> bool:
            slot = int(roster["slot"][row])
            is_open = slot >= 0 and bool(self._episodes.columns["open"][slot])
            return is_open or (slot >= 0 and (is_scoring or row in heard))

        marks = followed.marks(partition, matters)
        told = [key for mark in marks for key in mark.keys]
        self._table.change(np.array([key.slot for key in told if key.slot >= 0], dtype=np.int32))
        for key in told:
            if key.is_forgotten:
                if key.slot >= 0:
                    self._rows[key.slot] = _NO_ROW
                    self._table.leave(key.slot)
                else:
                    self._table.delete(partition, key.key)
                self._log.info("key_forgotten", key=shown(key.key), topic=partition.topic, partition=partition.index)
        return marks

    def changes(self, partition: Partition, *, whole: bool) -> RosterChanges:
        """Return what a checkpoint has to save: what changed since the last one, or everything."""
        roster = self.rosters[partition]
        is_asked = roster["sign"] != NEVER if whole else roster["changed"] & (roster["sign"] != NEVER)
        rows = np.flatnonzero(is_asked)
        slots = roster["slot"][rows]
        resident = rows[(slots >= 0) & ((roster["flags"][rows] & LOST) == 0)]
        self._note_open(roster, resident)
        kept, gone = rows, list[bytes]()
        if not self.patience.waits:
            is_open = roster["opened"][rows] != NONE
            kept, gone = rows[is_open], [roster.keys[row] for row in rows[~is_open & roster["stored"][rows]].tolist()]
        entries = roster.pack(kept)
        if roster.gone:
            anew = {key for key, _ in entries}
            gone = [*(key for key in roster.gone if key not in anew), *gone]
        return RosterChanges(rows, entries, gone)

    def saved(self, partition: Partition, changes: RosterChanges) -> None:
        """Note that these changes are stored."""
        roster, rows = self.rosters[partition], changes.rows
        roster["changed"][rows] = False
        roster["stored"][rows] = True if self.patience.waits else roster["opened"][rows] != NONE
        roster.gone.clear()

    def count(self) -> tuple[int, int]:
        """Return how many silences are open, and in how many partitions the next one could not be told.

        Where silence is no event, it is not missed either.
        """
        if not self.patience.waits:
            return 0, 0
        rosters = self.rosters.values()
        blind = sum(roster.heard_keys - roster.silent_keys < KEYS_TO_TELL for roster in rosters)
        return sum(roster.silent_keys for roster in rosters), blind

    def _note_open(self, roster: Roster, rows: Ints) -> None:
        """Let rows of keys in memory say what is open of their values."""
        columns, slots = self._episodes.columns, roster["slot"][rows]
        is_open = columns["open"][slots] > 0
        roster["opened"][rows] = np.where(is_open, columns["opened_offset"][slots], NONE)
        roster["sequence"][rows] = np.where(is_open, columns["sequence"][slots], 0)
        roster["start"][rows] = np.where(is_open, columns["start_ms"][slots], 0)

    def _suspension(self, key: bytes, time_ms: int) -> Suspension:
        return self._key_rules.suspension_of(key, time_ms)
