"""How the members of a group share its partitions: the client's assignors, told what a member really owns.

Must not know: what is done with partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor


class CooperativeSticky(CooperativeStickyAssignor):  # type: ignore[misc]
    """Moves only what must move.

    By itself it claims what was assigned last, also after that was lost (H13). Whoever then leads the group does not
    give such a partition to another member before its owner has given it up, which nobody will: it stays without one.
    """

    def __init__(self, owned: Callable[[], Iterable[Any]]) -> None:
        """Claim what `owned()` returns at each join; it is called on the client's IO thread."""
        super().__init__()
        self._owned = owned

    def metadata(self, topics: Any) -> Any:
        """Return what goes with a request to join: `topics`, and what is owned."""
        self.member_assignment = sorted(self._owned())
        return super().metadata(topics)


def assignor_of(name: str, owned: Callable[[], Iterable[Any]]) -> Any:
    """Return the client's assignor for one member; `owned()` tells what it owns."""
    return RangePartitionAssignor() if name == "range" else CooperativeSticky(owned)
