"""What the time of a partition brings to its keys: points between windows, which travel with these to where they count.

Must not know who finds them, or what is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from streamae.batches import Partition
from streamae.reasons import CloseReason


@dataclass(frozen=True, slots=True)
class OpenEpisode:
    """Which episode of a key is open, as far as another process must know to close it.

    Attributes:
        opened_offset: of the record that opened it.
        sequence: of its newest event.
        start_ms: event time of its first anomalous window.
    """

    opened_offset: int
    sequence: int
    start_ms: int


class SilenceStep(IntEnum):
    """What becomes of a key's silence."""

    NONE = 0
    OPENS = 1
    RETURNS = 2  # a record came
    ENDS = 3  # nobody waits any longer


@dataclass(frozen=True, slots=True, eq=False)
class KeyMark:
    """What time brings to one key. Rare, so one object each.

    Attributes:
        key, slot: whose; the slot is below 0 where its state is not in memory.
        closes: why an episode of its values is closed, if one is open; None = it stays.
        lost: the episode to be closed, where what was stored of it cannot be read.
        silence: what becomes of its silence.
        opened_offset: of the record at which the silence opened.
        heard_ms: event time of the key's last record before.
        gap_ms, usual_ms: how long it says nothing, and its usual gap; time of the partition's stream.
        gaps: how many gaps the usual one is made of.
        back_offset: of the key's next record, where that came in the same poll; below 0 where it did not.
        is_forgotten: it leaves memory and store.
    """

    key: bytes
    slot: int
    closes: CloseReason | None = None
    lost: OpenEpisode | None = None
    silence: SilenceStep = SilenceStep.NONE
    opened_offset: int = -1
    heard_ms: int = 0
    gap_ms: int = 0
    usual_ms: float = 0.0
    gaps: int = 0
    back_offset: int = -1
    is_forgotten: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TimeMark:
    """A point between the windows of a partition at which its time brings something to some keys.

    Attributes:
        partition, offset, time_ms: the record that brings it: what is published carries its offset.
        is_before: whether the windows of that very record come behind.
        keys: in the order in which their changes are told.
        silent_keys, partition_keys: of the partition, when all of them are done.
    """

    partition: Partition
    offset: int
    time_ms: int
    is_before: bool
    keys: tuple[KeyMark, ...]
    silent_keys: int = 0
    partition_keys: int = 0
