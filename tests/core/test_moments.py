"""The rolling statistics: a plain mean at first, forgetting in event time later, never dragged off by one score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.moments import MAX_WEIGHT, PRIOR_COUNT, learn, weight
from tests.core_batches import frozen_bytes, quick

DAY_MS = 86_400_000
NO_CAP = np.array([np.inf])
SCORES = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50)


def weight_of(count: int, elapsed_ms: int, half_life_ms: float = DAY_MS) -> float:
    """Weight of one key's newest score."""
    found: float = weight(np.array([count]), np.array([elapsed_ms]), half_life_ms)[0]
    return found


@quick
@given(SCORES, st.floats(0.0, 10.0), st.floats(0.01, 10.0))
def test_thin_evidence_gives_the_plain_mean_and_variance(scores: list[float], mean: float, variance: float) -> None:
    """At every prefix the statistics are numpy's over the scores plus the prior, counted as a few scores."""
    prior = mean + np.sqrt(variance) * np.array([1.0, -1.0] * (PRIOR_COUNT // 2))
    means, variances = np.array([mean]), np.array([variance])
    for count, score in enumerate(scores):
        weights = weight(np.array([count]), np.array([0]), DAY_MS)
        means, variances = learn(means, variances, np.array([score]), weights, NO_CAP)
        everything = np.append(prior, scores[: count + 1])
        assert means[0] == pytest.approx(everything.mean(), rel=1e-9, abs=1e-9)
        assert variances[0] == pytest.approx(everything.var(), rel=1e-6, abs=1e-9)


@quick
@given(st.integers(2, 500), st.integers(60_000, 600_000))
def test_old_scores_count_half_after_a_half_life(steps: int, step_ms: int) -> None:
    """Once there is evidence, what was known weighs exactly 2^(-elapsed / half life), in however many steps."""
    half_life_ms = 5.0 * step_ms * steps
    means, variances, start = np.array([1.0]), np.array([0.0]), 10_000_000
    for count in range(start, start + steps):
        weights = weight(np.array([count]), np.array([step_ms]), half_life_ms)
        means, variances = learn(means, variances, np.array([0.0]), weights, NO_CAP)
    assert means[0] == pytest.approx(2.0 ** (-step_ms * steps / half_life_ms), rel=1e-9)


def test_forgetting_follows_event_time_not_the_number_of_scores() -> None:
    """A key that reports ten times as often forgets no faster."""
    slow, fast = 1.0, 1.0
    for _ in range(100):
        slow *= 1.0 - weight_of(10**9, 600_000)
    for _ in range(1_000):
        fast *= 1.0 - weight_of(10**9, 60_000)
    assert slow == pytest.approx(fast, rel=1e-9)


@pytest.mark.parametrize("count", [0, 1, 5, 100, 10**12])
@pytest.mark.parametrize("elapsed_ms", [0, 1, DAY_MS, 10_000 * DAY_MS])
def test_no_score_weighs_more_than_the_limit(count: int, elapsed_ms: int) -> None:
    """After a long silence the statistics are not replaced by the first score that comes back."""
    assert 0.0 < weight_of(count, elapsed_ms) <= MAX_WEIGHT


def test_the_weight_of_thin_evidence_falls_with_each_score() -> None:
    """The first scores count most, then less and less until forgetting takes over."""
    weights = [weight_of(count, 60_000) for count in range(5_000)]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == MAX_WEIGHT
    assert weights[-1] == pytest.approx(1.0 - 2.0 ** (-60_000 / DAY_MS))


@quick
@given(st.floats(0.0, 1e12), st.floats(0.0, 100.0), st.floats(0.01, 100.0), st.floats(0.001, MAX_WEIGHT))
def test_a_cap_bounds_what_one_score_can_do(score: float, mean: float, sd: float, share: float) -> None:
    """However huge the score, mean and standard deviation move by no more than the cap allows."""
    cap = 3.0 * sd
    means, variances = learn(*(np.array([each]) for each in (mean, sd**2, score, share, cap)))
    assert abs(means[0] - mean) <= share * cap * (1 + 1e-9) + 1e-12
    assert 0.0 <= variances[0] <= (1.0 - share) * (sd**2 + share * cap**2) * (1 + 1e-9)


@quick
@given(SCORES)
def test_variance_never_turns_negative(scores: list[float]) -> None:
    """The centred form does not cancel: the square root is always defined."""
    means, variances = np.array([1e6]), np.array([0.0])
    for count, score in enumerate(scores):
        weights = weight(np.array([count]), np.array([1]), 10.0)
        means, variances = learn(means, variances, np.array([score]), weights, NO_CAP)
        assert variances[0] >= 0.0


def test_variance_of_a_large_level_does_not_cancel() -> None:
    """A tiny spread on a huge level is still seen: sums of squares would lose it."""
    rng = np.random.default_rng(3)
    scores = 1e9 + rng.normal(0.0, 0.1, 4_000)
    means, variances = np.array([1e9]), np.array([0.01])
    for count, score in enumerate(scores):
        means, variances = learn(
            means, variances, np.array([score]), weight(np.array([count]), np.array([0]), 1.0), NO_CAP
        )
    assert np.sqrt(variances[0]) == pytest.approx(0.1, rel=0.05)


@quick
@given(st.permutations(range(6)))
def test_keys_do_not_influence_each_other(order: list[int]) -> None:
    """The statistics of a key are the same wherever it stands in the batch."""
    columns = np.random.default_rng(1).random((5, 6))
    straight = learn(*columns)
    shuffled = learn(*columns[:, order])
    assert [part[order].tolist() for part in straight] == [part.tolist() for part in shuffled]


def test_learning_leaves_its_inputs_alone() -> None:
    """The verdict reports the statistics from before the score was learnt."""
    columns = list(np.random.default_rng(1).random((5, 6)))
    before = frozen_bytes(*columns)
    learn(*columns)
    assert frozen_bytes(*columns) == before
