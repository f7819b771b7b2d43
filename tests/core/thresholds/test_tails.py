"""Pareto tails: the closed-form fit against scipy's maximum likelihood, and quantiles and survival against its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from streamae.core.thresholds.tails import MAX_SHAPE, MIN_SHAPE, fit, level_of, log_survival


def test_the_fit_finds_a_thousand_known_tails() -> None:
    """1,000 tails of 2,000 excesses: shape within .11 and scale within a tenth for nine of ten, without a bias.

    The estimator's own standard error there is .02 to .06 for shape (Hosking & Wallis 1987, eq. 17), growing towards
    shape 1/2, where its variance is no longer finite: so nine of ten, and shapes up to .35.
    """
    random = np.random.default_rng(1)
    shapes, scales = random.uniform(-0.3, 0.35, 1_000), random.uniform(0.1, 10.0, 1_000)
    excesses = stats.genpareto.rvs(shapes[:, None], scale=scales[:, None], size=(1_000, 2_000), random_state=random)
    found_shapes, found_scales = fit(excesses, np.full(1_000, 2_000))
    assert np.mean(np.abs(found_shapes - shapes) < 0.11) > 0.9
    assert np.mean(np.abs(found_scales / scales - 1.0) < 0.1) > 0.9
    assert abs(np.mean(found_shapes - shapes)) < 0.01


@pytest.mark.slow
def test_the_fit_agrees_with_maximum_likelihood() -> None:
    """On 1,000 samples the quantile of one in 500 excesses agrees with scipy's fit within a fifth for nine of ten, and
    the sample is hardly less likely under our fit: by less than 1 in its logarithm for nine of ten.

    Two consistent estimators differ by their own error: 10 % in that quantile at 500 excesses. Moments are 2 to 4 %
    less exact than likelihood there, but never fail to converge.
    """
    random = np.random.default_rng(2)
    shapes, scales = random.uniform(-0.2, 0.3, 1_000), random.uniform(0.1, 10.0, 1_000)
    excesses = stats.genpareto.rvs(shapes[:, None], scale=scales[:, None], size=(1_000, 500), random_state=random)
    found_shapes, found_scales = fit(excesses, np.full(1_000, 500))
    likely_shapes, _, likely_scales = np.array([stats.genpareto.fit(row, floc=0) for row in excesses]).T
    ours = level_of(np.full(1_000, 1 / 500), found_shapes, found_scales)
    away = np.abs(ours / stats.genpareto.isf(1 / 500, likely_shapes, scale=likely_scales) - 1.0)
    assert np.mean(away < 0.2) >= 0.9
    best, own = (
        stats.genpareto.logpdf(excesses, shape[:, None], scale=scale[:, None]).sum(axis=1)
        for shape, scale in ((likely_shapes, likely_scales), (found_shapes, found_scales))
    )
    assert np.mean(best - own < 1.0) >= 0.9


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 1e-9, 0.3, 0.6])
def test_quantile_and_survival_are_those_of_the_distribution(shape: float) -> None:
    """To a billionth of scipy's, also at the exponential limit, and each is the other's inverse."""
    shapes, scales = np.full(5, shape), np.full(5, 1.7)
    probabilities = np.array([0.9, 0.5, 1e-2, 1e-5, 1e-9])
    levels = level_of(probabilities, shapes, scales)
    assert levels == pytest.approx(stats.genpareto.isf(probabilities, shape, scale=1.7), rel=1e-6)
    inner = levels[:4]
    assert log_survival(inner, shapes[:4], scales[:4]) == pytest.approx(np.log(probabilities[:4]), rel=1e-6)


def test_beyond_the_end_of_a_short_tail_rarity_is_bounded() -> None:
    """A negative shape has a largest value; what lies above it is very rare, not impossible."""
    assert log_survival(np.array([100.0]), np.array([-0.4]), np.array([1.0])).tolist() == [-50.0]


def test_rows_are_fitted_alone_and_only_up_to_their_count() -> None:
    """Neither the neighbours nor what stood in the ring before change a fit."""
    random = np.random.default_rng(3)
    rows = random.exponential(1.0, (5, 40))
    counts = np.array([40, 20, 2, 1, 0])
    together = fit(rows, counts)
    for row, count in enumerate(counts.tolist()):
        alone = fit(rows[row : row + 1, : max(count, 1)], np.array([count]))
        assert (alone[0][0], alone[1][0]) == pytest.approx((together[0][row], together[1][row]))


@pytest.mark.parametrize("row", [[0.0] * 8, [1.0] * 8, [1e-30] * 8, [1e30] + [1e-9] * 7])
def test_degenerate_excesses_give_usable_tails(row: list[float]) -> None:
    """Equal, tiny or wildly different excesses: shape in its bounds, scale positive, nothing infinite."""
    shapes, scales = fit(np.array([row]), np.array([8]))
    assert MIN_SHAPE <= shapes[0] <= MAX_SHAPE
    assert 0 < scales[0] < np.inf
