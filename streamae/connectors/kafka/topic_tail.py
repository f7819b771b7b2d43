"""A topic read from its begin and then followed, without a group: what each process must know whole.

Must not know: what the bytes mean.
"""

from __future__ import annotations

from kafka.errors import OffsetOutOfRangeError
from kafka.structs import TopicPartition

from streamae.batches import RawRecord
from streamae.connectors.kafka.topic_history import TopicHistory


class TopicTail(TopicHistory):
    """All records of a topic, then those that are written later. A context manager; not for several threads.

    Partitions that are added to the topic later are not looked at.

    Raises:
        as `TopicHistory`.
    """

    _is_following = False

    def so_far(self) -> list[RawRecord]:
        """Return what the topic held when it was opened: a partition after the other, each in offset order."""
        return [record for batch in self.read(self.held) for records in batch.values() for record in records]

    def newer(self, timeout_ms: int) -> list[RawRecord]:
        """Return what was written since the last call, or since the topic was opened.

        Where offsets are gone (the topic was emptied or made anew) all that is there comes again.

        Args:
            timeout_ms: wait at most so long for a record.

        Raises:
            DataError, RetryableError: as `read`; a cluster that is away raises nothing: nothing comes.
        """
        with self._errors():
            if not self._is_following:
                self._consumer.assign([TopicPartition(*partition) for partition in self.held])
                for partition, held in self.held.items():
                    self._consumer.seek(TopicPartition(*partition), held.end)
                self._is_following = True
            try:
                batches = self._consumer.poll(timeout_ms=timeout_ms)
            except OffsetOutOfRangeError as error:
                lost = list(error.args[0])
                for at, first in self._consumer.beginning_offsets(lost, self._timeout_ms).items():
                    self._consumer.seek(at, first)
                return []
        return [record for records in batches.values() for record in records]
