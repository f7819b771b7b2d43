"""Episodes: what a person would call one anomaly is one opening, some updates and one closing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import KeyState, ScoreBatch, Status, Suspension, VerdictBatch, WindowBatch
from streamae.core.episodes import EpisodeRules, Episodes, severity
from streamae.episode_changes import ChangeKind, EpisodeChange
from tests.core_batches import (
    CUTS,
    FEATURES,
    KEYS,
    START_MS,
    cleared,
    every_slot,
    frozen_bytes,
    pieces,
    quick,
    score_batch,
    slots_of,
    state_of,
    verdict_batch,
    window_batch,
)

STEP_MS = 100
MEAN, THRESHOLD = 1.0, 2.0
QUIET, BETWEEN, EXIT, LOUD, WORST = 1.0, 1.75, 1.5, 3.0, 9.0  # the key is between exit and entry threshold at BETWEEN
RULES = EpisodeRules(
    exit_ratio=0.5, min_duration=2, merge_gap=3, update_interval_ms=10 * STEP_MS, top_features=2, min_windows=50
)
OPENED, UPDATED, CLOSED = ChangeKind.OPENED, ChangeKind.UPDATED, ChangeKind.CLOSED


class Step(NamedTuple):
    """One judged window of a key."""

    slot: int
    end_ms: int
    score: float
    is_first: bool = False


def make(features: int = FEATURES, **changes: Any) -> Episodes:
    """Episodes ready for new keys."""
    found: Episodes = cleared(Episodes(KEYS, features, replace(RULES, **changes)))
    return found


def steps(scores: Sequence[float], *, slot: int = 0, start_ms: int = START_MS) -> list[Step]:
    """Windows of one key in regular time."""
    return [Step(slot, start_ms + i * STEP_MS, score) for i, score in enumerate(scores)]


def batch_of(stream: Sequence[Step], first_offset: int = 0) -> tuple[VerdictBatch, ScoreBatch, WindowBatch]:
    """Verdicts, scores and windows of part of a stream; the first channel has a quarter of the score."""
    scores = np.array([each.score for each in stream], dtype=np.float64)
    channels = np.stack([0.5 * scores, 1.5 * scores], axis=1)
    newest = np.stack([10.0 * scores, 20.0 * scores], axis=1)
    windows = window_batch(
        [each.slot for each in stream],
        [each.end_ms for each in stream],
        is_first=[each.is_first for each in stream],
        first_offset=first_offset,
        newest=newest,
    )
    verdicts = verdict_batch(scores.tolist(), mean=MEAN, threshold=THRESHOLD)
    return verdicts, score_batch(scores.tolist(), channels, newest - 1.0), windows


def advance(episodes: Episodes, stream: Sequence[Step], first_offset: int = 0) -> list[EpisodeChange]:
    """Advance by windows that follow each other."""
    return episodes.advance(*batch_of(stream, first_offset))


def advance_cut(episodes: Episodes, stream: Sequence[Step], cuts: Sequence[int]) -> dict[int, list[Any]]:
    """Advance in batches; return the changes by key."""
    found = defaultdict(list)
    for start, stop in pieces(len(stream), cuts):
        for change in advance(episodes, stream[start:stop], start):
            found[change.slot].append(asdict(change))
    return dict(found)


def story(changes: Sequence[EpisodeChange]) -> list[tuple[ChangeKind, int]]:
    """What happened, and at which offset."""
    return [(change.kind, change.offset) for change in changes]


def play(*scores: float, **changes: Any) -> list[EpisodeChange]:
    """The changes of one key that scores this."""
    return advance(make(**changes), steps(scores))


@st.composite
def judged_streams(draw: st.DrawFn) -> list[Step]:
    """Interleaved keys that are often loud, sometimes in between, and now and then come back after a gap."""
    levels = st.sampled_from([QUIET, QUIET, BETWEEN, EXIT, 2.0, 2.1, LOUD, LOUD, LOUD, WORST])
    steps_ms = st.sampled_from([STEP_MS, STEP_MS, 0, 6 * STEP_MS])
    firsts = st.sampled_from([False] * 7 + [True])
    drawn = draw(st.lists(st.tuples(st.integers(0, KEYS - 1), steps_ms, levels, firsts), max_size=60))
    clocks, found = [START_MS] * KEYS, []
    for slot, step_ms, score, is_first in drawn:
        clocks[slot] += step_ms
        found.append(Step(slot, clocks[slot], score, is_first))
    return found


RULE_SETS = st.builds(
    EpisodeRules,
    exit_ratio=st.sampled_from([0.5, 1.0]),
    min_duration=st.integers(1, 3),
    merge_gap=st.integers(0, 3),
    update_interval_ms=st.sampled_from([0, STEP_MS, 5 * STEP_MS]),
    top_features=st.just(1),
    min_windows=st.just(50),
    out_of=st.integers(0, 5),
)


@dataclass
class Candidate:
    """Oracle: what may become, or is, the episode of a key."""

    start_ms: int
    end_ms: int = 0
    windows: int = 0
    peak: float = -1.0
    peak_ms: int = 0
    opened: int | None = None
    sequence: int = -1
    updated_ms: int = 0
    quiet: int = 0

    def mark(self, step: Step) -> None:
        self.windows, self.end_ms = self.windows + 1, step.end_ms
        if step.score > self.peak:
            self.peak, self.peak_ms = step.score, step.end_ms

    def tell(self, kind: ChangeKind, offset: int, reason: str | None = None) -> tuple[Any, ...]:
        self.sequence += 1
        times = (self.start_ms, self.peak_ms, self.end_ms)
        return kind, offset, self.opened, self.sequence, *times, self.windows, self.peak, reason


class Follower:
    """Oracle of one key: windows one after the other, a handful of ifs."""

    def __init__(self, rules: EpisodeRules) -> None:
        self.rules, self.now, self.found = rules, None, []
        self.now: Candidate | None
        self.newest: list[bool] = []

    def see(self, offset: int, step: Step) -> None:
        if step.is_first:
            if self.now and self.now.opened is not None:
                self.found.append(self.now.tell(CLOSED, offset, "gap"))
            self.now, self.newest = None, []
        if self.now and self.now.opened is not None:
            self.follow(offset, step, self.now)
            return
        out_of = max(self.rules.out_of, self.rules.min_duration)
        self.newest = [*self.newest, step.score > THRESHOLD][-out_of:]
        if out_of == self.rules.min_duration and not self.newest[-1]:
            self.newest = []
        if not any(self.newest):
            self.now = None
        if step.score > THRESHOLD:
            self.now = self.now or Candidate(step.end_ms)
            self.now.mark(step)
            if sum(self.newest) >= self.rules.min_duration:
                self.now.opened, self.now.updated_ms, self.newest = offset, step.end_ms, []
                self.found.append(self.now.tell(OPENED, offset))

    def follow(self, offset: int, step: Step, episode: Candidate) -> None:
        if step.score > THRESHOLD or step.score > MEAN + self.rules.exit_ratio * (THRESHOLD - MEAN):
            episode.mark(step)
            episode.quiet = 0
            if step.end_ms - episode.updated_ms >= self.rules.update_interval_ms:
                episode.updated_ms = step.end_ms
                self.found.append(episode.tell(UPDATED, offset))
            return
        episode.quiet += 1
        if episode.quiet >= max(self.rules.merge_gap, 1):
            self.found.append(episode.tell(CLOSED, offset, "quiet"))
            self.now = None


def columns_of(batch: VerdictBatch | ScoreBatch | WindowBatch) -> list[Any]:
    """The columns of a batch in the order of its fields."""
    return [getattr(batch, name) for name in type(batch).__slots__]


@quick
@given(judged_streams(), CUTS, RULE_SETS)
def test_changes_equal_a_loop_over_windows(stream: list[Step], cuts: list[int], rules: EpisodeRules) -> None:
    """Openings, updates, closings and what they say agree with one key and one window at a time."""
    followers = defaultdict(lambda: Follower(rules))
    for offset, step in enumerate(stream):
        followers[step.slot].see(offset, step)
    names = ["kind", "offset", "opened_offset", "sequence", "start_time_ms", "peak_time_ms", "end_time_ms", "windows"]
    names += ["peak_score", "close_reason"]
    found = advance_cut(make(**asdict(rules)), stream, cuts)
    told = {slot: [tuple(change[name] for name in names) for change in changes] for slot, changes in found.items()}
    assert told == {slot: follower.found for slot, follower in followers.items() if follower.found}


@quick
@given(judged_streams(), CUTS, RULE_SETS)
def test_batch_borders_leave_no_trace(stream: list[Step], cuts: list[int], rules: EpisodeRules) -> None:
    """Events and stored state are equal to the bit however the windows were cut into batches."""
    whole, cut = make(**asdict(rules)), make(**asdict(rules))
    assert advance_cut(whole, stream, []) == advance_cut(cut, stream, cuts)
    assert state_of(whole) == state_of(cut)


@quick
@given(judged_streams(), RULE_SETS)
def test_other_keys_change_nothing_for_a_key(stream: list[Step], rules: EpisodeRules) -> None:
    """A key's episodes are the same alone and in any company."""
    together = make(**asdict(rules))
    found = advance_cut(together, stream, [])
    for slot in range(KEYS):
        alone = make(**asdict(rules))
        verdicts, scores, windows = batch_of(stream)
        mine = windows.slots == slot
        part = [
            type(batch)(*(column if column is None else column[mine] for column in columns_of(batch)))
            for batch in (verdicts, scores, windows)
        ]
        assert [asdict(change) for change in alone.advance(*part)] == found.get(slot, [])
        assert state_of(alone, slots_of(slot)) == state_of(together, slots_of(slot))


@quick
@given(judged_streams(), st.integers(0, 60), RULE_SETS)
def test_episodes_move_to_another_process_in_the_middle(stream: list[Step], half: int, rules: EpisodeRules) -> None:
    """After a restart an open episode goes on under its own name: no second opening, no lost closing."""
    half = min(half, len(stream))
    before, after = make(**asdict(rules)), make(**asdict(rules))
    told = [asdict(change) for change in advance(before, stream[:half])]
    after.columns.restore(every_slot(), before.columns.export(every_slot()))
    told += [asdict(change) for change in advance(after, stream[half:], half)]
    expected = advance_cut(make(**asdict(rules)), stream, [])
    for slot in range(KEYS):
        assert [change for change in told if change["slot"] == slot] == expected.get(slot, [])


@quick
@given(judged_streams(), CUTS, RULE_SETS)
def test_every_episode_is_opened_once_numbered_and_closed_once(
    stream: list[Step], cuts: list[int], rules: EpisodeRules
) -> None:
    """Per episode id: number 0 opens, numbers follow without a hole, nothing comes after the closing."""
    for changes in advance_cut(make(**asdict(rules)), stream, cuts).values():
        by_id = defaultdict(list)
        for change in changes:
            by_id[change["opened_offset"]].append(change)
        for opened_offset, told in by_id.items():
            assert [change["sequence"] for change in told] == list(range(len(told)))
            assert (told[0]["kind"], told[0]["offset"]) == (OPENED, opened_offset)
            assert all(change["kind"] == UPDATED for change in told[1:-1])
            assert [change["close_reason"] is None for change in told] == [c["kind"] != CLOSED for c in told]
        closed = [told[-1]["kind"] == CLOSED for told in by_id.values()]
        assert all(closed[:-1])  # only the newest may still be open


@quick
@given(judged_streams(), RULE_SETS)
def test_every_change_is_consistent(stream: list[Step], rules: EpisodeRules) -> None:
    """Times are in order, the peak is a real one, severity and confidence stay in their ranges."""
    for change in advance(make(**asdict(rules)), stream):
        assert change.start_time_ms <= change.peak_time_ms <= change.end_time_ms <= change.window_end_ms
        assert change.peak_score > THRESHOLD
        assert 50.0 < change.severity < 100.0
        assert 0.0 <= change.confidence <= 1.0
        assert change.windows >= rules.min_duration


@quick
@given(judged_streams())
def test_advancing_leaves_its_inputs_alone(stream: list[Step]) -> None:
    """Verdicts and windows go to the observer of a backtest afterwards."""
    verdicts, scores, windows = batch_of(stream)
    arrays = [verdicts.statuses, verdicts.scores, scores.channels, scores.expected, windows.values, windows.is_first]
    before = frozen_bytes(*arrays)
    make().advance(verdicts, scores, windows)
    assert frozen_bytes(*arrays) == before


def test_opens_after_min_duration_and_not_before() -> None:
    """A single spike is not an episode when two in a row are asked for."""
    assert story(play(QUIET, LOUD, QUIET, LOUD, BETWEEN, LOUD)) == []
    assert story(play(QUIET, LOUD, LOUD)) == [(OPENED, 2)]


def test_min_duration_one_opens_at_once() -> None:
    """Where one window is enough no window is waited for."""
    assert story(play(LOUD, min_duration=1)) == [(OPENED, 0)]


def test_the_opening_tells_when_it_began() -> None:
    """The start is the first anomalous window of the run, not the one that proved it."""
    (opened,) = play(QUIET, LOUD, LOUD)
    assert (opened.start_time_ms, opened.window_end_ms) == (START_MS + STEP_MS, START_MS + 2 * STEP_MS)
    assert (opened.windows, opened.opened_offset) == (2, 2)


def test_between_exit_and_entry_an_episode_stays_open() -> None:
    """Hysteresis: a score that wavers around the threshold is one episode, not ten."""
    assert story(play(LOUD, LOUD, *[BETWEEN] * 6)) == [(OPENED, 1)]


def test_between_exit_and_entry_nothing_opens() -> None:
    """The lower threshold only holds an episode up."""
    assert story(play(*[BETWEEN] * 9)) == []


def test_closes_after_the_merge_gap() -> None:
    """The stated number of quiet windows ends it, at the exit threshold too."""
    *_, closed = play(LOUD, LOUD, QUIET, EXIT, QUIET)
    assert (closed.kind, closed.close_reason, closed.offset) == (CLOSED, "quiet", 4)
    assert closed.end_time_ms == START_MS + STEP_MS  # of the newest anomalous window, not of the closing one


def test_a_merge_gap_of_zero_closes_at_the_first_quiet_window() -> None:
    """At least one quiet window is needed to know that it is over."""
    assert story(play(LOUD, LOUD, QUIET, merge_gap=0)) == [(OPENED, 1), (CLOSED, 2)]


def test_a_relapse_before_the_merge_gap_is_the_same_episode() -> None:
    """Two alarms a moment apart page once."""
    changes = play(LOUD, LOUD, QUIET, QUIET, WORST, QUIET, QUIET, QUIET)
    assert story(changes) == [(OPENED, 1), (CLOSED, 7)]
    assert {change.opened_offset for change in changes} == {1}
    assert (changes[-1].peak_score, changes[-1].windows) == (WORST, 3)


def test_an_anomaly_after_the_close_is_a_new_episode() -> None:
    """It has an id of its own, starts counting at zero and remembers nothing of the one before."""
    changes = play(LOUD, WORST, QUIET, QUIET, QUIET, LOUD, LOUD)
    assert story(changes) == [(OPENED, 1), (CLOSED, 4), (OPENED, 6)]
    second = changes[-1]
    assert (second.opened_offset, second.sequence, second.windows, second.peak_score) == (6, 0, 2, LOUD)
    assert second.start_time_ms == START_MS + 5 * STEP_MS
    assert second.severity == pytest.approx(100 * 2 / 3)


def test_a_gap_closes_an_open_episode() -> None:
    """An episode does not last over a silence of which nobody knows what happened."""
    episodes = make()
    advance(episodes, steps([LOUD, LOUD]))
    (closed,) = advance(episodes, [Step(0, START_MS + 10**6, QUIET, is_first=True)], 2)
    assert (closed.kind, closed.close_reason, closed.end_time_ms) == (CLOSED, "gap", START_MS + STEP_MS)
    assert episodes.open_count(every_slot()) == 0


def test_a_gap_closes_and_the_same_window_may_open_the_next() -> None:
    """Still anomalous after the silence: the old episode ends and a new one begins, in this order."""
    episodes = make(min_duration=1)
    advance(episodes, steps([LOUD]))
    changes = advance(episodes, [Step(0, START_MS + 10**6, WORST, is_first=True)], 1)
    assert [(change.kind, change.opened_offset, change.sequence) for change in changes] == [
        (CLOSED, 0, 1),
        (OPENED, 1, 0),
    ]
    assert [change.peak_score for change in changes] == [LOUD, WORST]


def test_a_run_does_not_count_across_a_gap() -> None:
    """One anomalous window before and one after the silence are not two in a row."""
    episodes = make()
    advance(episodes, steps([LOUD]))
    assert advance(episodes, [Step(0, START_MS + 10**6, LOUD, is_first=True)]) == []


def test_updates_come_at_the_interval_of_event_time() -> None:
    """A long episode reports now and then, measured on the data's clock, so a replay gives the same."""
    changes = play(*[LOUD] * 35)
    assert story(changes) == [(OPENED, 1), (UPDATED, 11), (UPDATED, 21), (UPDATED, 31)]
    assert [change.sequence for change in changes] == [0, 1, 2, 3]


def test_quiet_windows_of_an_open_episode_give_no_update() -> None:
    """Nothing new is told while it is only being waited whether it is over."""
    changes = play(LOUD, LOUD, QUIET, QUIET, update_interval_ms=0)
    assert story(changes) == [(OPENED, 1)]


def test_a_slow_key_updates_by_time_not_by_windows() -> None:
    """A key that reports once an hour still reports each hour of its episode."""
    stream = [Step(0, START_MS + i * 3_600_000, LOUD) for i in range(4)]
    assert story(advance(make(), stream)) == [(OPENED, 1), (UPDATED, 2), (UPDATED, 3)]


def test_the_peak_is_the_worst_window() -> None:
    """Its time, score and explanation are kept while the episode calms down."""
    closed = play(LOUD, WORST, LOUD, QUIET, QUIET, QUIET)[-1]
    assert (closed.peak_score, closed.peak_time_ms) == (WORST, START_MS + STEP_MS)
    assert [(f.index, f.actual, f.expected) for f in closed.features] == [
        (1, 20.0 * WORST, 20.0 * WORST - 1.0),
        (0, 10.0 * WORST, 10.0 * WORST - 1.0),
    ]


def test_the_first_of_equal_peaks_stays() -> None:
    """A plateau is explained by its beginning."""
    closed = play(LOUD, LOUD, LOUD, QUIET, QUIET, QUIET)[-1]
    assert closed.peak_time_ms == START_MS


def test_features_are_sorted_by_guilt_and_shares_sum_to_one() -> None:
    """With all features shown the shares are the whole score."""
    (opened,) = play(LOUD, LOUD)
    assert [feature.index for feature in opened.features] == [1, 0]
    assert [feature.share for feature in opened.features] == pytest.approx([0.75, 0.25])


def explained(channels: Sequence[float], top: int) -> EpisodeChange:
    """The opening of an episode of one window with these channel scores."""
    episodes = make(len(channels), top_features=top, min_duration=1)
    windows = window_batch([0], [START_MS])
    wide = WindowBatch(
        windows.slots,
        windows.offsets,
        windows.start_times_ms,
        windows.end_times_ms,
        np.zeros((1, 2, len(channels)), np.float32),
        windows.imputed_shares,
        windows.is_first,
    )
    values = np.array([channels], dtype=np.float32)
    (opened,) = episodes.advance(
        verdict_batch([LOUD]), ScoreBatch(values.mean(axis=1), values, values, values.mean(axis=1)), wide
    )
    return opened


@quick
@given(st.lists(st.floats(0.0, 1e6, width=32), min_size=1, max_size=12), st.integers(1, 15))
def test_shares_are_parts_of_one(channels: list[float], top: int) -> None:
    """The guiltiest come first, no share exceeds one, all together are one, and no more are named than asked for."""
    features = explained(channels, top).features
    shares = [feature.share for feature in features]
    assert len(features) == min(top, len(channels))
    assert shares == sorted(shares, reverse=True)
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert sum(shares) <= 1.0 + 1e-5
    if top >= len(channels) and max(channels) > 1e-20:
        assert sum(shares) == pytest.approx(1.0, rel=1e-5)


def test_equally_guilty_features_keep_their_order() -> None:
    """Ties do not depend on the machine."""
    assert [feature.index for feature in explained([2.0, 5.0, 2.0, 5.0, 2.0], 4).features] == [1, 3, 0, 2]


def test_a_score_without_channels_is_explained_by_zeros() -> None:
    """No division by nothing."""
    assert [feature.share for feature in explained([0.0, 0.0], 2).features] == [0.0, 0.0]


def test_a_change_carries_the_statistics_it_was_decided_on() -> None:
    """A person can redo the comparison from the event alone."""
    (opened,) = play(LOUD, LOUD)
    assert (opened.score, opened.threshold, opened.mean, opened.sd, opened.count) == (LOUD, THRESHOLD, MEAN, 0.25, 50)
    assert (opened.window_start_ms, opened.window_rows) == (opened.window_end_ms - STEP_MS, 2)


@pytest.mark.parametrize(
    ("state", "reason"), [(KeyState.READY, ""), (KeyState.PROVISIONAL, "60 scores of its own (50 so far)")]
)
def test_a_change_says_why_the_key_is_not_ready(state: KeyState, reason: str) -> None:
    """State and reason are those of the window decided on, the number needed that of the rules."""
    verdicts, scores, windows = batch_of(steps([LOUD]))
    verdicts.states[:] = state
    (opened,) = make(min_duration=1, min_windows=60).advance(verdicts, scores, windows)
    assert opened.state is state
    assert opened.state_reason.endswith(reason)
    assert bool(opened.state_reason) is bool(reason)


@pytest.mark.parametrize(("imputed", "confidence"), [(0.0, 0.5), (0.5, 0.25), (1.0, 0.0)])
def test_confidence_grows_with_evidence_and_falls_with_invented_data(imputed: float, confidence: float) -> None:
    """As many scores as the warm-up asks for are worth one half, less what was filled in."""
    episodes = make(min_duration=1)
    windows = window_batch([0], [START_MS], imputed_share=imputed)
    (opened,) = episodes.advance(verdict_batch([LOUD]), score_batch([LOUD]), windows)
    assert (opened.confidence, opened.imputed_share) == (pytest.approx(confidence), imputed)


def test_a_reset_slot_has_no_episode() -> None:
    """The next owner of an evicted key's slot does not inherit its open episode."""
    episodes = make()
    advance(episodes, steps([LOUD, LOUD]))
    assert episodes.open_count(every_slot()) == 1
    episodes.columns.reset(slots_of(0))
    assert advance(episodes, steps([QUIET] * 5, start_ms=START_MS + 200)) == []


def test_open_count_counts_only_the_given_slots() -> None:
    """Each partition reports its own open episodes."""
    episodes = make()
    advance(episodes, [*steps([LOUD] * 2, slot=1), *steps([LOUD] * 2, slot=3), *steps([QUIET] * 2, slot=0)])
    assert episodes.open_count(slots_of(0, 1)) == 1
    assert episodes.open_count(every_slot()) == 2
    assert episodes.is_open(slots_of(0, 1, 3)).tolist() == [False, True, True]


def test_a_closed_episode_leaves_the_state_of_a_new_key() -> None:
    """Stored bytes do not depend on whether a quiet window of the key shared a batch with somebody's alarm."""
    episodes = make()
    advance(episodes, steps([LOUD, LOUD, QUIET, QUIET, QUIET]))
    assert state_of(episodes) == state_of(make())


def test_severity_counts_windows() -> None:
    """50, 76 and 91 are one such score in 2,500, 25,000 and 250,000 windows: what the event's schema promises."""
    assert severity(np.log([2_500.0, 25_000.0, 250_000.0])) == pytest.approx([50.0, 76.0, 91.0], abs=0.5)


@quick
@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_severity_is_monotone_and_bounded(first: float, second: float) -> None:
    """Rarer is never less severe, and nothing leaves the scale."""
    low, high = severity(np.array(sorted((first, second))))
    assert 0.0 <= low <= high <= 100.0


def test_severity_survives_infinite_rarity() -> None:
    """A rule that has never seen anything like it, or nothing at all, still gives a number on the scale."""
    assert severity(np.array([-np.inf, np.inf])) == pytest.approx([0.0, 100.0])


def suspend(stream: Sequence[Step], suspension: Suspension, start: int, stop: int) -> list[EpisodeChange]:
    """The changes of a stream whose windows `start` to `stop` may not alert."""
    verdicts, scores, windows = batch_of(stream)
    verdicts.suspensions[start:stop] = suspension
    verdicts.statuses[start:stop] = Status.NORMAL
    return make().advance(verdicts, scores, windows)


@pytest.mark.parametrize("suspension", [Suspension.MAINTENANCE, Suspension.MUTED])
def test_an_open_episode_ends_where_alerts_are_suspended(suspension: Suspension) -> None:
    """Closed with the reason at the first such window; afterwards it takes a whole new run to open one."""
    changes = suspend(steps([LOUD] * 8), suspension, 3, 5)
    assert [(change.kind, change.offset, change.close_reason) for change in changes] == [
        (OPENED, 1, None),
        (CLOSED, 3, suspension.name.lower()),
        (OPENED, 6, None),
    ]


def test_a_run_does_not_count_across_a_suspension() -> None:
    """One anomalous window before and one after are not two in a row."""
    assert suspend(steps([LOUD, LOUD, LOUD]), Suspension.MAINTENANCE, 1, 2) == []


def test_a_gap_is_told_before_a_suspension() -> None:
    """A key that comes back from silence into maintenance had been lost first."""
    stream = [*steps([LOUD, LOUD]), Step(0, START_MS + 10**6, LOUD, is_first=True)]
    assert suspend(stream, Suspension.MAINTENANCE, 2, 3)[-1].close_reason == "gap"


@pytest.mark.parametrize(
    ("pattern", "opened"),
    [
        ("xx.x", 3),  # three of four
        ("x.x.x.x", None),  # never more than two of four
        ("x.xx", 3),
        ("x..xx.x", 6),
        ("xx....xx.x", 9),
        ("....xxx", 6),
    ],
)
def test_three_of_four_windows_open_an_episode(pattern: str, opened: int | None) -> None:
    """A flapping score is seen where it is high often enough, wherever the quiet windows lie."""
    changes = play(*[LOUD if mark == "x" else QUIET for mark in pattern], min_duration=3, out_of=4)
    assert [change.offset for change in changes] == ([] if opened is None else [opened])


def test_an_episode_of_several_windows_starts_with_the_first_of_them() -> None:
    """All anomalous windows since the key was last quiet for `out_of` windows belong to it."""
    (opened,) = play(LOUD, QUIET, QUIET, QUIET, QUIET, LOUD, QUIET, WORST, LOUD, min_duration=3, out_of=4)
    assert (opened.start_time_ms, opened.windows) == (START_MS + 5 * STEP_MS, 3)
    assert (opened.peak_time_ms, opened.end_time_ms) == (START_MS + 7 * STEP_MS, START_MS + 8 * STEP_MS)


def test_a_gap_forgets_which_windows_were_anomalous() -> None:
    """Two before a silence and one after it are not three of four."""
    stream = [*steps([LOUD, LOUD]), Step(0, START_MS + 10**6, LOUD, is_first=True)]
    assert advance(make(min_duration=3, out_of=4), stream) == []


def test_sixty_four_windows_are_remembered() -> None:
    """The largest setting works to its last bit, and not one window longer."""
    first, last = [LOUD, *[QUIET] * 62, LOUD], [LOUD, *[QUIET] * 63, LOUD]
    assert len(play(*first, min_duration=2, out_of=64)) == 1
    assert play(*last, min_duration=2, out_of=64) == []
    assert len(play(*[LOUD] * 64, min_duration=64)) == 1
    assert play(*[LOUD] * 63, min_duration=64) == []


def test_a_changed_rule_counts_at_once() -> None:
    """After a reload the windows that are remembered are held against the new numbers."""
    episodes = make(min_duration=3, out_of=10)
    assert advance(episodes, steps([LOUD, QUIET, QUIET, QUIET, LOUD])) == []
    episodes.rules = replace(episodes.rules, min_duration=2, out_of=4)
    assert advance(episodes, steps([LOUD], start_ms=START_MS + 500), 5)[0].kind is OPENED
