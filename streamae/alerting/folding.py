"""Many alerts as one message, for receivers that make a message of whatever they are sent.

Alerts with the same labels of `group_by` are a group. Its first message waits a little for more; what joins later
comes together, and so does the end. That an episode goes on is no reason for a message, unless its class rises.
Only times are kept here, no alert: what is not sent yet stays with the desk, which offers it again, with its newest
state and without what was silenced meanwhile. So a restart loses nothing.

Must not know: receivers, or what was told before.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamae.alerting.alert import Action, Alert, Notice, SeverityClass

Group = tuple[str, ...]


@dataclass(slots=True)
class _Clock:
    """What is known of a group.

    Attributes:
        open: episodes that were told and are not over.
        sent_ms: when its last message went; None = none did, or long ago.
        news_since_ms, ends_since_ms: since when something new, or something that is over, waits; None = nothing does.
    """

    open: set[str] = field(default_factory=set)
    sent_ms: int | None = None
    news_since_ms: int | None = None
    ends_since_ms: int | None = None


class _Known(NamedTuple):
    """What was told of an open episode; its labels may change, its group must not."""

    group: Group
    severity: SeverityClass


class Folder:
    """Decides which of the due notices of one receiver go now, and which of them as one message.

    Times are milliseconds on one clock that never goes back. Mutated by the receiver's thread only.

    Args:
        group_by: labels whose alerts make one message; one that is missing counts as empty.
        wait_ms: how long news wait for more of their group.
        interval_ms: shortest time between two messages of a group; its end does not wait for that.
        known: alerts that were told before this process and are not over.
    """

    def __init__(self, group_by: Sequence[str], wait_ms: int, interval_ms: int, known: Iterable[Alert] = ()) -> None:
        self._group_by, self._wait_ms, self._interval_ms = tuple(group_by), wait_ms, interval_ms
        self._groups: dict[Group, _Clock] = {}
        self._known: dict[str, _Known] = {}  # by open episode
        for alert in known:
            self._open(alert)

    def quiet(self, due: Iterable[Notice]) -> list[Notice]:
        """Return the notices that are worth no message: what was told goes on and is no worse.

        They are the caller's to settle as if they had been delivered; `batches` leaves them out.
        """
        return [notice for notice in due if self._is_quiet(notice)]

    def batches(self, due: Sequence[Notice], now_ms: int) -> list[list[Notice]]:
        """Return the notices that go now, a list for each message, worst first.

        The same are returned again until `settled` hears of them.

        Args:
            due: all that the receiver is to be told and was not, at most one of an episode.
            now_ms: the clock.
        """
        waiting: dict[Group, list[Notice]] = {}
        for notice in due:
            if not self._is_quiet(notice):
                waiting.setdefault(self._group_of(notice.alert), []).append(notice)
        self._drop_idle(waiting, now_ms)
        found = []
        for group, notices in waiting.items():
            clock = self._groups.setdefault(group, _Clock())
            if self._is_ready(clock, notices, now_ms):
                found.append(sorted(notices, key=_badness, reverse=True))
        return found

    def settled(self, notices: Iterable[Notice], now_ms: int, refused: Container[str] = ()) -> None:
        """Note that these need not be sent again: the receiver has them, or has refused them for ever.

        Not for quiet ones, of which no message went.

        Args:
            notices: of one message.
            now_ms: the clock.
            refused: episodes of those that were refused: an end of what never began is not told.
        """
        for notice in notices:
            clock = self._groups.setdefault(self._group_of(notice.alert), _Clock())
            clock.sent_ms, clock.news_since_ms, clock.ends_since_ms = now_ms, None, None
            if notice.action is Action.RESOLVE:
                clock.open.discard(notice.alert.episode_id)
                self._known.pop(notice.alert.episode_id, None)
            elif notice.alert.episode_id in self._known or notice.alert.episode_id not in refused:
                self._open(notice.alert)

    def _is_ready(self, clock: _Clock, notices: Sequence[Notice], now_ms: int) -> bool:
        ending = {notice.alert.episode_id for notice in notices if notice.action is Action.RESOLVE}
        has_news = len(ending) < len(notices)
        clock.news_since_ms = (now_ms if clock.news_since_ms is None else clock.news_since_ms) if has_news else None
        clock.ends_since_ms = (now_ms if clock.ends_since_ms is None else clock.ends_since_ms) if ending else None
        if not has_news and clock.open <= ending:
            return True  # all of it is over
        if clock.sent_ms is not None and now_ms < clock.sent_ms + self._interval_ms:
            return False
        news_wait = clock.news_since_ms is not None and now_ms >= clock.news_since_ms + self._wait_ms
        ends_wait = clock.ends_since_ms is not None and now_ms >= clock.ends_since_ms + self._interval_ms
        return news_wait or ends_wait

    def _is_quiet(self, notice: Notice) -> bool:
        known = self._known.get(notice.alert.episode_id)
        is_going_on = notice.action is Action.UPDATE or notice.action is Action.REPEAT
        return is_going_on and known is not None and notice.alert.severity <= known.severity

    def _group_of(self, alert: Alert) -> Group:
        known = self._known.get(alert.episode_id)
        if known is not None:
            return known.group
        labels = alert.labels
        return tuple(labels.get(name, "") for name in self._group_by)

    def _open(self, alert: Alert) -> None:
        group = self._group_of(alert)
        self._known[alert.episode_id] = _Known(group, alert.severity)
        self._groups.setdefault(group, _Clock()).open.add(alert.episode_id)

    def _drop_idle(self, waiting: dict[Group, list[Notice]], now_ms: int) -> None:
        """Forget groups of which nothing is open, nothing waits, and whose interval is over."""
        for group, clock in list(self._groups.items()):
            if group in waiting:
                continue
            clock.news_since_ms = clock.ends_since_ms = None  # what waited was silenced, or has gone another way
            if not clock.open and (clock.sent_ms is None or now_ms >= clock.sent_ms + self._interval_ms):
                del self._groups[group]


def _badness(notice: Notice) -> tuple[bool, int, float]:
    """Return what messages are ordered by: what is new before what is over, then the class, then the severity."""
    severity = notice.alert.event.get("severity", 0.0)
    number = float(severity) if isinstance(severity, int | float) else 0.0
    return notice.action is not Action.RESOLVE, int(notice.alert.severity), number
