"""What a point of time brings to the keys of a partition: its place between windows, and the changes of their episodes.

Must not know who is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from streamae.batches import RecordBatch, Slots, WindowBatch
from streamae.core.batching import MicroBatcher
from streamae.core.episodes import Decided
from streamae.core.key_table import KeyTable
from streamae.core.last_windows import WindowFacts
from streamae.core.marks import KeyMark, SilenceStep, TimeMark
from streamae.core.silence_changes import lost_change, silence_change
from streamae.engine.stages import Rest, Stages
from streamae.episode_changes import EpisodeChange


def queue(batcher: MicroBatcher, windows: WindowBatch, marks: Sequence[TimeMark], table: KeyTable, now_ms: int) -> None:
    """Let windows wait to be scored, with what time brings to keys in its place between them."""
    if not marks:
        batcher.add(windows, now_ms)
        return
    numbers = {partition: number for number, partition in enumerate(dict.fromkeys(mark.partition for mark in marks))}
    owners = [table.owners[slot] for slot in windows.slots]
    found = [-1 if owner is None else numbers.get(owner, -1) for owner in owners]
    batcher.add_with_marks(windows, np.array(found, dtype=np.int64), marks, now_ms)


def rests_of(marks: Sequence[TimeMark], records: RecordBatch, slots: Slots) -> list[Rest]:
    """Return which keys are waited for no longer: those whose silence opens, which are always in memory.

    Args:
        marks: of these records.
        records, slots: N records, and (N,) their slots.
    """
    found = []
    for mark in marks:
        for key in mark.keys:
            if key.slot < 0 or key.silence is not SilenceStep.OPENS:
                continue
            back = np.flatnonzero((slots == key.slot) & (records.offsets == key.back_offset))
            found.append(Rest(key.slot, mark.offset, int(back[0]) if len(back) else -1))
    return found


def changes_of(mark: TimeMark, key: KeyMark, stages: Stages) -> Iterator[EpisodeChange]:
    """Yield what happens to the episodes of a key at `mark`; all its windows before it have been judged.

    What was open of a key's values is closed before its silence opens.
    """
    rows, needed = stages.windows.size, stages.episodes.rules.min_windows
    facts = WindowFacts.unknown(key.heard_ms)
    if key.slot >= 0 and stages.last is not None:
        facts = stages.last.of(key.slot, key.heard_ms)
    if key.lost is not None:
        yield lost_change(mark, key, key.lost, rows, needed)
    elif key.closes is not None and key.slot >= 0:
        yield from stages.episodes.close(key.slot, key.closes, Decided(mark.offset, None, rows, facts))
    if key.silence:
        yield silence_change(mark, key, facts, rows, needed)
