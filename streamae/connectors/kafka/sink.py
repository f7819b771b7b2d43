"""Kafka transactions as a `Sink`.

The client has hazards that would break the promise of a transaction; each has its guard here:
    H2  a record that failed is left out of the commit without a word: every record is confirmed before the commit;
    H3  a commit that begins while a record is in flight may be called done without being sent: the same guard;
    H5  offsets of a failed transaction stay in the client and are sent again with the next one, and a late answer
        may end the next one: a producer that failed, was late or lost a connection is never used again;
    H8  the transaction after a commit is refused until the brokers have finished that one, and the client sleeps
        before each new try: here that sleep is short;
    and commit and abort wait without limit: here every wait has a deadline.

Must not know: what the bytes mean, or what is done after an unknown outcome.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka.errors import CommitFailedError, FencedInstanceIdError, KafkaError, KafkaTimeoutError, ProducerFencedError
from kafka.structs import OffsetAndMetadata, TopicPartition

from streamae.batches import Partition
from streamae.connectors.kafka.client import INIT_TRANSACTIONS, client_errors, transaction_errors
from streamae.connectors.kafka.producer import Sends, close_producer, discard_producer, open_producer
from streamae.connectors.kafka.source import KafkaMembership
from streamae.connectors.protocols import Message
from streamae.errors import FatalError, MembershipError, OutcomeUnknownError, RetryableError
from streamae.fail_points import fail_point
from streamae.settings.connections import KafkaSettings

ABORT_TIMEOUT_MS = 2_000
TRANSACTION_BACKOFF_MS = 5  # the brokers finish a commit in a few milliseconds, the client's own pause is 100


def _nobody(_reason: str) -> None:
    """Take no notice."""


class KafkaTransaction:
    """One open transaction. Records travel while more are added; nothing is decided before the block ends."""

    def __init__(self, producer: Any) -> None:
        self.records = Sends(producer)
        self.offsets: dict[Partition, int] = {}
        self.membership: KafkaMembership | None = None

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the producer; see `Sends.add`."""
        self.records.add(messages)

    def send_offsets(self, offsets: dict[Partition, int], membership: KafkaMembership) -> None:
        """Note offsets; they are sent after the last record has arrived.

        Raises:
            MembershipError: a partition is not owned by that member.
        """
        membership.check_owned(offsets)
        self.offsets.update(offsets)
        self.membership = membership


class KafkaSink:
    """Sink over one transactional producer.

    Its transactional id is `<group>-<instance_id>`: a restarted process ends what its predecessor left open.
    Without an instance id it is random, and the broker does so after `transaction_timeout_ms`.

    Args:
        settings: how to reach the cluster.
        recycled: told why, each time a producer is replaced: `aborted` (a transaction ended in order, by abort),
            `late` (a commit or abort took longer than an answer may), `unknown` (a commit was not answered) or
            `connection` (one was lost during a commit).
        clock: seconds, for durations only.

    Raises:
        RetryableError: the cluster cannot be reached.
        ConfigError: the client refuses the settings, or the cluster refuses transactions.
    """

    is_thread_bound = False  # only the producer is used; who is a member was read before

    def __init__(
        self,
        settings: KafkaSettings,
        recycled: Callable[[str], object] = _nobody,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._recycled, self._clock = settings, recycled, clock
        self.transactional_id = f"{settings.group_id}-{settings.instance_id or uuid.uuid4().hex}"
        self._producer: Any = None
        with transaction_errors(self.transactional_id):
            self._connect()

    @contextmanager
    def transaction(self) -> Iterator[KafkaTransaction]:
        """Commit on normal exit of the block; see `Sink.transaction`."""
        if self._producer is None:
            self._connect()
        connections = self._connected()
        try:
            with self._failures("begin"):
                self._producer.begin_transaction()
            transaction = KafkaTransaction(self._producer)
            yield transaction
            with self._failures("transaction"):
                transaction.records.await_all(time.monotonic() + self._settings.request_timeout_ms / 1_000)
                fail_point("after_flush")
                self._send_offsets(transaction)
                fail_point("after_send_offsets")
        except BaseException:
            self._abort()
            raise
        self._commit(connections + self._connected())

    def close(self) -> None:
        """Release connections; idempotent. An open transaction is left to the broker's time limit."""
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer)

    def _connect(self) -> None:
        """Start a producer. From here on whatever its predecessor still sends is refused by the broker."""
        self._producer = open_producer(
            self._settings,
            self.transactional_id,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=self._settings.transaction_timeout_ms,
        )
        pauses = self._producer._sender.config  # noqa: SLF001 - only of transactional requests, not of all retries
        pauses["retry_backoff_ms"] = min(pauses["retry_backoff_ms"], TRANSACTION_BACKOFF_MS)
        try:
            with client_errors(INIT_TRANSACTIONS):
                self._producer.init_transactions()
        except BaseException:
            self._discard()
            raise

    def _send_offsets(self, transaction: KafkaTransaction) -> None:
        if transaction.membership is not None:
            offsets = {TopicPartition(*at): OffsetAndMetadata(offset) for at, offset in transaction.offsets.items()}
            manager = self._producer._transaction_manager  # noqa: SLF001 - the public call waits without limit
            self._await(manager.send_offsets_to_transaction(offsets, transaction.membership.metadata))

    def _commit(self, connections: list[Any]) -> None:
        """Commit; a producer of which a request may still be on its way is not used again."""
        asked_s = self._clock()
        try:
            asked = self._producer._transaction_manager.begin_commit()  # noqa: SLF001 - as above
            self._producer._sender.wakeup()  # noqa: SLF001 - as above
            fail_point("in_commit")
            self._await(asked)
        except KafkaError as error:
            self._recycle("unknown")
            if isinstance(error, ProducerFencedError) and self._settings.instance_id is not None:
                raise FatalError(f"{self.transactional_id} is used by another process: {error}") from error
            with suppress(RetryableError):
                self._connect()  # ends the transaction one way or the other, so that its outcome can be asked for
            raise OutcomeUnknownError(f"commit not answered: {error}") from error
        if not all(each.connected for each in connections):
            self._recycle("connection")  # what was sent over it twice could arrive in, or end, the next transaction
        elif self._clock() - asked_s > self._settings.request_timeout_ms / 1_000:  # this process stood still
            self._recycle("late")

    def _abort(self) -> None:
        """End the transaction so that nobody waits for it; where that fails the next producer's start ends it."""
        if self._producer is not None:
            reason = "late"
            with suppress(KafkaError):
                self._await(self._producer._transaction_manager.begin_abort(), ABORT_TIMEOUT_MS)  # noqa: SLF001 - same
                reason = "aborted"
            self._recycle(reason)

    def _recycle(self, reason: str) -> None:
        """Throw a producer away that may not be used again; the next transaction starts another."""
        self._discard()
        self._recycled(reason)

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        discard_producer(producer)

    def _await(self, result: Any, timeout_ms: int | None = None) -> None:
        """Wait for a transactional request the way the client does, but not for ever."""
        self._producer._sender.wakeup()  # noqa: SLF001 - as above
        if not result.wait(timeout_ms=timeout_ms or self._settings.request_timeout_ms):
            raise KafkaTimeoutError("no answer from the transaction coordinator")

    def _connected(self) -> list[Any]:
        connections = list(self._producer._sender._client._manager._conns.values())  # noqa: SLF001 - not told otherwise
        return [each for each in connections if each.connected]

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Turn failures before the commit into ours: nothing has been committed.

        Raises:
            MembershipError: the broker no longer knows the membership.
            FatalError: another process uses our transactional id.
            RetryableError: everything else; an anonymous producer is fenced only by the time limit.
        """
        with client_errors(what):
            try:
                yield
            except (CommitFailedError, FencedInstanceIdError) as error:
                # Fenced: most likely by ourselves, when we joined anew after a coordinator was lost. That another
                # process took our place is noticed by the source.
                raise MembershipError(f"{what}: {error}") from error
            except ProducerFencedError as error:
                if self._settings.instance_id is not None:
                    raise
                raise RetryableError(f"{what}: open longer than the transaction may last: {error}") from error
