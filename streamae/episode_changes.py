"""What happens to an episode, as the core tells it: one object each, for they are rare.

Must not know: how an episode is decided on, or how an event is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streamae.batches import KeyState
from streamae.reasons import CloseReason


class ChangeKind(StrEnum):
    """What happened to an episode."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, eq=False)
class FeatureExplanation:
    """One feature's part in an episode at its peak.

    Attributes:
        index: feature index in the bundle's order.
        share: part of the whole score, in [0, 1]; over all features they sum to one.
        actual, expected: newest row of the peak window and its forecast, in the feature's own units.
    """

    index: int
    share: float
    actual: float
    expected: float


@dataclass(frozen=True, slots=True)
class SilenceCounts:
    """How many keys of a partition are silent, so that one dead gateway can be told from one dead device.

    Attributes:
        silent_keys: keys whose silence is open now.
        partition_keys: keys of the partition that are not forgotten, the silent ones included.
    """

    silent_keys: int
    partition_keys: int


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeChange:
    """An episode opened, went on, or ended. Rare, so one object each.

    Attributes:
        kind: what happened.
        slot: key slot.
        offset: offset of the input record that caused this change.
        opened_offset: offset of the record that opened the episode; with the key it identifies the episode.
        sequence: 0 for opened, then 1, 2, ... per episode.
        start_time_ms, peak_time_ms, end_time_ms: event time of the first, the worst and the newest anomalous window.
        window_start_ms, window_end_ms, window_rows: the window this change was decided on, and how many rows it has.
        windows: anomalous windows so far.
        score, threshold, mean, sd, count: newest verdict (statistics before the score was learnt).
        needed: scores of its own with which the key is ready.
        state: how much the key knows of itself.
        state_reason: why that is not all, a sentence for a person; "" where it is ready.
        peak_score: highest score of the episode.
        severity: 0-100, by how rare the worst score is for the key (core/episodes.py).
        confidence: 0-1, grows with evidence, falls with imputed data.
        imputed_share: of the newest window.
        close_reason: why it ended, None while open.
        features: most guilty first, taken at the peak.
        record_id: own id of the input record that caused this change; None = it has none, or nobody asked.
        silence: of the partition, where the episode is the silence of its key; None = anomalous values.
    """

    kind: ChangeKind
    slot: int
    offset: int
    opened_offset: int
    sequence: int
    start_time_ms: int
    peak_time_ms: int
    end_time_ms: int
    window_start_ms: int
    window_end_ms: int
    window_rows: int
    windows: int
    score: float
    threshold: float
    mean: float
    sd: float
    count: int
    needed: int
    state: KeyState
    state_reason: str
    peak_score: float
    severity: float
    confidence: float
    imputed_share: float
    close_reason: CloseReason | None
    features: tuple[FeatureExplanation, ...]
    record_id: str | None = None
    silence: SilenceCounts | None = None
