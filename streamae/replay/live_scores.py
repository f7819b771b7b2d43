"""Series through the live engine in memory: a score, a threshold and an alarm flag for every row.

The codec, the windows, the model, the decision and the episodes are those of the daemon; only the edges are in
memory. Rows are told apart by their offset, so that scores stand exactly where their labels do. Memory grows with
the rows. This module must not know labels, files, or what is made of the scores.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamae.assembly.build import Parts, build_engine
from streamae.batches import Doubles, Flags, Ints, ScoreBatch, Series, Status, VerdictBatch, WindowBatch
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource, MemoryStore
from streamae.connectors.protocols import StateStore
from streamae.core.key_table import KeyTable
from streamae.engine.engine import Engine
from streamae.engine.stages import Observer
from streamae.errors import FatalError
from streamae.model.bundle import Bundle
from streamae.replay.play import (
    KEY_FIELD,
    TIME_FIELD,
    VALUES_FIELD,
    Episode,
    arrival,
    consume_all,
    produce,
    read_episodes,
)
from streamae.settings.connections import OutputSettings, StateSettings
from streamae.settings.data import InputSettings
from streamae.settings.tree import Settings

SMOOTHING = 0.3  # of the score that rows are ranked by: weight of the newest window
WARM_UP_ROWS = 4_000  # from which a key learns its usual scores, where the bundle has none for it to start from


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """What the engine thought of the N rows of one series.

    Attributes:
        scores: (N,) float64 exponentially weighted mean of the model's total scores; NaN = no window ended here.
        judged: (N,) float64 score that was held against the threshold; NaN likewise.
        thresholds: (N,) float64; infinity while the key learns, NaN likewise.
        alarms: (N,) bool, judged anomalous.
    """

    scores: Doubles
    judged: Doubles
    thresholds: Doubles
    alarms: Flags

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls, rows: int) -> RowScores:
        """Return rows of which nothing is known yet."""
        return cls(np.full(rows, np.nan), np.full(rows, np.nan), np.full(rows, np.nan), np.zeros(rows, dtype=np.bool_))

    @property
    def scored(self) -> int:
        """At how many rows a window ended that was scored."""
        return int((~np.isnan(self.scores)).sum())

    def since(self, row: int) -> RowScores:
        """Return the rows from `row` on."""
        return RowScores(*(getattr(self, name)[row:] for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """All that was scored, in order, without the windows' older rows: enough to judge the same scores again."""

    windows: list[WindowBatch] = field(default_factory=list)
    scores: list[ScoreBatch] = field(default_factory=list)
    verdicts: list[VerdictBatch] = field(default_factory=list)

    def __call__(self, windows: WindowBatch, scores: ScoreBatch, verdicts: VerdictBatch) -> None:
        """Keep a scored batch: an engine's observer."""
        self.windows.append(dataclasses.replace(windows, values=windows.values[:, -1:].copy(), levels=None))
        self.scores.append(scores)
        self.verdicts.append(verdicts)


@dataclass(frozen=True, slots=True, eq=False)
class LiveRun:
    """What came of a run.

    Attributes:
        rows: by series, in the order given.
        episodes: as published.
        recording: every scored batch.
        slots: key slot of each series, -1 where none of its rows was admitted.
        seconds: of wall time from the first record to the last.
    """

    rows: list[RowScores]
    episodes: list[Episode]
    recording: Recording
    slots: list[int]
    seconds: float


def lead_in(bundle: Bundle) -> int:
    """Return how many rows before the first that counts are fed: its window is full then, its key knows what is usual."""
    return bundle.architecture.window_size - 1 + (WARM_UP_ROWS if bundle.history is None else 0)


def score_live(
    series: Sequence[Series],
    bundle: Bundle,
    settings: Settings,
    on_turn: Callable[[int], None] = lambda _: None,
) -> LiveRun:
    """Feed all rows of all series, as the keys of one stream, and return what the engine thought of each.

    Args:
        series: one a key, with the bundle's features in its order; NaN = missing.
        bundle: the model.
        settings: window, model, threshold and episode sections count; the edges are replaced.
        on_turn: told, turn by turn, how many records are still unread.

    Raises:
        ConfigError: settings do not fit the bundle.
        FatalError: a window belongs to another row than its offset says: scores would not align with rows.
    """
    recording = Recording()
    engine, broker = prepare(series, bundle, settings, MemoryStore(), recording)
    started = time.perf_counter()
    consume_all(engine, on_turn)
    seconds = time.perf_counter() - started
    slots = _slots(engine.states.table, series)
    rows = _by_row(series, recording, slots, has_own_times=settings.window.grid_ms is None)
    return LiveRun(rows, read_episodes(broker, OutputSettings().topic), recording, slots, seconds)


def prepare(
    series: Sequence[Series], bundle: Bundle, settings: Settings, store: StateStore, observer: Observer | None = None
) -> tuple[Engine, MemoryBroker]:
    """Return an engine before its first turn, and the broker that holds all rows of all series as its input.

    Args:
        series, bundle, settings: as for `score_live`.
        store: where the engine saves what keys know.
        observer: told of every scored batch.

    Raises:
        ConfigError: settings do not fit the bundle.
    """
    settings = _embedded(settings, len(series), len(bundle.features))
    broker = MemoryBroker(partitions=1)
    produce(broker, settings.input.topics[0], series)
    source = MemorySource(broker, settings.kafka.group_id, settings.input.topics, settings.input.max_poll_records)
    parts = Parts(source=source, sink=MemorySink(broker), store=store, bundle=bundle, observer=observer)
    return build_engine(settings, parts=parts), broker


def _embedded(settings: Settings, keys: int, features: int) -> Settings:
    """Return the settings with edges that fit what `produce` writes, and room for all keys."""
    reads = InputSettings(
        key_field=KEY_FIELD,
        time_field=TIME_FIELD,
        time_unit="ms",
        value_fields=(VALUES_FIELD,),
        max_record_bytes=max(settings.input.max_record_bytes, 64 * features + 4_096),
        max_key_bytes=4_096,
        min_time_ms=min(settings.input.min_time_ms, 0),
    )
    return settings.model_copy(
        update={
            "input": reads,
            "output": OutputSettings(top_features=settings.output.top_features),
            "state": StateSettings(store="memory"),
            "limits": settings.limits.model_copy(update={"max_keys": keys}),
        }
    )


def _slots(table: KeyTable, series: Sequence[Series]) -> list[int]:
    known = {key: slot for slot, key in enumerate(table.keys) if key}
    return [known.get(one.key.encode(), -1) for one in series]


def _by_row(
    series: Sequence[Series], recording: Recording, slots: list[int], *, has_own_times: bool
) -> list[RowScores]:
    """Lay every scored window on the row whose record completed it."""
    found = [RowScores.empty(len(one)) for one in series]
    if not recording.windows:
        return found
    owners, rows = arrival(series)
    windows, verdicts = recording.windows, recording.verdicts
    offsets = np.concatenate([batch.offsets for batch in windows])
    ends = np.concatenate([batch.end_times_ms for batch in windows])
    taken = np.concatenate([batch.slots for batch in windows])
    fresh = np.concatenate([batch.is_first for batch in windows])
    totals = np.concatenate([batch.totals for batch in recording.scores]).astype(np.float64)
    judged = np.concatenate([batch.scores for batch in verdicts])
    thresholds = np.concatenate([batch.thresholds for batch in verdicts])
    alarms = np.concatenate([batch.statuses for batch in verdicts]) == Status.ANOMALOUS
    for number, (one, into) in enumerate(zip(series, found, strict=True)):
        mine = np.flatnonzero(owners[offsets] == number)
        at = rows[offsets[mine]]
        _check(one, at, taken[mine] == slots[number], ends[mine] if has_own_times else None)
        into.scores[at] = smoothed(totals[mine], fresh[mine])
        into.judged[at], into.thresholds[at], into.alarms[at] = judged[mine], thresholds[mine], alarms[mine]
    return found


def _check(one: Series, at: Ints, is_own: Flags, ends_ms: Ints | None) -> None:
    """Raise unless each window is of this key, in a row of its own, in order, and ends at that row's time."""
    is_aligned = bool(is_own.all()) and bool((np.diff(at) > 0).all())
    if ends_ms is not None:
        is_aligned &= np.array_equal(one.event_times_ms[at], ends_ms)
    if not is_aligned:
        raise FatalError(f"{one.key}: scores do not stand at the rows they belong to; this is a bug, please report it")


def smoothed(totals: Doubles, fresh: Flags) -> Doubles:
    """Return x += SMOOTHING (total - x), beginning anew where `fresh`; (B,) each, windows of one key in order.

    Example:
        >>> smoothed(np.array([1.0, 2.0, 5.0]), np.array([True, False, True])).tolist()
        [1.0, 1.3, 5.0]
    """
    found = np.empty(len(totals))
    level = 0.0
    for number, (total, is_fresh) in enumerate(zip(totals.tolist(), fresh.tolist(), strict=True)):
        level = total if is_fresh else level + SMOOTHING * (total - level)
        found[number] = level
    return found
