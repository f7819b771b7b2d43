"""One episode as one receiver stands to it: what it knows, what it is still to be told, and so what comes next.

Must not know: other episodes, routes, offsets' order, or how anything is sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from streamae.alerting.alert import Action, Alert, Labels, Notice, SeverityClass
from streamae.alerting.change import Change
from streamae.alerting.identity import LINE, is_own
from streamae.alerting.offsets import Places
from streamae.alerting.rules import Rules
from streamae.alerting.told import Told

STALE = "stale"  # nobody knows whether it goes on: what is heard of it later is news
UNKNOWN = "unknown"
Line = Hashable


@dataclass(frozen=True, slots=True)
class Ending:
    """An episode is over.

    Attributes:
        reason: why.
        at_ms: wall clock.
    """

    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class News:
    """What a receiver is to be told next of an episode, or that it was told before of one.

    Attributes:
        sequence: of the newest change in it, -1 = of our own making.
        severity: the highest class in it.
        body: what it tells; None = only that the episode is over.
        ending: how it ended, None = it is open.
        since_ms: wall clock of the oldest in it.
        places: held on the output topic until it is told and remembered.
        passed: the lower classes that it went through: each may have been told before a crash.
    """

    sequence: int
    severity: SeverityClass
    body: Change | Alert | None
    ending: Ending | None
    since_ms: int
    places: Places = field(default_factory=dict)
    passed: frozenset[SeverityClass] = frozenset()

    def risen_from(self, older: News) -> News:
        """Return the same with the classes of what came before it."""
        return replace(
            self,
            severity=max(older.severity, self.severity),
            passed=self.passed | older.passed | {older.severity, self.severity},
        )


@dataclass(slots=True)
class Case:
    """One episode.

    Attributes:
        episode_id: of the episode, or of an alert of our own.
        line: what there is one open episode of at a time: they are told one after the other.
        identity: labels, fixed when it was first taken.
        start_ms: event time of its start, by which episodes of one line follow each other.
        started_ms: wall clock of what it was first taken by.
        told: what the receiver knows, or what is known of it without being told; None = nothing.
        news: not told yet, oldest first.
        told_places: settled as soon as `told` is remembered.
        is_unsaved: `told` is newer than what is remembered.
        is_tried: its beginning went out without an answer: it may have arrived, or not.
        lost_ms: as in `Told`.
        sent_ms: wall clock of the last acknowledged notice.
        is_repeated: may be told again without news.
    """

    episode_id: str
    line: Line
    identity: Labels
    start_ms: int
    started_ms: int
    told: Told | None = None
    news: deque[News] = field(default_factory=deque)
    told_places: list[Places] = field(default_factory=list)
    is_unsaved: bool = False
    is_tried: bool = False
    lost_ms: int | None = None
    sent_ms: int = 0
    is_repeated: bool = True

    @classmethod
    def of(cls, told: Told) -> Case:
        """Return the case of what is remembered."""
        alert = told.alert
        start_ms = alert.event.get("start_time_ms")
        return cls(
            alert.episode_id,
            alert.episode_id if is_own(alert) else line_of(alert.identity),
            alert.identity,
            start_ms if isinstance(start_ms, int) else alert.started_ms,
            alert.started_ms,
            told,
            is_tried=told.is_tried,
            lost_ms=told.lost_ms,
        )

    @property
    def is_open(self) -> bool:
        """Whether it was told or recorded as open, and not as over since."""
        return self.told is not None and not self.told.is_resolved

    @property
    def is_announced(self) -> bool:
        """Whether the receiver has it open."""
        return self.told is not None and not self.told.is_resolved and self.told.is_announced

    @property
    def is_withheld(self) -> bool:
        """Whether a silence is all that keeps something open from being told."""
        return self.is_open and self.told is not None and self.told.is_withheld

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be said of it."""
        return not self.news and not self.is_open

    @property
    def is_final(self) -> bool:
        """Whether it has ended for good, told or not: what comes later is not news."""
        if self.news:
            ending = self.news[-1].ending
            return ending is not None and ending.reason != STALE
        return self.told is not None and self.told.is_resolved and self.told.alert.close_reason != STALE

    @property
    def alert(self) -> Alert | None:
        """The alert as it was told or recorded last."""
        return None if self.told is None else self.told.alert

    def is_new(self, change: Change, *, is_every_change: bool) -> bool:
        """Tell whether a change says more than is known: it is later, or the end of what was only told as open."""
        if self.is_final:
            return False
        if self.news:
            return change.sequence > self.newest
        if change.is_closed and self.is_over and not is_every_change:
            return False
        is_end_left = change.is_closed and self.is_open
        return change.sequence > self.newest_told - is_end_left

    @property
    def is_own(self) -> bool:
        """Whether it is an alert of our own, not an episode."""
        return self.line == self.episode_id

    @property
    def severity(self) -> SeverityClass:
        """The newest class, told or not."""
        if self.news:
            return self.news[-1].severity
        return SeverityClass.INFO if self.told is None else self.told.alert.severity

    @property
    def newest(self) -> int:
        """Sequence of the newest change, told or not."""
        return max(self.news[-1].sequence, self.newest_told) if self.news else self.newest_told

    @property
    def newest_told(self) -> int:
        """Sequence of the newest change that was told or recorded."""
        return -1 if self.told is None else self.told.alert.sequence

    def add(self, news: News, *, is_folded: bool) -> None:
        """Append news; folded into the last where only the newest state counts. Their places are the caller's."""
        if self.told is not None and self.told.is_resolved and not self.news:
            self.started_ms = news.since_ms  # it begins anew
        if is_folded and self.news:
            news = _folded(self.news.pop(), news)
        self.news.append(news)

    def next_notice(self, rules: Rules, *, is_every_change: bool) -> Notice | None:
        """Return what the receiver is to be told now; None = there is nothing that it should hear of."""
        if not self.news:
            alert = self.alert
            if alert is None or not self.is_withheld:
                return None
            return Notice(self._going_on, alert)
        news = self.news[0]
        if news.ending is None:
            return Notice(self._going_on, self._alert(news, rules))
        if self.is_announced or (is_every_change and news.body is not None):
            return Notice(Action.RESOLVE, self._alert(news, rules, news.ending))
        if self.is_open or news.body is None:  # it was withheld, refused, or never said anything
            return None
        return Notice(Action.TRIGGER, self._alert(news, rules))

    def may_be_withheld(self, notice: Notice) -> bool:
        """Tell whether a silence may keep a notice back: not the end of what was announced."""
        return notice.action is not Action.RESOLVE or not self.is_announced

    def pass_over(self, rules: Rules, now_ms: int, *, is_withheld: bool) -> None:
        """Record the oldest news as known without telling it: a silence covers it, or nobody heard that it began."""
        news, is_announced = self.news[0], self.is_announced or self.is_tried
        is_end_left = news.ending is not None and self.is_tried and not self.is_announced  # its beginning may be there
        ending = None if is_end_left else news.ending
        self.record(
            Told(
                self._alert(news, rules, ending),
                is_resolved=ending is not None,
                told_ms=now_ms,
                is_withheld=is_withheld,
                is_announced=is_announced,
                is_tried=self.is_tried,
            )
        )
        if not is_end_left:
            self.told_places.append(self.news.popleft().places)

    def acknowledge(self, notice: Notice, now_ms: int, *, is_refused: bool) -> None:
        """Record that a notice was taken, or that it never will be."""
        self.sent_ms = now_ms
        if notice.action is Action.REPEAT:
            return
        ended = self.told.alert.close_reason if self.told is not None and self.told.is_resolved else None
        is_announced = not is_refused or self.is_announced or self.is_tried
        is_end = notice.action is Action.RESOLVE
        self.is_tried = False
        self.record(Told(notice.alert, is_resolved=is_end, told_ms=now_ms, is_announced=is_announced))
        if self.news and _tells(notice, self.news[0]):
            self.told_places.append(self.news.popleft().places)
        elif ended is not None and not self.news and notice.action in {Action.TRIGGER, Action.UPDATE}:
            # It was held by who sends while it ended here without being told.
            self.news.append(News(notice.alert.sequence, notice.alert.severity, None, Ending(ended, now_ms), now_ms))

    def record(self, told: Told) -> None:
        """Keep what the receiver knows now, to be remembered."""
        self.told, self.is_unsaved, self.is_repeated = replace(told, lost_ms=self.lost_ms), True, True

    def newest_alert(self, rules: Rules) -> Alert:
        """Return the alert of the newest state, told or not, as open."""
        told = [News(self.newest_told, self.severity, self.alert, None, 0)] if self.alert else []
        return self._alert(next(news for news in (*reversed(self.news), *told) if news.body is not None), rules)

    def says(self, alert: Alert) -> bool:
        """Tell whether the newest state is this alert of our own, for people to read."""
        newest = self.news[-1].body if self.news else self.alert
        is_open = self.news[-1].ending is None if self.news else self.is_open
        return is_open and isinstance(newest, Alert) and _text_of(newest) == _text_of(alert)

    def mark(self, *, is_unknown: bool) -> None:
        """Record whether anybody knows that it goes on."""
        if self.told is not None and self.told.is_unknown != is_unknown:
            self.told, self.is_unsaved = replace(self.told, is_unknown=is_unknown), True

    def lose(self, lost_ms: int | None) -> None:
        """Record since when its end may have been deleted unread; None = it was heard of since."""
        self.lost_ms = lost_ms
        if self.told is not None and self.told.lost_ms != lost_ms:
            self.told, self.is_unsaved = replace(self.told, lost_ms=lost_ms), True

    def drop(self, reason: str) -> None:
        """Record it as over without telling it."""
        if self.told is not None:
            alert = replace(self.told.alert, ended_ms=self.told.told_ms, close_reason=reason)
            self.record(replace(self.told, alert=alert, is_resolved=True))

    def slim(self) -> None:
        """Keep of what is over what is needed to know it again."""
        if self.told is not None and self.told.alert.event:
            self.told = replace(self.told, alert=replace(self.told.alert, event={}, extra={}))
            self.is_unsaved = True

    def shown(self) -> Alert | None:
        """Return the alert as it is repeated: with a word where nobody knows whether it goes on."""
        if self.told is None or not (self.told.is_unknown or self.told.lost_ms):
            return self.alert
        alert = self.told.alert
        silent = f"nothing is heard of detector {alert.identity.get('detector', '')}"
        why = silent if self.told.is_unknown else "events were deleted before they were read"
        return replace(alert, extra={**alert.extra, UNKNOWN: f"{why}: it may go on, or be over"})

    @property
    def _going_on(self) -> Action:
        """How an open state is told: as a beginning until one is acknowledged, or people might never hear of it."""
        return Action.UPDATE if self.is_announced and not self.is_tried else Action.TRIGGER

    def _alert(self, news: News, rules: Rules, ending: Ending | None = None) -> Alert:
        """Return the alert that tells news, with the classes reached so far; as open where no ending is given."""
        reached = () if self.told is None else self.told.alert.classes
        risen = sorted(each for each in {*news.passed, news.severity} if not reached or each > reached[-1])
        classes = (*reached, *risen)
        body = self.alert if news.body is None else news.body
        if isinstance(body, Change):
            body = rules.alert_of(body, self.identity, classes, self.started_ms)
        assert body is not None, "news without a body end what was told"
        alert = replace(
            body,
            identity=self.identity,
            classes=classes,
            started_ms=self.started_ms,
            ended_ms=None,
            close_reason="",
        )
        if ending is None:
            return alert
        return replace(alert, ended_ms=max(ending.at_ms, alert.started_ms), close_reason=ending.reason)


def line_of(identity: Labels) -> Line:
    """Return the line of an episode by its labels: detector, topic, partition, key and cause."""
    return tuple(identity.get(name, "") for name in LINE)


def _folded(older: News, newer: News) -> News:
    """Return both as one: the newest state, the worst class, and since when it waits."""
    return replace(
        newer.risen_from(older),
        sequence=max(older.sequence, newer.sequence),
        body=older.body if newer.body is None else newer.body,
        since_ms=min(older.since_ms, newer.since_ms),
    )


def _tells(notice: Notice, news: News) -> bool:
    """Tell whether nothing of `news` is left to say after `notice`, which may be older."""
    if (news.ending is not None) != (notice.action is Action.RESOLVE) or notice.alert.sequence < news.sequence:
        return False
    return not isinstance(news.body, Alert) or _text_of(news.body) == _text_of(notice.alert)


def _text_of(alert: Alert) -> tuple[object, ...]:
    return alert.summary, dict(alert.extra), alert.severity
