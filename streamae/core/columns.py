"""Per-key state as arrays with one row a key slot, and its packed binary form.

Every stage that remembers something about a key (grid, windows, statistics, episodes) owns one `Columns`; the
checkpoint joins their packed rows to one record a key. Memory is reserved for all slots at once and becomes
resident only where a slot is used. Knows nothing about keys, stores or what the fields mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Bytes, Slots


@dataclass(frozen=True, slots=True)
class Field:
    """One fixed-size field of a key's state.

    Attributes:
        dtype: numpy type string with explicit byte order, e.g. `<f4`.
        shape: shape of one key's value; () = a scalar.
        initial: value of every element for a new key, or the values as an array of `shape`.
        is_stored: whether it survives a restart. What does not may decide nothing: it is for people.
        since: which form of stored state had it first: 1 = that of before forms were written down in words
            (`core/layouts.py`); a field that is added later is 2.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    initial: float | int | NDArray[Any] = 0
    is_stored: bool = True
    since: int = 1

    @property
    def size_bytes(self) -> int:
        """Packed size of one key's value."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


class Columns:
    """Arrays (K, *shape) by field name.

    Mutated by its owner only, in place, through `columns[name]`. Survives a restart through `export`/`restore`.
    """

    def __init__(self, capacity: int, fields: Mapping[str, Field], name: str = "") -> None:
        """Reserve (not yet use) memory for `capacity` slots.

        Args:
            capacity: slots.
            fields: by name.
            name: of the part of the state, by which it is found again in stored state.
        """
        self.fields, self.name = dict(fields), name
        self._stored = {name: field for name, field in fields.items() if field.is_stored}
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((capacity, *field.shape), dtype=field.dtype) for name, field in fields.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the whole array of a field, (K, *shape), writable."""
        return self._arrays[name]

    def words(self, until: int | None = None) -> dict[str, str]:
        """Return name, type and shape of each stored field in words, by name, in the order in which they are packed.

        Args:
            until: leave out what came after this form of stored state; see `Field.since`.
        """
        stored = {name: field for name, field in self._stored.items() if until is None or field.since <= until}
        return {name: f"{name}:{field.dtype}{list(field.shape)}" for name, field in stored.items()}

    @property
    def layout(self) -> str:
        """Text that changes whenever the packed form changes."""
        return ";".join(self.words().values())

    @property
    def size_bytes(self) -> int:
        """Packed size of one key."""
        return sum(field.size_bytes for field in self._stored.values())

    def reset(self, slots: Slots) -> None:
        """Give `slots` the state of a new key."""
        for name, field in self.fields.items():
            self._arrays[name][slots] = field.initial

    def export(self, slots: Slots) -> Bytes:
        """Pack the state of `slots` (n,) to (n, size_bytes) uint8."""
        parts = [
            np.ascontiguousarray(self._arrays[name][slots].reshape(len(slots), math.prod(field.shape))).view(np.uint8)
            for name, field in self._stored.items()
        ]
        return np.concatenate(parts, axis=1)

    def restore(self, slots: Slots, packed: Bytes, starts: Mapping[str, int] | None = None) -> None:
        """Set the state of `slots` (n,) from packed bytes.

        Args:
            slots: distinct.
            packed: (n, size_bytes) uint8 written by `export`, or of another form.
            starts: where in there each field begins that is to be set, by name; None = all, as `export` packs them.
                The others stay as `reset` left them.
        """
        for name, start in (self._starts() if starts is None else starts).items():
            field = self._stored[name]
            part = np.ascontiguousarray(packed[:, start : start + field.size_bytes])
            self._arrays[name][slots] = part.view(field.dtype).reshape(len(slots), *field.shape)

    def _starts(self) -> dict[str, int]:
        starts, at = {}, 0
        for name, field in self._stored.items():
            starts[name] = at
            at += field.size_bytes
        return starts
