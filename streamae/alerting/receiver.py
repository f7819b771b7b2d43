"""What every receiver of alerts can do. Must not know: routes, Kafka, or what was told before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from streamae.alerting.alert import Notice


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: timeouts, 408, 425, 429, 5xx. The same is sent again, or what is newer by then.

    Attributes:
        why: a sentence without secrets.
        after_ms: how long the receiver asked to be left alone; None = it did not say.
        may_have_arrived: nobody knows whether the receiver has it; False = nobody took it.
        was_tried: False = its turn did not come: nobody took it, and that says nothing about it.
    """

    why: str
    after_ms: int | None = None
    may_have_arrived: bool = True
    was_tried: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Never in this form: other 4xx, a template that cannot be filled in. It becomes a dead letter.

    Attributes:
        why: a sentence without secrets.
    """

    why: str


Outcome = Delivered | Retry | Refused


class Receiver(Protocol):
    """Where alerts go. One thread calls everything; no call takes longer than the receiver's timeout allows.

    Attributes:
        name: as in the settings.
        wants_every_change: each change of an episode is told, in order; False = only the newest state.
        groups_alerts: it makes one page of many alerts by itself; False = they are folded before.
        repeat_ms: an open alert is told again each so many milliseconds, since it forgets; None = it does not.
        repeat_resolved_ms: how long an ended one is told again; 0 = once is enough.
    """

    name: str
    wants_every_change: bool
    groups_alerts: bool
    repeat_ms: int | None
    repeat_resolved_ms: int

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        """Tell `notices` at once, and return what came of each, in the same order. Never raises.

        Args:
            notices: what belongs together: of receivers that do not group themselves one message is made of all.
            now_ms: wall clock, milliseconds since the epoch.
        """
        ...

    def close(self) -> None:
        """Release connections; idempotent."""
        ...
