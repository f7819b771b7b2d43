"""How much keys know of themselves: how many are in which state, how far they are, and why they are not further.

Reads only, and costs a pass over all keys: asked every few seconds, never in a step. Must not know who is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from streamae.batches import Doubles, Ints, KeyState, Partition, Slots
from streamae.core.state_reasons import (
    FIRST,
    FIRST_OF_PRIOR,
    LEVEL,
    PRIOR,
    READY,
    REASONS,
    REFILLING,
    SCORES,
    STARVED,
    of_many,
)
from streamae.engine.key_states import KeyStates
from streamae.engine.partitions import Partitions, Progress
from streamae.engine.stages import Stages
from streamae.engine.starved_keys import starving_features
from streamae.observe.logs import shown

EXAMPLES = 3  # keys named of each kind
SAMPLE = 1_000  # starved keys that are asked for the features that starve them


@dataclass(frozen=True, slots=True)
class Standing:
    """Keys in one state for one reason.

    Attributes:
        state: `KeyState` in lower case.
        reason: why they are not ready, "" where they are.
        keys: how many.
        progress: mean share of what they need that they have, in [0, 1]; None where nothing but other records helps.
        examples: some of them, the least advanced.
        features: that are missing too often, the commonest first; of starved keys only.
    """

    state: str
    reason: str
    keys: int
    progress: float | None
    examples: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def standings(stages: Stages, states: KeyStates) -> list[Standing]:
    """Return the keys of this process by state and reason, those that occur, in the order of `REASONS`."""
    slots = states.table.resident()
    kinds, shares = _kinds(stages, slots)
    found = []
    for number, (state, _) in enumerate(REASONS):
        chosen = np.flatnonzero(kinds == number)
        if not len(chosen):
            continue
        least = chosen[np.argsort(shares[chosen], kind="stable")[:EXAMPLES]]
        names = () if number == READY else tuple(shown(states.table.keys[slot]) for slot in slots[least])
        progress = None if number == STARVED else round(float(shares[chosen].mean()), 3)
        features = starving_features(stages, slots[chosen[:SAMPLE]]) if number == STARVED else ()
        found.append(Standing(state.name.lower(), of_many(number), len(chosen), progress, names, features))
    return found


def by_state(found: Sequence[Standing]) -> dict[str, int]:
    """Return the number of keys in each state, also where it is 0."""
    counts = {state.name.lower(): 0 for state in KeyState}
    for one in found:
        counts[one.state] += one.keys
    return counts


def plain(found: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return them as values that JSON has."""
    return [asdict(one) for one in found]


def _kinds(stages: Stages, slots: Slots) -> tuple[Ints, Doubles]:
    """Return the place (n,) in `REASONS` of each key, and how far (n,) it is.

    Later lines overrule earlier ones: a key without a level of its own is not scored, whatever else it is.
    """
    windows, decision = stages.windows, stages.decision
    filled = windows.columns["filled"][slots]
    is_filling, is_back = filled < windows.size, windows.columns["generation"][slots] > 0
    scored = np.minimum(decision.columns["count"][slots] / decision.min_windows, 1.0)
    fill = np.minimum(filled / windows.size, 1.0)
    states = decision.states(slots)
    kinds = np.full(len(slots), READY)
    shares = np.where(states == KeyState.READY, 1.0, scored)
    for state, first, later in (
        (KeyState.LEARNING, FIRST, SCORES),
        (KeyState.PROVISIONAL, FIRST_OF_PRIOR, PRIOR),
    ):
        is_young = states == state
        kinds[is_young] = np.where(is_filling[is_young], first, later)
        shares[is_young & is_filling] = fill[is_young & is_filling]
    kinds[windows.is_starved(slots)] = STARVED
    refilling = is_filling & is_back
    kinds[refilling], shares[refilling] = REFILLING, fill[refilling]
    if windows.levels is not None:
        unknown = windows.levels.is_learning(windows.columns, slots)
        kinds[unknown] = LEVEL
        shares[unknown] = windows.levels.progress(windows.columns, slots[unknown]) / windows.levels.min_rows
    return kinds.astype(np.int64), shares


def partition_states(
    partitions: Partitions, loading: int, halted: int, store_waits: Container[Partition], is_blocked: bool
) -> dict[str, int]:
    """Return the number of partitions by state, one of `telemetry.PARTITION_STATES`.

    Args:
        partitions: owned and recovered ones.
        loading: owned ones that are not recovered yet.
        halted: owned ones that are not recovered by policy.
        store_waits: those of `partitions` that wait for the store.
        is_blocked: all of them wait for a commit.
    """

    def state(partition: Partition, progress: Progress) -> str:
        if is_blocked or partition in store_waits:
            return "paused"
        return "replaying" if progress.is_replaying else "running"

    return {
        "loading": loading,
        "halted": halted,
        **Counter(state(partition, progress) for partition, progress in partitions.items()),
    }
