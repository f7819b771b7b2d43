"""Verdicts to episodes: one opening, some updates, one closing, for what a person would call one anomaly.

An episode opens when `min_duration` of the newest `out_of` windows are anomalous, stays up while the score is above the lower exit
threshold (hysteresis), and closes after `merge_gap` quiet windows, when the key comes back after a gap, or when its
alerts are suspended; a relapse before that is the same episode. Works on verdicts only; time is the windows' event time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import (
    Doubles,
    Flags,
    Floats,
    Ints,
    ScoreBatch,
    Slots,
    Status,
    Suspension,
    VerdictBatch,
    WindowBatch,
)
from streamae.core.columns import Columns, Field
from streamae.core.last_windows import WindowFacts
from streamae.core.origins import Origins, newest, readable
from streamae.core.segments import waves
from streamae.core.state_reasons import of_one
from streamae.episode_changes import ChangeKind, EpisodeChange, FeatureExplanation
from streamae.reasons import CloseReason

SEVERITY_WINDOWS = 2_500.0  # severity 50 is one false alarm in so many windows, about what the default rule allows


@dataclass(frozen=True, slots=True)
class EpisodeRules:
    """When episodes begin and end.

    Attributes:
        exit_ratio: an open episode goes on while score > mean + exit_ratio (threshold - mean); in (0, 1].
        min_duration: anomalous windows that open an episode, 1 to 64.
        out_of: of how many windows, the newest included; at most 64. Fewer than `min_duration` = that many: in a row.
        merge_gap: quiet windows in a row that close it; at least one is needed.
        update_interval_ms: event time between updates of an open episode.
        top_features: most features explained.
        min_windows: learnt scores at which confidence is one half.
    """

    exit_ratio: float
    min_duration: int
    merge_gap: int
    update_interval_ms: int
    top_features: int
    min_windows: int
    out_of: int = 0


@dataclass(frozen=True, slots=True)
class Decided:
    """On what a change was decided.

    Attributes:
        offset: of the record that caused it.
        record_id: its own id; None = it has none, or nobody asked.
        rows: of a window.
        facts: of the key's newest window.
    """

    offset: int
    record_id: str | None
    rows: int
    facts: WindowFacts


def severity(rarities: Doubles) -> Doubles:
    """Return 100 / (1 + sqrt(2500 / windows)): how rare a score is for its key, on one scale for all keys and rules.

    50 = usual behaviour brings one such score in 2,500 windows, 76 = in 25,000, 91 = in 250,000, 97 = in 2.5 million.

    Args:
        rarities: (n,) natural logarithm of those windows, as in `VerdictBatch`; may be infinite.

    Example:
        >>> severity(np.log([2_500.0, 25_000.0, 250_000.0])).round().tolist()
        [50.0, 76.0, 91.0]
    """
    found: Doubles = 100.0 / (1.0 + np.exp(np.clip((np.log(SEVERITY_WINDOWS) - rarities) / 2.0, -500.0, 500.0)))
    return found


def opening_times(changes: Sequence[EpisodeChange]) -> Ints:
    """Return the event times (n,) of the windows that opened an episode."""
    times = [change.window_end_ms for change in changes if change.kind is ChangeKind.OPENED]
    return np.array(times, dtype=np.int64)


class Episodes:
    """Follows the episode of every key. State per key: see `columns`; survives a restart through it."""

    def __init__(self, capacity: int, features: int, rules: EpisodeRules, origins: Origins | None = None) -> None:
        """Prepare for `capacity` key slots of F `features`.

        Args:
            capacity, features, rules: sizes, and when episodes begin and end.
            origins: of the windows' values; None = they were never asked for, and numbers are told as they always were.
        """
        self.rules, self._is_readable = rules, origins is not None
        number = "<f4" if origins is None or origins.are_zero else "<f8"
        self.top = min(rules.top_features, features)
        self.columns = Columns(
            capacity,
            {
                "open": Field("|u1"),
                "recent": Field("<u8"),  # while not open: which of the newest windows were anomalous, newest in bit 0
                "quiet": Field("<i4"),  # windows in a row without alarm while open
                "windows": Field("<i4"),
                "sequence": Field("<i4"),
                "opened_offset": Field("<i8"),
                "start_ms": Field("<i8"),
                "peak_ms": Field("<i8"),
                "end_ms": Field("<i8"),
                "updated_ms": Field("<i8"),
                "peak_score": Field("<f8"),
                "peak_severity": Field("<f8"),
                "guilty": Field("<i4", (self.top,)),
                "shares": Field("<f4", (self.top,)),
                "actual": Field(number, (self.top,)),
                "expected": Field(number, (self.top,)),
            },
            "episodes",
        )

    def adopt(self, rules: EpisodeRules) -> None:
        """Follow these rules from now on; open episodes stay open."""
        self.rules = rules

    def is_open(self, slots: Slots) -> Flags:
        """Tell which of `slots` have an episode that is open."""
        found: Flags = self.columns["open"][slots] > 0
        return found

    def open_count(self, slots: Slots) -> int:
        """Episodes open now among `slots`."""
        return int(self.columns["open"][slots].sum())

    def advance(self, verdicts: VerdictBatch, scores: ScoreBatch, windows: WindowBatch) -> list[EpisodeChange]:
        """Absorb verdicts and return what changed, per key in order.

        Args:
            verdicts: of the B windows.
            scores: of the same windows, for the explanation.
            windows: the same windows; those of one key in event-time order.
        """
        columns = self.columns
        concerned = np.zeros(int(windows.slots.max(initial=-1)) + 1, dtype=np.bool_)
        concerned[windows.slots[verdicts.statuses == Status.ANOMALOUS]] = True
        active = (
            concerned[windows.slots] | (columns["open"][windows.slots] > 0) | (columns["recent"][windows.slots] > 0)
        )
        chosen = np.flatnonzero(active)  # nearly always few: quiet keys cost nothing here
        changes: list[EpisodeChange] = []
        for wave in waves(windows.slots[chosen]):
            changes += self._advance_wave(chosen[wave], verdicts, scores, windows)
        return changes

    def close(self, slot: int, reason: CloseReason, cause: Decided) -> list[EpisodeChange]:
        """Close the episode of a key without a window of its own; returns nothing where none is open."""
        if not self.columns["open"][slot]:
            return []
        self.columns["sequence"][slot] += 1
        change = self._described(slot, ChangeKind.CLOSED, reason, cause)
        self.columns.reset(np.array([slot], dtype=np.int32))
        return [change]

    def _advance_wave(
        self, wave: Ints, verdicts: VerdictBatch, scores: ScoreBatch, windows: WindowBatch
    ) -> list[EpisodeChange]:
        """`advance` for windows of distinct keys."""
        columns, slots = self.columns, windows.slots[wave]
        is_open, recent = columns["open"][slots] > 0, columns["recent"][slots]
        suspensions = verdicts.suspensions[wave]
        stopped = windows.is_first[wave] | (suspensions != Suspension.NONE)
        broken = is_open & stopped
        changes = self._interrupt(wave[broken], verdicts, windows) if broken.any() else []
        is_open &= ~broken
        recent = np.where(stopped, np.uint64(0), recent)

        anomalous = verdicts.statuses[wave] == Status.ANOMALOUS
        alarm = anomalous | (is_open & self._is_above_exit(wave, verdicts))
        self._begin(wave[anomalous & ~is_open & (recent == 0)], windows)
        recent = np.where(is_open, np.uint64(0), self._shifted(recent, anomalous))
        columns["recent"][slots] = recent
        self._mark(wave[alarm], verdicts, scores, windows)

        opens = ~is_open & (np.bitwise_count(recent) >= self.rules.min_duration)
        self._open(slots[opens], wave[opens], windows)
        changes += self._emit(wave[opens], ChangeKind.OPENED, None, verdicts, windows)

        quiet = np.where(is_open & ~alarm, columns["quiet"][slots] + 1, 0)
        columns["quiet"][slots] = quiet
        ends = is_open & (quiet >= max(self.rules.merge_gap, 1))
        changes += self._emit(wave[ends], ChangeKind.CLOSED, CloseReason.QUIET, verdicts, windows)

        silent_ms = windows.end_times_ms[wave] - columns["updated_ms"][slots]
        updates = is_open & alarm & (silent_ms >= self.rules.update_interval_ms)
        columns["updated_ms"][slots[updates]] = windows.end_times_ms[wave[updates]]
        changes += self._emit(wave[updates], ChangeKind.UPDATED, None, verdicts, windows)
        columns.reset(slots[ends])
        return changes

    def _interrupt(self, wave: Ints, verdicts: VerdictBatch, windows: WindowBatch) -> list[EpisodeChange]:
        """Close the episodes of keys that come back after a gap, or that may not alert now; the gap comes first."""
        changes = []
        suspensions = np.where(windows.is_first[wave], Suspension.NONE, verdicts.suspensions[wave])
        for suspension in Suspension:
            reason = CloseReason.GAP if suspension is Suspension.NONE else CloseReason(suspension.name.lower())
            changes += self._emit(wave[suspensions == suspension], ChangeKind.CLOSED, reason, verdicts, windows)
        self.columns.reset(windows.slots[wave])
        return changes

    def _shifted(self, recent: NDArray[np.uint64], anomalous: Flags) -> NDArray[np.uint64]:
        """Return which of the newest windows were anomalous, with one more window.

        Where all of them must be, a quiet one makes those before it worthless: the next run begins anew.
        """
        rules = self.rules
        kept = np.uint64((1 << max(rules.min_duration, rules.out_of)) - 1)
        found = ((recent << np.uint64(1)) | anomalous) & kept
        return found if rules.out_of > rules.min_duration else np.where(anomalous, found, np.uint64(0))

    def _is_above_exit(self, wave: Ints, verdicts: VerdictBatch) -> Flags:
        means, thresholds = verdicts.means[wave], verdicts.thresholds[wave]
        above: Flags = verdicts.scores[wave] > means + self.rules.exit_ratio * (thresholds - means)
        return above

    def _begin(self, wave: Ints, windows: WindowBatch) -> None:
        """A first anomalous window after `out_of` others: what may become an episode starts here."""
        columns, slots = self.columns, windows.slots[wave]
        columns["start_ms"][slots] = windows.end_times_ms[wave]
        columns["windows"][slots] = 0
        columns["peak_score"][slots] = -np.inf
        columns["peak_severity"][slots] = 0.0

    def _mark(self, wave: Ints, verdicts: VerdictBatch, scores: ScoreBatch, windows: WindowBatch) -> None:
        """Count an alarming window and keep it if it is the worst so far."""
        columns, slots = self.columns, windows.slots[wave]
        columns["windows"][slots] += 1
        columns["end_ms"][slots] = windows.end_times_ms[wave]
        found = severity(verdicts.rarities[wave])
        columns["peak_severity"][slots] = np.maximum(columns["peak_severity"][slots], found)
        worst = verdicts.scores[wave] > columns["peak_score"][slots]
        wave, slots = wave[worst], slots[worst]
        columns["peak_score"][slots] = verdicts.scores[wave]
        columns["peak_ms"][slots] = windows.end_times_ms[wave]
        channels = scores.channels[wave]
        guilty = np.argsort(-channels, axis=1, kind="stable")[:, : self.top]
        shares = channels / np.maximum(channels.sum(axis=1, keepdims=True), np.float32(1e-30))

        def pick(array: NDArray[Any]) -> NDArray[Any]:
            picked: NDArray[Any] = np.take_along_axis(array, guilty, axis=1)
            return picked

        columns["guilty"][slots] = guilty
        columns["shares"][slots] = pick(shares)
        columns["actual"][slots] = pick(newest(windows, wave))
        columns["expected"][slots] = pick(scores.expected[wave])

    def _open(self, slots: Slots, wave: Ints, windows: WindowBatch) -> None:
        columns = self.columns
        columns["open"][slots] = 1
        columns["recent"][slots] = 0
        columns["quiet"][slots] = 0
        columns["sequence"][slots] = -1  # the opening is number 0
        columns["opened_offset"][slots] = windows.offsets[wave]
        columns["updated_ms"][slots] = windows.end_times_ms[wave]

    def _emit(
        self,
        wave: Ints,
        kind: ChangeKind,
        close_reason: CloseReason | None,
        verdicts: VerdictBatch,
        windows: WindowBatch,
    ) -> list[EpisodeChange]:
        """Describe a change of each key of the wave."""
        self.columns["sequence"][windows.slots[wave]] += 1
        return [self._change(int(index), kind, close_reason, verdicts, windows) for index in wave]

    def _change(
        self,
        index: int,
        kind: ChangeKind,
        close_reason: CloseReason | None,
        verdicts: VerdictBatch,
        windows: WindowBatch,
    ) -> EpisodeChange:
        """Describe a change that a window decided."""
        cause = Decided(
            int(windows.offsets[index]),
            None if windows.ids is None else windows.ids[index],
            windows.values.shape[1],
            WindowFacts.of(verdicts, windows, index),
        )
        return self._described(int(windows.slots[index]), kind, close_reason, cause)

    def _described(
        self, slot: int, kind: ChangeKind, close_reason: CloseReason | None, cause: Decided
    ) -> EpisodeChange:
        columns, facts, needed = self.columns, cause.facts, self.rules.min_windows
        return EpisodeChange(
            kind=kind,
            slot=slot,
            offset=cause.offset,
            record_id=cause.record_id,
            opened_offset=int(columns["opened_offset"][slot]),
            sequence=int(columns["sequence"][slot]),
            start_time_ms=int(columns["start_ms"][slot]),
            peak_time_ms=int(columns["peak_ms"][slot]),
            end_time_ms=int(columns["end_ms"][slot]),
            window_start_ms=facts.start_ms,
            window_end_ms=facts.end_ms,
            window_rows=cause.rows,
            windows=int(columns["windows"][slot]),
            score=facts.score,
            threshold=facts.threshold,
            mean=facts.mean,
            sd=facts.sd,
            count=facts.count,
            needed=needed,
            state=facts.state,
            state_reason=of_one(facts.state, facts.count, needed),
            peak_score=float(columns["peak_score"][slot]),
            severity=float(columns["peak_severity"][slot]),
            confidence=facts.count / (facts.count + needed) * (1.0 - facts.imputed_share),
            imputed_share=facts.imputed_share,
            close_reason=close_reason,
            features=tuple(
                FeatureExplanation(int(feature), float(share), float(actual), float(expected))
                for feature, share, actual, expected in zip(
                    columns["guilty"][slot],
                    columns["shares"][slot],
                    self._told(columns["actual"][slot]),
                    self._told(columns["expected"][slot]),
                    strict=True,
                )
            ),
        )

    def _told(self, numbers: Floats | Doubles) -> Floats | Doubles:
        """Return numbers (top,) in own units as they are told: those of 64 bits came with their digits."""
        if self._is_readable and numbers.dtype == np.float32:
            return readable(numbers.astype(np.float64), np.spacing(np.abs(numbers)))
        return numbers
