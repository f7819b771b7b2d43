"""`streamae alert`: the process that tells people, until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing

from streamae.alerting.alerter import Alerter
from streamae.alerting.build import build_courier
from streamae.alerting.courier import Courier
from streamae.alerting.links import link_from
from streamae.alerting.order_topic import OrderFollower
from streamae.alerting.owners import Owners
from streamae.alerting.receiver import Receiver
from streamae.alerting.receivers.build import build_receiver
from streamae.alerting.receivers.secret_files import read_secret_file
from streamae.alerting.rules import LinkOf
from streamae.alerting.told_records import TextStore, ToldRecords
from streamae.alerting.turner import wall_clock_ms
from streamae.alerting.watcher import Watcher
from streamae.alerting.world import Report, World
from streamae.commands.alert_settings import load_alerting
from streamae.commands.invocation import Invocation
from streamae.connectors.kafka import AtLeastOnceSink, KafkaSource
from streamae.connectors.kafka.cluster_view import ClusterView
from streamae.connectors.memory_told import MemoryTold
from streamae.connectors.redis_told import RedisTold, kept_receivers
from streamae.daemon.health import HealthServer
from streamae.daemon.notify import Notifier
from streamae.daemon.service import watch_signals
from streamae.errors import ConfigError, FatalError, RetryableError
from streamae.observe import logs
from streamae.observe.alert_metrics import AlertMetrics
from streamae.settings.alerts import AlertSettings
from streamae.settings.connections import KafkaSettings, StateSettings
from streamae.settings.tree import Settings

READ_AT_ONCE = 500  # records of one poll
BEAT_TIMEOUT_MS = 10_000


def main(invocation: Invocation) -> int:
    """Tell people until a signal comes.

    Raises:
        ConfigError: the settings cannot be served.
        FatalError: the health port cannot be listened on.
    """
    loaded = load_alerting(invocation)
    settings = loaded.settings
    logs.configure(settings.service.log_level, settings.service.log_format)
    metrics = AlertMetrics([receiver.name for receiver in settings.alerts.receivers])
    alerter = build_alerter(settings, metrics, Notifier.from_environment(os.environ))
    host, port = settings.alerts.http_host, settings.alerts.http_port
    try:
        health = HealthServer(host, port, alerter.live, alerter.ready, metrics.render, alerter.status, alerter.warnings)
    except OSError as error:
        raise FatalError(f"cannot listen on {host}:{port} (alerts.http_host, alerts.http_port): {error}") from error
    watch_signals(alerter.signalled)
    health.start()
    changed = {name: source for name, source in loaded.sources.items() if source != "default"}
    logs.get_logger().info("starting", http_port=health.port, pid=os.getpid(), settings=changed)
    tell_plan(settings)
    tell_of_removed(settings)
    try:
        return alerter.run()
    finally:
        health.close()


def build_alerter(settings: Settings, metrics: AlertMetrics, notifier: Notifier) -> Alerter:
    """Put everything together; services are asked by the threads later.

    Raises:
        ConfigError: a file or template of the settings cannot be used.
    """
    alerts = settings.alerts
    owners = Owners.read(alerts.owners, alerts.default_owner)
    link_of = link_from(alerts.link)
    receivers = [build_receiver(each, alerts) for each in alerts.receivers]
    redis = _redis(settings.state, alerts)
    beat = _heartbeat(alerts)

    def make_watcher(reports: Callable[[], Sequence[Report]]) -> Watcher:
        kafka = _kafka(settings.kafka, alerts, "watcher")
        topics = (settings.output.topic, alerts.dead_letter_topic, alerts.orders_topic)
        follower = OrderFollower(kafka, alerts.orders_topic, alerts.max_silence_ms)
        return Watcher(alerts, owners, ClusterView(kafka, kafka.group_id), follower, reports, metrics, topics, beat)

    def world() -> World:
        return alerter.watcher.world

    def courier_of(receiver: Receiver) -> Callable[[], Courier]:
        return lambda: _courier(receiver, settings, redis, world, metrics, link_of)

    alerter = Alerter(
        {receiver.name: courier_of(receiver) for receiver in receivers}, make_watcher, settings.service, notifier
    )
    return alerter


def tell_plan(settings: Settings) -> None:
    """Say who is told of what, and by which topics; each receiver says itself from where it reads."""
    alerts = settings.alerts
    logs.get_logger().info(
        "alerting",
        receivers={receiver.name: receiver.kind for receiver in alerts.receivers},
        routes=[route.model_dump(mode="json", exclude_defaults=True) for route in alerts.routes] or "default",
        detectors=list(alerts.detectors) or "all",
        events=settings.output.topic,
        dead_letters=alerts.dead_letter_topic,
        orders=alerts.orders_topic,
    )


def tell_of_removed(settings: Settings) -> None:
    """Say which receivers have something open and are no longer named: nobody tells them of its end."""
    redis, log = _redis(settings.state, settings.alerts), logs.get_logger()
    if redis is None:
        return
    try:
        for name in sorted(set(kept_receivers(redis)) - {receiver.name for receiver in settings.alerts.receivers}):
            with closing(ToldRecords(RedisTold(redis, name))) as store:
                kept = store.load()
            still_open = sum(told.is_announced and not told.is_resolved for told in kept.records) if kept else 0
            if still_open:
                log.warning("receiver_removed", receiver=name, open=still_open)
    except RetryableError as error:
        log.warning("removed_receivers_unknown", error=str(error))


def _courier(
    receiver: Receiver,
    settings: Settings,
    redis: StateSettings | None,
    world: Callable[[], World],
    metrics: AlertMetrics,
    link_of: LinkOf,
) -> Courier:
    """Connect one receiver's share.

    Raises:
        RetryableError: the cluster does not answer.
    """
    kafka = _kafka(settings.kafka, settings.alerts, receiver.name)
    source = KafkaSource([settings.output.topic], kafka, READ_AT_ONCE)
    try:
        sink = AtLeastOnceSink(kafka)
    except BaseException:
        source.close()
        raise
    texts: TextStore = MemoryTold() if redis is None else RedisTold(redis, receiver.name)
    store = ToldRecords(texts)
    return build_courier(
        receiver, source, sink, store, settings.alerts, world, metrics, wall_clock_ms(), link_of=link_of
    )


def _kafka(kafka: KafkaSettings, alerts: AlertSettings, name: str) -> KafkaSettings:
    """Return how one thread reaches the cluster.

    Its name in the group is always the same: what was killed is replaced at once, and a second process that tells the
    same receivers is noticed.
    """
    return kafka.model_copy(update={"group_id": f"{alerts.group_id}.{name}", "instance_id": name})


def _redis(state: StateSettings, alerts: AlertSettings) -> StateSettings | None:
    """Return how Redis is reached; None = what was told is remembered by this process only, as `state.store` says."""
    if state.store == "memory" and alerts.redis_url is None:
        return None
    path = alerts.redis_password_file
    password = None if path is None else read_secret_file(path, "alerts.redis_password_file")
    try:
        return state.at(alerts.redis_url, alerts.redis_username, password, alerts.key_prefix)
    except ValueError as error:
        raise ConfigError([f"alerts.redis_url: {str(error).replace('state.', 'alerts.')}"]) from error


def _heartbeat(alerts: AlertSettings) -> Callable[[int], str] | None:
    if alerts.heartbeat_url is None:
        return None
    try:
        from streamae.alerting.heartbeat import Heartbeat
        from streamae.alerting.http_client import HttpClient
    except ModuleNotFoundError as error:
        raise ConfigError([f"alerts.heartbeat_url: needs {error.name}: install streamae[alerts]"]) from error
    return Heartbeat(alerts.heartbeat_url, HttpClient(BEAT_TIMEOUT_MS)).beat
