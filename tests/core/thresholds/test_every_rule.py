"""What holds for every threshold rule: causal, independent of batches and neighbours, not poisoned, adapting."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import KeyState, Status, VerdictBatch
from streamae.core.decision import Decision
from streamae.core.thresholds.prior import initial_state
from streamae.core.thresholds.registry import rule_named
from streamae.core.thresholds.rule import ThresholdRule, Wave
from tests.core_batches import every_slot, quick, state_of
from tests.score_streams import FOLLOWING, RULES, STEP_MS, Scores, column, decision_of, for_each, history, judged, quiet

each_rule = for_each(RULES)
each_following_rule = for_each(FOLLOWING)  # `static` knows one level
COLUMNS = VerdictBatch.__slots__
F32 = np.float32


def exact(verdicts: VerdictBatch, keys: int = 1) -> dict[str, np.ndarray]:
    """Return all columns by name, as (N, K)."""
    return {name: column(verdicts, name, keys) for name in COLUMNS}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """Tell whether all columns are equal to the bit."""
    return all(np.array_equal(first[name], second[name]) for name in COLUMNS)


def lively(windows: int, keys: int, seed: int) -> Scores:
    """Return quiet scores with anomalies and gaps."""
    scores, random = quiet(windows, keys, seed), np.random.default_rng(seed)
    for key in range(keys):
        for start in random.integers(70, windows, 3):
            scores = scores.loud(slice(int(start), int(start) + 4), float(random.uniform(3, 60)), key)
        scores.is_first[random.integers(1, windows, 2), key] = True
    return scores


@each_rule
def test_a_verdict_depends_on_nothing_that_comes_later(rule: ThresholdRule) -> None:
    """Verdicts of a prefix are the prefix of the verdicts, whatever follows."""
    scores = lively(400, 2, 1)
    whole = exact(judged(decision_of(rule, 2), scores), 2)
    for stop in (1, 63, 65, 200, 399):
        other = Scores(scores.channels.copy(), scores.forecasts.copy(), scores.is_first)
        other.channels[stop:] *= F32(1e3)
        found = exact(judged(decision_of(rule, 2), other), 2)
        assert same({name: array[:stop] for name, array in found.items()}, {n: a[:stop] for n, a in whole.items()})


@each_rule
@quick
@given(st.lists(st.integers(0, 90), max_size=4), st.integers(0, 99))
def test_batch_borders_and_a_restart_leave_no_trace(rule: ThresholdRule, cuts: list[int], seed: int) -> None:
    """Judged in pieces, each by a process that restored the state of the one before, all is equal to the bit."""
    scores = lively(90, 3, seed)
    whole = decision_of(rule, 3, min_windows=20)
    expected = exact(judged(whole, scores), 3)
    decision, start, parts = decision_of(rule, 3, min_windows=20), 0, []
    for stop in [*sorted(cuts), 90]:
        after = decision_of(rule, 3, min_windows=20)
        after.columns.restore(every_slot(3), decision.columns.export(every_slot(3)))
        parts.append(exact(judged(after, scores.part(start, stop), start), 3))
        decision, start = after, stop
    assert same({name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}, expected)
    assert state_of(decision, every_slot(3)) == state_of(whole, every_slot(3))


@each_rule
def test_a_key_is_the_same_alone_and_in_company(rule: ThresholdRule) -> None:
    """One key's anomaly touches no other key, neither its verdicts nor what it stores."""
    scores = lively(500, 3, 2)
    calm = decision_of(rule, 3)
    expected = exact(judged(calm, scores), 3)
    wild = decision_of(rule, 3)
    found = exact(judged(wild, scores.loud(slice(200, 400), 1e6, 1)), 3)
    alone = exact(judged(decision_of(rule), scores.only([2])), 1)
    for name in COLUMNS:
        assert np.array_equal(found[name][:, [0, 2]], expected[name][:, [0, 2]])
        assert np.array_equal(alone[name][:, 0], expected[name][:, 2])
    for slot in (0, 2):
        one = np.array([slot], dtype=np.int32)
        assert state_of(wild, one) == state_of(calm, one)


@each_rule
@pytest.mark.parametrize("rows", [[0], [5, 300], list(range(250, 260))], ids=["first", "twice", "ten"])
def test_a_score_out_of_all_bounds_stays_with_its_key_and_finite(rule: ThresholdRule, rows: list[int]) -> None:
    """A score of 1e30 leaves every figure of its key finite, then and later, and those of other keys as they were."""
    scores = lively(600, 3, 16)
    wild = Scores(scores.channels.copy(), scores.forecasts.copy(), scores.is_first)
    wild.channels[rows, 1], wild.forecasts[rows, 1] = 1e30, 1e30
    expected, decision = exact(judged(decision_of(rule, 3), scores), 3), decision_of(rule, 3)
    found = exact(judged(decision, wild), 3)
    for name in COLUMNS:
        assert np.array_equal(found[name][:, [0, 2]], expected[name][:, [0, 2]]), name
        assert np.isfinite(found[name][64:]).all(), name
    for name, field in decision.columns.fields.items():
        if np.isfinite(field.initial).all():  # empty places are infinite
            assert np.isfinite(decision.columns[name]).all(), name


@each_rule
def test_judging_changes_nothing(rule: ThresholdRule) -> None:
    """Only learning touches the state."""
    decision = decision_of(rule)
    judged(decision, lively(200, 1, 3))
    before = state_of(decision, every_slot(1))
    scores = quiet(1)
    wave = Wave(
        every_slot(1),
        np.ones(1),
        scores.forecasts[0].astype(np.float64),
        scores.channels[0],
        np.zeros(1, dtype=np.int64),
        np.zeros(1, dtype=np.bool_),
    )
    assert same_judgement(rule, decision, wave)
    assert state_of(decision, every_slot(1)) == before


def same_judgement(rule: ThresholdRule, decision: Decision, wave: Wave) -> bool:
    """Tell whether judging twice gives the same twice."""
    first, second = (rule.judge(decision.columns, wave) for _ in range(2))
    return bool((first.scores == second.scores).all() and (first.thresholds == second.thresholds).all())


@each_following_rule
@pytest.mark.parametrize("level", [0.0, 1.0, 1e4])
def test_constant_scores_are_quiet(rule: ThresholdRule, level: float) -> None:
    """A key whose score never moves is never anomalous, and stays finite."""
    scores = quiet(1_000)
    scores.channels[:], scores.forecasts[:] = level, level
    verdicts = judged(decision_of(rule), scores)
    assert (verdicts.statuses[200:] == Status.NORMAL).all()
    assert np.isfinite(verdicts.scores).all()
    assert np.isfinite(verdicts.rarities).all()


@each_rule
def test_quiet_keys_hardly_ever_alarm(rule: ThresholdRule) -> None:
    """20,000 windows of quiet scores bring no more episodes than the rule's own rarity promises."""
    verdicts = judged(decision_of(rule, 10), quiet(2_000, 10, 4))
    anomalous = column(verdicts, "statuses", 10) == Status.ANOMALOUS
    episodes = (anomalous[1:] & ~anomalous[:-1]).sum()
    assert episodes <= 12, episodes


@each_rule
def test_an_anomaly_enters_and_leaves(rule: ThresholdRule) -> None:
    """Found when it comes, over when it goes, and the same anomaly is found again 400 windows later."""
    scores = quiet(2_200, 1, 5)
    for start in (1_500, 1_900):
        scores = scores.loud(slice(start, start + 5), 100.0)
    alarms = judged(decision_of(rule), scores).statuses == Status.ANOMALOUS
    for start in (1_500, 1_900):
        assert alarms[start : start + 5].all()
        assert not alarms[start + 40 : start + 200].any()


@each_rule
def test_one_huge_anomaly_does_not_blind_the_key(rule: ThresholdRule) -> None:
    """After a score of a million times the usual, an ordinary anomaly of 30 times is still found."""
    scores = quiet(2_200, 1, 6).loud([1_500, 1_501], 1e6).loud(slice(1_800, 1_805), 30.0)
    alarms = judged(decision_of(rule), scores).statuses == Status.ANOMALOUS
    assert alarms[1_500:1_502].all()
    assert alarms[1_802:1_805].all()


ADOPTED_WITHIN = {"sigma": 1_500, "quantile": 10_000, "block_maxima": 1_000, "conformal": 1_000}
ADOPTED_BY_OTHERS_WITHIN = 3_000  # windows, at a half-life of 500


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWING)
def test_a_new_level_alarms_and_becomes_the_normal(name: str) -> None:
    """A key whose scores are five times higher for good is reported, and quiet again within the stated windows."""
    within = ADOPTED_WITHIN.get(name, ADOPTED_BY_OTHERS_WITHIN)
    scores = quiet(1_500 + within + 500, 1, 7)
    scores = scores.loud(slice(1_500, None), 5.0)
    alarms = judged(decision_of(RULES[name]), scores).statuses == Status.ANOMALOUS
    assert alarms[1_500:1_520].any()
    assert alarms[1_500 + within :].mean() < 0.01


@each_rule
def test_a_learning_key_is_mute(rule: ThresholdRule) -> None:
    """Without a prior nothing is said for `min_windows` windows, whatever the key scores."""
    verdicts = judged(decision_of(rule, min_windows=64), quiet(90).loud(slice(20, 64), 1e5))
    assert (verdicts.statuses[:64] == Status.LEARNING).all()
    assert (verdicts.states[:64] == KeyState.LEARNING).all()
    assert np.isinf(verdicts.thresholds[:64]).all()
    assert (verdicts.states[64:] == KeyState.READY).all()
    assert np.isfinite(verdicts.thresholds[64:]).all()


@each_rule
def test_a_key_with_a_prior_speaks_at_once(rule: ThresholdRule) -> None:
    """The training keys tell what is usual: an anomaly in the first minutes of a new key is found, as provisional."""
    prior = history(quiet(1_500, 3, 8))
    decision = decision_of(rule, min_windows=50, prior=prior)
    verdicts = judged(decision, quiet(200, 1, 9).loud(slice(10, 15), 100.0))
    assert (verdicts.statuses[10:15] == Status.ANOMALOUS).all()
    assert (verdicts.statuses[[*range(10), *range(60, 200)]] == Status.NORMAL).all()
    assert (verdicts.states[:50] == KeyState.PROVISIONAL).all()
    assert (verdicts.states[50:] == KeyState.READY).all()
    assert verdicts.counts.tolist() == list(range(200))


@each_rule
def test_a_key_with_a_prior_may_be_told_to_wait(rule: ThresholdRule) -> None:
    """Where the operator wants no early alarms, a prior is a start of learning and nothing more."""
    decision = decision_of(rule, min_windows=50, prior=history(quiet(500, 3, 8)))
    decision.is_early = False
    verdicts = judged(decision, quiet(60, 1, 9).loud(slice(10, 15), 100.0))
    assert (verdicts.states[:50] == KeyState.LEARNING).all()
    assert (verdicts.statuses[:50] == Status.LEARNING).all()


@each_rule
def test_a_key_with_a_prior_is_quiet_where_the_training_keys_were(rule: ThresholdRule) -> None:
    """A hundred new keys that behave like the training keys bring next to no alarm in their first windows."""
    decision = decision_of(rule, 100, prior=history(quiet(2_000, 4, 10)))
    verdicts = judged(decision, quiet(64, 100, 11))
    assert (column(verdicts, "statuses", 100) == Status.ANOMALOUS).any(axis=0).sum() <= 5


@each_rule
def test_training_keys_may_have_different_lengths(rule: ThresholdRule) -> None:
    """What lies behind the length of a key is never looked at."""
    scores = quiet(600, 2, 12)
    clean = history(scores, [600, 250])
    dirty = replace(clean, channels=clean.channels.copy(), forecasts=clean.forecasts.copy())
    dirty.channels[1, 250:], dirty.forecasts[1, 250:] = 1e9, 1e9
    first, second = (initial_state(rule, each, float(STEP_MS)) for each in (clean, dirty))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@each_rule
def test_a_prior_is_deterministic_and_only_for_new_keys(rule: ThresholdRule) -> None:
    """Two processes with the same bundle start keys alike, and stored keys do not feel the prior."""
    prior = history(quiet(300, 2, 13))
    one, two = (decision_of(rule, 2, prior=prior) for _ in range(2))
    assert state_of(one, every_slot(2)) == state_of(two, every_slot(2))
    known = decision_of(rule, 2)
    judged(known, quiet(100, 2, 14))
    one.columns.restore(every_slot(2), known.columns.export(every_slot(2)))
    assert state_of(one, every_slot(2)) == state_of(known, every_slot(2))


def test_families_differ_in_their_layout() -> None:
    """Stored state of one family is never taken for that of another; within a family it may be."""
    layouts = {name: decision_of(rule).columns.layout for name, rule in RULES.items()}
    for first in RULES:
        for second in RULES:
            assert (layouts[first] == layouts[second]) == (rule_named(first).family == rule_named(second).family)


@each_rule
def test_rarity_says_windows(rule: ThresholdRule) -> None:
    """It grows with the score, and at the threshold it is between 100 and a million windows for every rule."""
    scores = [quiet(700, 1, 15).loud([650], factor) for factor in (1.0, 3.0, 10.0, 100.0, 1e4)]
    verdicts = [judged(decision_of(rule), each.part(0, 651)) for each in scores]
    rarities = [float(each.rarities[650]) for each in verdicts]
    assert rarities == sorted(rarities)
    assert rarities[-1] > rarities[0] + 3.0
    excess = [float(each.scores[650] - each.thresholds[650]) for each in verdicts]
    at_threshold = float(np.interp(0.0, excess, rarities))
    assert math.log(100.0) < at_threshold < math.log(1e6)
