"""What a receiver knows: a record of each episode that it was told of, kept so that nothing is told twice.

Must not know: where records are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streamae.alerting.alert import Alert
from streamae.batches import Partition


@dataclass(frozen=True, slots=True)
class Told:
    """What one receiver has acknowledged of one episode; wall clock, milliseconds since the epoch.

    Attributes:
        alert: as it was told last.
        is_resolved: the end was acknowledged too.
        told_ms: when something was acknowledged last.
        is_unknown: its detector has fallen silent: nobody knows whether it goes on.
        is_withheld: a silence covers it: `alert` is known to us, not to the receiver.
        is_announced: the receiver took it as open at some time; False = all of it was withheld or refused.
        is_tried: that it took it is only possible: its beginning was never answered.
        lost_ms: since when its end may be among events that were deleted before they were read; None = it is not.
    """

    alert: Alert
    is_resolved: bool
    told_ms: int
    is_unknown: bool = False
    is_withheld: bool = False
    is_announced: bool = True
    is_tried: bool = False
    lost_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store holds of one receiver.

    Attributes:
        records: one an episode.
        reach: by partition of the output topic, the offset below which everything that was told is among the records.
    """

    records: tuple[Told, ...] = ()
    reach: Mapping[Partition, int] = field(default_factory=dict)


class ToldStore(Protocol):
    """Keeps records of one receiver. All methods may raise RetryableError: then it is not known what was changed."""

    def load(self) -> Kept | None:
        """Return all records; None = nothing was ever stored, or it was lost."""
        ...

    def save(self, records: Sequence[Told], reach: Mapping[Partition, int]) -> bool:
        """Keep these, each in place of the one of its episode, and how far all of them reach.

        Returns:
            Whether what was kept before is still there; otherwise these are all there is, and the rest is to be saved.
        """
        ...

    def forget(self, episode_ids: Iterable[str]) -> None:
        """Drop the records of these episodes."""
        ...

    def close(self) -> None:
        """Release connections; idempotent."""
        ...
