"""What a new key starts from gives way to its own scores: as n0 windows against n, then as slowly as it forgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamae.core.moments import PRIOR_COUNT
from streamae.core.thresholds.block_maxima import BLOCK_WINDOWS, POOLED_BLOCKS, BlockMaximaRule
from streamae.core.thresholds.conformal import RING, ConformalRule
from streamae.core.thresholds.robust import FREE_SCORES, MadRule
from streamae.core.thresholds.rolling import EARLY_SCORES
from tests.score_streams import KNOBS, LEARNING, RULES, Scores, decision_of, history, judged, quiet, rule_of

PLAIN = replace(LEARNING, smoothing=1.0, cap_sigma=1e9, half_life_ms=1e15)  # scores as they come, nothing forgotten
TRAINING = history(quiet(600, 3, 5))


def one_by_one(scores: Scores) -> list[Scores]:
    """Return the stream window by window."""
    return [scores.part(row, row + 1) for row in range(len(scores))]


def scaled(scores: Scores, factor: float) -> Scores:
    """Return the same stream at another level."""
    return Scores(scores.channels * np.float32(factor), scores.forecasts * np.float32(factor), scores.is_first)


def test_mean_and_variance_weigh_the_prior_as_four_windows() -> None:
    """(n0 prior + n own) / (n0 + n) in every window, and the variance of all n0 + n: n0 of them at the prior's."""
    decision = decision_of(rule_of("sigma", PLAIN), prior=TRAINING)
    prior, spread = (float(decision.columns[name][0]) for name in ("mean", "variance"))
    assert prior != PLAIN.prior_mean  # it comes from the training keys
    own: list[float] = []
    for number, window in enumerate(one_by_one(scaled(quiet(100, 1, 6), 1.5))):
        own.append(float(judged(decision, window, number).scores[0]))
        count = number + 1
        mean = (PRIOR_COUNT * prior + sum(own)) / (PRIOR_COUNT + count)
        squares = PRIOR_COUNT * (spread + (prior - mean) ** 2) + sum((score - mean) ** 2 for score in own)
        assert decision.columns["mean"][0] == pytest.approx(mean, rel=1e-9)
        assert decision.columns["variance"][0] == pytest.approx(squares / (PRIOR_COUNT + count), rel=1e-9)


def test_the_first_scores_of_a_median_are_a_mean() -> None:
    """Eight windows in full against the prior's four, then one comparison each."""
    decision = decision_of(MadRule(8.0, PLAIN), prior=TRAINING)
    prior = float(decision.columns["median"][0])
    own = judged(decision, scaled(quiet(FREE_SCORES, 1, 7), 2.0)).scores
    expected = (PRIOR_COUNT * prior + own.sum()) / (PRIOR_COUNT + FREE_SCORES)
    assert decision.columns["median"][0] == pytest.approx(expected, rel=1e-9)


def test_blocks_of_other_keys_count_as_two_of_its_own() -> None:
    """The usual worst of a block is (n0 prior + the key's own maxima) / (n0 + blocks), each learnt one block late."""
    decision = decision_of(BlockMaximaRule(3.0), prior=TRAINING)
    columns, worth = decision.columns, POOLED_BLOCKS + 1
    prior = columns["worst"][0].copy()
    previous: list[np.ndarray] = []  # type: ignore[type-arg]
    scores = quiet(5 * BLOCK_WINDOWS, 1, 8)
    for block in range(5):
        judged(decision, scores.part(block * BLOCK_WINDOWS, (block + 1) * BLOCK_WINDOWS), block * BLOCK_WINDOWS)
        learnt = previous[:]  # the block that has just ended waits
        previous.append(columns["previous"][0].copy())
        if len(learnt) <= 4:  # beyond, steps are capped
            expected = (worth * prior + np.sum(learnt, axis=0)) / (worth + len(learnt))
            assert columns["worst"][0] == pytest.approx(expected, rel=1e-5)


def test_a_ring_of_ranks_is_the_key_s_own_after_as_many_windows() -> None:
    """Each score takes the place of one of the prior's: n own and 256 - n others."""
    decision = decision_of(ConformalRule(0.02, 1.5, PLAIN), prior=TRAINING)
    before = decision.columns["ring"][0].copy()
    for number, window in enumerate(one_by_one(quiet(40, 1, 9)), 1):
        judged(decision, window, number)
        assert np.count_nonzero(decision.columns["ring"][0] != before) <= number
    assert np.count_nonzero(decision.columns["ring"][0] == before) == RING - 40


@pytest.mark.parametrize(("factor", "least", "most"), [(0.25, 0.4, 0.7), (1.0, 0.9, 1.1), (4.0, 3.0, 6.0)])
def test_the_tail_of_other_keys_does_not_stay(factor: float, least: float, most: float) -> None:
    """After its first windows a key that lives on another level has a tail near that of one that was always there.

    Tracked by rare events alone a quieter key would keep the training keys' tail for ten thousand windows.
    """
    rule, stream = RULES["quantile"], scaled(quiet(400, 1, 10), factor)
    found, starts = [], []
    for prior in (TRAINING, history(scaled(quiet(600, 3, 5), factor))):
        decision = decision_of(rule, prior=prior)
        starts.append(float(decision.columns["quantile"][0]))
        judged(decision, stream)
        found.append(float(decision.columns["quantile"][0]))
    assert found[0] == pytest.approx(found[1], rel=0.35)
    assert least < found[0] / starts[0] < most


def test_a_key_known_long_is_not_carried_along() -> None:
    """Once evidence is there the tail is tracked by its own events: mean and spread no longer move it."""
    decision = decision_of(RULES["quantile"], prior=TRAINING)
    judged(decision, quiet(EARLY_SCORES, 1, 11))
    before = float(decision.columns["quantile"][0])
    judged(decision, scaled(quiet(1, 1, 12), 0.0), EARLY_SCORES)
    sd_share = 0.25 * (1.0 - KNOBS["quantile"])
    assert 0 < before - float(decision.columns["quantile"][0]) < 2.0 * sd_share
