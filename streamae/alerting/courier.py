"""One receiver and its share of the work: from the output topic to what it has acknowledged, in turns.

    poll -> take -> (the backlog is folded) -> due -> send -> record -> commit

What a crash between two of these brings: after `send` the same is sent again, and receivers know it by its dedup key;
after `record` the same is read again, and the desk knows it; before the offsets likewise. Nothing is lost, nothing
begins twice.

Must not know: other receivers, Kafka or Redis. It reads no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from streamae.alerting.alert import Action, Labels, Notice
from streamae.alerting.change import UnreadableChange, read_change
from streamae.alerting.deliveries import Deliveries
from streamae.alerting.desk import Desk, Dropped
from streamae.alerting.identity import watchdog_alert
from streamae.alerting.keeper import Keeper
from streamae.alerting.letters import letter
from streamae.alerting.orders import Orders
from streamae.alerting.own_news import OwnNews
from streamae.alerting.patience import Patience
from streamae.alerting.reader import Read, Reader
from streamae.alerting.receiver import Delivered, Receiver
from streamae.alerting.silences import Silences
from streamae.alerting.watcher import BEAT_INTERVAL_MS
from streamae.alerting.world import Refusals, Report, World
from streamae.batches import Partition
from streamae.errors import FatalError, RetryableError
from streamae.fail_points import fail_point
from streamae.observe.alert_metrics import AlertMetrics
from streamae.observe.logs import Logger
from streamae.settings.delivery import DeliverySettings

POLL_MS = 250
REST_S = 0.5
COMMIT_INTERVAL_MS = 1_000
REPORT_INTERVAL_MS = 1_000
TIDY_INTERVAL_MS = 60_000
MOST_PARTS = 3  # of one turn, each as long as `timeout_ms` at most: so that it comes round, also in a storm
MOST_DETECTORS = 1_000  # whose signs of life are followed
SHARE_OF_HOLD = 15  # of the time that an open alert stands without our word, one part may pass while a backlog is read
MOST_LETTERS = 1_000  # that wait for their topic until reading pauses


@dataclass(frozen=True, slots=True)
class Parts:
    """What a courier is made of; `draw` gives random numbers from 0 to 1."""

    receiver: Receiver
    reader: Reader
    desk: Desk
    keeper: Keeper
    deliveries: Deliveries
    settings: DeliverySettings
    metrics: AlertMetrics
    log: Logger
    draw: Callable[[], float]


class Courier:
    """Turned by one thread; `report` is read by any.

    Args:
        parts: of this receiver alone.
        world: returns the newest snapshot.
        wall_ms: when it began.

    Attributes:
        report: how it is.
    """

    def __init__(self, parts: Parts, world: Callable[[], World], wall_ms: int) -> None:
        self._parts, self._world, self._began_ms = parts, world, wall_ms
        self._name = parts.receiver.name
        self._own = OwnNews(self._name, parts.settings.labels)
        self._unreadable = Refusals()
        self._silences = Silences()
        self._orders: Orders | None = None
        self._heard: dict[str, int] = {}
        self._dropped: Counter[Dropped] = Counter()
        self._trouble = ""
        self._letter_patience = Patience(parts.draw)
        self._was_busy = self._has_news = False
        self._behind_since_ms: int | None = None  # monotonic
        self._committed_ms = self._reported_ms = self._tidied_ms = self._beaten_ms = -TIDY_INTERVAL_MS
        self.report = Report(self._name)

    @property
    def rest_s(self) -> float:
        """A poll waits by itself, except where it fails."""
        return REST_S if self._trouble else 0.0

    def step(self, now_ms: int, wall_ms: int) -> None:
        """Turn once. `now_ms` is monotonic, `wall_ms` since the epoch.

        Raises:
            FatalError: another process reads as this receiver.
        """
        world = self._world()
        found = self._read(now_ms, wall_ms)
        self._note_starts(wall_ms)
        for read in found:
            self._take(read, wall_ms)
        self._follow(world, now_ms, wall_ms)
        self._was_busy = False
        if not self._parts.deliveries.is_waiting(now_ms):
            self._tell(now_ms, wall_ms)
            self._beat(world, now_ms, wall_ms)
        self._send_letters(now_ms)
        self._parts.keeper.keep(self._parts.desk, now_ms)
        if now_ms - self._committed_ms >= COMMIT_INTERVAL_MS:
            self._commit(now_ms)
        self._tidy(now_ms, wall_ms)

    def drain(self, now_ms: int) -> None:
        """Record and commit what is settled; what is not is read again after the next start."""
        self._send_letters(now_ms)
        self._commit(now_ms)
        self._parts.keeper.keep_all(self._parts.desk, now_ms)

    def close(self) -> None:
        """Leave the group and release connections; idempotent."""
        self._parts.reader.close()
        self._parts.receiver.close()
        self._parts.keeper.close()

    def _read(self, now_ms: int, wall_ms: int) -> list[Read]:
        """Read on, unless the receiver takes nothing or too much waits; the group is followed all the same."""
        reader, deliveries = self._parts.reader, self._parts.deliveries
        is_full = self._is_full() or len(deliveries.letters) >= MOST_LETTERS
        try:
            if is_full or deliveries.is_waiting(now_ms):
                reader.pause()
            else:
                reader.resume()
            found = reader.poll(0 if self._was_busy else POLL_MS, wall_ms, self._parts.keeper.reach)
        except RetryableError as error:
            self._note_trouble(str(error))
            return []
        self._note_trouble("")
        return found

    def _note_starts(self, wall_ms: int) -> None:
        """Say from where it reads, before any of it is taken; and what nobody can read any more."""
        starts = {_name(start.partition): start for start in self._parts.reader.take_starts()}
        if starts:
            unread = sum(start.end - start.offset for start in starts.values())
            offsets = {name: start.offset for name, start in starts.items()}
            self._parts.log.info("reading_begins", offsets=offsets, unread=unread)
        if lost := [name for name, start in starts.items() if start.has_lost]:
            self._parts.log.warning("events_deleted_unread", partitions=lost)
            self._parts.desk.lose(wall_ms)

    def _take(self, read: Read, wall_ms: int) -> None:
        """Give a change to the desk; what is none becomes a dead letter."""
        raw, desk = read.raw, self._parts.desk
        try:
            change = read_change(raw)
        except UnreadableChange as error:
            if not read.was_told:
                reason, detail = error.reason.value, error.detail
                message = letter(raw, self._parts.settings.dead_letter_topic, self._name, reason, detail)
                self._parts.deliveries.lost(message, detail)
                self._unreadable = Refusals(self._unreadable.count + 1, wall_ms, detail)
            return
        if change.detector in self._heard or len(self._heard) < MOST_DETECTORS:
            self._heard[change.detector] = max(change.stamped_ms, self._heard.get(change.detector, 0))
        if not read.was_told:
            self._has_news = True
            desk.take(change, wall_ms, is_old_news=read.is_old)
        elif self._has_news:
            raise FatalError(f"{self._name}: another process has told this receiver: only one may run")
        else:
            desk.rebuild([change], wall_ms)

    def _follow(self, world: World, now_ms: int, wall_ms: int) -> None:
        """Take over what is new for everybody, and how far reading is."""
        desk, reader = self._parts.desk, self._parts.reader
        for partition, position in reader.positions().items():
            desk.start_at(partition, position)
        if world.orders is not self._orders:
            self._orders = world.orders
            self._silences = Silences(each for each in world.orders.silences if self._name not in each.elsewhere)
        if not reader.is_rebuilding and self._parts.keeper.lacks(reader.committed):
            self._parts.keeper.keep(desk, now_ms, reader.committed)
        if reader.is_caught_up:
            desk.settle_old_news(wall_ms)
        self._own.follow(world, desk, wall_ms, is_caught_up=reader.is_caught_up)
        self._own.tell_refusals("", self._unreadable, desk, wall_ms)

    def _tell(self, now_ms: int, wall_ms: int) -> None:
        """Send what is due, a part at a time: each is recorded before the next is sent."""
        deliveries, desk, reader = self._parts.deliveries, self._parts.desk, self._parts.reader
        may_tell_news = reader.is_caught_up or (self._is_full() and not reader.is_rebuilding)
        if may_tell_news and not reader.has_begun:
            self._commit(now_ms)  # or the end of what is told now would be old news to the next process, and never told
            may_tell_news = reader.has_begun
        may_repeat = self._may_repeat(now_ms)
        parts = deliveries.batches(now_ms, wall_ms, self._covers, news=may_tell_news, repeats=may_repeat)
        for part in islice(parts, MOST_PARTS):
            self._was_busy |= deliveries.send(part, now_ms, wall_ms)
            self._send_letters(now_ms)
            self._parts.keeper.keep(desk, now_ms)
            fail_point("after_alert_record")

    def _may_repeat(self, now_ms: int) -> bool:
        """Tell whether what is open may be told again: the unread backlog may hold an end that was told before a crash.

        That waits only so long: a receiver that forgets would count as over what it does not hear of.
        """
        if self._parts.reader.is_caught_up:
            self._behind_since_ms = None
            return True
        self._behind_since_ms = now_ms if self._behind_since_ms is None else self._behind_since_ms
        return now_ms - self._behind_since_ms >= self._parts.settings.hold_ms // SHARE_OF_HOLD

    def _send_letters(self, now_ms: int) -> None:
        """Send dead letters before it is recorded that their changes are settled; a topic that is away holds up little."""
        letters = self._parts.deliveries.letters
        if not letters or self._letter_patience.is_waiting(now_ms):
            return
        try:
            self._parts.reader.commit(letters, {})
        except RetryableError as error:
            self._letter_patience.failed(now_ms)
            self._parts.log.warning("dead_letters_not_sent", waiting=len(letters), why=str(error))
        else:
            self._letter_patience.succeeded()
            letters.clear()

    def _commit(self, now_ms: int) -> None:
        """Commit what is settled, after it is recorded how far that is, and never past a dead letter not sent."""
        reader, desk = self._parts.reader, self._parts.desk
        self._committed_ms = now_ms
        offsets = reader.to_commit({partition: desk.settled(partition) for partition in reader.partitions})
        if not offsets or self._parts.deliveries.letters:
            return
        self._parts.keeper.keep(desk, now_ms, offsets)
        fail_point("before_alert_offsets")
        try:
            reader.commit([], offsets)
        except RetryableError as error:
            self._note_trouble(str(error))

    def _beat(self, world: World, now_ms: int, wall_ms: int) -> None:
        """Keep the always-firing alert of a receiver that forgets alive, while all is well."""
        if self._parts.receiver.repeat_ms is None or not world.is_well or now_ms - self._beaten_ms < BEAT_INTERVAL_MS:
            return
        self._beaten_ms = now_ms
        notice = Notice(Action.REPEAT, watchdog_alert(self._parts.settings.labels, self._began_ms))
        (outcome,) = self._parts.receiver.send([notice], wall_ms)
        if not isinstance(outcome, Delivered):
            self._parts.log.warning("watchdog_not_delivered", why=outcome.why)

    def _tidy(self, now_ms: int, wall_ms: int) -> None:
        """Say how it is, and forget what is long over."""
        if now_ms - self._reported_ms >= REPORT_INTERVAL_MS:
            self._reported_ms = now_ms
            self._tell_how_it_is(now_ms, wall_ms)
        if now_ms - self._tidied_ms >= TIDY_INTERVAL_MS:
            self._tidied_ms = now_ms
            if self._parts.reader.is_caught_up and not self._parts.deliveries.is_waiting(now_ms):
                self._parts.desk.give_up(wall_ms)
            self._parts.keeper.forget(self._parts.desk.forget(wall_ms))
            open_ones = (told.alert for told in self._parts.desk.records() if not told.is_resolved)
            names = (alert.event.get("detector") or alert.identity.get("detector") for alert in open_ones)
            watched = frozenset(name for name in names if isinstance(name, str))
            self.report = replace(self.report, watched=watched)

    def _tell_how_it_is(self, now_ms: int, wall_ms: int) -> None:
        desk, deliveries, reader = self._parts.desk, self._parts.deliveries, self._parts.reader
        oldest_ms = desk.oldest_waiting_ms
        self.report = replace(
            self.report,
            at_ms=now_ms,
            partitions=len(reader.partitions),
            is_caught_up=reader.is_caught_up,
            failing_since_ms=deliveries.failing_since_ms,
            why=deliveries.why or self._trouble,
            lag_ms=reader.lag_ms(wall_ms),
            waiting=desk.waiting,
            oldest_ms=0 if oldest_ms is None else max(0, wall_ms - oldest_ms),
            is_stateless=self._parts.keeper.is_stateless,
            firing={severity.word: count for severity, count in desk.firing().items()},
            heard=dict(self._heard),
            refusals=deliveries.refusals,
        )
        metrics, name = self._parts.metrics, self._name
        metrics.waiting(name, self.report.lag_ms, self.report.oldest_ms)
        metrics.firing(name, self.report.firing)
        metrics.failing(name, is_failing=self.report.failing_since_ms is not None)
        for reason, count in (desk.dropped - self._dropped).items():
            metrics.dropped(name, reason.value, count)
        self._dropped = desk.dropped.copy()

    def _covers(self, labels: Labels, wall_ms: int) -> bool:
        return self._silences.covers(labels, wall_ms)

    def _is_full(self) -> bool:
        return self._parts.desk.waiting >= self._parts.settings.max_pending

    def _note_trouble(self, text: str) -> None:
        if text and not self._trouble:
            self._parts.log.warning("reading_fails", why=text)
        elif self._trouble and not text:
            self._parts.log.info("reading_recovered")
        self._trouble = text


def _name(partition: Partition) -> str:
    return f"{partition.topic}/{partition.index}"
