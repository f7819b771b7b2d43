"""Puts one courier together. Must not know: Kafka, Redis, or the whole tree of settings."""

from __future__ import annotations

import random
from collections.abc import Callable

from streamae.alerting.courier import Courier, Parts
from streamae.alerting.deliveries import Deliveries
from streamae.alerting.desk import Desk
from streamae.alerting.folding import Folder
from streamae.alerting.keeper import Keeper
from streamae.alerting.reader import Feed, Reader
from streamae.alerting.receiver import Receiver
from streamae.alerting.routing import Routing
from streamae.alerting.rules import LinkOf, Rules, no_link
from streamae.alerting.told import Told, ToldStore
from streamae.alerting.world import World
from streamae.connectors.protocols import Sink
from streamae.observe.alert_metrics import AlertMetrics
from streamae.observe.logs import get_logger
from streamae.settings.delivery import DeliverySettings


def build_courier(
    receiver: Receiver,
    source: Feed,
    sink: Sink,
    store: ToldStore,
    settings: DeliverySettings,
    world: Callable[[], World],
    metrics: AlertMetrics,
    wall_ms: int,
    *,
    link_of: LinkOf = no_link,
    draw: Callable[[], float] = random.random,
) -> Courier:
    """Return the courier of one receiver, with what it remembers.

    Args:
        receiver: one of `settings.receivers`.
        source, sink: of its own consumer group.
        store: of its own records.
        settings: of the delivery.
        world: returns the newest snapshot.
        metrics: shared by all.
        wall_ms: since the epoch, now.
        link_of: makes the address behind an alert.
        draw: a random number from 0 to 1.
    """
    log = get_logger(receiver=receiver.name)
    keeper = Keeper(store, log)
    records = keeper.load()
    rules = Rules(receiver.name, settings, Routing(settings.routes, settings.receivers), world().owners, link_of)
    desk = Desk(receiver, rules, records)
    folder = None if receiver.groups_alerts else _folder(receiver.name, settings, records)
    deliveries = Deliveries(receiver, desk, folder, settings.dead_letter_topic, metrics, log, draw)
    reader = Reader(source, sink, settings.max_age_ms)
    parts = Parts(receiver, reader, desk, keeper, deliveries, settings, metrics, log, draw)
    return Courier(parts, world, wall_ms)


def _folder(name: str, settings: DeliverySettings, records: tuple[Told, ...]) -> Folder:
    own = next(each for each in settings.receivers if each.name == name)
    known = [told.alert for told in records if told.is_announced and not told.is_resolved]
    return Folder(own.group_by, own.group_wait_ms, own.group_interval_ms, known)
