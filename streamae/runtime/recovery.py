"""Taking partitions over: ask group and store where they stand, plan, and start reading there.

A partition that cannot be recovered yet (store or broker silent) waits; nothing of it is delivered meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from streamae.batches import Partition
from streamae.connectors.protocols import Manifest, Source, StateStore
from streamae.errors import RetryableError
from streamae.runtime.logs import get_logger
from streamae.runtime.partitions import Partitions, plan

LOUD = frozenset({"expired", "recreated", "moved_back", "other_settings", "no_state"})  # worth a warning


class Recovery:
    """Recovers partitions. Mutated by the engine's thread only."""

    def __init__(
        self,
        source: Source,
        store: StateStore,
        fingerprint: str,
        *,
        first: Literal["earliest", "latest"],
        rebuild_max_records: int,
    ) -> None:
        """Set the policy; see `partitions.plan` for the last two."""
        self.source, self.store, self.fingerprint = source, store, fingerprint
        self.first: Literal["earliest", "latest"] = first
        self.rebuild_max_records = rebuild_max_records
        self.waiting: dict[Partition, None] = {}  # an ordered set
        self._distrusted: dict[Partition, int | None] = {}  # stored offset that turned out to be no good
        self.failing_since_ms: int | None = None
        self._log = get_logger()

    def add(self, partitions: Iterable[Partition]) -> None:
        """Let partitions wait for `start`."""
        self.waiting.update(dict.fromkeys(partitions))

    def distrust(self, partition: Partition, base: int | None) -> None:
        """Note that stored state at `base` lacked something: where it still stands, it must go."""
        self._distrusted[partition] = base

    def start(self, into: Partitions, now_ms: int) -> None:
        """Recover the partitions that wait; each ends in `into` or goes on waiting."""
        for partition in list(self.waiting):
            try:
                self._start_one(partition, into)
            except RetryableError as error:
                self._log.warning("recovery_waits", topic=partition.topic, partition=partition.index, error=str(error))
                self.failing_since_ms = now_ms if self.failing_since_ms is None else self.failing_since_ms
                return  # the next would wait as long
            del self.waiting[partition]
        self.failing_since_ms = None

    def abandon(self, partition: Partition) -> None:
        """Stop trying: the partition was taken away."""
        self.waiting.pop(partition, None)
        self._distrusted.pop(partition, None)
        if not self.waiting:
            self.failing_since_ms = None

    def was_committed(self, offsets: dict[Partition, int]) -> bool:
        """Tell whether a transaction of unknown outcome was committed; its offsets are then the group's.

        Raises:
            RetryableError: the group does not answer; ask again.
        """
        return any(self.source.span(partition).committed == offset for partition, offset in offsets.items())

    def _start_one(self, partition: Partition, into: Partitions) -> None:
        manifest = self.store.manifest(partition)  # before the offsets: a later owner's is never taken for moved back
        if manifest is not None and partition in self._distrusted and manifest.offset == self._distrusted[partition]:
            self._drop(partition, manifest)
            manifest = None
        span = self.source.span(partition)
        chosen = plan(span, manifest, self.fingerprint, first=self.first, rebuild_max_records=self.rebuild_max_records)
        if chosen.drop_stored and manifest is not None:
            self._drop(partition, manifest)
        self.source.start_at(partition, chosen.start)
        into.take(partition, chosen, span.committed)
        self._distrusted.pop(partition, None)
        log = self._log.warning if chosen.reason in LOUD else self._log.info
        log(
            "partition_started",
            topic=partition.topic,
            partition=partition.index,
            reason=chosen.reason,
            offset=chosen.start,
            replay_until=chosen.replay_until,
            committed=span.committed,
        )

    def _drop(self, partition: Partition, manifest: Manifest) -> None:
        """Delete stored state that was judged unusable, unless another owner has replaced it meanwhile.

        Raises:
            RetryableError: it was replaced: look again.
        """
        if not self.store.drop(partition, manifest.offset):
            raise RetryableError(
                f"stored state of {partition.topic}-{partition.index} has changed hands: looking again"
            )
