"""Messages waiting for their transaction: kept until it is known to be committed.

What a replayed record causes again never gets in: it is filtered here by the offset that caused it. A transaction
under way holds the messages that were waiting when it began; those decided since wait behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from streamae.batches import Cause, Partition
from streamae.connectors.protocols import Message

TRUNCATED_HEADER = "streamae-truncated"


class Outbox:
    """Output messages in order. Lost with the process: they are recomputed from the committed offset."""

    def __init__(self, is_suppressed: Callable[[Cause], bool]) -> None:
        """Take the rule that says whether outputs of a cause were published before."""
        self._is_suppressed = is_suppressed
        self.under_way: list[Message] = []
        self.waiting: list[Message] = []

    def __len__(self) -> int:
        """Messages not known to be committed."""
        return len(self.under_way) + len(self.waiting)

    def add(self, messages: Iterable[Message]) -> int:
        """Take messages in, without those published before; return how many were new."""
        before = len(self.waiting)
        self.waiting += [m for m in messages if not self._is_suppressed(m.cause)]
        return len(self.waiting) - before

    def take(self) -> tuple[Message, ...]:
        """Return what waits, for a transaction that begins now; none may be under way."""
        assert not self.under_way
        self.under_way, self.waiting = self.waiting, []
        return tuple(self.under_way)

    def delivered(self) -> None:
        """Forget what was under way: it is committed."""
        self.under_way = []

    def failed(self) -> None:
        """Let what was under way wait again, before what was decided since."""
        self.under_way, self.waiting = [], self.under_way + self.waiting

    def shorten(self, message: Message) -> None:
        """Halve the value of a waiting message that its topic refuses for its size, and say so in its headers.

        Dead letters can reach that size, since they carry the original and headers of ours; events cannot.
        """
        value = message.value or b""
        headers = tuple(header for header in message.headers if header[0] != TRUNCATED_HEADER)
        shorter = replace(message, value=value[: len(value) // 2], headers=(*headers, (TRUNCATED_HEADER, b"true")))
        self.waiting = [shorter if each is message else each for each in self.waiting]

    def drop(self, partition: Partition) -> None:
        """Forget what a partition caused: it is no longer ours. A transaction under way ends as it may."""
        self.under_way = [message for message in self.under_way if message.cause.partition != partition]
        self.waiting = [message for message in self.waiting if message.cause.partition != partition]
