"""What the group gave and took, as a consumer's client tells it, and what the client does not tell.

Runs on the client's IO thread: it notes, and asks nobody anything. Must not know what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka.consumer.subscription_state import ConsumerRebalanceListener

from streamae.batches import Partition
from streamae.fail_points import fail_point


class OwnershipChanges(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what a rebalance gave and took. It runs on the client's IO thread and must not wait for anything.

    A partition that was given gets a position and a pause at once: without a position the client would look
    for one itself, without a pause it would deliver records nobody asked for.

    Attributes:
        assigned, revoked: since the last `take`.
        joined: generation and member id whose partitions are all noted.
    """

    def __init__(self, consumer: Any) -> None:
        """Listen to `consumer`, which has not joined yet."""
        self._consumer = consumer
        self.assigned: set[Partition] = set()
        self.revoked: set[Partition] = set()
        self.joined: tuple[int, str] = (-1, "")
        coordinator = consumer._coordinator  # noqa: SLF001 - the listener alone is not told all, see `_complete`
        self._apply = coordinator._on_join_complete_async  # noqa: SLF001 - as above
        coordinator._on_join_complete_async = self._complete  # noqa: SLF001 - as above

    async def _complete(self, generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
        """Apply a finished join; under another member id than before all that is kept was others' meanwhile.

        A member that is expelled while it joins anew joins again under another id within the same attempt. The client
        takes what it gets for what it has kept, and tells the listener of the difference only. And it is stable some
        moments before it has noted what it owns: `joined` says when.
        """
        is_another = member_id != self.joined[1]
        before = self._consumer.assignment() if is_another else set()
        await self._apply(generation, member_id, protocol, assignment)
        if kept := before & self._consumer.assignment():
            self.forget(Partition(*partition) for partition in kept)
            self.on_partitions_assigned(kept)
        self.joined = generation, member_id

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Note what was given; nothing of it is delivered before somebody says where to begin."""
        fail_point("in_assigned")
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self.assigned.add(Partition(*partition))

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Note what is to be given up."""
        fail_point("in_revoked")
        self.forget(Partition(*partition) for partition in revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Note what others own already."""
        self.forget(Partition(*partition) for partition in lost)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Note that partitions are gone; one that was not reported yet goes unreported."""
        for partition in partitions:
            if partition in self.assigned:
                self.assigned.discard(partition)
            else:
                self.revoked.add(partition)

    def take(self) -> tuple[tuple[Partition, ...], tuple[Partition, ...]]:
        """Return (assigned, revoked) since the last call."""
        taken = tuple(sorted(self.assigned)), tuple(sorted(self.revoked))
        self.assigned, self.revoked = set(), set()
        return taken
