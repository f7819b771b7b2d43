"""The stages of the data in order, what of them may change at run time, and what the engine may decide by itself.

Only shapes: what is done with them is in the engine, how they are made from settings in the assembly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

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
from streamae.core.clock_guard import ClockGuard
from streamae.core.columns import Columns
from streamae.core.contents import contents_of
from streamae.core.decision import Decision
from streamae.core.encoding import Encoder
from streamae.core.episodes import EpisodeRules, Episodes
from streamae.core.grid import RowGrid, Strays, join_rows
from streamae.core.key_rules import AlertRules
from streamae.core.last_windows import LastWindows
from streamae.core.lateness import Lateness
from streamae.core.rates import Rates
from streamae.core.roster import Patience
from streamae.core.scoring import Calibration
from streamae.core.segments import Segments
from streamae.core.thresholds.rule import ThresholdRule
from streamae.core.windowing import KeyWindows, join
from streamae.reasons import Reason

_NOTHING = np.zeros(0, dtype=np.int64)

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
        patience: when silence means something.
        alert_budget_per_week: false episodes a key and week that the rule was set to; None = no budget is set.
    """

    rule: ThresholdRule
    family: str
    min_windows: int
    is_early: bool
    episodes: EpisodeRules
    alerts: AlertRules
    settings_version: str
    patience: Patience
    alert_budget_per_week: float | None = None


class Rest(NamedTuple):
    """A key that says nothing more for now: rows of it that wait for older ones come out.

    Attributes:
        slot: of the key.
        offset: of the record by which this is known.
        back_at: index of the key's next record, where there is one at hand; -1 = there is none.
    """

    slot: int
    offset: int
    back_at: int


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
    clocks: ClockGuard | None = None  # None: any time counts
    last: LastWindows | None = None  # None: nothing follows from silence

    @property
    def state(self) -> tuple[Columns, ...]:
        """What each stage knows of a key, in the order of the stages, which is that of packed state."""
        stages = (self.clocks, self.lateness, self.encoder, self.grid, self.rates, self.windows, self.decision)
        parts = (*stages, self.episodes, self.last)
        return tuple(part.columns for part in parts if part is not None and part.columns.fields)

    def windows_of(
        self, records: RecordBatch, slots: Slots, restarts: Ints = _NOTHING, rests: Sequence[Rest] = ()
    ) -> tuple[WindowBatch, RowBatch, Strays]:
        """Records to windows.

        Args:
            records: N records, per key in arrival order.
            slots: (N,) theirs.
            restarts: (M,) those with which their key begins anew: its clock was set back.
            rests: keys of which nothing more is to be waited for, in order of offset.

        Returns:
            The windows that are due, the rows that were completed, and the records that cannot become part of one.
        """
        rests = () if self.lateness is None else rests
        if not len(restarts) and not rests:
            rows, strays = self.rows(records, slots)
            return self.windows.push(rows), rows, strays
        breaks = np.unique([*restarts.tolist(), *(one.back_at for one in rests if one.back_at >= 0)]).astype(np.int64)
        turns = _breaks_so_far(slots, breaks)
        completed, windows, odd, reasons = list[RowBatch](), list[WindowBatch](), list[Ints](), list[Reason]()
        for turn in range(int(turns.max(initial=0)) + 1):
            if turn:
                begin = breaks[turns[breaks] == turn]
                completed.append(self._rest_of(rests, begin))
                windows.append(self.windows.push(completed[-1]))
                again = begin[np.isin(begin, restarts)]
                completed.append(self._leave(records, slots, again))
                windows.append(self.windows.push(completed[-1]))
                self._begin_again(records, slots, again)
            chosen = np.flatnonzero(turns == turn)
            rows, strays = self.rows(records.take(chosen), slots[chosen])
            completed.append(rows)
            windows.append(self.windows.push(rows))
            odd.append(chosen[strays.indices])
            reasons += strays.reasons
        completed.append(self._rest_of(rests, np.array([-1], dtype=np.int64)))
        windows.append(self.windows.push(completed[-1]))
        return join(windows), join_rows(completed), Strays(np.concatenate(odd), reasons)

    def _rest_of(self, rests: Sequence[Rest], indices: Ints) -> RowBatch:
        """Return the rows of all that waits of keys before these records of theirs, or behind their last one: -1."""
        chosen: dict[int, int] = {}
        for one in rests:
            if one.back_at in indices:
                chosen.setdefault(one.slot, one.offset)
        return self.rest(np.array(list(chosen), dtype=np.int32), np.array(list(chosen.values()), dtype=np.int64))

    def _leave(self, records: RecordBatch, slots: Slots, restarts: Ints) -> RowBatch:
        """Return what is open of keys that begin anew, as rows that these records complete."""
        ordered = restarts[np.argsort(slots[restarts])]
        leaving, offsets = slots[ordered], records.offsets[ordered]
        waited = self.rest(leaving, offsets)
        rows = self.grid.flush(leaving)
        rows = replace(rows, offsets=offsets[np.searchsorted(leaving, rows.slots)])
        return join_rows([waited, self.rates.of(rows) if self.rates else rows])

    def _begin_again(self, records: RecordBatch, slots: Slots, restarts: Ints) -> None:
        """Forget what keys know of times: with these records their clocks were set back."""
        restarted = slots[restarts]
        for part in (self.lateness, self.encoder, self.grid, self.rates):
            if part is not None:
                part.columns.reset(restarted)
        self.windows.set_back(restarted, records.event_times_ms[restarts])

    def rows(self, records: RecordBatch, slots: Slots) -> tuple[RowBatch, Strays]:
        """Records to rows: sort by time, derive features, merge on the grid, turn counters into rates; each where asked for.

        Returns:
            The rows, each with the offset of one of these records; and those of the records that cannot become part of
            one, see `Lateness.push` and `RowGrid.push`.
        """
        if self.grid.grid_ms is None:  # what a record says of itself: not how long after another one
            records = replace(records, contents=contents_of(records.values, records.ids))
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


def _breaks_so_far(slots: Slots, breaks: Ints) -> Ints:
    """Return for each of N records how many of `breaks` are of its key (`slots`), and not behind it."""
    segments, flags = Segments.of(slots), np.zeros(len(slots), dtype=np.int64)
    flags[breaks] = 1
    flags = flags[segments.order]
    counted, found = np.cumsum(flags), np.empty(len(slots), dtype=np.int64)
    found[segments.order] = counted - (counted - flags)[segments.starts][segments.ids]
    return found


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
