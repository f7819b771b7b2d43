"""Which part of the output topic is settled: everything before it needs no second reading.

Must not know: what is done with a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush

from streamae.alerting.change import Place
from streamae.batches import Partition

Lowest = Mapping[Partition, int]  # the lowest place in each partition of what belongs together


def lowest(first: Lowest, second: Lowest) -> Lowest:
    """Return the lower offset of each partition.

    Example:
        >>> one = Partition("anomalies", 0)
        >>> lowest({one: 7}, {one: 5})[one]
        5
    """
    if not first or not second:
        return first or second
    return {each: min(part[each] for part in (first, second) if each in part) for each in first | dict(second)}


class Offsets:
    """Of each partition the place up to which was read, and the places that are held."""

    def __init__(self) -> None:
        self._position: dict[Partition, int] = {}
        self._held: dict[Partition, set[int]] = {}
        self._order: dict[Partition, list[int]] = {}  # heaps of what was held, also released ones

    def start_at(self, partition: Partition, offset: int) -> None:
        """Take `offset` for the next one to be read, after an assignment or a rewind; what is held stays held."""
        self._position[partition] = offset

    def read(self, place: Place) -> None:
        """Go past a place."""
        self._position[place.partition] = max(self._position.get(place.partition, 0), place.offset + 1)

    def hold(self, place: Place) -> None:
        """Keep the settled part from reaching a place until it is released."""
        held = self._held.setdefault(place.partition, set())
        if place.offset not in held:
            held.add(place.offset)
            heappush(self._order.setdefault(place.partition, []), place.offset)

    def release(self, places: Lowest) -> None:
        """Let the settled part go past these places."""
        for partition, offset in places.items():
            self._held.get(partition, set()).discard(offset)

    def settled(self, partition: Partition) -> int | None:
        """Return the first offset that is not settled; None = nothing of the partition was read."""
        position = self._position.get(partition)
        held, order = self._held.get(partition, set()), self._order.get(partition, [])
        while order and order[0] not in held:
            heappop(order)
        return position if position is None or not order else min(position, order[0])
