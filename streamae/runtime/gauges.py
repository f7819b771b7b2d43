"""What is counted by looking rather than by happening: keys and partitions by state, for the metrics.

Reads only, and costs a pass over all keys: asked every few seconds, never in a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from streamae.batches import KeyState, Partition
from streamae.runtime.key_states import KeyStates
from streamae.runtime.partitions import Partitions, Progress
from streamae.runtime.stages import Stages


def key_states(stages: Stages, states: KeyStates) -> dict[str, int]:
    """Return the number of keys by `KeyState`: starved ones get no window scored, resuming ones fill theirs anew."""
    slots = states.table.resident()
    windows, found = stages.windows, stages.decision.states(slots)
    found[windows.is_starved(slots)] = KeyState.STARVED
    refilling = (windows.columns["filled"][slots] < windows.size) & (windows.columns["generation"][slots] > 0)
    found[refilling] = KeyState.RESUMING
    if windows.levels is not None:  # nothing of them is scored, whatever else they are
        found[windows.levels.is_learning(windows.columns, slots)] = KeyState.LEARNING
    return {state.name.lower(): int((found == state).sum()) for state in KeyState}


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
