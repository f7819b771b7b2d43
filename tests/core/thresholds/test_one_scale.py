"""Severity is on one scale: how rare a score is for its key does not depend on how large the key's scores are."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.score_streams import RULES, Scores, column, decision_of, judged, quiet

WINDOWS, KEYS, KNOWS_ITSELF = 3_000, 40, 1_500
UPPER = (0.9, 0.99, 0.999)
TAILS = ("pot", "dspot")


@cache
def upper_rarities(name: str, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return upper quantiles of rarity of 40 keys that score about 1, and of 40 whose scores are the same times ten."""
    once = quiet(WINDOWS, KEYS, seed=17, channels=features)
    scores = Scores(
        *(np.concatenate([part, np.float32(10.0) * part], axis=1) for part in (once.channels, once.forecasts)),
        np.tile(once.is_first, 2),
    )
    verdicts = judged(decision_of(RULES[name], 2 * KEYS, features=features), scores)
    rarities = column(verdicts, "rarities", 2 * KEYS)[KNOWS_ITSELF:]
    return np.quantile(rarities[:, :KEYS], UPPER), np.quantile(rarities[:, KEYS:], UPPER)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "features"), [*((name, 3) for name in RULES), ("block_maxima", 24)])
def test_rarity_does_not_depend_on_the_size_of_scores(name: str, features: int) -> None:
    """Keys that score ten times as much are as often as rare: to 0.1 of its logarithm, a tail to 0.2, in its end to 1."""
    small, large = upper_rarities(name, features)
    assert np.abs(large - small)[:2].max() < (0.2 if name in TAILS else 0.1)
    assert np.abs(large - small)[2] < (1.0 if name in TAILS else 0.1)
    assert small[2] > small[0]


@pytest.mark.slow
def test_rarity_does_not_depend_on_the_number_of_features() -> None:
    """The rule that adds up channels finds quiet keys of 3 and of 24 features as often as rare, to 0.3."""
    for few, many in zip(upper_rarities("block_maxima", 3), upper_rarities("block_maxima", 24), strict=True):
        assert np.abs(few - many).max() < 0.3
