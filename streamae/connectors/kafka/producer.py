"""The client's producer: how one is opened, how one is thrown away, and how every record is followed to its end.

The client has two hazards here, with or without transactions: a record that failed is left out without a word, so
each is asked for its confirmation; and a producer that failed once refuses records of other topics for the same
reason for ever, so it is never used again.

Must not know: transactions, offsets, or what the bytes mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaProducer
from kafka.codec import has_lz4
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, TopicAuthorizationFailedError

from streamae.connectors.kafka.client import CLOSE_TIMEOUT_MS, client_arguments, client_errors, client_opening
from streamae.connectors.protocols import Message
from streamae.errors import RetryableError, TooLargeError
from streamae.settings.connections import KafkaSettings

DISCARD_TIMEOUT_S = 1.0
MAX_REQUEST_BYTES = 64 * 1_048_576  # a sanity bound only: the limit of the topic decides, see TooLargeError
PRODUCER_BATCH_BYTES = 262_144


def open_producer(settings: KafkaSettings, name: str, **transactional: Any) -> Any:
    """Return a connected producer whose every wait is bounded by `kafka.request_timeout_ms`.

    Args:
        settings: how to reach the cluster.
        name: told to the broker, for its logs and quotas.
        transactional: further arguments of the client.

    Raises:
        ConfigError, FatalError, RetryableError: as `client_errors`.
    """
    with client_opening("Kafka producer") as open_client:
        return KafkaProducer(
            **client_arguments(settings),
            kafka_client=open_client,
            client_id=f"streamae-{name}",
            max_block_ms=settings.request_timeout_ms,
            delivery_timeout_ms=settings.request_timeout_ms,
            max_request_size=MAX_REQUEST_BYTES,
            batch_size=PRODUCER_BATCH_BYTES,
            compression_type="lz4" if has_lz4() else None,
            **transactional,
        )


def close_producer(producer: Any) -> None:
    """Release the connections of a producer that is in order."""
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_TIMEOUT_MS / 1_000)


def discard_producer(producer: Any) -> None:
    """Throw a producer away without sending anything more."""
    producer._sender.force_close()  # noqa: SLF001 - close() alone would first try to send what is left
    with suppress(KafkaError):
        producer.close(timeout=DISCARD_TIMEOUT_S)


class Sends:
    """Records on their way, each followed until it is confirmed. They travel while more are added."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._sent: list[tuple[str, Any]] = []

    def add(self, messages: Sequence[Message]) -> None:
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
            try:
                with self._explained(message.topic, len(self._sent)):
                    sent = self._producer.send(message.topic, value, message.key, headers)
            except RetryableError:
                self._tell_culprit()
                raise
            self._sent.append((message.topic, sent))

    def await_all(self, deadline_s: float) -> None:
        """Wait until every record has arrived: one that failed would be left out without a word.

        Args:
            deadline_s: on the monotonic clock.

        Raises:
            TooLargeError: a message is larger than its topic allows.
            RetryableError: a record failed or was not confirmed in time.
        """
        for index, (topic, sent) in enumerate(self._sent):
            try:
                with self._explained(topic, index):
                    sent.get(max(0.0, deadline_s - time.monotonic()))
            except RetryableError:
                self._tell_culprit()
                raise

    def _tell_culprit(self) -> None:
        """Raise for the message that is too large, if there is one.

        It takes all others of its transaction down with it, and one of those may be the first to be looked at: were
        it blamed, nobody would shorten the right one, and all of them would be sent again for ever.
        """
        for index, (topic, sent) in enumerate(self._sent):
            if sent.failed() and isinstance(sent.exception, MessageSizeTooLargeError):
                with self._explained(topic, index):
                    sent.get(0)

    @contextmanager
    def _explained(self, topic: str, index: int) -> Iterator[None]:
        """Say what to do where the client only says what happened."""
        try:
            with client_errors(f"no confirmation from topic {topic}"):
                yield
        except RetryableError as error:
            cause = error.__cause__
            if isinstance(cause, MessageSizeTooLargeError):
                raise TooLargeError(f"message too large for topic {topic}: {cause}", index) from cause
            if isinstance(cause, TopicAuthorizationFailedError):
                refused = (
                    ", ".join(sorted(cause.args[0])) if cause.args and not isinstance(cause.args[0], str) else topic
                )
                raise RetryableError(
                    f"output topic {refused} may not be written: grant WRITE on it to our user ({cause})"
                ) from cause
            if isinstance(cause, KafkaTimeoutError) and not self._is_known(topic):
                raise RetryableError(
                    f"output topic {topic} is missing: create it, or grant DESCRIBE and WRITE on it ({cause})"
                ) from cause
            raise

    def _is_known(self, topic: str) -> bool:
        return bool(self._producer._metadata.partitions_for_topic(topic))  # noqa: SLF001 - the public call waits
