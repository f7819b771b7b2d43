"""Couriers over connectors in memory, turned by hand, and a receiver that records what it got and answers as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamae.alerting.alert import Action, Notice
from streamae.alerting.build import build_courier
from streamae.alerting.courier import Courier
from streamae.alerting.orders import Orders
from streamae.alerting.owners import Owners
from streamae.alerting.receiver import Delivered, Outcome
from streamae.alerting.silences import Silences
from streamae.alerting.told_records import ToldRecords
from streamae.alerting.world import World
from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.memory_told import MemoryTold
from streamae.observe.alert_metrics import AlertMetrics
from streamae.settings.alerts import AlertSettings
from streamae.settings.delivery import ReceiverSettings

TOPIC, LETTERS = "anomalies", "alert-letters"
HERE = Partition(TOPIC, 0)
WALL_MS = 1_700_000_000_000
TURN_MS = 1_000


class Recorder:
    """A receiver that is a plain class: it takes everything, until `answer` says otherwise."""

    wants_every_change = False
    groups_alerts = True
    repeat_ms: int | None = None
    repeat_resolved_ms = 0

    def __init__(self, name: str = "pager") -> None:
        self.name = name
        self.calls: list[list[Notice]] = []
        self.answer: Callable[[Notice], Outcome] = lambda _notice: Delivered()
        self.taken: list[Notice] = []
        self.is_closed = False

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        self.calls.append(list(notices))
        outcomes = [self.answer(notice) for notice in notices]
        self.taken += [
            notice for notice, outcome in zip(notices, outcomes, strict=True) if isinstance(outcome, Delivered)
        ]
        return outcomes

    def close(self) -> None:
        self.is_closed = True

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """Action, episode and sequence of what it took, repeats left out."""
        return [
            (notice.action.value, notice.alert.episode_id, notice.alert.sequence)
            for notice in self.taken
            if notice.action is not Action.REPEAT
        ]

    @property
    def ended(self) -> list[tuple[str, str]]:
        """Episode and why it ended of each end that it took."""
        taken = [notice.alert for notice in self.taken if notice.action is Action.RESOLVE]
        return [(alert.episode_id, alert.close_reason) for alert in taken]


def event(episode: str, kind: str = "opened", sequence: int = 0, **more: Any) -> dict[str, Any]:
    """Return an event as the output topic holds it, with what alerting looks at."""
    plain = {
        "episode_id": episode,
        "kind": kind,
        "sequence": sequence,
        "key": f"key-{episode}",
        "detector": "pumps",
        "severity": 95.0,
        "confidence": 1.0,
        "state": "ready",
        "close_reason": "recovered" if kind == "closed" else None,
        "start_time_ms": WALL_MS,
        "end_time_ms": WALL_MS,
        "features": [],
        "source": {"topic": "records", "partition": 0, "offset": 7},
    }
    return plain | more


class House:
    """What outlives processes: broker, stores and the world; and the process that runs now."""

    def __init__(self, *receivers: Recorder, partitions: int = 1, **settings: Any) -> None:
        self.receivers = receivers or (Recorder(),)
        self.broker = MemoryBroker()
        self.broker.create_topic(TOPIC, partitions)
        self.broker.create_topic(LETTERS, 1)
        self.texts = {receiver.name: MemoryTold() for receiver in self.receivers}
        tables = tuple(ReceiverSettings(name=receiver.name, kind="log") for receiver in self.receivers)
        self.settings = AlertSettings(
            **{"receivers": tables, "dead_letter_topic": LETTERS, "group_id": "alerts", **settings}
        )
        self.world = World(Owners.read(None, {}), Orders(Silences()))
        self.now_ms = 10_000_000
        self.couriers: list[Courier] = []
        self.sources: list[MemorySource] = []

    @property
    def wall_ms(self) -> int:
        """The wall clock that belongs to `now_ms`."""
        return WALL_MS + self.now_ms

    def group(self, receiver: str = "pager") -> str:
        """Return the consumer group of a receiver."""
        return f"{self.settings.group_id}.{receiver}"

    def begin(self, max_poll_records: int | None = None) -> None:
        """Start a process; one that was there before counts as killed."""
        for source in self.sources:
            self.broker.leave(source.group, source.member)
        self.metrics = AlertMetrics([receiver.name for receiver in self.receivers])
        self.couriers, self.sources = [], []
        for receiver in self.receivers:
            source = MemorySource(self.broker, self.group(receiver.name), [TOPIC], max_poll_records)
            self.sources.append(source)
            self.couriers.append(
                build_courier(
                    receiver,
                    source,
                    MemorySink(self.broker),
                    ToldRecords(self.texts[receiver.name]),
                    self.settings,
                    lambda: self.world,
                    self.metrics,
                    self.wall_ms,
                    draw=lambda: 1.0,
                )
            )

    def turn(self, turns: int = 1) -> None:
        """Turn all couriers, a second apart."""
        for _ in range(turns):
            for courier in self.couriers:
                courier.step(self.now_ms, self.wall_ms)
            self.now_ms += TURN_MS

    def happens(self, *events: dict[str, Any], partition: int = 0, age_ms: int = 0) -> None:
        """Publish events."""
        for content in events:
            headers = [("ce_type", f"io.streamae.anomaly.{content['kind']}.v1".encode())]
            key, value = content["key"].encode(), json.dumps(content).encode()
            self.broker.produce(TOPIC, key, value, self.wall_ms - age_ms, headers, partition)

    def starts_afresh(self) -> None:
        """Start with nothing told and nothing there, so that all that comes is news."""
        self.begin()
        self.turn(2)

    def changes_world(self, **parts: Any) -> None:
        """Replace parts of the snapshot."""
        self.world = replace(self.world, **parts)
