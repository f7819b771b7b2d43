"""Rows to windows: one float32 ring for all keys, index arithmetic instead of a queue per key.

A key's window slides over its newest W rows by `stride`. A gap in event time longer than `max_gap_ms` restarts
it: no window reaches across a gap. Missing values are filled in here, by policy, so that what is stored is what
is scored. Rows are stored as distances from an origin (`core/origins.py`). Time is the rows' event time; this module
reads no clock and knows neither keys nor scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Doubles, Flags, Floats, Ints, RowBatch, Slots, WindowBatch
from streamae.core.columns import Columns, Field
from streamae.core.grid import NEVER
from streamae.core.holding import Hold
from streamae.core.key_levels import KeyLevels
from streamae.core.origins import ZERO, Origins, first_values, narrowed, to_ring
from streamae.core.segments import Segments

MAX_CELLS = 2**24  # looked at at once by who asks which features starve a key


@dataclass(frozen=True, slots=True, eq=False)
class Missing:
    """What to put where a value is missing.

    Attributes:
        previous: (F,) bool, True = the key's previous value of the feature, as long as there is one.
        constants: (F,) float64 otherwise, in the features' own units.
        hold: features, of those with `previous`, whose previous value stands: it does not count as filled in.
    """

    previous: Flags
    constants: Doubles
    hold: Hold = field(default_factory=Hold)


class KeyWindows:
    """The newest rows of every key.

    State per key: ring of R >= W rows, their times and how many of their cells were filled in; rows since the
    window last restarted; the last present value of each feature, and where values stand for a limited time, when it
    came; with `levels` its own level and spread, and what its values count from where that is the key's own.
    Survives a restart through `columns`.
    """

    def __init__(
        self,
        capacity: int,
        size: int,
        features: int,
        *,
        stride: int,
        max_gap_ms: int,
        missing: Missing,
        max_imputed_share: float,
        levels: KeyLevels | None = None,
        origins: Origins = ZERO,
    ) -> None:
        """Prepare for `capacity` slots of windows (`size`, `features`).

        Args:
            capacity: key slots (K).
            size: W.
            features: F.
            stride: rows between two windows of a key.
            max_gap_ms: a longer step of event time restarts the window.
            missing: policy per feature.
            max_imputed_share: windows with a larger share of filled-in cells are withheld.
            levels: how keys learn their own levels; windows carry them, and are withheld until a key knows its own.
            origins: what stored values count from; by key only with levels.
        """
        self.levels, self.origins = levels, origins
        self.size, self.stride, self.max_gap_ms = size, stride, max_gap_ms
        self.missing, self.max_imputed_share = missing, max_imputed_share
        self._lasting = missing.hold.lasting(features)
        self._constants = narrowed(missing.constants, origins.is_exact)
        self.ring_size = size + max(8, size // 4)
        self.withheld = 0  # windows not handed out because too much of them was filled in
        self.columns = Columns(
            capacity,
            {
                "ring": Field("<f4", (self.ring_size, features)),
                "times": Field("<i8", (self.ring_size,)),
                "imputed": Field("<u2", (self.ring_size,)),
                "written": Field("<i8"),  # rows ever, decides the place in the ring
                "filled": Field("<i8"),  # rows since the window last restarted
                "generation": Field("<i8"),  # restarts so far
                "delivered": Field("<i8", (), -1),  # generation of the last window handed out
                "newest": Field("<i8", (), NEVER),
                "carried": Field("<f4", (features,), np.nan),
                "holes": Field("|u1", (self.ring_size, -(-features // 8)), is_stored=False),  # a bit a filled-in cell
                "told": Field("|b1", is_stored=False),  # starved when somebody asked last
            }
            | missing.hold.fields()
            | ({} if levels is None else levels.fields(self._constants))
            | ({"origins": Field("<f8", (features,), np.nan)} if origins.is_by_key else {}),
            "windows",
        )

    def push(self, rows: RowBatch) -> WindowBatch:
        """Store rows and return the windows they make due.

        Args:
            rows: N rows, per key in event-time order, several of one time in the order given; any number per key.

        Returns:
            Windows in the order of the rows that completed them.
        """
        segments = Segments.of(rows.slots)
        room = self.ring_size - self.size + 1  # rows of one key that fit without overwriting an undelivered window
        passes = segments.ranks // room
        firsts = self._first_values(rows.values[segments.order], segments)
        if firsts is not None:  # a pass of their own: the rows before count from elsewhere until their windows are out
            begun = np.cumsum(firsts.any(axis=1) & (segments.ranks > 0))
            passes += begun - begun[segments.starts][segments.ids]
        found_levels = None if self.levels is None else self.levels.follow(self.columns, rows)
        if not passes.any():
            return self._push_few(rows, segments.order, segments, found_levels)
        found = []
        for number in range(int(passes.max()) + 1):
            chosen = segments.order[passes == number]  # still sorted by slot
            found.append(self._push_few(rows, chosen, Segments.of(rows.slots[chosen]), found_levels))
        return join(found)

    def restart(self, slots: Slots) -> None:
        """Begin the window of each slot anew with its next row, as after a gap; levels stay."""
        self.columns["filled"][slots] = 0
        self.columns["generation"][slots] += 1
        self.columns["carried"][slots] = np.where(self._lasting, self.columns["carried"][slots], np.nan)

    def set_back(self, slots: Slots, times_ms: Ints) -> None:
        """Begin the window of each of `slots` (n,) anew, at event times (n,) that may lie before what is known."""
        self.restart(slots)
        self.columns["newest"][slots] = NEVER
        self.missing.hold.set_back(self.columns, slots, times_ms)

    def is_starved(self, slots: Slots) -> Flags:
        """Tell which of `slots` (n,) have a full window that is withheld: too much of it was filled in."""
        columns = self.columns
        steps = (columns["written"][slots][:, None] - 1 - np.arange(self.size)) % self.ring_size
        cells = columns["imputed"][slots[:, None], steps].sum(axis=1)
        is_full = columns["filled"][slots] >= self.size
        starved: Flags = is_full & (cells > self.max_imputed_share * self.size * columns["ring"].shape[2])
        return starved

    def starving(self, slots: Slots) -> Flags:
        """Tell which features (n, F) fill in too much of the newest windows of `slots` (n,), and so starve them.

        Of rows from before this process it is known only whether anything was filled in, or everything.
        """
        columns, features = self.columns, self.columns["ring"].shape[2]
        found = np.empty((len(slots), features), dtype=np.bool_)
        chunk = max(1, MAX_CELLS // (self.size * features))
        for start in range(0, len(slots), chunk):
            some = slots[start : start + chunk, None]
            steps = (columns["written"][some] - 1 - np.arange(self.size)) % self.ring_size
            holes = np.unpackbits(columns["holes"][some, steps], axis=2, count=features).astype(np.bool_)
            counts = columns["imputed"][some, steps]
            holes[counts != holes.sum(axis=2)] = False
            holes[counts == features] = True
            found[start : start + chunk] = holes.mean(axis=1) > self.max_imputed_share
        return found

    def starvation(self, slots: Slots) -> tuple[Slots, Slots]:
        """Return those of `slots` (n,) that began to starve since they were last asked for, and those that are over it.

        A key begins when it is known which features starve it, and is over it when it has a full window to be scored.
        """
        columns, is_starved = self.columns, self.is_starved(slots)
        began = slots[is_starved & ~columns["told"][slots]]
        began = began[self.starving(began).any(axis=1)]
        ended = slots[columns["told"][slots] & ~is_starved & (columns["filled"][slots] >= self.size)]
        columns["told"][began], columns["told"][ended] = True, False
        return began, ended

    def _push_few(
        self, rows: RowBatch, chosen: Ints, segments: Segments, levels: tuple[Doubles, Flags] | None
    ) -> WindowBatch:
        """`push` for rows `chosen` (N,), sorted by slot, at most ring_size - size + 1 of each key.

        Args:
            rows, chosen, segments: the rows.
            levels: of all rows, and whether they count already, as `KeyLevels.follow` found them.
        """
        columns = self.columns
        slots, times, uniques = segments.slots, rows.event_times_ms[chosen], segments.uniques
        before = segments.previous(times, columns["newest"][uniques])
        gap = (before != NEVER) & (times - before > self.max_gap_ms)
        restart = segments.running_max(np.where(gap, segments.ranks, -1))
        restarted = restart >= 0
        filled = np.where(restarted, segments.ranks - restart, columns["filled"][slots] + segments.ranks) + 1
        places = (columns["written"][slots] + segments.ranks) % self.ring_size
        self._begin_counting(rows.values[chosen], segments)
        stored = to_ring(rows.values[chosen], self._origins_of(slots))
        values, holes, carried = self._fill_in(stored, times, segments, restart)
        columns["ring"][slots, places] = values
        columns["times"][slots, places] = times
        columns["imputed"][slots, places] = 0 if holes is None else holes.sum(axis=1)
        if holes is not None:
            columns["holes"][slots, places] = np.packbits(holes, axis=1)
        columns["written"][uniques] += segments.ranks[segments.ends] + 1
        columns["filled"][uniques] = filled[segments.ends]
        gaps = np.cumsum(gap)
        generations = columns["generation"][slots] + gaps - (gaps - gap)[segments.starts][segments.ids]
        columns["generation"][uniques] = generations[segments.ends]
        columns["newest"][uniques] = times[segments.ends]
        columns["carried"][uniques] = carried[segments.ends]
        due = np.flatnonzero((filled >= self.size) & ((filled - self.size) % self.stride == 0))
        due = due[np.argsort(chosen[due], kind="stable")]  # as they came: a batch then holds few windows of each key
        if levels is not None:
            due = due[levels[1][chosen[due]]]
        of_windows = None if levels is None else levels[0][chosen[due]]
        return self._gather(slots[due], rows.offsets[chosen[due]], places[due], generations[due], of_windows)

    def _origins_of(self, slots: Slots) -> Doubles:
        """Return what the rows of `slots` (N,) count from, (N, F), or what all of them do."""
        if not self.origins.is_by_key:
            return self.origins.levels
        own = self.columns["origins"][slots]
        return np.where(np.isnan(own), self._constants, own)

    def _first_values(self, values: Doubles, segments: Segments) -> Flags | None:
        """Tell which of values (N, F), sorted by segment, their keys count from; None = from none of them."""
        if not self.origins.is_by_key:
            return None
        is_heard = ~np.isnan(self.columns["origins"][segments.uniques])
        return None if is_heard.all() else first_values(values, segments, is_heard)

    def _begin_counting(self, values: Doubles, segments: Segments) -> None:
        """Let keys count from their first values, also the rows before, which hold nothing but constants."""
        firsts = self._first_values(values, segments)
        if firsts is not None:
            rows, features = np.nonzero(firsts)
            slots, origins = segments.slots[rows], values[rows, features]
            self.columns["origins"][slots, features] = origins
            self.columns["ring"][slots, :, features] = to_ring(self._constants[features], origins)[:, None]

    def _fill_in(
        self, values: Floats, times: Ints, segments: Segments, restart: Ints
    ) -> tuple[Floats, Flags | None, Floats]:
        """Replace missing values.

        Args:
            values: (N, F) as they are stored, sorted by segment.
            times: (N,) event time in ms.
            segments: of the same rows.
            restart: (N,) rank of the newest gap so far in the segment, -1 = none.

        Returns:
            Filled values (N, F); which of them are filled in (N, F), without those that stand, None = none; newest
            present value of each feature (N, F), NaN = none since the restart.
        """
        absent, hold = np.isnan(values), self.missing.hold
        if not absent.any() and not hold.is_timed:
            return values, None, values
        newest = segments.newest(~absent, np.where(self._lasting, 0, np.maximum(restart, 0)[:, None]))
        is_known = self._lasting | (restart < 0)[:, None]
        stored = np.where(is_known, self.columns["carried"][segments.slots], np.float32(np.nan))
        carried = np.where(newest >= 0, np.take_along_axis(values, np.maximum(newest, 0), axis=0), stored)
        usable = self.missing.previous & ~np.isnan(carried)
        constants = to_ring(self._constants, self._origins_of(segments.slots))
        filled = np.where(absent, np.where(usable, carried, constants), values).astype(np.float32)
        counted = absent
        if len(hold.features):
            stands = hold.stands(self.columns, segments, times, newest[:, hold.features])
            counted = absent.copy()
            counted[:, hold.features] &= ~(stands & usable[:, hold.features])
        return filled, counted, carried

    def _gather(
        self, slots: Slots, offsets: Ints, places: Ints, generations: Ints, levels: Doubles | None
    ) -> WindowBatch:
        """Copy the windows that end at `places` out of the ring; all (B, ...), those of one key in order."""
        columns = self.columns
        steps = (places[:, None] - np.arange(self.size - 1, -1, -1)) % self.ring_size  # (B, W)
        cells = slots[:, None].astype(np.int64) * self.ring_size + steps
        features = columns["ring"].shape[2]
        shares = columns["imputed"].reshape(-1)[cells].sum(axis=1) / (self.size * features)
        keep = shares <= self.max_imputed_share
        if not keep.all():
            self.withheld += int((~keep).sum())
            slots, offsets, cells, shares, generations = (a[keep] for a in (slots, offsets, cells, shares, generations))
            levels = None if levels is None else levels[keep]
        segments = Segments.of(slots)
        generations = generations[segments.order]
        is_first = np.empty(len(slots), dtype=np.bool_)
        is_first[segments.order] = generations != segments.previous(generations, columns["delivered"][segments.uniques])
        columns["delivered"][segments.uniques] = generations[segments.ends]
        times = columns["times"].reshape(-1)
        return WindowBatch(
            slots,
            offsets,
            times[cells[:, 0]],
            times[cells[:, -1]],
            columns["ring"].reshape(-1, features).take(cells, axis=0),
            shares.astype(np.float32),
            is_first,
            levels,
            None if self.origins.are_zero else np.broadcast_to(self._origins_of(slots), (len(slots), features)),
        )


def join(batches: list[WindowBatch]) -> WindowBatch:
    """Concatenate at least one batch, keeping order."""
    if len(batches) == 1:
        return batches[0]
    columns = [name for name in WindowBatch.__slots__ if getattr(batches[0], name) is not None]  # then all have it
    return WindowBatch(**{name: np.concatenate([getattr(batch, name) for batch in batches]) for name in columns})


def select(batch: WindowBatch, chosen: Ints | Flags | slice) -> WindowBatch:
    """Return the chosen windows of a batch."""
    columns = [name for name in WindowBatch.__slots__ if getattr(batch, name) is not None]
    return WindowBatch(**{name: getattr(batch, name)[chosen] for name in columns})
