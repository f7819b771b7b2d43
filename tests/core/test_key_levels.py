"""A key's own level is the plain mean and spread of its earlier rows, whatever the cuts, and no anomaly takes it along."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import ErrorBatch, RowBatch, WindowBatch
from streamae.core.columns import Columns
from streamae.core.key_levels import CAP_SDS, FREE_ROWS, KeyLevels, in_own_units, standardised
from streamae.core.scaling import FLOOR_SHARE, Scaling
from streamae.core.windowing import KeyWindows, Missing, join, select
from tests.core_batches import CUTS, FEATURES, KEYS, NAN, Arrival, every_slot, pieces, quick, row_batch, streams

FLOORS = np.array([0.1, 0.2])
LEVELS = KeyLevels(FLOORS, min_rows=4, half_life_rows=50)
START = np.array([7.0, -7.0])


def fresh(levels: KeyLevels = LEVELS, keys: int = KEYS) -> Columns:
    """State of keys that are all new."""
    columns = Columns(keys, levels.fields(START))
    columns.reset(every_slot(keys))
    return columns


def rows_of(values: np.ndarray, slot: int = 0) -> RowBatch:
    """Rows (N, F) of one key, a second apart."""
    count = np.arange(len(values), dtype=np.int64)
    return RowBatch(np.full(len(values), slot, dtype=np.int32), count, count * 1_000, values.astype(np.float64))


def test_levels_are_the_mean_and_spread_of_all_rows_before() -> None:
    """Without forgetting and within the cap: numpy's mean and sd of the prefix, the row itself not in it."""
    values = np.random.default_rng(1).uniform(-1, 1, size=(60, FEATURES)).astype(np.float32)
    levels = KeyLevels(FLOORS, half_life_rows=10**9)
    found, _ = levels.follow(fresh(levels), rows_of(values))
    for row in range(1, 60):
        assert found[row, 0] == pytest.approx(values[:row].mean(axis=0, dtype=np.float64), rel=1e-9, abs=1e-12)
        assert found[row, 1] == pytest.approx(np.maximum(values[:row].std(axis=0, dtype=np.float64), FLOORS), rel=1e-9)
    assert found[0, 0].tolist() == START.tolist()


def test_old_rows_are_forgotten_with_the_half_life() -> None:
    """After one half-life at a new level within the cap the mean has gone half of the way."""
    levels = KeyLevels(FLOORS * 100, half_life_rows=50)
    values = np.repeat([[0.0], [1.0]], [1_000, 51], axis=0) * np.ones(FEATURES)
    found, _ = levels.follow(fresh(levels), rows_of(values))
    assert found[-1, 0] == pytest.approx(0.5, rel=1e-6)


@quick
@given(streams(), CUTS)
def test_cuts_company_and_restarts_leave_no_trace(stream: list[Arrival], cuts: list[int]) -> None:
    """However rows are cut into batches, with state packed and restored in between, levels are equal bit by bit."""
    whole, alone = fresh(), fresh()
    expected, known = LEVELS.follow(whole, row_batch(stream))
    parts = []
    for start, stop in pieces(len(stream), cuts):
        restored = fresh()
        restored.restore(every_slot(), alone.export(every_slot()))
        alone = restored
        parts.append(LEVELS.follow(alone, row_batch(stream, start, stop)))
    assert np.concatenate([found for found, _ in parts]).tobytes() == expected.tobytes()
    assert np.concatenate([flags for _, flags in parts]).tolist() == known.tolist()
    assert alone.export(every_slot()).tobytes() == whole.export(every_slot()).tobytes()


def test_no_level_depends_on_a_later_row() -> None:
    """Changing everything from row 40 on changes nothing up to row 40, where the row is used before it is learnt."""
    values = np.random.default_rng(2).normal(size=(80, FEATURES))
    other = values.copy()
    other[40:] = 1e6
    first, _ = LEVELS.follow(fresh(), rows_of(values))
    second, _ = LEVELS.follow(fresh(), rows_of(other))
    assert first[:41].tobytes() == second[:41].tobytes()
    assert first[41].tobytes() != second[41].tobytes()


def test_anomalies_do_not_poison_the_level() -> None:
    """Fifty rows a million sd away move the mean by less than a tenth of an sd and the sd by less than a tenth."""
    levels = KeyLevels(FLOORS)
    values = np.random.default_rng(3).normal(size=(3_000, FEATURES))
    columns = fresh(levels)
    found, _ = levels.follow(columns, rows_of(np.concatenate([values, np.full((50, FEATURES), 1e6), values[:1]])))
    before, after = found[3_000], found[-1]
    assert np.abs(after[0] - before[0]).max() < 0.1
    assert (after[1] / before[1]).max() < 1.1
    assert CAP_SDS * 50 / 2_885 < 0.1  # what the bound above rests on


def test_a_new_normal_is_adopted() -> None:
    """A shift that stays becomes the level within some half-lives: the key is not strange for ever."""
    levels = KeyLevels(FLOORS, half_life_rows=50)
    values = np.random.default_rng(4).normal(size=(1_500, FEATURES))
    values[500:] += 200.0
    found, _ = levels.follow(fresh(levels), rows_of(values))
    assert np.abs(found[-1, 0] - 200.0).max() < 1.0


def test_a_constant_channel_keeps_its_floor() -> None:
    """A channel that never moved is not blown up by its first breath."""
    found, _ = LEVELS.follow(fresh(), rows_of(np.full((FREE_ROWS * 3, FEATURES), 3.0)))
    assert found[-1, 1].tolist() == FLOORS.tolist()


def test_missing_values_are_not_learnt() -> None:
    """A hole leaves mean, spread and count alone; a feature without any value stays at what holes are filled with."""
    values = np.array([[1.0, NAN], [3.0, NAN], [NAN, NAN], [5.0, NAN]])
    columns = fresh()
    found, _ = LEVELS.follow(columns, rows_of(values))
    assert found[:, 0, 0].tolist() == [7.0, 1.0, 2.0, 2.0]
    assert found[:, 0, 1].tolist() == [-7.0] * 4
    assert columns["level_counts"][0].tolist() == [3, 0]


def test_huge_values_stay_finite() -> None:
    """The largest value that a record may hold overflows nothing on its way to the model."""
    windows = made(2, np.array([[1e30, -1e30]] * 3 + [[0.0, 0.0]] * 3))
    assert np.isfinite(standardised(windows)).all()


def made(size: int, values: np.ndarray, levels: KeyLevels = LEVELS, keys: int = 1) -> WindowBatch:
    """Windows of one key out of rows (N, F)."""
    missing = Missing(np.ones(FEATURES, dtype=np.bool_), START)
    windows = KeyWindows(
        keys, size, FEATURES, stride=1, max_gap_ms=60_000, missing=missing, max_imputed_share=0.5, levels=levels
    )
    windows.columns.reset(every_slot(keys))
    return windows.push(rows_of(values))


def test_windows_wait_until_the_key_knows_its_level() -> None:
    """With four rows needed the fifth is the first that is scored, and the window carries what the fifth row found."""
    values = np.random.default_rng(5).normal(size=(9, FEATURES))
    windows = made(2, values)
    found, known = LEVELS.follow(fresh(), rows_of(values))
    assert known.tolist() == [False] * 4 + [True] * 5
    assert windows.offsets.tolist() == [4, 5, 6, 7, 8]
    assert windows.is_first.tolist() == [True] + [False] * 4
    assert windows.levels is not None
    assert windows.levels.tobytes() == found[4:].tobytes()
    expected = (values[3:5].astype(np.float32) - found[4, 0]) / found[4, 1]
    assert standardised(windows)[0] == pytest.approx(expected, rel=1e-6)


def test_learning_is_visible_with_its_progress() -> None:
    """A key is learning until it has the rows, and says how many it has."""
    columns = fresh()
    LEVELS.follow(columns, rows_of(np.ones((3, FEATURES)), slot=1))
    LEVELS.follow(columns, rows_of(np.ones((9, FEATURES)), slot=2))
    assert LEVELS.is_learning(columns, every_slot()).tolist() == [True, True, False, True]
    assert LEVELS.progress(columns, every_slot()).tolist() == [0, 3, 4, 0]


def test_what_was_expected_comes_back_in_own_units() -> None:
    """The way back of `standardised`: mean + scale z; without levels both ways change nothing."""
    windows = made(2, np.random.default_rng(6).normal(50.0, 9.0, size=(9, FEATURES)))
    scaled = standardised(windows)
    zeros = np.zeros((len(windows), FEATURES), dtype=np.float32)
    back = in_own_units(ErrorBatch(zeros, zeros, scaled[:, -1]), windows)
    assert back.expected == pytest.approx(windows.values[:, -1], rel=1e-5)
    plain = select(windows, slice(None))
    object.__setattr__(plain, "levels", None)
    assert standardised(plain) is plain.values
    assert in_own_units(ErrorBatch(zeros, zeros, zeros), plain).expected is zeros


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_levels_follow_their_windows_through_batches(order: list[int]) -> None:
    """Choosing and joining windows keeps each with its own level."""
    windows = made(2, np.random.default_rng(7).normal(size=(10, FEATURES)))
    assert windows.levels is not None
    parts = join([select(windows, np.array([number])) for number in order])
    assert parts.levels is not None
    assert parts.levels.tobytes() == windows.levels[order].tobytes()


def test_the_spread_inside_of_keys_is_not_that_between_them() -> None:
    """Keys at levels far apart: scales are those of the quieter keys, floors a tenth of them; dead keys do not count."""
    random = np.random.default_rng(8)
    keys = [random.normal(level, sd, (400, 1)) for level, sd in ((0.0, 1.0), (1e4, 1.2), (1e6, 500.0))]
    scaling = Scaling.within([*keys, np.full((50, 1), 3.0), np.full((5, 1), NAN), np.zeros((0, 1))])
    assert 0.8 < scaling.scales[0] < 1.2
    assert KeyLevels.of(scaling).floors == pytest.approx(FLOOR_SHARE * scaling.scales)
    assert KeyLevels.of(scaling, np.array([9.0])).floors.tolist() == [9.0]
    assert Scaling.within([np.full((5, 1), 3.0)]).scales.tolist() == [1.0]
