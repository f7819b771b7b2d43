"""Which part of the output topic is settled: everything before it needs no second reading.

Must not know: what is done with a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from heapq import heappop, heappush

from streamae.alerting.change import Place
from streamae.batches import Partition

Places = Mapping[Partition, int]  # the lowest held offset in each partition of what is settled together


class Offsets:
    """Of each partition the place up to which was read, and the places that are held."""

    def __init__(self) -> None:
        self._position: dict[Partition, int] = {}
        self._held: dict[Partition, Counter[int]] = {}  # how often each offset is held
        self._order: dict[Partition, list[int]] = {}  # heaps of what was held, also released ones

    def start_at(self, partition: Partition, offset: int) -> None:
        """Take `offset` for the next one to be read, after an assignment or a rewind; what is held stays held."""
        self._position[partition] = offset

    def read(self, place: Place) -> None:
        """Go past a place."""
        self._position[place.partition] = max(self._position.get(place.partition, 0), place.offset + 1)

    def hold(self, place: Place) -> Places:
        """Keep the settled part from reaching a place, until it is released as often as it is held."""
        held = self._held.setdefault(place.partition, Counter())
        if not held[place.offset]:
            heappush(self._order.setdefault(place.partition, []), place.offset)
        held[place.offset] += 1
        return {place.partition: place.offset}

    def joined(self, first: Places, second: Places) -> Places:
        """Return the lower place of each partition, which holds for both from now on; the other one is released."""
        lower = dict(first)
        for partition, offset in second.items():
            if partition in lower:
                self.release({partition: max(lower[partition], offset)})
            lower[partition] = min(lower.get(partition, offset), offset)
        return lower

    def release(self, places: Places) -> None:
        """Let the settled part go past these places."""
        for partition, offset in places.items():
            if (held := self._held.get(partition)) is not None:
                held[offset] -= 1
                if held[offset] <= 0:
                    del held[offset]

    def settled(self, partition: Partition) -> int | None:
        """Return the first offset that is not settled; None = nothing of the partition was read."""
        position = self._position.get(partition)
        held, order = self._held.get(partition, Counter()), self._order.get(partition, [])
        while order and order[0] not in held:
            heappop(order)
        return position if position is None or not order else min(position, order[0])
