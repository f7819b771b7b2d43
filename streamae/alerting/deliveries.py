"""From notices that are due to a receiver that has them, has refused them, or is left alone for a while.

Must not know: where changes come from, or where records are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from streamae.alerting.alert import Action, Notice
from streamae.alerting.desk import Covers, Desk
from streamae.alerting.folding import Folder
from streamae.alerting.letters import letter
from streamae.alerting.patience import Patience
from streamae.alerting.receiver import Delivered, Outcome, Receiver, Refused, Retry
from streamae.alerting.world import Refusals
from streamae.connectors.protocols import Message
from streamae.fail_points import fail_point
from streamae.observe.alert_metrics import AlertMetrics
from streamae.observe.logs import Logger

AT_ONCE = 100  # of receivers that group by themselves: what a crash between send and record sends again at most
MOST_DUE = 5_000  # of one turn
REFUSED = "refused"


class Deliveries:
    """Sends for one receiver; mutated by its thread.

    Args:
        receiver: has to be told.
        desk: knows of what.
        folder: makes messages of notices; None = the receiver groups by itself.
        letter_topic: of dead letters.
        metrics, log: hear of it.
        draw: a random number from 0 to 1.

    Attributes:
        letters: dead letters that are still to be sent.
        refusals: so far.
    """

    def __init__(
        self,
        receiver: Receiver,
        desk: Desk,
        folder: Folder | None,
        letter_topic: str,
        metrics: AlertMetrics,
        log: Logger,
        draw: Callable[[], float],
    ) -> None:
        self._receiver, self._desk, self._folder = receiver, desk, folder
        self._letter_topic, self._metrics, self._log, self._draw = letter_topic, metrics, log, draw
        self._patience = Patience(draw)
        self._left_alone: dict[str, Patience] = {}  # episodes that alone fail
        self._why = ""
        self.letters: list[Message] = []
        self.refusals = Refusals()

    @property
    def failing_since_ms(self) -> int | None:
        """Since when (monotonic) the receiver takes nothing; None = it does."""
        return self._patience.since_ms

    @property
    def why(self) -> str:
        """Why it takes nothing, "" = it does."""
        return "" if self._patience.since_ms is None else self._why

    def is_waiting(self, now_ms: int) -> bool:
        """Tell whether the receiver is left alone now."""
        return self._patience.is_waiting(now_ms)

    def batches(
        self, now_ms: int, wall_ms: int, covers: Covers, *, news: bool = True, repeats: bool = True
    ) -> Iterator[list[Notice]]:
        """Yield what is to be sent now, each part at once, until the receiver takes nothing.

        Args:
            now_ms: monotonic.
            wall_ms: since the epoch.
            covers: what is silenced.
            news, repeats: whether those go out now; while the backlog is not read they wait.
        """
        due = self._desk.due(wall_ms, covers, MOST_DUE + len(self._left_alone))
        if not due:
            self._patience.succeeded()  # of what it could not take nothing is left to say
        if self._left_alone:
            episodes = {notice.alert.episode_id for notice in due}
            self._left_alone = {each: patience for each, patience in self._left_alone.items() if each in episodes}
        notices = [
            notice
            for notice in due
            if not self._is_left_alone(notice, now_ms) and (repeats if notice.action is Action.REPEAT else news)
        ]
        if self._folder is not None:
            for notice in self._folder.quiet(notices):  # or they would hold their offsets until the episode ends
                self._desk.delivered(notice, wall_ms)
            parts = self._folder.batches(notices, now_ms)
        else:
            parts = [notices[at : at + AT_ONCE] for at in range(0, len(notices), AT_ONCE)]
        for part in parts:
            yield part
            if self.is_waiting(now_ms):
                return

    def send(self, notices: Sequence[Notice], now_ms: int, wall_ms: int) -> bool:
        """Send one part, and note what came of it; return whether something was settled."""
        outcomes = self._receiver.send(notices, wall_ms)
        fail_point("after_alert_send")
        settled = [notice for notice, outcome in zip(notices, outcomes, strict=True) if not isinstance(outcome, Retry)]
        is_at_home = bool(settled) or all(notice.alert.episode_id in self._left_alone for notice in notices)
        for notice, outcome in zip(notices, outcomes, strict=True):
            self._note(notice, outcome, now_ms, wall_ms, is_alone=is_at_home)
        if self._folder is not None and settled:
            pairs = zip(notices, outcomes, strict=True)
            refused = {notice.alert.episode_id for notice, outcome in pairs if isinstance(outcome, Refused)}
            self._folder.settled(settled, now_ms, refused)
        retries = [outcome for outcome in outcomes if isinstance(outcome, Retry) and outcome.was_tried]
        if settled:
            self._recover(now_ms)
        elif retries and not is_at_home:
            self._fail(retries[0].why, max(each.after_ms or 0 for each in retries), now_ms)
        return bool(settled)

    def lost(self, message: Message, why: str) -> None:
        """Have a dead letter sent, before the offset of its change is committed."""
        self.letters.append(message)
        self._metrics.dead_letter(self._receiver.name)
        self._log.error("alert_lost", why=why)

    def _note(self, notice: Notice, outcome: Outcome, now_ms: int, wall_ms: int, *, is_alone: bool) -> None:
        episode_id = notice.alert.episode_id
        match outcome:
            case Delivered():
                self._desk.delivered(notice, wall_ms)
                self._metrics.sent(self._receiver.name, "delivered", 1, wall_ms)
            case Refused(why):
                change = self._desk.refused(notice, wall_ms)
                self._metrics.sent(self._receiver.name, "refused", 1, wall_ms)
                if change is not None:
                    self.lost(letter(change.raw, self._letter_topic, self._receiver.name, REFUSED, why), why)
                    self.refusals = Refusals(self.refusals.count + 1, wall_ms, why)
                else:
                    self._log.warning("own_alert_refused", alert=episode_id, why=why)
            case Retry():
                if not outcome.was_tried:
                    return
                self._metrics.sent(self._receiver.name, "retried", 1, wall_ms)
                if outcome.may_have_arrived and notice.action is not Action.REPEAT:
                    self._desk.unanswered(notice)
                if is_alone:
                    self._left_alone.setdefault(episode_id, Patience(self._draw)).failed(now_ms, outcome.after_ms)
                return
        self._left_alone.pop(episode_id, None)

    def _is_left_alone(self, notice: Notice, now_ms: int) -> bool:
        patience = self._left_alone.get(notice.alert.episode_id)
        return patience is not None and patience.is_waiting(now_ms)

    def _recover(self, now_ms: int) -> None:
        if self._patience.since_ms is not None:
            self._log.info("receiver_recovered", after_ms=now_ms - self._patience.since_ms)
        self._patience.succeeded()

    def _fail(self, why: str, after_ms: int, now_ms: int) -> None:
        if self._patience.since_ms is None:
            self._log.warning("receiver_fails", why=why)
        self._why = why
        self._patience.failed(now_ms, after_ms or None)
