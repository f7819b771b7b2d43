"""The stages of the data in order, what of them may change at run time, and what the engine may decide by itself.

Only shapes: what is done with them is in the engine, how they are made from settings in the assembly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from streamae.batches import ErrorBatch, Floats, RecordBatch, RowBatch, ScoreBatch, Slots, VerdictBatch, WindowBatch
from streamae.connectors.events import EventWriter
from streamae.connectors.protocols import Reading
from streamae.connectors.window_scores import ScoreWriter
from streamae.core.alert_rate import AlertRate
from streamae.core.batching import MicroBatcher
from streamae.core.columns import Columns
from streamae.core.contents import contents_of
from streamae.core.decision import Decision
from streamae.core.encoding import Encoder
from streamae.core.episodes import EpisodeRules, Episodes
from streamae.core.grid import RowGrid, Strays
from streamae.core.key_rules import AlertRules
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

    @property
    def state(self) -> tuple[Columns, ...]:
        """What each stage knows of a key, in the order of the stages, which is that of packed state."""
        parts = (self.encoder, self.grid, self.rates, self.windows, self.decision, self.episodes)
        return tuple(part.columns for part in parts if part is not None and part.columns.fields)

    def rows(self, records: RecordBatch, slots: Slots) -> tuple[RowBatch, Strays]:
        """Records to rows: derive features, merge on the grid, turn counters into rates; each where the bundle has it.

        Returns:
            The rows, and the records that cannot become part of one, see `RowGrid.push`.
        """
        if self.grid.grid_ms is None:  # what a record says of itself: not how long after another one
            records = replace(records, contents=contents_of(records.values, records.ids))
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
