"""Kafka transactions as a `Sink`.

The client has hazards that would break the promise of a transaction; each has its guard here:
    a record that failed is left out of the commit without a word: every send is checked before the commit;
    offsets of a failed transaction stay in the client and are sent again with the next one, and a late answer
    may end the next one: a producer that failed, was late or lost a connection is never used again;
    commit and abort wait without limit: here every wait has a deadline.

Must not know: what the bytes mean, or what is done after an unknown outcome.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaProducer
from kafka.codec import has_lz4
from kafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, ProducerFencedError
from kafka.structs import OffsetAndMetadata, TopicPartition

from streamae.batches import Partition
from streamae.connectors.kafka.client import CLOSE_TIMEOUT_MS, KafkaOptions, client_errors, client_opening
from streamae.connectors.kafka.source import KafkaMembership
from streamae.connectors.protocols import Message
from streamae.errors import FatalError, MembershipError, OutcomeUnknownError, RetryableError, TooLargeError
from streamae.fail_points import fail_point

ABORT_TIMEOUT_MS = 2_000
DISCARD_TIMEOUT_S = 1.0
MAX_REQUEST_BYTES = 64 * 1_048_576  # a sanity bound only: the limit of the topic decides, see TooLargeError
PRODUCER_BATCH_BYTES = 262_144


class KafkaTransaction:
    """One open transaction. Records travel while more are added; nothing is decided before the block ends."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._sends: list[Any] = []
        self.offsets: dict[Partition, int] = {}
        self.membership: KafkaMembership | None = None

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the producer.

        The client can send neither a header without a value nor a record without key and value: an empty
        value stands for both.

        Raises:
            TooLargeError: a message is beyond any limit.
            RetryableError: the topic is missing or the broker did not answer.
        """
        for message in messages:
            value = message.value if message.value is not None or message.key is not None else b""
            headers = [(name, b"" if content is None else content) for name, content in message.headers]
            with self._checked(len(self._sends)), client_errors(f"send to {message.topic}"):
                self._sends.append(self._producer.send(message.topic, value, message.key, headers))

    def send_offsets(self, offsets: dict[Partition, int], membership: KafkaMembership) -> None:
        """Note offsets; they are sent after the last record has arrived.

        Raises:
            MembershipError: a partition is not owned by that member.
        """
        strange = offsets.keys() - membership.owned
        if strange:
            raise MembershipError(f"not the owner of {sorted(strange)}")
        self.offsets.update(offsets)
        self.membership = membership

    def await_records(self, deadline_s: float) -> None:
        """Wait until every record has arrived: one that failed would be left out of the commit without a word.

        Raises:
            TooLargeError: a message is larger than its topic allows.
            RetryableError: a record failed or was not confirmed in time.
        """
        for index, sent in enumerate(self._sends):
            with self._checked(index), client_errors("record not confirmed"):
                sent.get(max(0.0, deadline_s - time.monotonic()))

    @contextmanager
    def _checked(self, index: int) -> Iterator[None]:
        try:
            yield
        except RetryableError as error:
            if isinstance(error.__cause__, MessageSizeTooLargeError):
                raise TooLargeError(f"message too large: {error}", index) from error
            raise


class KafkaSink:
    """Sink over one transactional producer.

    Its transactional id is `<group>-<instance_id>`: a restarted process ends what its predecessor left open.
    Without an instance id it is random, and the broker does so after `transaction_timeout_ms`.

    Raises:
        RetryableError: the cluster cannot be reached.
        FatalError: it has no transactions, or this id may not use them.
        ConfigError: the client refuses the options.
    """

    is_thread_bound = False  # only the producer is used; who is a member was read before

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self.transactional_id = f"{options.group_id}-{options.instance_id or uuid.uuid4().hex}"
        self._producer: Any = None
        self._connect()

    @contextmanager
    def transaction(self) -> Iterator[KafkaTransaction]:
        """Commit on normal exit of the block; see `Sink.transaction`."""
        if self._producer is None:
            self._connect()
        try:
            with self._failures("begin"):
                self._producer.begin_transaction()
            transaction = KafkaTransaction(self._producer)
            yield transaction
            with self._failures("transaction"):
                transaction.await_records(time.monotonic() + self._options.request_timeout_ms / 1_000)
                fail_point("after_flush")
                self._send_offsets(transaction)
                fail_point("after_send_offsets")
        except BaseException:
            self._abort()
            raise
        self._commit()

    def close(self) -> None:
        """Release connections; idempotent. An open transaction is left to the broker's time limit."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                producer.close(timeout=CLOSE_TIMEOUT_MS / 1_000)

    def _connect(self) -> None:
        """Start a producer. From here on whatever its predecessor still sends is refused by the broker."""
        timeout_ms = self._options.request_timeout_ms
        with client_opening("Kafka producer") as open_client:
            self._producer = KafkaProducer(
                **self._options.for_client(),
                kafka_client=open_client,
                client_id=f"streamae-{self.transactional_id}",
                transactional_id=self.transactional_id,
                transaction_timeout_ms=self._options.transaction_timeout_ms,
                max_block_ms=timeout_ms,
                delivery_timeout_ms=timeout_ms,
                max_request_size=MAX_REQUEST_BYTES,
                batch_size=PRODUCER_BATCH_BYTES,
                compression_type="lz4" if has_lz4() else None,
            )
        try:
            with client_errors("init_transactions"):
                self._producer.init_transactions()
        except BaseException:
            self._discard()
            raise

    def _send_offsets(self, transaction: KafkaTransaction) -> None:
        if transaction.membership is not None:
            offsets = {TopicPartition(*at): OffsetAndMetadata(offset) for at, offset in transaction.offsets.items()}
            manager = self._producer._transaction_manager  # noqa: SLF001 - the public call waits without limit
            self._await(manager.send_offsets_to_transaction(offsets, transaction.membership.metadata))

    def _commit(self) -> None:
        connections = [each for each in self._connections() if each.connected]
        try:
            asked = self._producer._transaction_manager.begin_commit()  # noqa: SLF001 - as above
            self._producer._sender.wakeup()  # noqa: SLF001 - as above
            fail_point("in_commit")
            self._await(asked)
        except KafkaError as error:
            self._discard()
            if isinstance(error, ProducerFencedError) and self._options.instance_id is not None:
                raise FatalError(f"{self.transactional_id} is used by another process: {error}") from error
            with suppress(RetryableError):
                self._connect()  # ends the transaction one way or the other, so that its outcome can be asked for
            raise OutcomeUnknownError(f"commit not answered: {error}") from error
        if not all(each.connected for each in connections):
            self._discard()  # the commit may have been sent twice, and the second one could end the next transaction

    def _abort(self) -> None:
        """End the transaction so that nobody waits for it; where that fails the next producer's start ends it."""
        if self._producer is not None:
            with suppress(KafkaError):
                self._await(self._producer._transaction_manager.begin_abort(), ABORT_TIMEOUT_MS)  # noqa: SLF001 - same
            self._discard()

    def _discard(self) -> None:
        """Throw the producer away without sending anything more."""
        producer, self._producer = self._producer, None
        producer._sender.force_close()  # noqa: SLF001 - close() alone would first try to send what is left
        with suppress(KafkaError):
            producer.close(timeout=DISCARD_TIMEOUT_S)

    def _await(self, result: Any, timeout_ms: int | None = None) -> None:
        """Wait for a transactional request the way the client does, but not for ever."""
        self._producer._sender.wakeup()  # noqa: SLF001 - as above
        if not result.wait(timeout_ms=timeout_ms or self._options.request_timeout_ms):
            raise KafkaTimeoutError("no answer from the transaction coordinator")

    def _connections(self) -> list[Any]:
        return list(self._producer._sender._client._manager._conns.values())  # noqa: SLF001 - not told otherwise

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
            except CommitFailedError as error:
                raise MembershipError(f"{what}: {error}") from error
            except ProducerFencedError as error:
                if self._options.instance_id is not None:
                    raise
                raise RetryableError(f"{what}: open longer than the transaction may last: {error}") from error
