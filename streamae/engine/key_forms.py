"""How the state of a key is packed for the store, and read whatever release or settings packed it.

A stored value is the packed fields and two checksums: of the layout, which says what is in there, and of topic,
partition, key and all before, so that nothing is taken for the state of a key that is not. What the release before
stored has none: it is read by its length, as long as the manifest lists it. Must not know the store.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from streamae.batches import Bytes, Partition, Slots
from streamae.connectors.protocols import Form
from streamae.core.columns import Columns
from streamae.core.layouts import Migration, former_layout_of, layout_of

BARE = "bare:"  # in front of the layout of values without checksums
SUMS = struct.Struct("<II")  # at the end of a value: of the layout, of all before and where it belongs
NO_SUM = -1  # stands for the checksum of the layout of values without one


class KeyForms:
    """Packs and reads the state of keys. Mutates the parts.

    Attributes:
        layout: in which state is packed here, in words.
        bare: what the release before would have packed it in.
    """

    def __init__(self, parts: Sequence[Columns]) -> None:
        self.parts = tuple(parts)
        self.layout, self.bare = layout_of(parts), BARE + former_layout_of(parts)[0]
        self._sum = zlib.crc32(self.layout.encode())
        self.migration = lru_cache(maxsize=64)(self._migration)

    def pack(self, slots: Slots) -> Bytes:
        """Return the packed fields of `slots` (n,), (n, size) uint8."""
        return np.concatenate([part.export(slots) for part in self.parts], axis=1)

    def seal(self, partition: Partition, key: bytes, packed: bytes) -> bytes:
        """Return the value to store of a key: its packed fields, and what shows that they are whole and its own."""
        value = packed + self._sum.to_bytes(4, "little")
        return value + zlib.crc32(value, _owner(partition, key)).to_bytes(4, "little")

    def open(
        self, partition: Partition, key: bytes, value: bytes, layouts: Mapping[int, str]
    ) -> tuple[str, bytes] | None:
        """Return the layout of a stored value, and its packed fields; None = it is not the state of this key.

        Args:
            partition, key: whose value it is said to be.
            value: as stored.
            layouts: it may have, by their checksums; see `readable`.
        """
        content = value[: -SUMS.size]
        if len(value) > SUMS.size:
            which, check = SUMS.unpack_from(value, len(content))
            layout = layouts.get(which)
            if layout is not None and check == zlib.crc32(value[:-4], _owner(partition, key)):
                return (layout, content) if len(content) == self._size_of(layout) else None
        bare = layouts.get(NO_SUM)
        return (bare, value) if bare is not None and len(value) == self._size_of(bare) else None

    def readable(self, form: Form | None) -> dict[int, str]:
        """Return the layouts that stored values may have, by checksum; that of values without one by `NO_SUM`."""
        listed = form.layouts or (self.bare,) if form else ()
        found = {zlib.crc32(layout.encode()): layout for layout in listed if not layout.startswith(BARE)}
        for layout in listed:
            if layout.startswith(BARE):
                found[NO_SUM] = layout
        return found | {self._sum: self.layout}

    def listed(self, form: Form | None) -> tuple[str, ...]:
        """Return the layouts to list once values of ours stand among those of `form`; None = among no others."""
        others = form.layouts or (self.bare,) if form else ()
        return (self.layout, *(layout for layout in others if layout != self.layout))

    def restore(self, layout: str, slots: Slots, packed: Sequence[bytes]) -> None:
        """Give `slots` (n,), which were reset, their packed fields of one layout."""
        migration = self.migration(layout)
        assert migration is not None  # nothing else is opened
        rows = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), migration.size_bytes)
        migration.restore(self.parts, slots, rows)

    def _size_of(self, layout: str) -> int:
        migration = self.migration(layout)
        return -1 if migration is None else migration.size_bytes

    def _migration(self, layout: str) -> Migration | None:
        return Migration.of(layout.removeprefix(BARE), self.parts)


@lru_cache(maxsize=1_024)
def _place(partition: Partition) -> int:
    return zlib.crc32(f"{partition.topic} {partition.index} ".encode())


def _owner(partition: Partition, key: bytes) -> int:
    return zlib.crc32(key, _place(partition))
