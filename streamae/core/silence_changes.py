"""What time brings to a key, as changes of episodes: silences open and end, and what cannot be read is closed.

Must not know who is silent, or how an event is written.
"""

from __future__ import annotations

import numpy as np

from streamae.core.episodes import severity
from streamae.core.last_windows import WindowFacts
from streamae.core.marks import KeyMark, OpenEpisode, SilenceStep, TimeMark
from streamae.core.state_reasons import of_one
from streamae.core.usual_gaps import LEAST_GAPS
from streamae.episode_changes import ChangeKind, EpisodeChange, SilenceCounts
from streamae.reasons import CloseReason

REASONS = {SilenceStep.RETURNS: CloseReason.RETURNED, SilenceStep.ENDS: CloseReason.ENDED}


def silence_change(mark: TimeMark, key: KeyMark, facts: WindowFacts, rows: int, needed: int) -> EpisodeChange:
    """Return how the silence of a key changes.

    With gaps that come at random, exp(gap / usual gap) of them pass until one is as long: this is how rare it is.

    Args:
        mark: where.
        key: whose, and what becomes of it.
        facts: of the key's newest window.
        rows: of a window.
        needed: scores of its own with which a key is ready.
    """
    rarity = np.array([key.gap_ms / key.usual_ms])
    reason = REASONS.get(key.silence)
    return _change(
        mark,
        key,
        facts,
        rows,
        needed,
        episode=OpenEpisode(key.opened_offset, 0 if reason is None else 1, key.heard_ms),
        severity=float(severity(rarity)[0]),
        confidence=key.gaps / (key.gaps + LEAST_GAPS),
        close_reason=reason,
        silence=SilenceCounts(mark.silent_keys, mark.partition_keys),
    )


def lost_change(mark: TimeMark, key: KeyMark, lost: OpenEpisode, rows: int, needed: int) -> EpisodeChange:
    """Return the end of an episode of which nothing is known but that it was open."""
    return _change(
        mark,
        key,
        WindowFacts.unknown(mark.time_ms),
        rows,
        needed,
        episode=OpenEpisode(lost.opened_offset, lost.sequence + 1, lost.start_ms),
        severity=0.0,
        confidence=0.0,
        close_reason=CloseReason.STATE_LOST,
    )


def _change(
    mark: TimeMark,
    key: KeyMark,
    facts: WindowFacts,
    rows: int,
    needed: int,
    *,
    episode: OpenEpisode,
    severity: float,
    confidence: float,
    close_reason: CloseReason | None,
    silence: SilenceCounts | None = None,
) -> EpisodeChange:
    return EpisodeChange(
        kind=ChangeKind.OPENED if close_reason is None else ChangeKind.CLOSED,
        slot=key.slot,
        offset=mark.offset,
        opened_offset=episode.opened_offset,
        sequence=episode.sequence,
        start_time_ms=episode.start_ms,
        peak_time_ms=mark.time_ms,
        end_time_ms=mark.time_ms,
        window_start_ms=facts.start_ms,
        window_end_ms=facts.end_ms,
        window_rows=rows,
        windows=0,
        score=facts.score,
        threshold=np.inf,
        mean=facts.mean,
        sd=facts.sd,
        count=facts.count,
        needed=needed,
        state=facts.state,
        state_reason=of_one(facts.state, facts.count, needed),
        peak_score=facts.score,
        severity=severity,
        confidence=confidence,
        imputed_share=facts.imputed_share,
        close_reason=close_reason,
        features=(),
        silence=silence,
    )
