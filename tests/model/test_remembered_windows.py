"""The memory: what is like nothing remembered is far away, feature by feature, whatever else happens."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.batches import Floats
from streamae.model.remembered_windows import Memory, remember


def windows(count: int, seed: int = 0, size: int = 6, features: int = 3) -> Floats:
    """Return scaled windows (count, size, features)."""
    return np.random.default_rng(seed).normal(size=(count, size, features)).astype(np.float32)


def distances(bank: Floats, values: Floats) -> Floats:
    """Ask the memory."""
    found: Floats = Memory(torch.from_numpy(bank)).distances(torch.from_numpy(values)).numpy()
    return found


@settings(max_examples=30, deadline=None, derandomize=True)
@given(bank=st.integers(1, 20), count=st.integers(1, 20), seed=st.integers(0, 99), far=st.floats(0.01, 400.0))
def test_the_distance_is_that_of_the_definition(bank: int, count: int, seed: int, far: float) -> None:
    """One matrix product must give what the plain loops give, also for values far out (a squashed one is below 450)."""
    remembered, values = windows(bank, seed), windows(count, seed + 1) * np.float32(far)
    apart = values[:, None].astype(np.float64) - remembered  # (B, M, W, F)
    expected = np.square(apart).mean(axis=2).min(axis=1)
    np.testing.assert_allclose(distances(remembered, values), expected, rtol=1e-4, atol=1e-4)


def test_what_is_remembered_is_at_no_distance() -> None:
    """Rounding must not make a distance negative: its root joins the score."""
    remembered = 30.0 * windows(10)
    found = distances(remembered, remembered)
    assert float(found.min()) >= 0.0
    assert float(found.max()) < 1e-2


def test_a_feature_stands_for_itself() -> None:
    """One feature out of its mind moves its own distance only, so that the guilty one is named."""
    remembered, values = windows(10), windows(4, seed=1)
    spoilt = values.copy()
    spoilt[:, :, 1] += 50.0
    before, after = distances(remembered, values), distances(remembered, spoilt)
    np.testing.assert_array_equal(before[:, [0, 2]], after[:, [0, 2]])
    assert bool((after[:, 1] > 1_000 * before[:, [0, 2]].max() / 10).all())


def test_a_shape_in_another_order_is_new() -> None:
    """The same values in reverse are another shape: this is what sets windows apart from single rows."""
    ramp = np.linspace(0.0, 5.0, 6, dtype=np.float32)[None, :, None]
    assert float(distances(ramp, ramp[:, ::-1].copy())[0, 0]) > 3.0


def test_windows_are_remembered_evenly() -> None:
    """The bank stands for all of the training data, its first and its last window included."""
    found = remember(np.arange(100.0, dtype=np.float32).reshape(100, 1, 1), 5)
    assert found.ravel().tolist() == [0.0, 25.0, 50.0, 74.0, 99.0]


def test_few_windows_are_all_remembered() -> None:
    """Asking for more than there is remembers each once."""
    np.testing.assert_array_equal(remember(windows(3), 64), windows(3))
