"""What the threads of alerting tell each other: snapshots that nobody changes.

    couriers -> Report -> watcher -> World -> couriers

Must not know: who makes them, or what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamae.alerting.detectors import Standing
from streamae.alerting.orders import Orders
from streamae.alerting.owners import Owners


@dataclass(frozen=True, slots=True)
class Refusals:
    """Alerts of one receiver that went to the dead-letter topic since the process started.

    Attributes:
        count: how many.
        last_ms: wall clock of the last one.
        why: of the last one, a sentence without secrets.
    """

    count: int = 0
    last_ms: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How one courier is; times are on the monotonic clock unless they say otherwise.

    Attributes:
        receiver: its name.
        at_ms: when this was so.
        partitions: of the output topic that it reads; 0 = it has not joined its group yet.
        is_caught_up: everything that lay there is read.
        failing_since_ms: since when the receiver takes nothing; None = it does, or there is nothing to take.
        why: it fails, or reading does.
        lag_ms: how old what is read is; 0 = nothing waits.
        waiting: alerts that are to be told.
        oldest_ms: how long the oldest of them waits.
        is_stateless: what was told cannot be kept now.
        firing: open alerts by class.
        heard: by detector, the wall clock of its newest event.
        watched: detectors with open alerts.
        refusals: see there.
    """

    receiver: str
    at_ms: int = 0
    partitions: int = 0
    is_caught_up: bool = False
    failing_since_ms: int | None = None
    why: str = ""
    lag_ms: int = 0
    waiting: int = 0
    oldest_ms: int = 0
    is_stateless: bool = False
    firing: Mapping[str, int] = field(default_factory=dict)
    heard: Mapping[str, int] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()
    refusals: Refusals = Refusals()


@dataclass(frozen=True, slots=True)
class World:
    """What all couriers go by.

    Attributes:
        owners: of keys.
        orders: of operators.
        standing: of detectors.
        refusals: by receiver.
        is_well: alerts can be delivered: what tells so goes on.
    """

    owners: Owners
    orders: Orders
    standing: Standing = field(default_factory=Standing)
    refusals: Mapping[str, Refusals] = field(default_factory=dict)
    is_well: bool = False
