"""At-least-once delivery as a `Sink`, for clusters without transactions: records first, then their offsets.

A crash between the two sends the same records again; their event ids are the same, so that readers can tell.

Must not know: what the bytes mean, or what is done after an unknown outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamae.batches import Partition
from streamae.connectors.kafka.producer import Sends, close_producer, discard_producer, open_producer
from streamae.connectors.kafka.source import KafkaMembership
from streamae.connectors.protocols import Message
from streamae.settings.connections import KafkaSettings


def _nobody(_reason: str) -> None:
    """Take no notice."""


class AtLeastOnceTransaction:
    """Messages and offsets in memory; nothing is sent before the block ends."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.offsets: dict[Partition, int] = {}
        self.membership: KafkaMembership | None = None

    def send(self, messages: Sequence[Message]) -> None:
        """Note messages."""
        self.messages += messages

    def send_offsets(self, offsets: dict[Partition, int], membership: KafkaMembership) -> None:
        """Note offsets; they are committed once every message has arrived.

        Raises:
            MembershipError: a partition is not owned by that member, or it is no longer one.
        """
        membership.check_owned(offsets)
        self.offsets.update(offsets)
        self.membership = membership


class AtLeastOnceSink:
    """Sink over one idempotent producer, and the consumer of the source that the offsets come from.

    Offsets are committed only after every message has been confirmed. That a block failed means that its offsets
    are not committed: some of its messages may be visible all the same, and will be once more.

    Args:
        settings: how to reach the cluster.
        recycled: told `aborted` each time a producer is replaced because a record failed.

    Raises:
        RetryableError: the cluster cannot be reached.
        ConfigError: the client refuses the settings.
    """

    is_thread_bound = True  # offsets go through the consumer, which belongs to the polling thread

    def __init__(self, settings: KafkaSettings, recycled: Callable[[str], object] = _nobody) -> None:
        self._settings, self._recycled = settings, recycled
        self._producer: Any = None
        self._connect()

    @contextmanager
    def transaction(self) -> Iterator[AtLeastOnceTransaction]:
        """Send, then commit the offsets, on normal exit of the block; see `Sink.transaction`."""
        transaction = AtLeastOnceTransaction()
        yield transaction
        membership = transaction.membership
        if membership is not None:
            membership.check_current()  # before the messages: a zombie need not double them
        if transaction.messages:
            self._send(transaction.messages)
        if membership is not None:
            membership.commit(transaction.offsets)

    def close(self) -> None:
        """Release connections; idempotent."""
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer)

    def _connect(self) -> None:
        self._producer = open_producer(self._settings, self._settings.group_id)

    def _send(self, messages: Sequence[Message]) -> None:
        if self._producer is None:
            self._connect()
        records = Sends(self._producer)
        try:
            records.add(messages)
            records.await_all(time.monotonic() + self._settings.request_timeout_ms / 1_000)
        except BaseException:
            producer, self._producer = self._producer, None
            discard_producer(producer)
            self._recycled("aborted")
            raise
