"""Where each partition stands: recovery plan at assignment, position, silent replay, what is committed.

`plan` is the whole recovery protocol as one pure function. Commit comes first, checkpoint second, so stored
state is at or behind the committed offset, and the records in between are replayed with outputs suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamae.batches import Partition
from streamae.connectors.protocols import Manifest, Span


@dataclass(frozen=True, slots=True)
class Plan:
    """How to take a partition over.

    Attributes:
        start: first offset to read.
        replay_until: records below were committed by a former owner: they change state, but publish nothing.
        base: offset of the stored state we go on from; None = begin with empty state.
        drop_stored: delete what is stored first: it does not count.
        reason: one word for the log: `first`, `clean`, `replay`, `no_state`, `other_settings`, `moved_back`,
            `expired` (the broker deleted records we had not processed) or `recreated`.
    """

    start: int
    replay_until: int
    base: int | None
    drop_stored: bool
    reason: str


def plan(
    span: Span,
    manifest: Manifest | None,
    fingerprint: str,
    *,
    first: Literal["earliest", "latest"],
    rebuild_max_records: int,
) -> Plan:
    """Decide where to start reading and which stored state to trust.

    Args:
        span: committed and kept offsets.
        manifest: what the store says it holds.
        fingerprint: what our state depends on; stored state of another one is not ours.
        first: where a group without offsets begins.
        rebuild_max_records: how far before the committed offset to replay when there is no usable state.

    Example:
        >>> plan(Span(90, 0, 100), Manifest(70, "f", ()), "f", first="earliest", rebuild_max_records=10)
        Plan(start=70, replay_until=90, base=70, drop_stored=False, reason='replay')
    """
    has_stored = manifest is not None
    if span.committed is None:
        start = span.earliest if first == "earliest" else span.end
        return Plan(start, start, None, has_stored, "first")
    committed = span.committed
    if committed > span.end:  # offsets start again at 0 in a topic of the same name
        return Plan(span.earliest, span.earliest, None, has_stored, "recreated")
    if committed < span.earliest:
        return Plan(span.earliest, span.earliest, None, has_stored, "expired")
    rebuild = max(span.earliest, committed - rebuild_max_records)
    if manifest is None:
        return Plan(rebuild, committed, None, drop_stored=False, reason="no_state")
    if manifest.fingerprint != fingerprint:
        return Plan(rebuild, committed, None, drop_stored=True, reason="other_settings")
    if manifest.offset > committed:
        return Plan(rebuild, committed, None, drop_stored=True, reason="moved_back")
    if manifest.offset < span.earliest:
        return Plan(rebuild, committed, None, drop_stored=True, reason="no_state")
    reason = "clean" if manifest.offset == committed else "replay"
    return Plan(manifest.offset, committed, manifest.offset, drop_stored=False, reason=reason)


@dataclass(slots=True)
class Progress:
    """Where one owned partition stands. Mutated by the engine's thread.

    Attributes:
        base: offset that the stored state reflects; None = nothing stored that counts.
        position: next offset to process: every record below has changed the state in memory.
        replay_until: outputs caused by records below are suppressed.
        committed: next offset to read according to the group; None = never committed.
    """

    base: int | None
    position: int
    replay_until: int
    committed: int | None

    @property
    def is_replaying(self) -> bool:
        """Whether state is still behind the committed offset."""
        return self.position < self.replay_until


class Partitions:
    """Progress of all owned partitions."""

    def __init__(self) -> None:
        self._progress: dict[Partition, Progress] = {}

    def __contains__(self, partition: object) -> bool:
        """Whether the partition is owned and recovered."""
        return partition in self._progress

    def __getitem__(self, partition: Partition) -> Progress:
        """Return the progress of an owned partition."""
        return self._progress[partition]

    def __len__(self) -> int:
        """Partitions owned and recovered."""
        return len(self._progress)

    def items(self) -> list[tuple[Partition, Progress]]:
        """Return all, as a list so that the set may change meanwhile."""
        return list(self._progress.items())

    def take(self, partition: Partition, chosen: Plan, committed: int | None) -> None:
        """Begin with a partition as planned."""
        self._progress[partition] = Progress(chosen.base, chosen.start, chosen.replay_until, committed)

    def drop(self, partition: Partition) -> None:
        """Forget a partition."""
        self._progress.pop(partition, None)

    def replaying(self) -> int:
        """Partitions still behind their committed offset."""
        return sum(progress.is_replaying for progress in self._progress.values())

    def bases(self) -> dict[Partition, int | None]:
        """Return the stored offset relied on, by partition."""
        return {partition: progress.base for partition, progress in self._progress.items()}

    def is_suppressed(self, partition: Partition, offset: int) -> bool:
        """Whether outputs of this record were published before, or the partition is not ours."""
        progress = self._progress.get(partition)
        return progress is None or offset < progress.replay_until

    def finished(self) -> dict[Partition, int]:
        """Return the offsets to commit: all records below are in the state in memory, and new since last time."""
        return {
            partition: progress.position
            for partition, progress in self._progress.items()
            if not progress.is_replaying and progress.position != progress.committed
        }

    def commit(self, offsets: dict[Partition, int]) -> None:
        """Note that these offsets are committed."""
        for partition, offset in offsets.items():
            self._progress[partition].committed = offset
