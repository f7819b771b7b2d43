"""Scaling keeps order and sign of everything, loses nothing, and is one function for numpy and torch."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.scaling import FLOOR_SHARE, KNEE, Scaling, squash, unsquash
from streamae.errors import DataError
from tests.core_batches import NAN, frozen_bytes, quick

NUMBERS = st.floats(-1e30, 1e30)
ROWS = np.random.default_rng(11).normal([3.0, -50.0, 0.0], [1.0, 20.0, 4.0], size=(500, 3))


def one(value: float) -> np.ndarray:
    """An array of one number."""
    return np.array([value], dtype=np.float64)


@quick
@given(st.floats(-KNEE, KNEE))
def test_squash_leaves_ordinary_values_alone(value: float) -> None:
    """Up to five standard deviations nothing is bent."""
    assert squash(one(value))[0] == value


@quick
@given(NUMBERS, NUMBERS)
def test_squash_keeps_order(first: float, second: float) -> None:
    """A larger value never looks smaller: huge anomalies stay above large ones, unlike after clipping."""
    low, high = sorted((first, second))
    assert squash(one(low))[0] <= squash(one(high))[0]
    if abs(high - low) > 1e-6 * max(abs(low), abs(high), 1.0):
        assert squash(one(low))[0] < squash(one(high))[0]


@quick
@given(NUMBERS)
def test_squash_is_odd(value: float) -> None:
    """Drops and rises of the same size look the same."""
    assert squash(one(-value))[0] == -squash(one(value))[0]


@quick
@given(st.floats(-1e26, 1e26))
def test_unsquash_inverts_squash(value: float) -> None:
    """The forecast shown to a person is in the feature's own units, also for extreme values."""
    assert unsquash(squash(one(value)))[0] == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_unsquash_of_anything_is_finite_in_float32(xp: ModuleType) -> None:
    """A forecast gone wild reaches the event as a number: infinity is not JSON."""
    wild = np.array([-1e6, 1e6], dtype=np.float32)
    assert np.isfinite(np.asarray(unsquash(wild if xp is np else torch.from_numpy(wild), xp))).all()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_squash_has_no_step_and_no_kink_at_the_knee(sign: float) -> None:
    """A value drifting over the knee makes no jump in the score, nor in the gradient of training."""
    near = sign * (KNEE + np.array([-1e-6, 0.0, 1e-6]))
    bent = squash(near)
    assert bent == pytest.approx(near, abs=1e-9)
    assert np.diff(bent) == pytest.approx(np.diff(near), rel=1e-5)


def test_squash_bends_huge_values_to_a_few_dozen() -> None:
    """A sensor that reports 1e30 does not drown every other channel, nor overflow a square."""
    assert 300.0 < squash(one(1e30))[0] < 400.0


def test_missing_stays_missing() -> None:
    """NaN is neither 0 nor the mean after scaling: the missing-value policy must see it."""
    assert np.isnan(squash(one(NAN)))[0]
    assert np.isnan(unsquash(one(NAN)))[0]
    assert np.isnan(Scaling.fit(ROWS).apply(np.array([[NAN, 1.0, 1.0]]))).tolist() == [[True, False, False]]


@quick
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_torch_and_numpy_squash_alike(values: list[float]) -> None:
    """The device and the baselines see the same inputs."""
    array = np.array(values, dtype=np.float32)
    there = squash(torch.from_numpy(array), torch)
    assert there.numpy() == pytest.approx(squash(array), rel=1e-6, abs=1e-6)
    assert unsquash(there, torch).numpy() == pytest.approx(unsquash(squash(array)), rel=1e-4, abs=1e-5)


def test_squash_leaves_its_input_alone() -> None:
    """Windows are scored and then shown: scaling works on a copy."""
    values = np.array([1.0, 100.0, -100.0])
    before = frozen_bytes(values)
    squash(values)
    unsquash(values)
    assert frozen_bytes(values) == before


def test_fit_is_mean_and_standard_deviation() -> None:
    """Ordinary features are standardised as everyone expects."""
    scaling = Scaling.fit(ROWS)
    assert scaling.means == pytest.approx(ROWS.mean(axis=0))
    assert scaling.scales == pytest.approx(ROWS.std(axis=0))


def test_fit_ignores_missing_values() -> None:
    """A hole changes the estimate no more than a shorter series does."""
    holed = ROWS.copy()
    holed[::7, 1] = NAN
    scaling = Scaling.fit(holed)
    assert scaling.means[1] == pytest.approx(np.delete(ROWS[:, 1], np.arange(0, 500, 7)).mean())
    assert scaling.means[0] == pytest.approx(ROWS[:, 0].mean())


def test_a_constant_feature_does_not_explode() -> None:
    """A channel that never moved in training gets a tenth of the median scale: its first move is not infinite."""
    rows = ROWS.copy()
    rows[:, 2] = 5.0
    scaling = Scaling.fit(rows)
    assert scaling.scales[2] == pytest.approx(FLOOR_SHARE * np.median(rows[:, :2].std(axis=0)))
    assert abs(scaling.apply(np.array([[3.0, -50.0, 5.0]]))[0, 2]) < 1e-6


def test_a_nearly_constant_feature_is_floored_too() -> None:
    """Rounding noise on a flat channel is not blown up to full size."""
    rows = ROWS.copy()
    rows[:, 2] = 1e-6 * ROWS[:, 2]
    assert Scaling.fit(rows).scales[2] >= FLOOR_SHARE * np.median(rows.std(axis=0))


def test_constant_features_alone_have_scale_one() -> None:
    """With nothing to compare to, a unit is a unit."""
    assert Scaling.fit(np.full((10, 2), 7.0)).scales.tolist() == [1.0, 1.0]


def test_a_two_valued_feature_is_scaled() -> None:
    """A switch is an ordinary feature."""
    rows = np.array([[0.0], [1.0]] * 50)
    assert Scaling.fit(rows).apply(rows)[:2, 0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("rows", [np.full((5, 2), NAN), np.zeros((0, 2)), np.array([[1.0, NAN], [2.0, NAN]])])
def test_a_feature_without_values_is_refused(rows: np.ndarray) -> None:
    """Training says which column is empty instead of producing a model of NaN."""
    with pytest.raises(DataError, match="feature number"):
        Scaling.fit(rows)


@quick
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_invert_undoes_apply(row: list[float]) -> None:
    """Expected values in an event are in the unit of the input."""
    scaling = Scaling.fit(ROWS)
    values = np.array([row])
    assert scaling.invert(scaling.apply(values)) == pytest.approx(values, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3), (0, 3)])
def test_apply_keeps_shape_and_returns_float32(shape: tuple[int, ...]) -> None:
    """Rows, windows and batches are scaled by one function."""
    scaled = Scaling.fit(ROWS).apply(np.zeros(shape))
    assert (scaled.shape, scaled.dtype) == (shape, np.float32)


def test_fit_takes_float32_without_losing_the_spread() -> None:
    """A small spread on a large level survives: the sums are in double precision."""
    rows = (1e5 + np.random.default_rng(2).normal(0.0, 1.0, size=(100_000, 1))).astype(np.float32)
    assert Scaling.fit(rows).scales[0] == pytest.approx(1.0, rel=0.02)
