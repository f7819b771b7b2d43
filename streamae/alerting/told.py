"""What a receiver knows: a record of each episode that it was told of, kept so that nothing is told twice.

Must not know: where records are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamae.alerting.alert import Alert


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
    """

    alert: Alert
    is_resolved: bool
    told_ms: int
    is_unknown: bool = False
    is_withheld: bool = False
    is_announced: bool = True


class ToldStore(Protocol):
    """Keeps records of one receiver. All methods may raise RetryableError: then nothing was changed."""

    def load(self) -> list[Told] | None:
        """Return all records; None = nothing was ever stored, or it was lost."""
        ...

    def save(self, records: Sequence[Told]) -> None:
        """Keep these, each in place of the one of its episode."""
        ...

    def forget(self, episode_ids: Iterable[str]) -> None:
        """Drop the records of these episodes."""
        ...
