"""Why an input that has an end was read to it without one window scored. Must not know who asks."""

from __future__ import annotations

from streamae.engine.key_states import KeyStates
from streamae.engine.stages import Stages
from streamae.engine.standing import standings
from streamae.engine.stream_watch import StreamWatch


def why_unscored(watch: StreamWatch, stages: Stages, states: KeyStates) -> str:
    """Return it as a sentence for a person: what most records came to, else how far most keys are.

    "" where all there is was read before this process began.
    """
    if watch.ignored and not watch.seen.any():
        return f"all {watch.ignored:,} records were ignored: look at input.only and input.unknown_features"
    if watch.had_nothing_new:
        return ""
    worst = watch.worst()
    if worst:
        return worst
    found = standings(stages, states)
    if not found:
        return "there was no record"
    most = max(found, key=lambda one: one.keys)
    longest = int(stages.windows.columns["filled"][states.table.resident()].max())
    rows = f"a window is {stages.windows.size} rows, the longest run of a key without a gap has {longest}"
    return f"{most.keys} of {len(states.table)} keys ({', '.join(most.examples)}): {most.reason}; {rows}"
