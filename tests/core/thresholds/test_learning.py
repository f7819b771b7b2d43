"""What several rules share: the measured rarity of so many sigma, and a tracked quantile that ends where it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.thresholds.learning import SIGMA_LEVEL, sigma_rarity, track_quantile
from tests.core_batches import frozen_bytes, quick

NUMBERS = st.floats(0.0, 1e6)


def test_rarity_is_the_measured_rate() -> None:
    """7.4 false episodes in 10,000 windows at 8 sigma, 3.6 at 12: what the line was laid through."""
    assert np.exp(-sigma_rarity(np.array([SIGMA_LEVEL, 12.0]))) * 1e4 == pytest.approx([7.4, 3.6], rel=0.01)


def tracked(scores: np.ndarray, start: float, probability: float, sd: float = 0.1) -> np.ndarray:
    """Follow one key's quantile through its scores."""
    estimate, path = np.array([start]), []
    for score in scores:
        estimate = track_quantile(estimate, np.array([score]), np.array([sd]), probability)
        path.append(estimate[0])
    return np.array(path)


@pytest.mark.parametrize("probability", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("start", [-3.0, 8.0])
def test_the_tracked_quantile_finds_the_quantile(probability: float, start: float) -> None:
    """From a wrong start in either direction, the share of scores above it becomes 1 - p."""
    scores = np.random.default_rng(5).normal(1.0, 1.0, 40_000)
    path = tracked(scores, start, probability)
    settled = slice(20_000, None)
    assert (scores[settled] > np.append(start, path[:-1])[settled]).mean() == pytest.approx(1 - probability, rel=0.2)
    assert path[settled].mean() == pytest.approx(np.quantile(scores, probability), abs=0.15)


@quick
@given(NUMBERS, st.floats(0.0, 1e12), st.floats(0.01, 10.0), st.floats(0.51, 0.999))
def test_one_score_moves_the_quantile_by_a_quarter_sd_at_most(
    quantile: float, score: float, sd: float, probability: float
) -> None:
    """How far above a score lies does not matter: an anomaly cannot drag the threshold after itself."""
    moved = track_quantile(np.array([quantile]), np.array([score]), np.array([sd]), probability)[0]
    assert abs(moved - quantile) <= 0.25 * sd * (1 + 1e-9) + 1e-9
    assert (moved > quantile) == (score > quantile) or moved == quantile


def test_a_score_at_the_quantile_is_not_above_it() -> None:
    """A two-valued score does not push its own threshold up for ever."""
    path = tracked(np.full(2_000, 1.0), 0.0, 0.9)
    assert path.max() < 1.0 + 0.25 * 0.1


def test_tracking_leaves_its_inputs_alone() -> None:
    """Estimates are columns of the key state: only their owner writes there."""
    columns = [np.array([1.0, 2.0]), np.array([3.0, 0.0]), np.array([0.1, 0.1])]
    before = frozen_bytes(*columns)
    track_quantile(*columns, 0.9)
    assert frozen_bytes(*columns) == before
