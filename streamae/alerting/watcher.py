"""What concerns all receivers, looked after in one thread: detectors, owners, orders, missing topics, the heartbeat.

It makes the `World` that couriers go by. Must not know: how anything is told, or where Kafka is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from streamae.alerting.detectors import LOOK_INTERVAL_MS, SignsOfLife
from streamae.alerting.orders import Orders
from streamae.alerting.owners import Owners
from streamae.alerting.silences import Silences
from streamae.alerting.world import Report, World
from streamae.batches import Partition
from streamae.errors import DataError, RetryableError
from streamae.observe.alert_metrics import AlertMetrics
from streamae.observe.logs import get_logger
from streamae.settings.delivery import DeliverySettings

REST_S = 1.0
OWNERS_INTERVAL_MS = 10_000
BEAT_INTERVAL_MS = 60_000
LONGEST_GROUP = 8_000  # letters: a request holds 32,767 bytes
MOST_LAG_MS = 300_000  # above it nobody says that all is well
READABLE_MS = 3 * LOOK_INTERVAL_MS  # since the cluster has answered


class Cluster(Protocol):
    """Answers about groups and topics; may raise RetryableError."""

    def offsets_of(self, groups: Iterable[str]) -> dict[str, dict[Partition, int]]:
        """Return what groups have committed."""
        ...

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Return which topics there are not."""
        ...

    def close(self) -> None: ...


class Follower(Protocol):
    """Follows what operators order; may raise RetryableError or DataError."""

    def step(self, timeout_ms: int = 0) -> int:
        """Take in what is new; return how much has changed."""
        ...

    def orders(self, now_ms: int) -> Orders:
        """Return all that means something at `now_ms`, wall clock."""
        ...

    def close(self) -> None: ...


class Watcher:
    """Turned by one thread; `world` and `problems` are read by any.

    Args:
        settings: of the delivery.
        owners: as they are at the start.
        cluster, follower: see there.
        reports: returns the newest report of each courier.
        metrics: hears of it.
        topics: that are needed.
        beat: tells somebody that all is well, and returns why not; None = nobody.
    """

    def __init__(
        self,
        settings: DeliverySettings,
        owners: Owners,
        cluster: Cluster,
        follower: Follower,
        reports: Callable[[], Sequence[Report]],
        metrics: AlertMetrics,
        topics: Sequence[str],
        beat: Callable[[int], str] | None = None,
    ) -> None:
        self._cluster, self._follower, self._reports = cluster, follower, reports
        self._metrics, self._topics, self._beat = metrics, topics, beat
        self._signs = SignsOfLife(settings.stale_ms, settings.give_up_ms)
        self._allowed = frozenset(settings.detectors)
        self._heard: dict[str, int] = {}
        self._looked_ms = self._owners_ms = self._beaten_ms = -LOOK_INTERVAL_MS
        self._answered_ms: int | None = None
        self._troubles: dict[str, str] = {}
        self.world = World(owners, Orders(Silences()))

    @property
    def rest_s(self) -> float:
        """Once a second is often enough."""
        return REST_S

    @property
    def problems(self) -> list[str]:
        """What is wrong now, a sentence each."""
        return list(self._troubles.values())

    def step(self, now_ms: int, wall_ms: int) -> None:
        """Look at everything that is due."""
        reports = self._reports()
        self._hear(reports, now_ms, wall_ms)
        self._follow_orders(wall_ms)
        if now_ms - self._owners_ms >= OWNERS_INTERVAL_MS:
            self._owners_ms = now_ms
            self._reread_owners()
        if now_ms - self._looked_ms >= LOOK_INTERVAL_MS:
            self._looked_ms = now_ms
            self._look(now_ms, wall_ms)
        refusals = {report.receiver: report.refusals for report in reports if report.refusals.count}
        is_well = self._is_well(reports, now_ms)
        self.world = replace(self.world, standing=self._signs.standing(), refusals=refusals, is_well=is_well)
        if is_well and now_ms - self._beaten_ms >= BEAT_INTERVAL_MS:
            self._beaten_ms = now_ms
            if self._beat is not None:
                self._trouble("heartbeat", self._beat(wall_ms))
        self._metrics.standing(
            is_stateless=any(report.is_stateless for report in reports),
            without_owner=self.world.owners.without_owner.count,
            silent=len(self.world.standing.silent),
            silences=len(self.world.orders.silences.active(wall_ms)),
        )

    def drain(self, now_ms: int) -> None:
        """Nothing is in hand."""

    def close(self) -> None:
        """Release connections; idempotent."""
        self._follower.close()
        self._cluster.close()

    def _hear(self, reports: Sequence[Report], now_ms: int, wall_ms: int) -> None:
        """Take what couriers have read: news of a detector is a sign of life, as old as it is.

        Those that the settings name are waited for from the start: nobody has heard yet of one that died before.
        """
        self._signs.expect(self._allowed, now_ms, wall_ms)
        for report in reports:
            self._signs.expect(self._meant(report.watched), now_ms, wall_ms)
            for detector in self._meant(report.heard):
                stamped_ms = min(report.heard[detector], wall_ms)
                if stamped_ms > self._heard.get(detector, 0):
                    self._heard[detector] = stamped_ms
                    self._signs.heard(detector, now_ms, wall_ms)

    def _meant(self, detectors: Iterable[str]) -> list[str]:
        """Return those that count, and whose name a consumer group can have: one that none can have hides all others."""
        able = [detector for detector in detectors if 0 < len(detector) <= LONGEST_GROUP]
        return [detector for detector in able if not self._allowed or detector in self._allowed]

    def _follow_orders(self, wall_ms: int) -> None:
        try:
            has_changed = self._follower.step() > 0
        except (RetryableError, DataError) as error:
            self._trouble("orders", str(error))
            return
        self._trouble("orders", "")
        if has_changed:
            self.world = replace(self.world, orders=self._follower.orders(wall_ms))

    def _reread_owners(self) -> None:
        owners = self.world.owners.reread_if_changed()
        if owners is not self.world.owners:
            self._trouble("owners", owners.problem)
            if not owners.problem:
                get_logger().info("owners_reread")
            self.world = replace(self.world, owners=owners)

    def _look(self, now_ms: int, wall_ms: int) -> None:
        try:
            missing = self._cluster.missing(self._topics)
            offsets = self._cluster.offsets_of(sorted(self._signs.known))
        except RetryableError as error:
            self._trouble("cluster", str(error))
            return
        self._answered_ms = now_ms
        self._trouble("cluster", f"topics are missing: create {', '.join(missing)}" if missing else "")
        self._signs.looked(offsets, now_ms, wall_ms)

    def _is_well(self, reports: Sequence[Report], now_ms: int) -> bool:
        """Tell whether alerts can be delivered: the topic is read, nothing lags, and every receiver takes its alerts."""
        is_readable = self._answered_ms is not None and now_ms - self._answered_ms < READABLE_MS
        return is_readable and all(
            now_ms - report.at_ms < READABLE_MS
            and report.partitions > 0
            and report.is_caught_up
            and report.failing_since_ms is None
            and report.lag_ms < MOST_LAG_MS
            for report in reports
        )

    def _trouble(self, about: str, text: str) -> None:
        """Note what is wrong, and say it once; "" = nothing is."""
        before = self._troubles.pop(about, "")
        if text:
            self._troubles[about] = text
        if text and text != before:
            get_logger().warning("alerting_trouble", about=about, why=text)
        elif before and not text:
            get_logger().info("alerting_recovered", about=about)
