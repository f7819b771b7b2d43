"""From snapshots to alerts of our own on one desk: detectors that are silent, receivers that refuse, what is ended.

Must not know: how snapshots are made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from streamae.alerting.alert import Alert, Cause, Labels
from streamae.alerting.desk import OPERATOR, STALE, Desk
from streamae.alerting.detectors import Standing
from streamae.alerting.identity import own_alert
from streamae.alerting.orders import Resolution
from streamae.alerting.world import Refusals, World

ALIVE = "alive"  # why an alert about a silent detector ends


class OwnNews:
    """Follows the world for one receiver. Mutated by its thread.

    Args:
        receiver: its name: of its own refusals the others tell.
        labels: of every alert.
    """

    def __init__(self, receiver: str, labels: Labels) -> None:
        self._receiver, self._labels = receiver, labels
        self._standing = Standing()
        self._refusals: dict[str, int] = {}
        self._resolutions: tuple[Resolution, ...] = ()
        self._was_caught_up = False

    def follow(self, world: World, desk: Desk, wall_ms: int, *, is_caught_up: bool) -> None:
        """Have the desk say what is new in the world.

        Args:
            world: the newest snapshot.
            desk: tells it.
            wall_ms: since the epoch.
            is_caught_up: the backlog is read: what an operator has ended may have been in it.
        """
        if world.owners is not desk.rules.owners:
            desk.rules = desk.rules.with_owners(world.owners)
        if world.standing != self._standing:
            self._follow_detectors(world.standing, desk, wall_ms)
        for receiver, refusals in world.refusals.items():
            if receiver != self._receiver:
                self.tell_refusals(receiver, refusals, desk, wall_ms)
        if world.orders.resolutions != self._resolutions or (is_caught_up and not self._was_caught_up):
            self._resolutions = world.orders.resolutions
            for order in self._resolutions:
                desk.end_where(order.ends, OPERATOR, wall_ms)
        self._was_caught_up = is_caught_up

    def tell_refusals(self, receiver: str, refusals: Refusals, desk: Desk, wall_ms: int) -> None:
        """Tell that alerts went to the dead-letter topic, again with each further one.

        Args:
            receiver: that refused them; "" = no receiver could be told, since nobody understands the change.
            refusals: so far.
            desk: tells it.
            wall_ms: since the epoch.
        """
        if refusals.count <= self._refusals.get(receiver, 0):
            return
        self._refusals[receiver] = refusals.count
        what = f"could not be told to {receiver}" if receiver else "could not be read"
        are = "1 change" if refusals.count == 1 else f"{refusals.count:,} changes"
        summary = f"{are} {what} and went to the dead-letter topic: {refusals.why}"
        desk.take_alert(own_alert(Cause.DELIVERY_FAILED, summary, wall_ms, name=receiver, labels=self._labels))

    def _follow_detectors(self, standing: Standing, desk: Desk, wall_ms: int) -> None:
        before, self._standing = self._standing, standing
        for detector in sorted(standing.silent.keys() - before.silent.keys()):
            desk.take_alert(self._silent_alert(detector, standing.silent[detector], wall_ms))
            desk.mark_unknown(detector)
        for detector in sorted(standing.given_up - before.given_up):
            desk.end_where(_is_of(detector), STALE, wall_ms)
        for detector in sorted(standing.alive - before.alive):
            desk.end_alert(self._silent_alert(detector, 0, wall_ms).episode_id, ALIVE, wall_ms)
            desk.clear_unknown(detector)

    def _silent_alert(self, detector: str, since_ms: int, wall_ms: int) -> Alert:
        since = datetime.fromtimestamp(since_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        summary = f"detector {detector} is silent: no event or commit since {since}: its input is idle, or it is dead"
        return own_alert(Cause.DETECTOR_SILENT, summary, wall_ms, name=detector, labels=self._labels)


def _is_of(detector: str) -> Callable[[Alert], bool]:
    return lambda alert: alert.event.get("detector") == detector
