"""How changes come to a receiver's cases: what is not meant or known is dropped, the rest becomes news.

Must not know: how news goes out, or what is saved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from streamae.alerting.alert import Alert, Labels
from streamae.alerting.case import Case, Ending, Line, News, line_of
from streamae.alerting.cases import SUPERSEDED, Cases
from streamae.alerting.change import Change
from streamae.alerting.identity import LONGEST_NAME
from streamae.alerting.offsets import Offsets, Places
from streamae.alerting.old_news import Count, OldEpisode, OldNews
from streamae.alerting.rules import Rules
from streamae.alerting.texts import one_line
from streamae.batches import Partition
from streamae.episode_changes import ChangeKind


class Dropped(StrEnum):
    """Why something is not told: a closed set, also a metric label."""

    NOT_NEWER = "not_newer"
    NOT_ROUTED = "not_routed"
    OLD = "old"
    SILENCED = "silenced"
    OTHER_DETECTOR = "other_detector"


class Nature(Protocol):
    """What a desk asks of its receiver; every `Receiver` is one."""

    @property
    def wants_every_change(self) -> bool: ...
    @property
    def repeat_ms(self) -> int | None: ...
    @property
    def repeat_resolved_ms(self) -> int: ...


class Intake:
    """Puts changes, old news, our own alerts and endings into the cases of one desk.

    Attributes:
        rules: what the settings say.
        offsets: of the output topic.
        dropped: how many changes were not told, by reason.
    """

    def __init__(self, nature: Nature, rules: Rules, cases: Cases) -> None:
        self._nature, self.rules, self._cases = nature, rules, cases
        self._old = OldNews()
        self.offsets = Offsets()
        self.dropped: Counter[Dropped] = Counter()

    def take(self, change: Change, now_ms: int, *, is_old_news: bool = False) -> None:
        """Take the next change of a partition.

        Args:
            change: of any episode; those of a partition in their order.
            now_ms: wall clock.
            is_old_news: it lies in the past of this start (`Read.is_old`): `settle_old_news` tells or counts it.
        """
        self.offsets.read(change.at)
        if not self.rules.counts(change):
            self.dropped[Dropped.OTHER_DETECTOR] += 1
            return
        news = self._news_of(change, now_ms)
        case = self._cases.get(change.episode_id)
        old = self._old.get(change.episode_id)
        if case is not None:
            if case.lost_ms is not None and change.sequence >= case.newest:
                case.lose(None)
                self._cases.note(case)
            if case.is_new(change, is_every_change=self._nature.wants_every_change):
                self._add(case, replace(news, places=self.offsets.hold(change.at)))
            else:
                self.dropped[Dropped.NOT_NEWER] += 1
        elif old is not None and news.sequence <= old.news.sequence:
            self.dropped[Dropped.NOT_NEWER] += 1
        else:
            self._take_first(change, news, old, is_old_news=is_old_news)

    def settle_old_news(self, now_ms: int) -> Alert | None:
        """Tell or count all old news: call it when the backlog was read to the end that it had at the start.

        Returns:
            The summary of what is not told one by one, which is also taken like an alert of our own; None = all is.
        """
        count, places = Count(), dict[Partition, int]()
        for old in self._old.take_all():
            if old.is_told(now_ms, self.rules.settings.max_age_ms):
                self._begin(old.change, old.identity, old.news)
            else:
                count.add(old)
                self.dropped[Dropped.OLD] += 1
                places = dict(self.offsets.joined(places, old.news.places))
        if not count.episodes:
            return None
        alert = count.alert(now_ms, self.rules.settings.labels)
        self.take_own(alert, places)
        return alert

    def take_own(self, alert: Alert, places: Places) -> None:
        """Take an alert of our own, which is told as an update where it is open and says something else."""
        case = self._cases.get(alert.episode_id)
        if case is None:
            case = Case(alert.episode_id, alert.episode_id, alert.identity, alert.started_ms, alert.started_ms)
        elif case.is_over:
            case.identity = alert.identity
        elif not places and case.says(alert):
            return
        self._add(case, News(-1, alert.severity, alert, None, alert.started_ms, places))

    def end(self, case: Case, ending: Ending, places: Places | None = None) -> None:
        """Have a case end, once what it has to say was said; `places` are held until then."""
        self._add(case, News(case.newest, case.severity, None, ending, ending.at_ms, places or {}))

    def _news_of(self, change: Change, now_ms: int) -> News:
        since_ms = wall_ms_of(change, now_ms)
        ending = Ending(one_line(change.close_reason, LONGEST_NAME), since_ms) if change.is_closed else None
        return News(change.sequence, self.rules.class_of(change), change, ending, since_ms)

    def _take_first(self, change: Change, news: News, old: OldEpisode | None, *, is_old_news: bool) -> None:
        """Take a change of an episode that has no case: it gets one when it first meets a route."""
        identity = self.rules.identity_of(change) if old is None else old.identity
        is_wanted = old is not None or self.rules.wants(change, identity, news.severity)
        if is_wanted:
            places = self.offsets.hold(change.at)
            if old is not None:
                places = self.offsets.joined(old.news.places, places)
                news = news.risen_from(old.news)
            news = replace(news, places=places)
        if is_wanted and is_old_news:
            if change.kind is ChangeKind.OPENED:
                self._supersede(line_of(identity), change, news.since_ms, is_told=False)
            self._old.put(OldEpisode(change, identity, news))
        elif is_wanted:
            self._old.pop(change.episode_id)
            self._begin(change, identity, news)
        else:
            self.dropped[Dropped.NOT_ROUTED] += 1
            if change.kind is ChangeKind.OPENED:
                self._supersede(line_of(identity), change, news.since_ms, is_told=False)

    def _begin(self, change: Change, identity: Labels, news: News) -> None:
        self._supersede(line_of(identity), change, news.since_ms, is_told=True)
        case = Case(change.episode_id, line_of(identity), identity, change.start_ms, news.since_ms)
        self._add(case, news)

    def _supersede(self, line: Line, change: Change, at_ms: int, *, is_told: bool) -> None:
        """End what is open in a line and began before the episode of `change`: nobody will end it otherwise.

        That goes by event time: an event that was published again does not end what is newer. Where the change itself
        is not told, its place is held until the end of the others is.
        """
        self._old.supersede(line, change)
        others = [case for case in self._cases.line(line) if not case.is_over and not case.is_final]
        others = [case for case in others if case.start_ms <= change.start_ms and case.episode_id != change.episode_id]
        for case in others:
            places = self.offsets.hold(change.at) if case is others[-1] and not is_told else {}
            self.end(case, Ending(SUPERSEDED, at_ms), places)

    def _add(self, case: Case, news: News) -> None:
        is_folded = not self._nature.wants_every_change or news.sequence < 0
        if is_folded and case.news:
            news = replace(news, places=self.offsets.joined(case.news[-1].places, news.places))
        case.add(news, is_folded=is_folded)
        self._cases.note(case)


def wall_ms_of(change: Change, now_ms: int) -> int:
    """Return when a change was published, by Kafka's timestamp; never later than now."""
    return min(change.stamped_ms, now_ms) if change.stamped_ms > 0 else now_ms
