"""The stages of the data in order, what of them may change at run time, and what the engine may decide by itself.

Only shapes: what is done with them is in the engine, how they are made from settings in the assembly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamae.batches import (
    ErrorBatch,
    Floats,
    Ints,
    RecordBatch,
    RowBatch,
    ScoreBatch,
    Slots,
    VerdictBatch,
    WindowBatch,
)
from streamae.connectors.events import EventWriter
from streamae.connectors.protocols import Reading
from streamae.connectors.window_scores import ScoreWriter
from streamae.core.alert_rate import AlertRate
from streamae.core.batching import MicroBatcher
from streamae.core.columns import Columns
from streamae.core.decision import Decision
from streamae.core.encoding import Encoder
from streamae.core.episodes import EpisodeRules, Episodes
from streamae.core.grid import RowGrid, Strays
from streamae.core.key_rules import AlertRules
from streamae.core.lateness import Lateness
from streamae.core.rates import Rates
from streamae.core.scoring import Calibration
from streamae.core.thresholds.rule import ThresholdRule
from streamae.core.windowing import KeyWindows
from streamae.reasons import Reason

Observer = Callable[[WindowBatch, ScoreBatch, VerdictBatch], None]


class WindowModel(Protocol):
    """What turns windows into errors: `model.runner.Runner`, or any stand-in of the same shape."""

    def run(self, values: Floats) -> ErrorBatch:
        """Return the errors of windows (B, W, F) as `core.key_levels.standardised` makes them."""
        ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """How scores are judged: what may be changed while the engine runs.

    Attributes:
        rule: thresholds, and how keys learn.
        family: of rules that keep the same state: what keys have learnt stays within one.
        min_windows: scores that a key must have learnt to be ready.
        is_early: whether keys that start from the bundle's history may alarm before.
        episodes: when episodes begin and end.
        alerts: what the operator knows better.
        settings_version: carried in every event.
        alert_budget_per_week: false episodes a key and week that the rule was set to; None = no budget is set.
    """

    rule: ThresholdRule
    family: str
    min_windows: int
    is_early: bool
    episodes: EpisodeRules
    alerts: AlertRules
    settings_version: str
    alert_budget_per_week: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """The stages of the data, in order. Each owns its part of the keys' state."""

    reading: Reading
    grid: RowGrid
    windows: KeyWindows
    batcher: MicroBatcher
    runner: WindowModel
    calibration: Calibration
    decision: Decision
    episodes: Episodes
    events: EventWriter
    rate: AlertRate
    scores: ScoreWriter | None = None  # off: nobody asked for the curve
    encoder: Encoder | None = None  # None: the fields are the features
    rates: Rates | None = None  # None: no feature is a rate
    lateness: Lateness | None = None  # None: records are taken as they come

    @property
    def state(self) -> tuple[Columns, ...]:
        """What each stage knows of a key, in the order of the stages, which is that of packed state."""
        parts = (self.lateness, self.encoder, self.grid, self.rates, self.windows, self.decision, self.episodes)
        return tuple(part.columns for part in parts if part is not None and part.columns.fields)

    def rows(self, records: RecordBatch, slots: Slots) -> tuple[RowBatch, Strays]:
        """Records to rows: sort by time, derive features, merge on the grid, turn counters into rates; each where asked for.

        Returns:
            The rows, each with the offset of one of these records; and those of the records that cannot become part of
            one, see `Lateness.push` and `RowGrid.push`.
        """
        if self.lateness is None:
            return self._made(records, slots)
        released, strays = self.lateness.push(records, slots, self.grid.newest_ms(slots))
        rows, more = self._made(released.records, released.slots)
        assert released.causes is not None  # for the type checker: records have released these
        indices = np.concatenate([strays.indices, released.causes[more.indices]])
        return rows, Strays(indices, [*strays.reasons, *more.reasons])

    def rest(self, slots: Slots, offsets: Ints) -> RowBatch:
        """Return the rows of all that waits of some keys: they fell silent, or their data ends.

        Changes their state, so it belongs to a record that a replay meets again; see `Lateness.flush`.
        """
        if self.lateness is None:
            slots, offsets = slots[:0], offsets[:0]
            return RowBatch(slots, offsets, offsets, np.zeros((0, self.grid.features)))
        released = self.lateness.flush(slots, offsets)
        return self._made(released.records, released.slots)[0]

    def _made(self, records: RecordBatch, slots: Slots) -> tuple[RowBatch, Strays]:
        rows, strays = self.grid.push(self.encoder.encode(records, slots) if self.encoder else records, slots)
        return (self.rates.of(rows) if self.rates else rows), strays

    def adopt(self, tuning: Tuning, keys: Iterable[tuple[int, bytes]]) -> None:
        """Judge by `tuning` from now on; what keys have learnt stays.

        Args:
            tuning: of the same family of threshold rules.
            keys: all slots in use, with their keys.
        """
        self.decision.adopt(tuning.rule, tuning.min_windows, tuning.alerts, keys, is_early=tuning.is_early)
        self.episodes.adopt(tuning.episodes)
        self.events.adopt(tuning.settings_version)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the engine does at its own discretion.

    Attributes:
        poll_timeout_ms: longest wait of one poll.
        commit_interval_ms: longest time outputs wait for their transaction.
        step_budget_s: time after which a step leaves further windows to the next one.
        dead_letter_topic: where unusable records go.
        dropped: reasons that are only counted.
    """

    poll_timeout_ms: int
    commit_interval_ms: int
    step_budget_s: float
    dead_letter_topic: str
    dropped: frozenset[Reason]
