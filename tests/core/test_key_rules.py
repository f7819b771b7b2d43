"""Rules by key: which patterns a slot is concerned by, and what that does to verdicts, learning and episodes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Status, Suspension, VerdictBatch
from streamae.core.decision import Decision
from streamae.core.deviations import Deviations
from streamae.core.key_rules import AlertRules, KeyRules, Override
from streamae.core.maintenance import Interval, Maintenance
from streamae.core.thresholds.rule import ThresholdRule
from tests.core_batches import START_MS, every_slot, quick, score_batch, slots_of, state_of, window_batch
from tests.score_streams import CHANNELS, RULES, STEP_MS, Scores, batch, decision_of, for_each, judged, quiet

each_rule = for_each(RULES)
NAMES = VerdictBatch.__slots__
BEGIN, END = 1_600, 1_650  # windows of the maintenance
NIGHT = Interval(START_MS + BEGIN * STEP_MS, START_MS + END * STEP_MS)


def suspended(rules: KeyRules, *slots: int) -> list[int]:
    """What the rules say about alerts of these slots now."""
    advice = rules.advise(score_batch([1.0] * len(slots)), window_batch(slots, [START_MS] * len(slots)))
    assert advice is not None
    return advice.suspensions.tolist()


def factors(rules: KeyRules, *slots: int) -> list[float]:
    """Level factors of these slots."""
    advice = rules.advise(score_batch([1.0] * len(slots)), window_batch(slots, [START_MS] * len(slots)))
    assert advice is not None
    return advice.factors.tolist()


def ruled(rule: ThresholdRule, rules: AlertRules, keys: int = 1) -> Decision:
    """A decision whose slots hold the keys `key-0`, `key-1`, ..."""
    decision = decision_of(rule, keys)
    decision.key_rules.adopt(rules, [(slot, b"key-%d" % slot) for slot in range(keys)])
    return decision


def busy(windows: int = 1_800, keys: int = 1) -> Scores:
    """Quiet scores with an anomaly in the maintenance and one after it."""
    scores = quiet(windows, keys, 5)
    for key in range(keys):
        scores = scores.loud(slice(1_620, 1_625), 100.0, key).loud(slice(1_700, 1_705), 100.0, key)
    return scores


def anomalous(verdicts: VerdictBatch) -> list[int]:
    """Numbers of anomalous windows."""
    return np.flatnonzero(verdicts.statuses == Status.ANOMALOUS).tolist()


def test_without_rules_nothing_is_asked() -> None:
    """Who configures nothing pays nothing: there is no advice, and no key is looked at."""
    rules = KeyRules(2)
    rules.admit(1, b"\xff")
    assert rules.advise(score_batch([1.0]), window_batch([0], [START_MS])) is None


def test_the_first_override_that_matches_counts() -> None:
    """An exception stands before the pattern it is an exception from."""
    overrides = (Override("pump-7", 2.0), Override("pump-*", 3.0, is_muted=True), Override("*", 0.5))
    rules = KeyRules(4, AlertRules(overrides))
    for slot, key in enumerate((b"pump-7", b"pump-8", b"fan", b"Pump-7")):
        rules.admit(slot, key)
    assert factors(rules, 0, 1, 2, 3) == [2.0, 3.0, 0.5, 0.5]
    assert suspended(rules, 0, 1, 2, 3) == [0, Suspension.MUTED, 0, 0]


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("a*c", b"abc", True),
        ("a?c", b"ac", False),
        ("[ab]-1", b"b-1", True),
        ("plant/*", b"plant/a/b", True),
        ("*", b"", True),
        ("a*", b"a\nb", True),
        ("a", b"ab", False),
        ("a.c", b"abc", False),
        ("\\xff*", b"\xff\xfe", True),
        ("?xff", b"\xff", True),
        ("\u00fc*", "\u00fcber".encode(), True),
    ],
)
def test_patterns_are_globs_on_the_key_as_events_show_it(pattern: str, key: bytes, expected: bool) -> None:
    """Case counts, the whole key must match, dots are dots, and bytes that are no text match as they are shown."""
    rules = KeyRules(1, AlertRules((Override(pattern, 2.0),)))
    rules.admit(0, key)
    assert (factors(rules, 0) == [2.0]) is expected


def test_a_slot_that_changes_hands_has_the_rules_of_its_new_key() -> None:
    """An evicted key leaves nothing behind, in either direction."""
    rules = KeyRules(1, AlertRules((Override("loud-*", is_muted=True),)))
    for key, expected in ((b"loud-1", Suspension.MUTED), (b"calm-1", 0), (b"loud-2", Suspension.MUTED)):
        rules.admit(0, key)
        assert suspended(rules, 0) == [expected]


def test_new_rules_count_for_keys_that_are_there() -> None:
    """After a reload nobody waits for a key to come again; without rules all is as before."""
    rules = KeyRules(2, AlertRules((Override("a", 2.0),)))
    rules.admit(0, b"a")
    rules.adopt(AlertRules((Override("b", 3.0),)), [(0, b"a"), (1, b"b")])
    assert factors(rules, 0, 1) == [1.0, 3.0]
    rules.adopt(AlertRules(), [(0, b"a"), (1, b"b")])
    assert rules.advise(score_batch([1.0]), window_batch([0], [START_MS])) is None


def test_several_stretches_of_maintenance_add_up() -> None:
    """One forbids to alert, another one to learn; a key concerned by both has neither."""
    now = Interval(START_MS, START_MS + 1)
    stretches = (Maintenance("a*", now, is_unlearnt=False), Maintenance("*b", now, is_silent=False))
    rules = KeyRules(4, AlertRules(maintenance=stretches))
    for slot, key in enumerate((b"a", b"b", b"ab", b"c")):
        rules.admit(slot, key)
    advice = rules.advise(score_batch([1.0] * 4), window_batch([0, 1, 2, 3], [START_MS] * 4))
    assert advice is not None
    assert advice.suspensions.tolist() == [1, 0, 1, 0]
    assert advice.is_learnt.tolist() == [True, False, False, True]


@each_rule
def test_rules_that_concern_nobody_change_nothing(rule: ThresholdRule) -> None:
    """Verdicts and state are equal to the bit with and without them."""
    rules = AlertRules(
        (Override("other", 5.0, is_muted=True),),
        (Maintenance("other", NIGHT),),
        Deviations(np.zeros(CHANNELS), np.zeros(CHANNELS), np.zeros(CHANNELS)),
    )
    plain, with_rules = decision_of(rule), ruled(rule, rules)
    scores, windows = batch(busy())
    windows = replace(windows, values=np.zeros((len(windows), 2, CHANNELS), dtype=np.float32))
    expected, found = plain.judge(scores, windows), with_rules.judge(scores, windows)
    assert all(np.array_equal(getattr(expected, name), getattr(found, name)) for name in NAMES)
    for name in rule.fields(CHANNELS):
        assert plain.columns[name].tobytes() == with_rules.columns[name].tobytes()


@each_rule
def test_nothing_is_learnt_in_a_maintenance_of_learning(rule: ThresholdRule) -> None:
    """The key's state is the same to the bit before and after, while alarms are heard as always."""
    decision = ruled(rule, AlertRules(maintenance=(Maintenance("key-0", NIGHT, is_silent=False),)), 2)
    scores = busy(keys=2)
    judged(decision, scores.part(0, BEGIN))
    before = [state_of(decision, slots_of(slot)) for slot in (0, 1)]
    verdicts = judged(decision, scores.part(BEGIN, END), BEGIN)
    after = [state_of(decision, slots_of(slot)) for slot in (0, 1)]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert (verdicts.statuses[verdicts.statuses == Status.ANOMALOUS]).size >= 8
    assert not verdicts.suspensions.any()


@each_rule
def test_nothing_is_heard_in_a_maintenance_of_alerting(rule: ThresholdRule) -> None:
    """Scores above the threshold are normal there and are learnt; the anomaly after it is heard."""
    decision = ruled(rule, AlertRules(maintenance=(Maintenance("*", NIGHT, is_unlearnt=False),)))
    before = ruled(rule, AlertRules())
    verdicts = judged(decision, busy())
    assert set(anomalous(judged(before, busy()))) & set(range(BEGIN, END))
    assert not set(anomalous(verdicts)) & set(range(BEGIN, END))
    assert set(range(1_701, 1_705)) <= set(anomalous(verdicts))
    assert int(decision.columns["count"][0]) == 1_800
    assert (np.flatnonzero(verdicts.suspensions) == np.arange(BEGIN, END)).all()


@each_rule
def test_a_level_factor_moves_the_threshold_and_nothing_else(rule: ThresholdRule) -> None:
    """Its distance from the usual score is multiplied; what the key learns does not depend on it while nothing alarms."""
    scores = quiet(1_500, 1, 4)
    plain, moved = ruled(rule, AlertRules()), ruled(rule, AlertRules((Override("key-?", 1.5),)))
    first, second = judged(plain, scores), judged(moved, scores)
    known = np.isfinite(first.thresholds) & (first.thresholds > first.means)
    distances = (first.thresholds - first.means)[known]
    if not len(anomalous(first)):
        assert (second.thresholds - second.means)[known] == pytest.approx(1.5 * distances)
        assert state_of(plain) == state_of(moved)
    assert np.array_equal(np.isinf(first.thresholds), np.isinf(second.thresholds))
    assert np.array_equal(first.states, second.states)


@pytest.mark.slow
@each_rule
def test_a_larger_factor_never_alarms_where_a_smaller_one_does_not(rule: ThresholdRule) -> None:
    """From insensitive to sensitive there are more alarms, with a muted key none."""
    counts = [
        len(anomalous(judged(ruled(rule, AlertRules((Override("*", factor),))), busy())))
        for factor in (100.0, 1.5, 1.0, 0.7)
    ]
    assert all(fewer <= more for fewer, more in pairwise(counts[:3]))
    assert counts[3] >= counts[0]
    assert not anomalous(judged(ruled(rule, AlertRules((Override("*", is_muted=True),))), busy()))


@each_rule
@quick
@given(st.lists(st.integers(0, 60), max_size=4))
def test_batch_borders_and_a_restart_leave_no_trace(rule: ThresholdRule, cuts: list[int]) -> None:
    """Rules follow from settings, key and event time: pieces judged by fresh processes equal the whole."""
    rules = AlertRules(
        (Override("key-1", 0.4),),
        (Maintenance("key-0", Interval(START_MS + 20 * STEP_MS, START_MS + 41 * STEP_MS)),),
    )
    scores = quiet(60, 2, 3).loud(slice(30, 34), 50.0).loud(slice(50, 52), 50.0, 1)
    whole = replaced(rule, rules)
    expected = judged(whole, scores)
    decision, start, parts = replaced(rule, rules), 0, []
    for stop in [*sorted(cuts), 60]:
        after = replaced(rule, rules)
        after.columns.restore(every_slot(2), decision.columns.export(every_slot(2)))
        parts.append(judged(after, scores.part(start, stop), start))
        decision, start = after, stop
    for name in NAMES:
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(expected, name))
    assert state_of(decision, every_slot(2)) == state_of(whole, every_slot(2))


def replaced(rule: ThresholdRule, rules: AlertRules) -> Decision:
    """Two keys that learn quickly."""
    decision = ruled(rule, rules, 2)
    decision.min_windows = 10
    return decision


@pytest.mark.slow
@each_rule
def test_only_deviations_that_matter_alarm(rule: ThresholdRule) -> None:
    """The same anomaly is heard above what was expected and not below it; its score is learnt in both cases."""
    scores = busy()
    found = {}
    for sign in (1.0, -1.0):
        deviations = Deviations(np.full(CHANNELS, sign), np.full(CHANNELS, 2.0), np.zeros(CHANNELS))
        decision = ruled(rule, AlertRules(deviations=deviations))
        given_scores, windows = batch(scores)
        rows = np.zeros((len(windows), 2, CHANNELS), dtype=np.float32)
        rows[:, -1] = 0.5 * np.random.default_rng(3).choice([-1.0, 1.0], (len(windows), CHANNELS))  # expected is 0
        rows[1_620:1_625, -1], rows[1_700:1_705, -1] = 3.0, -3.0
        verdicts = decision.judge(given_scores, replace(windows, values=rows))
        found[sign] = set(anomalous(verdicts))
        assert int(decision.columns["count"][0]) == 1_800
    assert found[1.0]
    assert found[-1.0]
    assert found[1.0] <= set(range(1_620, 1_635))
    assert found[-1.0] <= set(range(1_700, 1_715))


def test_a_key_whose_first_window_was_not_learnt_begins_with_its_first_that_is() -> None:
    """What is smoothed starts from a score, not from nothing."""
    night = Interval(START_MS, START_MS + 10 * STEP_MS)
    decision = ruled(RULES["sigma"], AlertRules(maintenance=(Maintenance("*", night),)))
    verdicts = judged(decision, quiet(20, 1, 4))
    assert verdicts.counts.tolist() == [0] * 11 + list(range(1, 10))
    scores, _ = batch(quiet(20, 1, 4))
    assert verdicts.scores[10] == pytest.approx(float(scores.totals[10]))
