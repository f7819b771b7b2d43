"""Transactions of the engine: outputs and offsets go out together, and it is always known how that ended.

One transaction at a time. It may run in the background while the engine goes on with the records that follow: what these cause
waits in the outbox for the next one. Whatever relies on the outcome, the next transaction, a checkpoint, or the take-over
of a partition, settles it first. After a failure nothing new is read until everything decided so far is out.

Must not know: what messages hold, or when it is time to commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any

from streamae.batches import Partition
from streamae.connectors.protocols import Message, Sink, Source
from streamae.engine.outbox import Outbox
from streamae.engine.partitions import Partitions
from streamae.engine.recovery import Recovery
from streamae.errors import MembershipError, OutcomeUnknownError, RetryableError, TooLargeError
from streamae.fail_points import fail_point
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger

RunInBackground = Callable[[Callable[[], None]], "Future[None]"]


def at_once(work: Callable[[], None]) -> Future[None]:
    """Do the work here and now; the future is done."""
    answer: Future[None] = Future()
    _into(answer, work)
    return answer


def in_thread(work: Callable[[], None]) -> Future[None]:
    """Do the work in a thread of its own, which never keeps the process from ending."""
    answer: Future[None] = Future()
    Thread(target=_into, args=(answer, work), name="transaction", daemon=True).start()
    return answer


def _into(answer: Future[None], work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - raised again where the answer is read
        answer.set_exception(error)
    else:
        answer.set_result(None)


@dataclass(slots=True, eq=False)
class PendingTransaction:
    """A transaction under way. It is settled before any partition starts anew, so none can come back meanwhile.

    Attributes:
        is_doubtful: nobody answered whether it was committed.
    """

    messages: tuple[Message, ...]
    offsets: dict[Partition, int]
    answer: Future[None]
    is_doubtful: bool = False


class Publisher(Announcer):
    """Sends what the outbox holds. Mutated by the engine's thread only; a transaction in the background touches the sink alone.

    Attributes:
        outbox: what is to be sent.
        is_blocked: a transaction failed and what it held is not out yet: read nothing more.
    """

    def __init__(
        self,
        sink: Sink,
        source: Source,
        partitions: Partitions,
        recovery: Recovery,
        dead_letter_topic: str,
        run_in_background: RunInBackground | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join the parts.

        Args:
            sink, source: where messages go; whose membership fences them.
            partitions, recovery: what is committed, and who knows it after a lost answer.
            dead_letter_topic: its messages may be shortened when the topic refuses them for their size.
            run_in_background: how transactions run beside the engine; None = as the sink allows.
            clock: seconds, for durations only.
        """
        self.sink, self.source, self.outbox = sink, source, Outbox(partitions.is_suppressed)
        self.partitions, self.recovery, self.clock = partitions, recovery, clock
        self.dead_letter_topic = dead_letter_topic
        self.is_blocked = False
        self._run = run_in_background or (at_once if sink.is_thread_bound else in_thread)
        self._pending: PendingTransaction | None = None
        self._log = get_logger()

    def start(self) -> None:
        """Begin a transaction of all outputs that wait and all offsets finished; the former one must be settled.

        While blocked, or where nothing can run in the background, its end is awaited.

        Raises:
            RetryableError: not committed; outputs are kept.
        """
        assert self._pending is None
        offsets = self.partitions.finished()
        if not offsets and not self.outbox.waiting:
            self.is_blocked = False  # what failed was taken away from us
            return
        try:
            membership = self.source.membership()
        except MembershipError:
            self.is_blocked = True
            raise
        messages = self.outbox.take()
        answer = self._run(lambda: self._transact(messages, offsets, membership))
        self._pending = PendingTransaction(messages, offsets, answer)
        if self.is_blocked or self._run is at_once:
            self.settle()

    def is_due(self) -> bool:
        """Tell whether the transaction under way has ended and waits to be settled."""
        return self._pending is not None and self._pending.answer.done()

    def settle(self) -> None:
        """Wait for the transaction under way, if any, and act on its outcome.

        Raises:
            RetryableError: not committed, or not known yet; outputs are kept and nothing is sent on a guess.
        """
        pending = self._pending
        if pending is None:
            return
        if pending.is_doubtful:
            was_committed = self._was_committed(pending)
        else:
            try:
                pending.answer.result()
            except OutcomeUnknownError:
                self.is_blocked = pending.is_doubtful = True
                raise
            except RetryableError as error:
                self._failed(error)
                raise
            was_committed = True
        if was_committed:
            self._delivered(pending)
        else:
            self._failed(None)

    def _was_committed(self, pending: PendingTransaction) -> bool:
        """Tell whether a transaction of unknown outcome went through: the group's offsets know.

        Nothing is sent while the answer is open. What concerned partitions that are no longer ours is no longer our
        question.

        Raises:
            RetryableError: the group does not answer; the doubt remains.
        """
        ours = self._ours(pending)
        return bool(ours) and self.recovery.was_committed(ours)

    def _ours(self, pending: PendingTransaction) -> dict[Partition, int]:
        return {partition: offset for partition, offset in pending.offsets.items() if partition in self.partitions}

    def _delivered(self, pending: PendingTransaction) -> None:
        self._pending = None
        self.outbox.delivered()
        self.partitions.commit(self._ours(pending))
        self.is_blocked = False

    def _failed(self, error: RetryableError | None) -> None:
        pending, self._pending = self._pending, None
        self.outbox.failed()
        self.is_blocked = True
        if isinstance(error, TooLargeError) and pending is not None:
            refused = pending.messages[error.index]
            if refused.topic == self.dead_letter_topic:  # half an event would be none
                self.outbox.shorten(refused)
                self._log.warning("message_shortened", error=str(error))

    def _transact(self, messages: tuple[Message, ...], offsets: dict[Partition, int], membership: Any) -> None:
        """Make messages and offsets visible together, or neither; may run in the background."""
        started, outcome = self.clock(), "aborted"
        try:
            fail_point("before_begin")
            with self.sink.transaction() as transaction:
                transaction.send(messages)
                fail_point("after_send")
                transaction.send_offsets(offsets, membership)
            outcome = "committed"
            fail_point("after_commit")
        except MembershipError:
            outcome = "fenced"
            raise
        except OutcomeUnknownError:
            outcome = "unknown"
            raise
        finally:
            self.listener.transaction(outcome, self.clock() - started)
