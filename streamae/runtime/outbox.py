"""Messages waiting for their transaction: kept until it is known to be committed.

What a replayed record causes again never gets in: it is filtered here by the offset that caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from streamae.batches import Partition
from streamae.connectors.protocols import Message

TRUNCATED_HEADER = "streamae-truncated"


class Outbox:
    """Output messages in order. Lost with the process: they are recomputed from the committed offset."""

    def __init__(self, is_suppressed: Callable[[Partition, int], bool]) -> None:
        """Take the rule that says whether outputs of (partition, offset) were published before."""
        self._is_suppressed = is_suppressed
        self.messages: list[Message] = []

    def __len__(self) -> int:
        """Messages waiting."""
        return len(self.messages)

    def add(self, messages: Iterable[Message]) -> int:
        """Take messages in, without those published before; return how many were new."""
        before = len(self.messages)
        self.messages += [m for m in messages if not self._is_suppressed(m.partition, m.offset)]
        return len(self.messages) - before

    def clear(self) -> None:
        """Forget everything: it is committed."""
        self.messages = []

    def shorten(self, index: int) -> None:
        """Halve the value of a message that its topic refuses for its size, and say so in its headers.

        Dead letters can reach that size, since they carry the original and headers of ours; events cannot.
        """
        message = self.messages[index]
        value = message.value or b""
        headers = tuple(header for header in message.headers if header[0] != TRUNCATED_HEADER)
        self.messages[index] = replace(
            message, value=value[: len(value) // 2], headers=(*headers, (TRUNCATED_HEADER, b"true"))
        )

    def drop(self, partition: Partition) -> None:
        """Forget what a partition caused: it is no longer ours."""
        self.messages = [message for message in self.messages if message.partition != partition]
