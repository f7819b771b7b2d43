"""What one receiver is still to be told: changes come in, notices go out, what was acknowledged is to be saved.

    take -> due -> (send) -> delivered or refused -> unsaved -> (save) -> saved -> settled -> (commit)

A crash between any two of these loses nothing and begins nothing twice: what is not saved is read again. Nothing here
reads a clock, sends or stores. Must not know: how a receiver is spoken to, or where records are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from streamae.alerting.alert import Action, Alert, Cause, Labels, Notice, SeverityClass
from streamae.alerting.case import STALE, Case, Ending, line_of
from streamae.alerting.cases import SUPERSEDED, Cases
from streamae.alerting.change import Change
from streamae.alerting.intake import Dropped, Intake, Nature, wall_ms_of
from streamae.alerting.offsets import Offsets
from streamae.alerting.repeats import repeats
from streamae.alerting.rules import Rules
from streamae.alerting.texts import label_value
from streamae.alerting.told import Told
from streamae.batches import Partition

OPERATOR = "operator"  # ended by hand: what was not told yet never is
EXPIRED = "expired"
MESSAGES = frozenset({Cause.SUMMARY.value, Cause.DELIVERY_FAILED.value})  # nothing ends them but time

__all__ = ["EXPIRED", "OPERATOR", "STALE", "SUPERSEDED", "Desk", "Dropped", "Nature"]

Covers = Callable[[Labels, int], bool]


def nothing_is_silenced(_labels: Labels, _now_ms: int) -> bool:
    """Cover nothing."""
    return False


class Desk:
    """The desk of one receiver. All times are wall clock in ms. Not thread-safe."""

    def __init__(self, nature: Nature, rules: Rules, records: Iterable[Told] = ()) -> None:
        """Begin with what is remembered.

        Args:
            nature: of the receiver.
            rules: of the receiver.
            records: from its `ToldStore`.
        """
        self._nature, self._cases = nature, Cases()
        self._intake = Intake(nature, rules, self._cases)
        self.adopt(records)

    @property
    def rules(self) -> Rules:
        """What the settings say; may be replaced when owners change."""
        return self._intake.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        """Go by these from now on."""
        self._intake.rules = rules

    # What comes in

    def start_at(self, partition: Partition, offset: int) -> None:
        """Say that a partition of the output topic is read from `offset` on, after an assignment or a rewind."""
        self._intake.offsets.start_at(partition, offset)

    def take(self, change: Change, now_ms: int, *, is_old_news: bool = False) -> None:
        """Take the next change of a partition.

        Args:
            change: of any episode; those of a partition in their order.
            now_ms: wall clock.
            is_old_news: it lies in the past of this start (`Read.is_old`): `settle_old_news` tells or counts it.
        """
        self._intake.take(change, now_ms, is_old_news=is_old_news)

    def take_alert(self, alert: Alert) -> None:
        """Take an alert of our own: it begins, or goes on where it is open, as an update if its text is another."""
        self._intake.take_own(alert, {})

    def end_alert(self, episode_id: str, reason: str, now_ms: int) -> None:
        """Have an alert of our own end; where it is not open, nothing happens."""
        case = self._cases.get(episode_id)
        if case is not None and not case.is_over and not (case.news and case.news[-1].ending):
            self._intake.end(case, Ending(reason, now_ms))

    def end_where(self, matches: Callable[[Alert], bool], reason: str, now_ms: int) -> int:
        """End all open episodes that match, and return how many.

        With `OPERATOR` what was never told stays so, and later changes of the episode are not told. With `STALE` a
        later change begins it anew. Of our own alerts only an operator ends any: those of silent detectors.
        """
        ended = 0
        for case in list(self._cases.open()):
            is_silent = reason == OPERATOR and case.identity.get("cause") == Cause.DETECTOR_SILENT.value
            if (case.is_own and not is_silent) or case.is_final or not matches(case.newest_alert(self.rules)):
                continue
            self._intake.end(case, Ending(reason, now_ms))
            if reason == OPERATOR and not (case.is_announced or case.is_tried):
                while case.news:
                    case.pass_over(self.rules, now_ms, is_withheld=False)
                self._cases.note(case)
            ended += 1
        return ended

    def mark_unknown(self, detector: str) -> None:
        """Have the open episodes of a silent detector say, where they are repeated, that nobody knows of them."""
        self._mark(detector, is_unknown=True)

    def clear_unknown(self, detector: str) -> None:
        """Take that back."""
        self._mark(detector, is_unknown=False)

    def lose(self, now_ms: int) -> None:
        """Say that events were deleted before they were read: whatever is open may have ended with one of them.

        What is heard of again goes on, the rest is ended by `give_up`. Which partition they were of is not asked: when
        a change was told, its place on the output topic is no longer known.
        """
        for case in self._cases.open():
            if not (case.is_own or case.is_final) and case.lost_ms is None:
                case.lose(now_ms)
                self._cases.note(case)

    def give_up(self, now_ms: int) -> None:
        """End as stale what was not heard of for `alerts.give_up_ms` after its end may have been lost."""
        for case in list(self._cases.open()):
            is_lost = case.lost_ms is not None and now_ms - case.lost_ms >= self.rules.settings.give_up_ms
            if is_lost and not (case.news and case.news[-1].ending):
                self._intake.end(case, Ending(STALE, now_ms))

    def settle_old_news(self, now_ms: int) -> Alert | None:
        """Tell or count all old news: call it when the backlog was read to the end that it had at the start.

        Returns:
            The summary of what is not told one by one, which is also taken like an alert of our own; None = all is.
        """
        return self._intake.settle_old_news(now_ms)

    def rebuild(self, changes: Iterable[Change], now_ms: int) -> None:
        """Take changes that were read in an earlier life as told, since what was remembered of them is lost.

        It may be called for one after the other, before anything else is taken; then `start_at`.

        Args:
            changes: of the output topic from its beginning to the committed offsets.
            now_ms: wall clock.
        """
        dropped = self.dropped.copy()
        for change in changes:
            self.take(change, now_ms)
            case = self._cases.get(change.episode_id)
            line = line_of(self.rules.identity_of(change)) if case is None else case.line
            for one in self._cases.line(line):
                self._take_as_told(one, wall_ms_of(change, now_ms), now_ms)
        self._intake.offsets, self._intake.dropped = Offsets(), dropped

    def adopt(self, records: Iterable[Told]) -> None:
        """Take what is remembered of episodes that are not known here: when the store is back."""
        for case in self._cases.adopt(records):
            if case.told is not None:
                self._intake.end(case, Ending(SUPERSEDED, case.told.told_ms))

    # What goes out

    def due(self, now_ms: int, covers: Covers = nothing_is_silenced, limit: int | None = None) -> list[Notice]:
        """Return all that the receiver is to be told now: news, the oldest first, then what is only repeated.

        It says the same again until `delivered` or `refused`; each notice is made of the newest state.

        Args:
            now_ms: wall clock.
            covers: whether a silence covers an alert with these labels now. What it covers is recorded instead, and
                told once it is covered no more, if it is still open then.
            limit: most notices; None = all.
        """
        self._end_messages(now_ms)
        notices: list[Notice] = []
        for episode_id in list(dict.fromkeys((*self._cases.waiting, *self._cases.withheld))):
            if limit is not None and len(notices) >= limit:
                return notices
            if (notice := self._next(self._cases[episode_id], now_ms, covers)) is not None:
                notices.append(notice)
        notices += repeats(self._cases, self._nature, now_ms)
        return notices if limit is None else notices[:limit]

    def delivered(self, notice: Notice, now_ms: int) -> None:
        """Record that the receiver has it."""
        self._answered(notice, now_ms, is_refused=False)

    def unanswered(self, notice: Notice) -> None:
        """Record that nobody knows whether the receiver has it: it is due again, and its end is told in any case."""
        case = self._cases.get(notice.alert.episode_id)
        if case is not None and not case.is_announced:
            case.is_tried = True

    def refused(self, notice: Notice, now_ms: int) -> Change | None:
        """Record that the receiver never takes it: it counts as told, so that it is not tried again.

        Returns:
            The change that it was to tell, for the dead letter; None = it told of none.
        """
        case = self._cases.get(notice.alert.episode_id)
        if case is not None and notice.action is Action.REPEAT:
            case.is_repeated = False
            return None
        body = case.news[0].body if case is not None and case.news else None
        self._answered(notice, now_ms, is_refused=True)
        return body if isinstance(body, Change) else None

    # What lasts

    @property
    def is_stateless(self) -> bool:
        """Whether records cannot be saved now: then nothing waits for that, and what is settled stands still."""
        return self._cases.is_stateless

    @is_stateless.setter
    def is_stateless(self, is_so: bool) -> None:
        """Say whether the store is away."""
        self._cases.is_stateless = is_so

    def unsaved(self) -> list[Told]:
        """Return the records that are newer than what was saved of them."""
        return self._cases.unsaved()

    def records(self) -> list[Told]:
        """Return all records: for a store that was emptied."""
        return self._cases.records()

    def saved(self, records: Iterable[Told]) -> None:
        """Say that these very records are saved."""
        for places in self._cases.saved(records):
            self._intake.offsets.release(places)

    def settled(self, partition: Partition) -> int | None:
        """Return the offset to commit: everything before it is told and saved, or never will be told.

        None = nothing of the partition was read. It may lie before the committed offset, where news of before a new
        assignment still waits: commit only what is higher.
        """
        return self._intake.offsets.settled(partition)

    def forget(self, now_ms: int) -> list[str]:
        """Drop what has been over for `alerts.remember_ms`, and return these episodes, for the store."""
        return self._cases.forget(now_ms - self.rules.settings.remember_ms)

    # What can be seen

    @property
    def dropped(self) -> Counter[Dropped]:
        """How many changes were not told, by reason; only grows."""
        return self._intake.dropped

    @property
    def waiting(self) -> int:
        """How much there is to tell: episodes, or changes where each is told."""
        return sum(len(self._cases[episode_id].news) for episode_id in self._cases.waiting)

    @property
    def oldest_waiting_ms(self) -> int | None:
        """Kafka timestamp of the oldest change that is still to be told; None = none waits."""
        return min((self._cases[episode_id].news[0].since_ms for episode_id in self._cases.waiting), default=None)

    def firing(self) -> Counter[SeverityClass]:
        """Return how many alerts the receiver has open, by their class."""
        open_alerts = (case.alert for case in self._cases.open() if case.is_announced)
        return Counter(alert.severity for alert in open_alerts if alert is not None)

    def told(self, episode_id: str) -> Told | None:
        """Return the record of an episode."""
        case = self._cases.get(episode_id)
        return None if case is None else case.told

    def _next(self, case: Case, now_ms: int, covers: Covers) -> Notice | None:
        """Return the notice of a case, after passing over what nobody is to hear of."""
        is_every_change = self._nature.wants_every_change
        while self._cases.may_speak(case):
            notice = case.next_notice(self.rules, is_every_change=is_every_change)
            if notice is None and not case.news:
                return None
            is_withheld = notice is not None and case.may_be_withheld(notice) and covers(notice.alert.labels, now_ms)
            if notice is not None and not is_withheld:
                return notice
            if not case.news:
                return None
            self._intake.dropped[Dropped.SILENCED] += is_withheld
            case.pass_over(self.rules, now_ms, is_withheld=is_withheld)
            self._cases.note(case)
        return None

    def _answered(self, notice: Notice, now_ms: int, *, is_refused: bool) -> None:
        case = self._cases.get(notice.alert.episode_id)
        if case is None:
            return
        case.acknowledge(notice, now_ms, is_refused=is_refused)
        if notice.action is Action.RESOLVE and not self._nature.repeat_resolved_ms:
            case.slim()
        self._cases.note(case)

    def _take_as_told(self, case: Case, told_ms: int, now_ms: int) -> None:
        while case.news and self._cases.is_first(case):
            notice = case.next_notice(self.rules, is_every_change=self._nature.wants_every_change)
            if notice is None:
                case.pass_over(self.rules, told_ms, is_withheld=False)
            else:
                case.acknowledge(notice, told_ms, is_refused=False)
            self._cases.note(case)
        if case.is_over and case.told is not None:
            case.slim()
            self._cases.note(case)
            self._cases.leave(case)
            if case.told.told_ms <= now_ms - self.rules.settings.remember_ms:
                self._cases.drop(case)

    def _mark(self, detector: str, *, is_unknown: bool) -> None:
        name = label_value(detector)
        for case in self._cases.open():
            if not case.is_own and case.identity.get("detector") == name:
                case.mark(is_unknown=is_unknown)
                self._cases.note(case)

    def _end_messages(self, now_ms: int) -> None:
        """End what only time ends."""
        for case in list(self._cases.open()):
            is_message = case.is_own and case.identity.get("cause") in MESSAGES
            told_ms = now_ms if case.told is None or case.news else case.told.told_ms
            if is_message and now_ms - told_ms >= self.rules.settings.max_age_ms:
                self._intake.end(case, Ending(EXPIRED, now_ms))
