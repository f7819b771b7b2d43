"""What the alerts of the past would have been: changes through routes, classes, owners, desks and folding, unsent.

The wall clock is that of the records, by their Kafka timestamps. What a receiver is told is taken as delivered at once.
Silences have no part in it: they are of now. Must not know: where changes come from, or how results are shown.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from streamae.alerting.alert import Action, Alert, Notice
from streamae.alerting.change import Change, Unreadable, UnreadableChange, read_change
from streamae.alerting.desk import Desk
from streamae.alerting.folding import Folder
from streamae.alerting.owners import Owners
from streamae.alerting.routing import Routing
from streamae.alerting.rules import Rules
from streamae.batches import RawRecord
from streamae.episode_changes import ChangeKind
from streamae.settings.delivery import DeliverySettings, ReceiverSettings

HOUR_MS = 3_600_000
TELL_EVERY_CHANGE = frozenset({"webhook", "log"})  # kinds of receivers
FOLDED = frozenset({"apprise"})
ALL_TEAMS = ""
TEAM = "team"
LEAST_TICK_MS = 1_000


class Sent(NamedTuple):
    """One message.

    Attributes:
        at_ms: wall clock.
        notices: in it.
    """

    at_ms: int
    notices: Sequence[Notice]


@dataclass(slots=True)
class Row:
    """What one team would have had from one receiver.

    Attributes:
        messages: sent to it; of receivers that group by themselves an alert that begins, gets worse or ends is one.
        alerts: begun.
        open: alerts that are not over.
        hours: messages by hour since the epoch.
        keys: what messages told, by key.
    """

    messages: int = 0
    alerts: int = 0
    open: int = 0
    hours: Counter[int] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def add(self, at_ms: int, notices: Iterable[Notice]) -> None:
        """Count one message."""
        self.messages += 1
        self.hours[at_ms // HOUR_MS] += 1
        for notice in notices:
            self.keys[notice.alert.identity.get("key", "")] += 1
            self.alerts += notice.action is Action.TRIGGER
            self.open += (notice.action is Action.TRIGGER) - (notice.action is Action.RESOLVE)


@dataclass(frozen=True, slots=True)
class _Nature:
    """Of a receiver that forgets nothing."""

    wants_every_change: bool
    repeat_ms: int | None = None
    repeat_resolved_ms: int = 0


class _Player:
    """One receiver: its desk, what it would have been sent, and what of that is still to be folded."""

    def __init__(self, settings: ReceiverSettings, rules: Rules) -> None:
        self.settings, self._rules = settings, rules
        self.is_folded = settings.kind in FOLDED
        self.to_fold: list[tuple[int, Notice]] = []
        self.known: list[Alert] = []  # open before the past that is looked at
        self._nature = _Nature(settings.kind in TELL_EVERY_CHANGE)
        self._desk = Desk(self._nature, rules)
        self._classes: dict[str, int] = {}

    def begin_partition(self) -> None:
        """Begin a partition: what was told of another one has no part in it."""
        self._desk = Desk(self._nature, self._rules)

    def take_known(self, change: Change, now_ms: int) -> Alert | None:
        """Take an episode that began before the past that is looked at as told then, in the state of its first change.

        Args:
            change: an end is left to `take`.
            now_ms: wall clock.

        Returns:
            The alert; None = no route leads to the receiver.
        """
        before = change
        if change.is_closed:
            before = replace(change, kind=ChangeKind.UPDATED, sequence=change.sequence - 1, close_reason="")
        self._desk.rebuild([before], now_ms)
        self._desk.saved(self._desk.unsaved())
        told = self._desk.told(change.episode_id)
        if told is None:
            return None
        alert = _slim(told.alert)
        self._classes[change.episode_id] = alert.severity
        self.known.append(alert)
        return alert

    def take(self, change: Change, now_ms: int) -> list[Notice]:
        """Take a change, and return what the receiver is told of it."""
        self._desk.take(change, now_ms)
        found = []
        while notices := self._desk.due(now_ms):
            for notice in notices:
                self._desk.delivered(notice, now_ms)
                if self._is_worth_a_message(notice):
                    found.append(Notice(notice.action, _slim(notice.alert)))
            self._desk.saved(self._desk.unsaved())
        self._desk.forget(now_ms)
        return found

    def _is_worth_a_message(self, notice: Notice) -> bool:
        alert = notice.alert
        if notice.action is Action.RESOLVE:
            self._classes.pop(alert.episode_id, None)
            return True
        is_worse = alert.severity > self._classes.get(alert.episode_id, -1)
        self._classes[alert.episode_id] = alert.severity
        return is_worse or notice.action is Action.TRIGGER or self._nature.wants_every_change


class Rehearsal:
    """Changes of the past, a partition after the other, and what would have come of them.

    Args:
        settings: who is told what.
        owners: of the keys.

    Attributes:
        changes, episodes: that were looked at.
        unreadable: records that would have become dead letters, by reason.
        first_ms: wall clock of the oldest change; None = there is none.
    """

    def __init__(self, settings: DeliverySettings, owners: Owners) -> None:
        routing = Routing(settings.routes, settings.receivers)
        self._players = [_Player(each, Rules(each.name, settings, routing, owners)) for each in settings.receivers]
        self._rows: dict[tuple[str, str], Row] = {(each.name, ALL_TEAMS): Row() for each in settings.receivers}
        self._now_ms = 0
        self._seen: set[str] = set()
        self.changes, self.episodes = 0, 0
        self.first_ms: int | None = None
        self.unreadable: Counter[Unreadable] = Counter()

    def begin_partition(self) -> None:
        """Say that what comes next is of another partition."""
        self._now_ms, self._seen = 0, set()
        for player in self._players:
            player.begin_partition()

    def take(self, records: Iterable[RawRecord]) -> None:
        """Take the next records of the partition."""
        for record in records:
            try:
                change = read_change(record)
            except UnreadableChange as error:
                self.unreadable[error.reason] += 1
            else:
                self._take(change)

    def rows(self, end_ms: int) -> dict[tuple[str, str], Row]:
        """Return the rows by receiver and team, "" = all teams together; call it once, at the end.

        Args:
            end_ms: wall clock at which the past ends: what would be folded into a later message is in none.
        """
        for player in self._players:
            for sent in fold(player.settings, player.to_fold, player.known, end_ms):
                self._count(player.settings.name, sent.at_ms, sent.notices)
        return dict(sorted(self._rows.items()))

    def _take(self, change: Change) -> None:
        self._now_ms = max(self._now_ms, change.stamped_ms)  # stamps of producers may go back, a clock does not
        self.first_ms = self._now_ms if self.first_ms is None else min(self.first_ms, self._now_ms)
        self.changes += 1
        is_known = change.episode_id not in self._seen and change.kind is not ChangeKind.OPENED
        if change.episode_id not in self._seen:
            self._seen.add(change.episode_id)
            self.episodes += 1
        for player in self._players:
            if is_known:
                alert = player.take_known(change, self._now_ms)
                for row in [] if alert is None else self._rows_of(player.settings.name, alert):
                    row.open += 1
            for notice in player.take(change, self._now_ms):
                if player.is_folded:
                    player.to_fold.append((self._now_ms, notice))
                else:
                    self._count(player.settings.name, self._now_ms, [notice])

    def _count(self, receiver: str, at_ms: int, notices: Sequence[Notice]) -> None:
        """Count a message for all, and for each team that it tells something."""
        rows: dict[int, tuple[Row, list[Notice]]] = {}
        for notice in notices:
            for row in self._rows_of(receiver, notice.alert):
                rows.setdefault(id(row), (row, []))[1].append(notice)
        for row, theirs in rows.values():
            row.add(at_ms, theirs)

    def _rows_of(self, receiver: str, alert: Alert) -> list[Row]:
        teams = {ALL_TEAMS, alert.identity.get(TEAM, ALL_TEAMS)}
        return [self._rows.setdefault((receiver, team), Row()) for team in teams]


def fold(
    settings: ReceiverSettings, told: Iterable[tuple[int, Notice]], known: Iterable[Alert], end_ms: int
) -> Iterator[Sent]:
    """Yield the messages that a folder makes of notices.

    Args:
        settings: how it folds.
        told: when each was due; those of an episode in their order.
        known: alerts that are open before.
        end_ms: what is not sent until then never is.
    """
    folder = Folder(settings.group_by, settings.group_wait_ms, settings.group_interval_ms, known)
    tick_ms = max(LEAST_TICK_MS, min(settings.group_wait_ms, settings.group_interval_ms) // 10)
    waiting: dict[str, deque[Notice]] = {}
    now_ms = 0

    def sent() -> Iterator[Sent]:
        for batch in folder.batches([queue[0] for queue in waiting.values()], now_ms):
            folder.settled(batch, now_ms)
            for notice in batch:
                queue = waiting[notice.alert.episode_id]
                queue.popleft()
                if not queue:
                    del waiting[notice.alert.episode_id]
            yield Sent(now_ms, batch)

    for at_ms, notice in [*sorted(told, key=lambda each: each[0]), (end_ms, None)]:
        while waiting and now_ms + tick_ms <= at_ms:
            now_ms += tick_ms
            yield from sent()
        now_ms = max(now_ms, at_ms)
        if notice is not None:
            _put(waiting.setdefault(notice.alert.episode_id, deque()), notice)
        yield from sent()


def _put(queue: deque[Notice], notice: Notice) -> None:
    """Append a notice as a desk does: what was not told yet is told in its newest state, an end after a begin."""
    last = queue[-1].action if queue else None
    if last is Action.UPDATE or (last is Action.TRIGGER and notice.action is Action.UPDATE):
        before = queue.pop().action
        notice = Notice(notice.action if notice.action is Action.RESOLVE else before, notice.alert)
    queue.append(notice)


def _slim(alert: Alert) -> Alert:
    """Return an alert without what only people read: many of them are kept."""
    severity = alert.event.get("severity", 0.0)
    return replace(alert, event={"severity": severity}, summary="", extra={}, link="")
