"""What is counted by looking rather than by happening: partitions by state, for the metrics. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from streamae.batches import Partition
from streamae.runtime.partitions import Partitions, Progress


def partition_states(
    partitions: Partitions, loading: int, halted: int, put_off: Container[Partition], is_blocked: bool
) -> dict[str, int]:
    """Return the number of partitions by state, one of `telemetry.PARTITION_STATES`.

    Args:
        partitions: owned and recovered ones.
        loading: owned ones that are not recovered yet.
        halted: owned ones that are not recovered by policy.
        put_off: those of `partitions` that wait for the store.
        is_blocked: all of them wait for a commit.
    """

    def state(partition: Partition, progress: Progress) -> str:
        if is_blocked or partition in put_off:
            return "paused"
        return "replaying" if progress.is_replaying else "running"

    return {
        "loading": loading,
        "halted": halted,
        **Counter(state(partition, progress) for partition, progress in partitions.items()),
    }
