"""Who is there: when each key of a partition was last heard, its usual gap, and what is open of it.

A row a key, also of keys whose state is not in memory; packed, a row is an entry of the store's roster. Time is the
active time of the partition (`core/active_clock.py`). Must not know what follows from silence: that is `core/silence.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Ints
from streamae.core.grid import NEVER
from streamae.core.key_table import NO_SLOT
from streamae.core.marks import OpenEpisode
from streamae.core.usual_gaps import LEAST_GAPS

NONE = -1  # no offset
CLOSED, OVER, WAITS, LOST = (
    1,
    2,
    4,
    8,
)  # since the newest sign: episode looked at; beyond the limit; to be looked at again
SINCE_SIGN = CLOSED | OVER | WAITS  # what a new sign wipes out
VERSION = 1
NO_LIMIT = 2**62
_OFFSET = 2**47  # what six bytes hold is counted from its negative
_WIDE = ("sign", "heard", "total", "silence", "opened", "start")  # six bytes each
ENTRY_BYTES = 3 + 6 * len(_WIDE) + 4


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one waits for some keys.

    Attributes:
        pattern: of the keys; `*` stands for any text, `?` for a character.
        after_ms: active time after which they are silent; None = see `after_gaps`.
        after_gaps: multiple of their usual gap after which they are; None beside None = nobody waits.
    """

    pattern: str = "*"
    after_ms: int | None = None
    after_gaps: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """When silence means something.

    Attributes:
        waits: the first whose pattern matches a key counts; () = silence is no event.
        close_ms: active time after which an open episode of a silent key is closed; None = never.
        forget_ms: active time after which a silent key is given up; counts only where silence is an event.
        raster_ms: active time between two looks.
        step_ms: usual gap of a key that does not know its own.
    """

    waits: tuple[Wait, ...] = ()
    close_ms: int | None = None
    forget_ms: int = NO_LIMIT
    raster_ms: int = field(kw_only=True)
    step_ms: int = 1

    @property
    def is_on(self) -> bool:
        """Whether anything follows from silence."""
        return bool(self.waits) or self.close_ms is not None


class Roster:
    """The rows of one partition. Mutated by the engine's thread only; survives a restart through `entries`.

    Attributes:
        rows: by key.
        keys: by row; b"" where a row is free.
        columns: by name, one value a row, see `_fields`.
        heard_keys: rows with a sign: the keys of the partition.
        silent_keys: rows whose silence is open.
        waiting_keys: rows with `WAITS`.
        earliest_ms: active time before which no row can become due.
    """

    def __init__(self, patience: Patience) -> None:
        """Begin without keys."""
        self.patience = patience
        self.rows: dict[bytes, int] = {}
        self.keys: list[bytes] = []
        self.columns = {name: np.zeros(0, dtype=dtype) for name, (dtype, _) in _FIELDS.items()}
        self.heard_keys = self.silent_keys = self.waiting_keys = 0
        self.earliest_ms = NO_LIMIT
        self.orphans: list[int] = []  # silences that nobody waits for any longer
        self.gone: dict[bytes, None] = {}  # stored entries that are to go, unless written anew; an ordered set
        self._free: list[int] = []
        self._matchers = [re.compile(translate(each.pattern)).match for each in patience.waits]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a whole column, writable."""
        return self.columns[name]

    def add(self, key: bytes, slot: int) -> int:
        """Return a new row of a key that has none."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        for name, (_, initial) in _FIELDS.items():
            self.columns[name][row] = initial
        self.rows[key], self.keys[row] = row, key
        self.columns["slot"][row] = slot
        self.columns["wait"][row] = self._wait_of(key)
        return row

    def hear(self, key: bytes, active_ms: int, heard_ms: int, episode: OpenEpisode) -> None:
        """Take in a key that has no row, as if it were heard now, with the episode that is open of it."""
        row, columns = self.add(key, NO_SLOT), self.columns
        columns["sign"][row], columns["heard"][row], columns["changed"][row] = active_ms, heard_ms, True
        columns["opened"][row], columns["sequence"][row] = episode.opened_offset, episode.sequence
        columns["start"][row] = episode.start_ms
        self.heard_keys += 1
        self.earliest_ms = 0  # looked at with the next point of the raster

    def remove(self, row: int) -> None:
        """Forget a row; its entry goes from the store with the next checkpoint, also where its key is back unheard."""
        key = self.keys[row]
        self.heard_keys -= bool(self.columns["sign"][row] != NEVER)
        self.silent_keys -= bool(self.columns["silence"][row] != NONE)
        self.waiting_keys -= bool(self.columns["flags"][row] & WAITS)
        if self.columns["stored"][row]:
            self.gone[key] = None
        del self.rows[key]
        self.keys[row] = b""
        self.columns["sign"][row] = NEVER
        self.columns["changed"][row] = self.columns["stored"][row] = False
        self._free.append(row)

    def limits(self, rows: Ints, gaps: Ints, totals: Ints) -> Doubles:
        """Return the active time after which rows (n,) are silent that know so many gaps (n,) of these sums (n,)."""
        if not self.patience.waits:
            return np.full(len(rows), float(NO_LIMIT))
        waits = self.columns["wait"][rows]
        found = self._fixed[waits]
        by_gaps = self._factors[waits]
        usual = totals / np.maximum(gaps, 1)
        own = np.where(gaps >= LEAST_GAPS, np.maximum(by_gaps * usual, 1.0), float(NO_LIMIT))
        result: Doubles = np.where(by_gaps > 0, own, found)
        return result

    def usual_ms(self, gaps: int, total: int) -> float:
        """Return the usual gap, by that of the training where a key does not know its own; at least a millisecond."""
        return max(total / gaps if gaps >= LEAST_GAPS else float(self.patience.step_ms), 1.0)

    def lost(self, row: int) -> OpenEpisode:
        """Return the episode that the store says is open of a row."""
        columns = self.columns
        return OpenEpisode(int(columns["opened"][row]), int(columns["sequence"][row]), int(columns["start"][row]))

    def pack(self, rows: Ints) -> list[tuple[bytes, bytes]]:
        """Return the entries of rows (n,), by key."""
        if not len(rows):
            return []
        columns = self.columns
        head = np.empty((len(rows), 3), dtype=np.uint8)
        head[:, 0], head[:, 1], head[:, 2] = VERSION, columns["flags"][rows], columns["gaps"][rows]
        wide = np.stack([_bounded(columns[name][rows]) + _OFFSET for name in _WIDE], axis=1).astype("<i8")
        parts = [
            head,
            wide.view(np.uint8).reshape(len(rows), len(_WIDE), 8)[:, :, :6].reshape(len(rows), -1),
            columns["sequence"][rows].astype("<i4")[:, None].view(np.uint8),
        ]
        packed = np.concatenate(parts, axis=1)
        data, keys, places = packed.tobytes(), self.keys, range(0, packed.size, ENTRY_BYTES)
        return [(keys[row], data[at : at + ENTRY_BYTES]) for row, at in zip(rows.tolist(), places, strict=True)]

    def unpack(self, entries: Sequence[tuple[bytes, bytes]]) -> int:
        """Take over stored entries of keys that have no row; return how many could not be read.

        Those begin anew with their next record.
        """
        good = [(key, entry) for key, entry in entries if len(entry) == ENTRY_BYTES and entry[0] == VERSION]
        if good:
            rows = np.array([self.add(key, NO_SLOT) for key, _ in good], dtype=np.int64)
            self._restore(rows, np.frombuffer(b"".join(entry for _, entry in good), np.uint8))
        return len(entries) - len(good)

    def _restore(self, rows: Ints, packed: NDArray[np.uint8]) -> None:
        packed = packed.reshape(len(rows), ENTRY_BYTES)
        columns, end = self.columns, 3 + 6 * len(_WIDE)
        columns["flags"][rows], columns["gaps"][rows] = packed[:, 1], packed[:, 2]
        wide = np.zeros((len(rows), len(_WIDE), 8), dtype=np.uint8)
        wide[:, :, :6] = packed[:, 3:end].reshape(len(rows), len(_WIDE), 6)
        for number, name in enumerate(_WIDE):
            columns[name][rows] = wide[:, number].copy().view("<i8")[:, 0] - _OFFSET
        columns["sequence"][rows] = np.ascontiguousarray(packed[:, end:]).view("<i4")[:, 0]
        columns["stored"][rows] = True
        self.heard_keys += len(rows)
        is_silent = columns["silence"][rows] != NONE
        self.silent_keys += int(is_silent.sum())
        self.waiting_keys += int(((columns["flags"][rows] & WAITS) > 0).sum())
        if not self.patience.waits:
            self.orphans += rows[is_silent].tolist()
        self.earliest_ms = 0  # looked at with the next point of the raster

    def not_after(self, active_ms: int) -> None:
        """Let no sign lie ahead of a clock that had to begin anew."""
        signs = self.columns["sign"]
        np.minimum(signs, active_ms, out=signs, where=signs != NEVER)

    def adopt(self, patience: Patience) -> None:
        """Follow these rules from now on; looks at every row anew."""
        self.patience = patience
        self._matchers = [re.compile(translate(each.pattern)).match for each in patience.waits]
        for key, row in self.rows.items():
            self.columns["wait"][row] = self._wait_of(key)
        self.earliest_ms = 0

    @property
    def _fixed(self) -> Doubles:
        """Fixed limit of each wait, and at the end that of keys for which nobody waits."""
        waits = self.patience.waits
        return np.array(
            [NO_LIMIT if each.after_ms is None else each.after_ms for each in waits] + [NO_LIMIT], np.float64
        )

    @property
    def _factors(self) -> Doubles:
        return np.array([each.after_gaps or 0.0 for each in self.patience.waits] + [0.0])

    def _wait_of(self, key: bytes) -> int:
        if not self._matchers:
            return -1
        text = key.decode(errors="backslashreplace")
        return next((number for number, matches in enumerate(self._matchers) if matches(text)), -1)

    def _grow(self) -> None:
        before = len(self.keys)
        after = max(64, 2 * before)
        self.keys += [b""] * (after - before)
        self._free += range(after - 1, before - 1, -1)
        for name, (dtype, initial) in _FIELDS.items():
            grown = np.full(after, initial, dtype=dtype)
            grown[:before] = self.columns[name]
            self.columns[name] = grown


_FIELDS: dict[str, tuple[str, int]] = {
    "sign": ("<i8", NEVER),  # active time of the newest record
    "heard": ("<i8", 0),  # its event time
    "total": ("<i8", 0),  # sum of the newest gaps
    "gaps": ("<i8", 0),  # how many these are
    "flags": ("|u1", 0),
    "silence": ("<i8", NONE),  # offset at which the silence opened that is open
    "opened": ("<i8", NONE),  # of an episode that the store says is open
    "sequence": ("<i4", 0),
    "start": ("<i8", 0),
    "slot": ("<i4", NO_SLOT),
    "wait": ("<i4", -1),
    "changed": ("|b1", 0),  # since the last checkpoint
    "stored": ("|b1", 0),  # there is an entry
}


def _bounded(values: Ints) -> Ints:
    """Return what six bytes hold."""
    return np.clip(values, -_OFFSET, _OFFSET - 1)
