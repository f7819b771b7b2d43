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
        since: form of stored state that has it first; 1 = all have.
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

    def __init__(self, capacity: int, fields: Mapping[str, Field]) -> None:
        """Reserve (not yet use) memory for `capacity` slots."""
        self.fields = dict(fields)
        self._stored = {name: field for name, field in fields.items() if field.is_stored}
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((capacity, *field.shape), dtype=field.dtype) for name, field in fields.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the whole array of a field, (K, *shape), writable."""
        return self._arrays[name]

    @property
    def layout(self) -> str:
        """Text that changes whenever the packed form changes; part of the state's fingerprint."""
        return ";".join(f"{name}:{field.dtype}{list(field.shape)}" for name, field in self._stored.items())

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

    def restore(self, slots: Slots, packed: Bytes) -> None:
        """Set the state of `slots` (n,) from (n, size_bytes) uint8 written by `export` of the same layout.

        What is not stored stays as `reset` left it.
        """
        start = 0
        for name, field in self._stored.items():
            part = np.ascontiguousarray(packed[:, start : start + field.size_bytes])
            self._arrays[name][slots] = part.view(field.dtype).reshape(len(slots), *field.shape)
            start += field.size_bytes
