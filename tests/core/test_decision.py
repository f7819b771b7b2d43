"""Verdicts: each key against its own past, scored before it is learnt, in event time, whatever the batches were."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamae.batches import ScoreBatch, Status, VerdictBatch, WindowBatch
from streamae.core.decision import Decision
from streamae.core.moments import MAX_WEIGHT, PRIOR_COUNT
from streamae.core.thresholds.learning import SD_FLOOR, Learning
from streamae.core.thresholds.rolling import (
    EARLY_SCORES,
    Limit,
    QuantileLimit,
    RollingRule,
    SigmaLimit,
    StaticLimit,
)
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
    window_batch,
)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LIMIT = SigmaLimit(4.0)
MIN_WINDOWS = 10
LEARNING = Learning(
    half_life_ms=24.0 * HOUR_MS,
    cap_sigma=3.0,
    smoothing=0.5,
    prior_mean=1.0,
    prior_sd=0.2,
)
COLUMNS = VerdictBatch.__slots__[:6]  # what an oracle knows; rarities and states have tests of their own


class Judged(NamedTuple):
    """One window of a key, with its score."""

    slot: int
    end_ms: int
    total: float
    is_first: bool


def make(limit: Limit = LIMIT, min_windows: int = MIN_WINDOWS, **changes: Any) -> Decision:
    """A decision ready for new keys."""
    rule = RollingRule(limit, replace(LEARNING, **changes), quantile=0.95)
    found: Decision = cleared(Decision(KEYS, FEATURES, rule, min_windows))
    return found


def batch_of(stream: Sequence[Judged]) -> tuple[ScoreBatch, WindowBatch]:
    """Scores and windows of part of a stream."""
    windows = window_batch(
        [each.slot for each in stream], [each.end_ms for each in stream], is_first=[each.is_first for each in stream]
    )
    return score_batch([each.total for each in stream]), windows


def judge_cut(decision: Decision, stream: Sequence[Judged], cuts: Sequence[int]) -> dict[int, list[Any]]:
    """Judge a stream in batches; return the verdicts by key, exact to the bit."""
    found = defaultdict(list)
    for start, stop in pieces(len(stream), cuts):
        verdicts = decision.judge(*batch_of(stream[start:stop]))
        for position, each in enumerate(stream[start:stop]):
            found[each.slot].append(tuple(getattr(verdicts, name)[position].item() for name in COLUMNS))
    return dict(found)


def run(decision: Decision, totals: Sequence[float], *, slot: int = 0, start_ms: int = START_MS) -> VerdictBatch:
    """Judge the scores of one key, a minute apart, the first one as its first window if it is new."""
    is_new = int(decision.columns["count"][slot]) == 0
    return decision.judge(
        *batch_of([Judged(slot, start_ms + i * MINUTE_MS, t, is_new and i == 0) for i, t in enumerate(totals)])
    )


def quiet(count: int, seed: int = 0) -> list[float]:
    """Scores of quiet data: about one, with the spread of a mean of a few channels."""
    return np.random.default_rng(seed).gamma(25.0, 1.0 / 25.0, count).tolist()


def learnt(count: int = 500, limit: Limit = LIMIT, **changes: Any) -> Decision:
    """A decision whose key 0 has seen quiet data, and the time at which it goes on is `later(count)`."""
    decision = make(limit, **changes)
    run(decision, quiet(count))
    return decision


def later(count: int = 500) -> int:
    """Event time of the window after `count` ones."""
    return START_MS + count * MINUTE_MS


@st.composite
def judged_streams(draw: st.DrawFn) -> list[Judged]:
    """Interleaved keys with quiet and loud scores, gaps, and a first window now and then."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, KEYS - 1),
                st.sampled_from([MINUTE_MS, MINUTE_MS, 0, 1, 30 * HOUR_MS]),
                st.sampled_from([0.0, 0.7, 0.9, 1.0, 1.1, 1.3, 2.5, 40.0, 1e6]),
                st.sampled_from([False, False, False, True]),
            ),
            max_size=60,
        )
    )
    clocks, seen, found = [START_MS] * KEYS, set(), []
    for slot, step_ms, total, is_first in drawn:
        clocks[slot] += step_ms
        found.append(Judged(slot, clocks[slot], total, is_first or slot not in seen))
        seen.add(slot)
    return found


@dataclass
class Key:
    """Oracle of one key: plain numbers, one score after the other."""

    count: int = 0
    mean: float = LEARNING.prior_mean
    variance: float = LEARNING.prior_sd**2
    quantile: float = LEARNING.prior_mean + 3.0 * LEARNING.prior_sd
    smoothed: float = 0.0
    newest_ms: int = 0

    def judge(self, each: Judged, rule: str) -> tuple[Any, ...]:
        total = float(np.float32(each.total))
        sd = max(math.sqrt(self.variance), SD_FLOOR * max(self.mean, 1.0))
        self.smoothed = total if each.is_first else 0.5 * self.smoothed + 0.5 * total
        threshold = {"sigma": self.mean + 4.0 * sd, "static": 2.0, "quantile": 1.5 * self.quantile}[rule]
        status = Status.ANOMALOUS if self.smoothed > threshold else Status.NORMAL
        if self.count < MIN_WINDOWS:
            threshold, status = math.inf, Status.LEARNING
        verdict = (int(status), self.smoothed, threshold, self.mean, sd, self.count)
        self.learn(each.end_ms, sd)
        return verdict

    def learn(self, end_ms: int, sd: float) -> None:
        elapsed_ms = end_ms - self.newest_ms if self.count else 0
        forgetting = 1.0 - 2.0 ** (-elapsed_ms / LEARNING.half_life_ms)
        weight = min(max(forgetting, 1.0 / (self.count + 1 + PRIOR_COUNT)), MAX_WEIGHT)
        step = max(-3.0 * sd, min(3.0 * sd, self.smoothed - self.mean))
        offset, self.mean = self.quantile - self.mean, self.mean + weight * step
        self.variance = (1.0 - weight) * (self.variance + weight * step**2)
        if self.count < EARLY_SCORES:  # the tail keeps its place in sd of the key
            self.quantile = self.mean + offset / sd * max(math.sqrt(self.variance), SD_FLOOR * max(self.mean, 1.0))
        self.quantile += 0.25 * sd * (0.95 if self.smoothed > self.quantile else -0.05)
        self.count, self.newest_ms = self.count + 1, end_ms


LIMITS: dict[str, Limit] = {"sigma": LIMIT, "static": StaticLimit(2.0), "quantile": QuantileLimit(1.5)}


@pytest.mark.parametrize("name", LIMITS)
@quick
@given(judged_streams(), CUTS)
@example([Judged(0, START_MS + i * MINUTE_MS, 1.0 + i % 7, i == 0) for i in range(99)], [50])  # beyond its warm-up
def test_verdicts_equal_a_loop_over_scores(name: str, stream: list[Judged], cuts: list[int]) -> None:
    """Smoothing, thresholds, warm-up and learning agree with one key and one score at a time."""
    found = judge_cut(make(LIMITS[name]), stream, cuts)
    keys: dict[int, Key] = defaultdict(Key)
    expected = defaultdict(list)
    for each in stream:
        expected[each.slot].append(keys[each.slot].judge(each, name))
    assert found.keys() == expected.keys()
    for slot, verdicts in expected.items():
        assert np.array(found[slot]) == pytest.approx(np.array(verdicts), rel=1e-9)


@quick
@given(judged_streams(), CUTS)
def test_batch_borders_leave_no_trace(stream: list[Judged], cuts: list[int]) -> None:
    """Verdicts and stored statistics are equal to the bit however the windows were cut into batches."""
    whole, cut = make(), make()
    assert judge_cut(whole, stream, []) == judge_cut(cut, stream, cuts)
    assert state_of(whole) == state_of(cut)


@quick
@given(judged_streams())
def test_other_keys_change_nothing_for_a_key(stream: list[Judged]) -> None:
    """A key is judged the same alone, by one key after the other, and in any company."""
    together = make()
    found = judge_cut(together, stream, [])
    for slot in range(KEYS):
        alone = make()
        assert judge_cut(alone, [each for each in stream if each.slot == slot], []).get(slot) == found.get(slot)
        assert state_of(alone, slots_of(slot)) == state_of(together, slots_of(slot))


@quick
@given(judged_streams(), st.integers(0, 60))
def test_statistics_move_to_another_process_in_the_middle(stream: list[Judged], half: int) -> None:
    """After export and restore the verdicts are those of a process that never stopped: no alarms from a restart."""
    stay, before, after = make(), make(), make()
    expected = judge_cut(stay, stream, [half])
    first = judge_cut(before, stream[:half], [])
    after.columns.restore(every_slot(), before.columns.export(every_slot()))
    second = judge_cut(after, stream[half:], [])
    assert {s: first.get(s, []) + second.get(s, []) for s in first.keys() | second.keys()} == expected
    assert state_of(after) == state_of(stay)


@quick
@given(judged_streams())
def test_judging_leaves_scores_and_windows_alone(stream: list[Judged]) -> None:
    """Episodes explain the same scores afterwards."""
    scores, windows = batch_of(stream)
    arrays = [scores.totals, scores.channels, windows.slots, windows.end_times_ms, windows.values, windows.is_first]
    before = frozen_bytes(*arrays)
    make().judge(scores, windows)
    assert frozen_bytes(*arrays) == before


@quick
@given(judged_streams())
def test_statistics_stay_finite(stream: list[Judged]) -> None:
    """No stream of scores leaves a key with a NaN that would silence it for ever."""
    decision = make()
    judge_cut(decision, stream, [])
    assert all(np.isfinite(decision.columns[name]).all() for name in decision.columns.fields)


def test_a_learning_key_is_never_anomalous() -> None:
    """Whatever a new key scores, the verdict is withheld until it knows itself."""
    verdicts = run(make(), [1e6] * MIN_WINDOWS)
    assert set(verdicts.statuses.tolist()) == {Status.LEARNING}
    assert np.isinf(verdicts.thresholds).all()


@pytest.mark.parametrize("min_windows", [0, 1, 10])
def test_learning_ends_after_the_stated_number_of_windows(min_windows: int) -> None:
    """Warm-up is a number the operator set, not a mystery."""
    statuses = run(make(min_windows=min_windows), quiet(20)).statuses
    assert (statuses == Status.LEARNING).sum() == min_windows


def test_a_score_is_judged_before_it_is_learnt() -> None:
    """The threshold an anomaly is held against does not know the anomaly yet."""
    with_, without = learnt(), learnt()
    loud, soft = (run(decision, [each], start_ms=later()) for decision, each in ((with_, 9.0), (without, 1.0)))
    assert loud.thresholds.tolist() == soft.thresholds.tolist()
    assert (loud.means.tolist(), loud.sds.tolist()) == (soft.means.tolist(), soft.sds.tolist())
    assert loud.statuses[0] == Status.ANOMALOUS


def test_a_score_at_the_threshold_is_normal() -> None:
    """Anomalous means above, not at: a constant score under a static threshold of the same value is quiet."""
    assert set(run(make(StaticLimit(1.0), min_windows=0), [1.0] * 5).statuses.tolist()) == {Status.NORMAL}


def test_quiet_data_raises_few_alarms() -> None:
    """A thousand windows of ordinary noise after warm-up: at most a handful above four sigma."""
    statuses = run(make(smoothing=1.0), quiet(1_000)).statuses
    assert (statuses == Status.ANOMALOUS).sum() <= 5


def test_one_huge_anomaly_moves_the_threshold_by_a_bounded_amount() -> None:
    """A score of a million poisons the statistics no more than one of the cap."""
    limits = []
    for total in (1e2, 1e6):
        decision = learnt(smoothing=1.0)
        before = run(decision, [total], start_ms=later())
        after = run(decision, [1.0], start_ms=later(501))
        weight = 1.0 / (500 + 1 + PRIOR_COUNT)
        assert after.means[0] - before.means[0] <= weight * 3.0 * before.sds[0] * (1 + 1e-9)
        assert after.thresholds[0] - before.thresholds[0] <= 0.2 * before.sds[0]
        limits.append(after.thresholds[0])
    assert limits[0] == limits[1]


def test_a_second_anomaly_right_after_the_first_is_seen() -> None:
    """The first exceedance does not blind the key to the next one."""
    decision = learnt(smoothing=1.0)
    statuses = run(decision, [1.0, 6.0, 1.0, 6.0, 1.0], start_ms=later()).statuses.tolist()
    assert statuses == [Status.NORMAL, Status.ANOMALOUS, Status.NORMAL, Status.ANOMALOUS, Status.NORMAL]


def test_an_anomaly_entering_and_leaving_moves_the_threshold_smoothly() -> None:
    """There is no window of memory whose edge makes the threshold jump, neither in nor out."""
    decision = learnt()
    totals = [1.0] * 50 + [20.0] * 3 + [1.0] * 500
    thresholds = run(decision, totals, start_ms=later()).thresholds
    assert np.abs(np.diff(thresholds) / thresholds[:-1]).max() < 0.05


def test_a_level_shift_alarms_at_once_and_is_adopted_within_two_half_lives() -> None:
    """A new normal is reported when it comes, and is the normal after the stated history, not before by accident."""
    decision = learnt(1_440, half_life_ms=6.0 * HOUR_MS)
    statuses = run(decision, [3.0] * 2_880, start_ms=later(1_440)).statuses  # two days of the new level
    anomalous = np.flatnonzero(statuses == Status.ANOMALOUS)
    assert anomalous[0] <= 2
    assert len(anomalous) >= 30
    assert anomalous[-1] == anomalous[0] + len(anomalous) - 1  # one stretch, no flapping
    assert (statuses[12 * 60 :] == Status.NORMAL).all()


def test_idle_at_zero_does_not_make_ordinary_traffic_alarm() -> None:
    """Hours without any error leave a floor under the spread: back to the usual level is no anomaly of many sigma."""
    decision = make(smoothing=1.0)
    run(decision, [1.0] * 50 + [0.0] * 5_000)
    back = run(decision, [0.0] * 3 + [SD_FLOOR * 3.9] * 50, start_ms=later(5_050))
    assert set(back.statuses.tolist()) == {Status.NORMAL}
    assert (back.sds >= SD_FLOOR).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 50.0])
def test_the_spread_has_a_floor_at_any_level(level: float) -> None:
    """A key with a perfectly constant score tolerates a tenth of its level."""
    decision = make()
    run(decision, [level] * 3_000)
    verdicts = run(decision, [level], start_ms=later(3_000))
    assert verdicts.sds[0] == pytest.approx(SD_FLOOR * max(verdicts.means[0], 1.0), rel=0.05)
    assert verdicts.means[0] == pytest.approx(level, rel=0.02, abs=0.2)


def test_a_first_window_resets_smoothing_only() -> None:
    """After a gap the smoothed score starts from the new window, while the statistics are kept."""
    decision = learnt()
    run(decision, [50.0], start_ms=later())
    count = int(decision.columns["count"][0])
    verdicts = decision.judge(*batch_of([Judged(0, later(501) + HOUR_MS, 1.0, is_first=True)]))
    assert verdicts.scores.tolist() == [1.0]
    assert verdicts.counts.tolist() == [count]


def test_smoothing_follows_its_weight() -> None:
    """Half old, half new."""
    verdicts = run(make(), [4.0, 2.0, 2.0])
    assert verdicts.scores.tolist() == [4.0, 3.0, 2.5]


def test_a_long_gap_does_not_forget_everything() -> None:
    """A key that was off for a month resumes with its own statistics: one score replaces a fifth at most."""
    decision = learnt(smoothing=1.0)
    known = float(decision.columns["mean"][0])
    decision.judge(*batch_of([Judged(0, later() + 30 * 24 * HOUR_MS, 0.5, is_first=True)]))
    assert float(decision.columns["mean"][0]) == pytest.approx(known + MAX_WEIGHT * (0.5 - known), rel=0.02)
    assert int(decision.columns["count"][0]) == 501


def test_keys_have_their_own_thresholds() -> None:
    """What is usual for a noisy key is an alarm for a calm one."""
    decision = make(smoothing=1.0)
    run(decision, quiet(300), slot=0)
    run(decision, (5.0 * np.array(quiet(300))).tolist(), slot=1)
    verdicts = decision.judge(*batch_of([Judged(slot, later(300), 5.0, is_first=False) for slot in (0, 1)]))
    assert verdicts.statuses.tolist() == [Status.ANOMALOUS, Status.NORMAL]


def test_a_new_key_starts_from_the_prior() -> None:
    """The model's calibration level is what a key is compared with before it has a past."""
    verdicts = run(make(prior_mean=2.0, prior_sd=0.5), [2.0])
    assert (verdicts.means.tolist(), verdicts.sds.tolist(), verdicts.counts.tolist()) == ([2.0], [0.5], [0])


def test_a_model_without_spread_gets_the_floor_as_prior() -> None:
    """A calibration on constant data does not make every key alarm."""
    decision = make(prior_sd=0.0)
    assert decision.columns["variance"][0] == pytest.approx(SD_FLOOR**2)


def test_no_windows_give_no_verdicts() -> None:
    """An empty batch changes nothing."""
    decision = make()
    before = state_of(decision)
    assert len(decision.judge(*batch_of([])).statuses) == 0
    assert state_of(decision) == before
