"""Whose silence is due, and at which record: from signs of life to what they bring.

It is looked at when the active time of the partition crosses a point of its raster, at the record with which it does: it
sees the records up to that one and none behind, so the same records bring the same marks however they are cut into
polls. Must not know windows, events or where state is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Ints, Suspension
from streamae.core.grid import NEVER
from streamae.core.marks import KeyMark, SilenceStep
from streamae.core.roster import CLOSED, LOST, NO_LIMIT, NONE, OVER, SINCE_SIGN, WAITS, Roster
from streamae.core.segments import Segments
from streamae.core.silence import COUNTS, Followed, Found, Signs
from streamae.core.usual_gaps import FULL_GAPS, KEPT_GAPS, learnt
from streamae.reasons import CloseReason

Suspended = Callable[[bytes, int], Suspension]  # whether a key may not alert at an event time


def follow(roster: Roster, signs: Signs, suspended: Suspended) -> Followed:
    """Take note of signs of life, and find what comes due at which of these records.

    Args:
        roster: of their partition; changes, see `Followed.undo`.
        signs: new records.
        suspended: whether a key may not alert.
    """
    followed = Followed(
        roster, signs, counts=tuple(getattr(roster, name) for name in COUNTS), orphans=list(roster.orphans)
    )
    active, raster = signs.active_ms, roster.patience.raster_ms
    before = np.concatenate(([signs.before_ms], active[:-1]))
    look = _Look(followed, suspended, np.flatnonzero(active // raster > before // raster))
    is_quiet = active[-1] < roster.earliest_ms and not (roster.waiting_keys or roster.orphans)
    if not (is_quiet and look.hear()) and not look.hear_closely():
        return followed
    look.look_at_the_rest()
    followed.found.sort(key=lambda one: (one.index, not one.is_before, roster.keys[one.row]))
    return followed


class _Look:
    """One call of `follow`."""

    def __init__(self, followed: Followed, suspended: Suspended, points: Ints) -> None:
        """Prepare; `points` (P,) are the records that cross the raster."""
        self.followed, self.roster, self.signs = followed, followed.roster, followed.signs
        self.suspended, self.points = suspended, points
        self.count = len(self.signs.rows)
        self._ends = np.append(points, self.count)
        self._times = self.signs.active_ms[points]

    def hear(self) -> bool:
        """Take note of signs of which none ends a silence or a wait; False, with nothing changed, where that is not sure."""
        roster, signs = self.roster, self.signs
        rows, active = signs.rows, signs.active_ms
        is_new = roster["sign"][rows] == NEVER
        if roster["flags"][rows].any() or (is_new.any() and active[-1] - active[0] > self._close_ms):
            return False
        if roster.patience.waits and not _are_distinct(rows, len(roster.keys)):
            return False
        self.followed.save(rows)
        if roster.patience.waits:
            before = roster["sign"][rows]
            counts = roster["gaps"][rows] + ~is_new
            totals = roster["total"][rows] + np.where(is_new, 0, active - before)
            is_full = counts >= FULL_GAPS
            counts, totals = np.where(is_full, KEPT_GAPS, counts), np.where(is_full, totals // 2, totals)
            roster["gaps"][rows], roster["total"][rows] = counts, totals
        roster["sign"][rows], roster["heard"][rows], roster["changed"][rows] = active, signs.times_ms, True
        if is_new.any():
            self._count_new(np.unique(rows[is_new], return_index=True)[1], np.flatnonzero(is_new))
        if roster.patience.waits:
            self._not_before(active + self._least_ms(rows, counts, totals))
        elif is_new.any():
            self._not_before(np.array([active[0] + self._close_ms]))
        return True

    def hear_closely(self) -> bool:
        """Take note of any signs; False where a key is forgotten and then heard again."""
        roster, signs, followed = self.roster, self.signs, self.followed
        segments = Segments.of(signs.rows.astype(np.int32))
        order, first = segments.order, segments.ranks == 0
        slots, uniques = segments.slots.astype(np.int64), segments.uniques.astype(np.int64)
        active = signs.active_ms[order]
        before = segments.previous(active, roster["sign"][uniques])
        has = before != NEVER
        flags = np.where(first, roster["flags"][slots], 0)
        if self._forget(before, has, order):
            return False
        followed.save(uniques)
        gaps = np.where(has, active - before, 0)
        over = first & ((flags & OVER) > 0)
        is_asked = has & bool(roster.patience.waits)  # without waits nobody asks for usual gaps
        while True:
            counts, totals = learnt(segments, gaps, is_asked & ~over, roster["gaps"][uniques], roster["total"][uniques])
            known = segments.previous(counts, roster["gaps"][uniques])
            sums = segments.previous(totals, roster["total"][uniques])
            over_at = self._first_points(before + roster.limits(slots, known, sums), has)
            more = np.flatnonzero(~over & (over_at < order))
            if not len(more):
                break
            over[more[np.unique(segments.ids[more], return_index=True)[1]]] = (
                True  # those behind it counted it as learnt
            )
        close_at = self._first_points(before + self._close_ms, has)
        heard = segments.previous(signs.times_ms[order], roster["heard"][uniques])
        for place in np.flatnonzero((over | (close_at < order) | (flags > 0)) & has).tolist():
            row = int(slots[place])
            state = _Row(
                row,
                int(flags[place]),
                int(roster["silence"][row]) if first[place] else NONE,
                int(before[place]),
                int(heard[place]),
                int(known[place]),
                int(sums[place]),
                int(signs.offsets[order[place]]),
            )
            self._interval(state, int(close_at[place]), int(over_at[place]), int(order[place]))
            self._hear_again(state, int(order[place]))
        self._find_lost(segments, signs.offsets[order])
        ends = segments.ends
        last = order[ends]
        roster["sign"][uniques], roster["heard"][uniques] = signs.active_ms[last], signs.times_ms[last]
        roster["gaps"][uniques], roster["total"][uniques] = counts[ends], totals[ends]
        roster.waiting_keys -= int(((roster["flags"][uniques] & WAITS) > 0).sum())
        roster["flags"][uniques] &= np.uint8(0xFF & ~SINCE_SIGN)
        roster["silence"][uniques], roster["changed"][uniques] = NONE, True
        self._count_new(np.arange(int((first & ~has).sum())), np.sort(order[first & ~has]))
        self._not_before(signs.active_ms[last] + self._least_ms(uniques, counts[ends], totals[ends]))
        return True

    def look_at_the_rest(self) -> None:
        """Find what comes due of keys after their newest sign."""
        roster, points = self.roster, self.points
        self._end_orphans()
        if not len(points) or (self._times[-1] < roster.earliest_ms and not roster.waiting_keys):
            return
        signs, flags = roster["sign"], roster["flags"]
        alive = np.flatnonzero(signs != NEVER)
        over_ms = signs[alive] + roster.limits(alive, roster["gaps"][alive], roster["total"][alive])
        over_ms[(flags[alive] & OVER) > 0] = NO_LIMIT
        close_ms = np.where((flags[alive] & CLOSED) > 0, NO_LIMIT, signs[alive] + self._close_ms)
        forget_ms = signs[alive] + self._forget_ms
        due_ms = np.minimum(np.minimum(over_ms, close_ms), forget_ms)
        is_due = (due_ms < self._times[-1]) | ((flags[alive] & WAITS) > 0)
        chosen = np.flatnonzero(is_due)
        rows = alive[chosen]
        self.followed.save(rows)
        is_any = np.ones(len(rows), dtype=np.bool_)
        ends = [self._first_points(limit[chosen], is_any) for limit in (close_ms, over_ms, forget_ms)]
        for row, close_at, over_at, forget_at in zip(rows.tolist(), *(each.tolist() for each in ends), strict=True):
            state = _Row(row, int(flags[row]), *(int(roster[name][row]) for name in _ROW))
            self._interval(state, close_at, over_at, min(forget_at + 1, self.count))
            if forget_at < self.count:
                self._give_up(state, forget_at)
            roster.silent_keys += int(state.silence != NONE) - int(roster["silence"][row] != NONE)
            roster.waiting_keys += int(state.flags & WAITS > 0) - int(flags[row] & WAITS > 0)
            roster["silence"][row], flags[row], roster["changed"][row] = state.silence, state.flags, True
        left = due_ms[~is_due]
        again = [self._due_again(row) for row in rows.tolist()]
        roster.earliest_ms = int(min([*again, float(left.min()) if len(left) else NO_LIMIT]))

    def _interval(self, state: _Row, close_at: int, over_at: int, until: int) -> None:
        """Find what comes due of a row between two of its signs, before the record `until`."""
        start = self.count
        if over_at < until and not state.flags & OVER:
            state.flags |= OVER
            start = over_at
        elif state.flags & WAITS:
            start = 0
        opens_at = self._opening(state, start, until)
        if close_at < opens_at:
            self._close(state, close_at, until)
        if opens_at < until:
            state.silence = int(self.signs.offsets[opens_at])
            self._add(state, opens_at, silence=SilenceStep.OPENS, closes=CloseReason.SILENT)
            if not state.flags & LOST:
                state.flags |= CLOSED
        if close_at >= opens_at:
            self._close(state, close_at, until)

    def _opening(self, state: _Row, start: int, until: int) -> int:
        """Return the first record from `start` on at which a silence may be told; N = at none."""
        state.flags &= ~WAITS
        points: list[int] = self.points[np.searchsorted(self.points, start) :].tolist()
        for point in points:
            if point >= until:
                break
            why = self.suspended(self.roster.keys[state.row], int(self.signs.times_ms[point]))
            if why is Suspension.NONE:
                state.flags &= ~WAITS
                return point
            if why is Suspension.MUTED:
                state.flags &= ~WAITS
                break
            state.flags |= WAITS
        return self.count

    def _close(self, state: _Row, at: int, until: int) -> None:
        """Close what is open of the row's values; a lost episode only where that is published."""
        if state.flags & CLOSED:
            return
        if not state.flags & LOST:
            if at < until:
                state.flags |= CLOSED
                self._add(state, at, closes=CloseReason.SILENT)
            return
        published = int(np.searchsorted(self.signs.offsets, self.signs.replay_until))
        at = int(self._ends[np.searchsorted(self.points, max(at, published))])
        if at < until:
            state.flags = (state.flags | CLOSED) & ~LOST
            self._add(state, at, closes=CloseReason.STATE_LOST, lost=self.roster.lost(state.row))
            self.roster["opened"][state.row] = NONE

    def _hear_again(self, state: _Row, at: int) -> None:
        """A record comes: an open silence is over."""
        if state.silence != NONE:
            self._add(state, at, is_before=True, silence=SilenceStep.RETURNS)
            self.roster.silent_keys -= int(self.roster["silence"][state.row] == state.silence)

    def _give_up(self, state: _Row, at: int) -> None:
        step = SilenceStep.NONE if state.silence == NONE else SilenceStep.ENDS
        closes = None if state.flags & CLOSED else CloseReason.SILENT
        self._add(state, at, silence=step, closes=closes, is_forgotten=True)

    def _find_lost(self, segments: Segments, offsets: Ints) -> None:
        """Close episodes that cannot be read with the first published record of their keys."""
        for row in segments.uniques[(self.roster["flags"][segments.uniques] & LOST) > 0].tolist():
            ours = np.flatnonzero((segments.slots == row) & (offsets >= self.signs.replay_until))
            if len(ours) and self.roster["opened"][row] != NONE:  # else it was closed before, in its silence
                state = _Row(row, 0, NONE, *(int(self.roster[name][row]) for name in _ROW[1:]))
                lost = self.roster.lost(row)
                self._add(state, int(segments.order[ours[0]]), is_before=True, closes=CloseReason.STATE_LOST, lost=lost)
                self.roster["opened"][row] = NONE
            if self.roster["opened"][row] == NONE:
                self.roster["flags"][row] &= np.uint8(0xFF & ~LOST)

    def _end_orphans(self) -> None:
        """End silences that nobody waits for any longer, where that is published."""
        at = int(np.searchsorted(self.signs.offsets, self.signs.replay_until))
        if at == self.count or not self.roster.orphans:
            return
        rows = np.array([row for row in self.roster.orphans if self.roster["silence"][row] != NONE], dtype=np.int64)
        self.roster.orphans = []
        self.followed.save(rows)
        for row in rows.tolist():
            state = _Row(row, 0, *(int(self.roster[name][row]) for name in _ROW))
            self._add(state, at, is_before=True, silence=SilenceStep.ENDS)
            self.roster["silence"][row], self.roster["changed"][row] = NONE, True
            self.roster.silent_keys -= 1

    def _add(self, state: _Row, at: int, *, is_before: bool = False, **what: Any) -> None:
        roster = self.roster
        mark = KeyMark(
            roster.keys[state.row],
            slot=-1,
            opened_offset=state.silence,
            heard_ms=state.heard,
            gap_ms=int(self.signs.active_ms[at]) - state.sign,
            usual_ms=roster.usual_ms(state.gaps, state.total),
            gaps=state.gaps,
            back_offset=state.back,
            **what,
        )
        self.followed.found.append(Found(at, is_before, state.row, mark))

    def _forget(self, before: Ints, has: Flags, order: Ints) -> bool:
        """Tell whether a key is to be forgotten before a record of it; then the records up to there go first."""
        if not self.roster.patience.waits:
            return False
        at = self._first_points(np.asarray(before + self._forget_ms), has)
        at = at[at < order]
        self.followed.cut = int(at.min()) + 1 if len(at) else None
        return self.followed.cut is not None

    def _first_points(self, limits_ms: NDArray[Any], has: Flags) -> Ints:
        """Return the first record (n,) that crosses the raster beyond each limit; N = none of them."""
        found: Ints = self._ends[np.searchsorted(self._times, limits_ms, side="right")]
        return np.where(has, found, self.count)

    def _least_ms(self, rows: Ints, gaps: Ints, totals: Ints) -> Doubles:
        """Return the active time after their sign within which nothing comes due of rows (n,)."""
        limits = self.roster.limits(rows, gaps, totals)
        found: Doubles = np.minimum(limits, min(self._close_ms, self._forget_ms))
        return found

    def _due_again(self, row: int) -> float:
        roster, at = self.roster, np.array([row])
        flags, sign = int(roster["flags"][row]), float(roster["sign"][row])
        over = NO_LIMIT if flags & OVER else float(roster.limits(at, roster["gaps"][at], roster["total"][at])[0])
        close = NO_LIMIT if flags & CLOSED else self._close_ms
        return sign + min(over, close, self._forget_ms)

    @property
    def _close_ms(self) -> float:
        close_ms = self.roster.patience.close_ms
        return float(NO_LIMIT if close_ms is None else close_ms)

    @property
    def _forget_ms(self) -> float:
        patience = self.roster.patience
        return float(patience.forget_ms if patience.waits else NO_LIMIT)

    def _count_new(self, chosen: Ints, firsts: Ints) -> None:
        self.followed.firsts = np.sort(firsts[chosen])
        self.roster.heard_keys += len(chosen)

    def _not_before(self, due_ms: NDArray[Any]) -> None:
        """Let the next look be no later than these times (n,)."""
        if len(due_ms):
            self.roster.earliest_ms = min(self.roster.earliest_ms, int(due_ms.min()))


@dataclass(slots=True)
class _Row:
    """A row between two of its signs."""

    row: int
    flags: int
    silence: int
    sign: int
    heard: int
    gaps: int
    total: int
    back: int = NONE  # offset of the next sign, where it is at hand


_ROW = ("silence", "sign", "heard", "gaps", "total")  # columns of a `_Row` behind its flags


def _are_distinct(rows: Ints, size: int) -> bool:
    """Tell whether none of some rows (n,), all below `size`, occurs twice."""
    seen = np.zeros(size, dtype=np.bool_)
    seen[rows] = True
    return int(np.count_nonzero(seen)) == len(rows)
