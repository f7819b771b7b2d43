"""Silence: what the time of a partition brings to keys that say nothing, at the same records in any cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Partition, Suspension
from streamae.core.marks import KeyMark, OpenEpisode, SilenceStep, TimeMark
from streamae.core.roster import ENTRY_BYTES, LOST, NONE, Patience, Roster, Wait
from streamae.core.silence import Signs
from streamae.core.silence_look import follow
from streamae.core.usual_gaps import FULL_GAPS, KEPT_GAPS, LEAST_GAPS
from streamae.reasons import CloseReason
from tests.core_batches import pieces, quick

PARTITION = Partition("sensors", 0)
FIXED = Patience((Wait("gauge-*"), Wait(after_ms=50)), close_ms=30, forget_ms=400, raster_ms=10)
BY_GAPS = Patience((Wait(after_gaps=3.0),), close_ms=70, forget_ms=2_000, raster_ms=5)
ONLY_CLOSING = Patience(close_ms=40, raster_ms=10)
MUTED = b"muted"


class Sign(NamedTuple):
    """A record: its key, and the active time with it."""

    key: bytes
    active_ms: int


class Told(NamedTuple):
    """What came due of a key, and where."""

    offset: int
    is_before: bool
    key: bytes
    silence: SilenceStep
    closes: CloseReason | None
    opened_offset: int
    gap_ms: int
    usual_ms: float
    counts: tuple[int, int]
    is_forgotten: bool


def suspended(key: bytes, time_ms: int) -> Suspension:
    """One key is muted; of every 100 ms of event time the last 30 are maintenance for all others."""
    if key == MUTED:
        return Suspension.MUTED
    return Suspension.MAINTENANCE if time_ms % 100 >= 70 else Suspension.NONE


def told(mark: TimeMark, key: KeyMark) -> Told:
    """A mark of one key, as it is compared."""
    return Told(
        mark.offset,
        mark.is_before,
        key.key,
        key.silence,
        key.closes,
        key.opened_offset,
        key.gap_ms,
        key.usual_ms,
        (mark.silent_keys, mark.partition_keys),
        key.is_forgotten,
    )


def signs_of(
    roster: Roster, stream: Sequence[Sign], start: int, stop: int, slot: int = 0, replay_until: int = 0
) -> Signs:
    """The records `start` to `stop` as signs; event time is seven times the offset."""
    part, offsets = stream[start:stop], np.arange(start, stop)
    rows = [roster.rows[one.key] if one.key in roster.rows else roster.add(one.key, slot) for one in part]
    active = np.array([one.active_ms for one in part], dtype=np.int64)
    before = stream[start - 1].active_ms if start else 0
    return Signs(np.array(rows), offsets, 7 * offsets, active, before, replay_until)


def play(roster: Roster, stream: Sequence[Sign], start: int = 0, stop: int | None = None) -> list[Told]:
    """Follow the records `start` to `stop` at once, in several turns where a key is forgotten and heard again."""
    stop = len(stream) if stop is None else stop
    found: list[Told] = []
    while start < stop:
        until = stop
        followed = follow(roster, signs_of(roster, stream, start, until), suspended)
        if followed.cut is not None:
            until = start + followed.cut
            followed = follow(roster, signs_of(roster, stream, start, until), suspended)
        found += [told(mark, key) for mark in followed.marks(PARTITION, lambda _: True) for key in mark.keys]
        start = until
    return found


def saved_and_read(roster: Roster) -> Roster:
    """The roster of a process that takes over what this one has stored."""
    after = Roster(roster.patience)
    after.unpack(roster.pack(np.array(sorted(roster.rows.values()), dtype=np.int64)))
    return after


@dataclass
class Known:
    """A key, as `Naive` knows it."""

    sign: int
    gaps: int = 0
    total: int = 0
    closed: bool = False
    over: bool = False
    waits: bool = False
    silence: int = NONE


@dataclass
class Naive:
    """The same, record by record and key by key."""

    patience: Patience
    keys: dict[bytes, Known] = field(default_factory=dict)
    before_ms: int = 0

    def limit(self, key: bytes) -> float:
        """Active time after which a key is silent."""
        for wait in self.patience.waits:
            if wait.pattern == "*" or key.startswith(wait.pattern.rstrip("*").encode()):
                known = self.keys[key]
                if wait.after_gaps is not None:
                    return (
                        max(wait.after_gaps * (known.total / known.gaps), 1.0) if known.gaps >= LEAST_GAPS else np.inf
                    )
                return np.inf if wait.after_ms is None else wait.after_ms
        return np.inf

    def take(self, offset: int, sign: Sign) -> list[Told]:
        """What one record brings."""
        found: list[Told] = []
        known = self.keys.get(sign.key)
        if known is None:
            self.keys[sign.key] = Known(sign.active_ms)
        else:
            if known.silence != NONE:
                found.append(self.told(offset, sign, sign.key, is_before=True, step=SilenceStep.RETURNS))
                known.silence = NONE
                found[-1] = found[-1]._replace(counts=self.counts())
            if self.patience.waits and not known.over:
                known.gaps, known.total = known.gaps + 1, known.total + sign.active_ms - known.sign
                if known.gaps == FULL_GAPS:
                    known.gaps, known.total = KEPT_GAPS, known.total // 2
            self.keys[sign.key] = replace(known, sign=sign.active_ms, closed=False, over=False, waits=False)
        if sign.active_ms // self.patience.raster_ms > self.before_ms // self.patience.raster_ms:
            at = [one for key in sorted(self.keys) for one in self.look(offset, sign, key)]
            for one in at:
                if one.is_forgotten:
                    del self.keys[one.key]
            found += [one._replace(counts=self.counts()) for one in at]
        self.before_ms = sign.active_ms
        return found

    def look(self, offset: int, sign: Sign, key: bytes) -> list[Told]:
        """What a point of the raster brings to one key."""
        known, gap = self.keys[key], sign.active_ms - self.keys[key].sign
        closes = None
        step = SilenceStep.NONE
        is_over = gap > self.limit(key)
        if self.patience.close_ms is not None and gap > self.patience.close_ms and not known.closed:
            closes, known.closed = CloseReason.SILENT, True
        if (is_over and not known.over) or known.waits:
            known.over = True
            why = suspended(key, 7 * offset)
            known.waits = why is Suspension.MAINTENANCE
            if why is Suspension.NONE:
                step, known.silence, known.closed = SilenceStep.OPENS, offset, True
                closes = CloseReason.SILENT
        found = [self.told(offset, sign, key, step=step, closes=closes)] if step or closes else []
        if self.patience.waits and gap > self.patience.forget_ms:
            step = SilenceStep.NONE if known.silence == NONE else SilenceStep.ENDS
            closes = None if known.closed else CloseReason.SILENT
            found.append(self.told(offset, sign, key, step=step, closes=closes)._replace(is_forgotten=True))
            known.silence = NONE
        return found

    def counts(self) -> tuple[int, int]:
        """Silent keys, and all."""
        return sum(known.silence != NONE for known in self.keys.values()), len(self.keys)

    def told(
        self,
        offset: int,
        sign: Sign,
        key: bytes,
        *,
        is_before: bool = False,
        step: SilenceStep = SilenceStep.NONE,
        closes: CloseReason | None = None,
    ) -> Told:
        """What came due of a key."""
        known = self.keys[key]
        usual = max(known.total / known.gaps if known.gaps >= LEAST_GAPS else float(self.patience.step_ms), 1.0)
        gap = sign.active_ms - known.sign
        return Told(offset, is_before, key, step, closes, known.silence, gap, usual, (0, 0), is_forgotten=False)


@st.composite
def streams(draw: st.DrawFn) -> list[Sign]:
    """Some keys in a time that now stands still, now leaps."""
    keys = st.sampled_from([b"a", b"b", b"b", b"c", b"gauge-1", MUTED, b"rare"])
    steps = st.sampled_from([0, 0, 1, 2, 3, 5, 9, 20, 60, 300])
    drawn = draw(st.lists(st.tuples(keys, steps), max_size=90))
    return [Sign(key, int(at)) for (key, _), at in zip(drawn, np.cumsum([step for _, step in drawn]), strict=True)]


CUTTINGS = st.lists(st.integers(1, 40), max_size=12)
RULES = st.sampled_from([FIXED, BY_GAPS, ONLY_CLOSING, replace(FIXED, close_ms=None), replace(BY_GAPS, forget_ms=90)])


@quick
@given(streams(), RULES, CUTTINGS, st.booleans())
def test_any_cut_and_any_restart_bring_what_one_record_after_the_other_brings(
    stream: list[Sign], patience: Patience, cuts: list[int], is_restarted: bool
) -> None:
    """What comes due, and at which record, follows from the records alone."""
    naive = Naive(patience)
    expected = [one for offset, sign in enumerate(stream) for one in naive.take(offset, sign)]
    roster, found = Roster(patience), []
    for start, stop in pieces(len(stream), cuts):
        found += play(roster, stream, start, stop)
        if is_restarted:
            roster = saved_and_read(roster)
    assert found == expected
    assert {key: int(roster["sign"][row]) for key, row in roster.rows.items()} == {
        key: known.sign for key, known in naive.keys.items()
    }
    assert (roster.silent_keys, roster.heard_keys) == naive.counts()


def test_a_gap_that_was_a_silence_is_not_learnt() -> None:
    """Whoever was away for long is missed as early as before."""
    stream = [Sign(key, at) for at in range(0, 100, 10) for key in (b"a", b"b")]
    stream += [Sign(b"b", at) for at in range(100, 600, 10)]
    stream += [Sign(key, at) for at in range(600, 640, 10) for key in (b"a", b"b")]
    stream += [Sign(b"b", at) for at in range(640, 700, 10)]
    found = [one for one in play(Roster(BY_GAPS), stream) if one.key == b"a"]
    assert [(one.silence, one.gap_ms, one.usual_ms) for one in found if one.silence is SilenceStep.OPENS] == [
        (SilenceStep.OPENS, 40, 10.0),
        (SilenceStep.OPENS, 40, 10.0),
    ]


def test_what_was_not_learnt_moves_no_later_limit_in_any_cut() -> None:
    """A gap that is told counts for none of those behind it, also where all of them come at once."""
    patience = Patience((Wait(after_gaps=1.01),), raster_ms=1)
    at, stream = 0, [*[Sign(b"clock", 0)] * 4, Sign(b"a", 0)]  # four, so that no maintenance falls on what follows
    for gap in [*[1_000] * (FULL_GAPS - 1), 1_021, 1, 998, 1_000]:  # with 1,021 among the newest, 998 would be too long
        stream += [Sign(b"clock", at + gap - 1), Sign(b"a", at + gap)]
        at += gap
    one_by_one, at_once = Roster(patience), Roster(patience)
    expected = [one for start in range(len(stream)) for one in play(one_by_one, stream, start, start + 1)]
    assert [one.gap_ms for one in expected if one.key == b"a"] == [1_020, 1_021]
    assert play(at_once, stream) == expected
    assert saved_and_read(at_once).columns["total"].tolist() == saved_and_read(one_by_one).columns["total"].tolist()


def test_the_usual_gap_follows_a_key_that_changes_its_pace() -> None:
    """It is that of the newest gaps, the same in any cut however many there are."""
    times = np.cumsum([0, *[10] * 300, *[15] * 300])
    stream = [Sign(key, int(at)) for at in times for key in (b"a", b"b")]
    naive = Naive(BY_GAPS)
    for offset, sign in enumerate(stream):
        naive.take(offset, sign)
    for size in (1, 7, len(stream)):
        roster = Roster(BY_GAPS)
        for start in range(0, len(stream), size):
            play(roster, stream, start, min(start + size, len(stream)))
        row, known = roster.rows[b"a"], naive.keys[b"a"]
        assert (roster["gaps"][row], roster["total"][row]) == (known.gaps, known.total)
        assert 14.0 < roster["total"][row] / roster["gaps"][row] < 15.1


def test_an_entry_is_small_and_says_everything() -> None:
    """What is stored of a key beside its name fits 48 bytes, and a process that reads it goes on the same."""
    roster = Roster(FIXED)
    play(roster, [Sign(b"a", 10), Sign(b"b", 2**40), Sign(b"a", 2**40 + 3)])
    row = roster.rows[b"a"]
    roster["opened"][row], roster["sequence"][row], roster["start"][row] = 2**46, 3, -5
    ((_, entry),) = roster.pack(np.array([row]))
    assert len(entry) == ENTRY_BYTES <= 48
    after = saved_and_read(roster)
    found = after.rows[b"a"]
    assert after.lost(found) == OpenEpisode(2**46, 3, -5)
    for name in ("sign", "heard", "total", "gaps", "flags", "silence"):
        assert after[name][found] == roster[name][row]


def test_an_entry_of_another_form_costs_its_key_alone() -> None:
    """What a later release wrote, or what is damaged, is left out: the key begins anew with its next record."""
    roster = Roster(FIXED)
    play(roster, [Sign(b"a", 10), Sign(b"b", 20)])
    entries = dict(roster.pack(np.array([roster.rows[b"a"], roster.rows[b"b"]])))
    after = Roster(FIXED)
    assert after.unpack([(b"a", entries[b"a"]), (b"b", b"\x02" + entries[b"b"][1:]), (b"c", b"short")]) == 2
    assert list(after.rows) == [b"a"]


def test_a_clock_that_began_anew_is_nobodys_silence() -> None:
    """Signs that lie ahead of the clock would never come due, or much too late."""
    roster = Roster(FIXED)
    play(roster, [Sign(b"a", 1_000), Sign(b"b", 1_000)])
    after = saved_and_read(roster)
    after.not_after(0)
    assert [one.key for one in play(after, [Sign(b"b", 0), Sign(b"b", 31)])] == [b"a"]


def test_what_was_followed_can_be_taken_back() -> None:
    """A store that is away while a silent key is to be loaded leaves no trace: the records are followed again."""
    stream = [Sign(b"a", 0), Sign(b"b", 5), Sign(b"b", 60), Sign(b"c", 61), Sign(b"a", 70), Sign(b"b", 130)]
    once, twice = Roster(FIXED), Roster(FIXED)
    expected = play(once, stream)
    for start in (0, 3):
        for stop in (start + 1, start + 3):
            follow(twice, signs_of(twice, stream, start, stop), suspended).undo()
        assert play(twice, stream, start, start + 3) == [one for one in expected if start <= one.offset < start + 3]


def test_what_turned_out_to_be_unreadable_stays_so_when_records_are_taken_back() -> None:
    """Its key is in memory by then and is not loaded again: nobody would find out a second time."""
    roster = damaged()
    roster["flags"][:] &= np.uint8(0xFF & ~LOST)
    stream = [Sign(b"clock", 10 * number) for number in range(10)]
    followed = follow(roster, signs_of(roster, stream, 0, 10), suspended)
    roster["flags"][roster.rows[b"a"]] |= LOST
    followed.undo()
    assert roster["flags"][roster.rows[b"a"]] & LOST


def test_who_must_be_in_memory_is_asked_for() -> None:
    """A key that is told of is loaded first; one of which nothing is told stays where it is."""
    roster = Roster(FIXED)
    play(roster, [Sign(b"a", 0), Sign(b"gauge-1", 0), Sign(MUTED, 0), Sign(b"b", 1)])
    after = saved_and_read(roster)
    followed = follow(after, signs_of(after, [Sign(b"b", 1), Sign(b"b", 60)], 1, 2), suspended)
    assert [after.keys[row] for row in followed.wanted] == [b"a"]


LOST_AT = OpenEpisode(7, 2, 49)


def damaged(patience: Patience = FIXED) -> Roster:
    """A roster that knows of an open episode of a key whose state cannot be read."""
    roster = Roster(patience)
    play(roster, [Sign(b"a", 0), Sign(b"b", 0)])
    row = roster.rows[b"a"]
    roster["flags"][row] |= LOST
    roster["opened"][row], roster["sequence"][row], roster["start"][row] = 7, 2, 49
    return roster


def lost(roster: Roster, stream: Sequence[Sign], start: int, replay_until: int) -> list[tuple[int, bool, OpenEpisode]]:
    """Where an episode that cannot be read is closed."""
    followed = follow(roster, signs_of(roster, stream, start, len(stream), 0, replay_until), suspended)
    marks = followed.marks(PARTITION, lambda _: True)
    return [(mark.offset, mark.is_before, key.lost) for mark in marks for key in mark.keys if key.lost is not None]


def test_an_unreadable_episode_closes_with_the_first_record_that_is_published() -> None:
    """In a silent replay its end would be published by nobody."""
    stream = [Sign(b"a", 0), Sign(b"b", 0), Sign(b"a", 1), Sign(b"a", 2), Sign(b"a", 3)]
    assert lost(damaged(), stream, 2, replay_until=0) == [(2, True, LOST_AT)]
    roster = damaged()
    assert lost(roster, stream, 2, replay_until=4) == [(4, True, LOST_AT)]
    assert lost(saved_and_read(roster), [*stream, Sign(b"a", 4)], 5, replay_until=0) == []


def test_an_unreadable_episode_of_a_key_that_says_nothing_closes_by_time() -> None:
    """It does not stay open for ever, and not before its end is published."""
    stream = [Sign(b"a", 0), Sign(b"b", 0), Sign(b"b", 35), Sign(b"b", 45), Sign(b"b", 49)]
    assert lost(damaged(), stream, 2, replay_until=0) == [(2, False, LOST_AT)]
    assert lost(damaged(), stream, 2, replay_until=3) == [(3, False, LOST_AT)]


def test_a_silence_that_nobody_waits_for_ends_where_that_is_published() -> None:
    """A process without `[silence]` that takes over an open silence tells its end once."""
    roster = Roster(FIXED)
    play(roster, stream := [Sign(b"a", 0), Sign(b"b", 10), Sign(b"b", 61)])
    after = Roster(ONLY_CLOSING)
    after.unpack(roster.pack(np.array(sorted(roster.rows.values()))))
    more = [*stream, Sign(b"b", 62), Sign(b"b", 63), Sign(b"b", 64)]
    followed = follow(after, signs_of(after, more, 3, 6, 0, replay_until=4), suspended)
    ((mark, key),) = [(mark, key) for mark in followed.marks(PARTITION, lambda _: True) for key in mark.keys]
    assert (mark.offset, key.key, key.silence, key.opened_offset) == (4, b"a", SilenceStep.ENDS, 2)
    assert after.silent_keys == 0
