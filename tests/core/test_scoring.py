"""The score is about one on quiet data, whatever the model, the number of features or their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import ErrorBatch
from streamae.core.scoring import LEVEL_FLOOR, SIGNIFICANT_BITS, Calibration, ScoreHistory, round_bits, score
from tests.core_batches import frozen_bytes, quick

STEP = 2.0 ** (1 - SIGNIFICANT_BITS)  # largest relative distance of two neighbours after rounding


def errors(count: int = 400, features: int = 5, seed: int = 0, level: float = 1.0) -> ErrorBatch:
    """Squared errors of a model that is about as wrong on every channel as `level` times the channel's own size."""
    rng = np.random.default_rng(seed)
    sizes = level * np.linspace(0.2, 3.0, features)
    recent, forecast = ((rng.normal(size=(count, features)) ** 2 * sizes).astype(np.float32) for _ in range(2))
    return ErrorBatch(recent, forecast, rng.normal(size=(count, features)).astype(np.float32))


def remembering(count: int = 400, features: int = 5, seed: int = 0) -> ErrorBatch:
    """Errors of a model with a memory."""
    rng = np.random.default_rng(seed + 100)
    memory = (rng.normal(size=(count, features)) ** 2 * np.linspace(0.5, 4.0, features)).astype(np.float32)
    return replace(errors(count, features, seed), memory=memory)


def at(batch: ErrorBatch, chosen: object) -> ErrorBatch:
    """Chosen windows, or with a tuple chosen channels, of a batch."""
    memory = None if batch.memory is None else batch.memory[chosen]
    return ErrorBatch(batch.recent[chosen], batch.forecast[chosen], batch.expected[chosen], memory)


@pytest.mark.parametrize("features", [1, 5, 40])
@pytest.mark.parametrize("level", [0.5, 1.0, 30.0])
def test_quiet_data_scores_about_one(features: int, level: float) -> None:
    """A good and a bad model, narrow and wide data: the scale of the score is the same."""
    calibration = Calibration.fit(errors(4_000, features, level=level))
    fresh = score(errors(4_000, features, seed=1, level=level), calibration).totals
    assert fresh.mean() == pytest.approx(1.0, rel=0.12)


def test_quiet_data_scores_about_two_with_a_memory() -> None:
    """The memory adds at most one on quiet data: the mean of a root is no more than the root of the mean."""
    calibration = Calibration.fit(remembering(4_000))
    assert 1.6 < score(remembering(4_000, seed=1), calibration).totals.mean() < 2.0


def test_calibration_reports_mean_and_spread_of_the_score() -> None:
    """New keys start from this level instead of from nothing."""
    batch = errors()
    calibration = Calibration.fit(batch)
    totals = score(batch, calibration).totals.astype(np.float64)
    assert (calibration.score_mean, calibration.score_sd) == (totals.mean(), totals.std())


def test_channels_are_whitened_by_their_own_level() -> None:
    """The score of a channel is the mean of its two errors in units of the level seen in calibration."""
    calibration = Calibration(np.array([2.0, 4.0]), np.array([1.0, 8.0]), 1.0, 0.1)
    found = score(ErrorBatch(*(np.array([[4.0, 4.0]], np.float32) for _ in range(3))), calibration)
    assert found.channels.tolist() == [[0.5 * (2.0 + 4.0), 0.5 * (1.0 + 0.5)]]
    assert found.totals[0] == pytest.approx((3.0 + 0.75) / 2, rel=STEP)


def test_the_distance_from_all_that_is_remembered_joins_by_its_root() -> None:
    """s_c = (w(recent) + w(forecast)) / 2 + sqrt(w(memory)), and the forecast's part is told by itself."""
    calibration = Calibration(np.array([2.0, 4.0]), np.array([1.0, 8.0]), 1.0, 0.1, np.array([0.25, 16.0]))
    found = score(ErrorBatch(*(np.array([[4.0, 4.0]], np.float32) for _ in range(4))), calibration)
    assert found.channels.tolist() == [[3.0 + 4.0, 0.75 + 0.5]]
    assert found.totals[0] == pytest.approx((7.0 + 1.25) / 2, rel=STEP)
    assert found.forecasts[0] == pytest.approx((4.0 + 0.5) / 2, rel=STEP)


def test_a_history_gives_back_the_scores_of_each_key() -> None:
    """What a rule begins with are the very scores that it would have been given."""
    batches = [score(errors(count, seed=count), Calibration.fit(errors())) for count in (7, 3)]
    history = ScoreHistory(
        np.stack([np.resize(batch.channels, (7, 5)) for batch in batches]),
        np.stack([np.resize(batch.forecasts, 7) for batch in batches]),
        np.array([7, 3]),
    )
    assert len(history) == 2
    for key, batch in enumerate(batches):
        for name in ("totals", "channels", "forecasts"):
            np.testing.assert_array_equal(getattr(history.of(key), name), getattr(batch, name))


@quick
@given(st.permutations(range(5)))
def test_channel_order_is_irrelevant(order: list[int]) -> None:
    """A bundle with its features in another order scores alike."""
    batch, shuffled = errors(50), at(errors(50), (slice(None), order))
    straight = score(batch, Calibration.fit(batch))
    other = score(shuffled, Calibration.fit(shuffled))
    assert other.totals == pytest.approx(straight.totals, rel=STEP)
    assert other.channels == pytest.approx(straight.channels[:, order], rel=STEP)


@quick
@given(st.integers(0, 399))
def test_a_window_scores_the_same_alone(index: int) -> None:
    """Which windows share a batch decides nothing."""
    batch = errors()
    calibration = Calibration.fit(batch)
    together, alone = score(batch, calibration), score(at(batch, slice(index, index + 1)), calibration)
    assert alone.totals[0] == together.totals[index]
    assert alone.channels[0].tolist() == together.channels[index].tolist()


def test_noise_of_batch_composition_changes_hardly_any_score() -> None:
    """A replay in other batches, whose errors differ in their last bits, gives the same scores."""
    batch, replayed = errors(1_000), errors(1_000)
    rng = np.random.default_rng(9)
    for part in (replayed.recent, replayed.forecast):
        np.multiply(part, 1.0 + rng.uniform(-1e-7, 1e-7, part.shape), out=part, casting="same_kind")
    calibration = Calibration.fit(batch)
    same = score(batch, calibration).totals == score(replayed, calibration).totals
    assert same.mean() > 0.98


@pytest.mark.parametrize("part", ["recent", "forecast", "memory"])
def test_a_silent_channel_is_floored(part: str) -> None:
    """A channel the model reproduces perfectly must not turn its first tiny error into an alarm."""
    batch = remembering()
    getattr(batch, part)[:, 2] = 0.0
    levels = getattr(Calibration.fit(batch), f"{part}_levels")
    assert levels[2] == LEVEL_FLOOR
    assert (np.delete(levels, 2) > LEVEL_FLOOR).all()


@pytest.mark.parametrize("part", ["recent", "forecast", "memory"])
def test_more_error_is_a_higher_score(part: str) -> None:
    """Either head, and the memory, can raise the alarm."""
    batch, worse = remembering(), remembering()
    getattr(worse, part)[:] *= 3.0
    calibration = Calibration.fit(batch)
    assert (score(worse, calibration).totals > score(batch, calibration).totals).all()


def test_expected_values_pass_through() -> None:
    """The forecast shown to a person is the model's, untouched."""
    batch = errors()
    assert score(batch, Calibration.fit(batch)).expected.tobytes() == batch.expected.tobytes()


def test_scoring_leaves_errors_alone() -> None:
    """The observer of a backtest sees the model's own errors."""
    batch = errors()
    before = frozen_bytes(batch.recent, batch.forecast, batch.expected)
    score(batch, Calibration.fit(batch))
    assert frozen_bytes(batch.recent, batch.forecast, batch.expected) == before


def test_no_windows_give_no_scores() -> None:
    """An empty batch keeps its shape."""
    found = score(at(errors(), slice(0)), Calibration.fit(errors()))
    assert (found.totals.shape, found.channels.shape) == ((0,), (0, 5))


@quick
@given(st.floats(1e-30, 1e30))
def test_rounding_moves_a_score_by_less_than_the_noise_it_hides(value: float) -> None:
    """Half a step of sixteen bits, at any size."""
    rounded = round_bits(np.array([value]))[0]
    assert abs(float(rounded) - value) <= 0.5 * STEP * value * (1 + 1e-6)


@quick
@given(st.floats(1e-30, 1e30))
def test_rounding_twice_changes_nothing(value: float) -> None:
    """A rounded score is exact in float32: storing it and reading it back does not move it."""
    once = round_bits(np.array([value]))
    assert round_bits(once.astype(np.float64)).tobytes() == once.tobytes()


def test_rounding_hides_the_last_bits() -> None:
    """Scores that differ by the noise of batch composition become equal."""
    values = np.full(1_000, 1.2345) * (1.0 + np.random.default_rng(0).uniform(-1e-7, 1e-7, 1_000))
    assert len(np.unique(round_bits(values))) == 1


@quick
@given(st.floats(0.0, 1e30), st.floats(0.0, 1e30))
def test_rounding_keeps_order(first: float, second: float) -> None:
    """A higher score is never rounded below a lower one."""
    low, high = round_bits(np.array(sorted((first, second))))
    assert low <= high


def test_zero_and_powers_of_two_are_exact() -> None:
    """No error is a score of exactly zero."""
    assert round_bits(np.array([0.0, 0.5, 1.0, 1024.0])).tolist() == [0.0, 0.5, 1.0, 1024.0]
