"""Each limit does what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.thresholds.rolling import Limit, QuantileLimit, SigmaLimit, StaticLimit, Statistics
from tests.core_batches import frozen_bytes, quick

NUMBERS = st.floats(0.0, 1e6)
KNOWN = Statistics(np.array([1.0, 2.0]), np.array([0.5, 0.1]), np.array([3.0, 4.0]))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (SigmaLimit(4.0), [1.0 + 4 * 0.5, 2.0 + 4 * 0.1]),
        (StaticLimit(7.0), [7.0, 7.0]),
        (QuantileLimit(1.5), [1.5 * 3.0, 1.5 * 4.0]),
    ],
)
def test_each_limit_follows_its_formula(limit: Limit, expected: list[float]) -> None:
    """Mean + k sd, one value, margin times quantile."""
    assert limit.thresholds(KNOWN).tolist() == pytest.approx(expected)


@quick
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_limits_judge_each_key_alone(keys: list[tuple[float, float, float]], random: object) -> None:
    """The threshold of a key is the same alone and in any company."""
    together = Statistics(*np.array(keys).T)
    for limit in (SigmaLimit(3.0), StaticLimit(2.0), QuantileLimit(1.2)):
        for index, key in enumerate(keys):
            alone = limit.thresholds(Statistics(*np.array([key]).T))
            assert alone[0] == limit.thresholds(together)[index]


@pytest.mark.parametrize("limit", [SigmaLimit(3.0), StaticLimit(2.0), QuantileLimit(1.2)])
def test_limits_leave_statistics_alone_and_return_their_own_array(limit: Limit) -> None:
    """A threshold that is changed afterwards does not change a key's mean."""
    before = frozen_bytes(KNOWN.means, KNOWN.sds, KNOWN.quantiles)
    limit.thresholds(KNOWN)[:] = -1.0
    assert frozen_bytes(KNOWN.means, KNOWN.sds, KNOWN.quantiles) == before


@quick
@given(NUMBERS, st.floats(0.01, 100.0), st.floats(0.0, 10.0))
def test_a_larger_k_never_alarms_earlier(mean: float, sd: float, k: float) -> None:
    """Turning the sensitivity down cannot bring more alarms."""
    known = Statistics(np.array([mean]), np.array([sd]), np.array([mean]))
    assert SigmaLimit(k + 1.0).thresholds(known)[0] > SigmaLimit(k).thresholds(known)[0] >= mean
