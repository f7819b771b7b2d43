"""Windows of values that move little around a large level: nothing of the movement is lost on the way to the model."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from streamae.batches import Doubles, ErrorBatch, RowBatch, WindowBatch
from streamae.core.key_levels import KeyLevels, in_own_units, standardised
from streamae.core.origins import ZERO, Origins, newest, to_own_units
from streamae.core.scaling import Scaling
from streamae.core.windowing import KeyWindows, Missing
from tests.core_batches import (
    CUTS,
    FEATURES,
    KEYS,
    NAN,
    Arrival,
    cleared,
    every_slot,
    merged,
    ordered_streams,
    per_key,
    pieces,
    quick,
    row_batch,
    state_of,
)

SIZE = 4
CARRIERS = np.array([2.412e9, -7.5e8])
CONSTANTS = CARRIERS + np.array([1.5, -2.5])
NOISE = np.random.default_rng(0).normal(size=(40, FEATURES)).round(2) * 6
LEVELS = KeyLevels(np.array([0.5, 0.5]), min_rows=2, half_life_rows=50)


def made(origins: Origins, levels: KeyLevels | None = None, *, previous: bool = True) -> KeyWindows:
    """Windows ready for new keys."""
    windows: KeyWindows = cleared(
        KeyWindows(
            KEYS,
            SIZE,
            FEATURES,
            stride=1,
            max_gap_ms=60_000,
            missing=Missing(np.full(FEATURES, previous), CONSTANTS),
            max_imputed_share=1.0,
            levels=levels,
            origins=origins,
        )
    )
    return windows


def rows_of(values: Doubles) -> RowBatch:
    """Rows (N, F) of one key, a second apart."""
    count = np.arange(len(values), dtype=np.int64)
    return RowBatch(np.zeros(len(values), dtype=np.int32), count, count * 1_000, values)


def own(windows: WindowBatch) -> Doubles:
    """Return all values of windows in own units."""
    assert windows.origins is not None
    return to_own_units(windows.values, windows.origins[:, None])


def test_windows_hold_what_the_rows_moved_by() -> None:
    """From an origin they come back as they were written; from 0 the movement would be gone."""
    values = CARRIERS + NOISE
    expected = np.lib.stride_tricks.sliding_window_view(values, SIZE, axis=0).swapaxes(1, 2)
    windows = made(Origins(CARRIERS + 0.123)).push(rows_of(values))
    assert own(windows).tolist() == expected.tolist()
    assert newest(windows, np.array([3])).tolist() == [values[SIZE + 2].tolist()]
    assert np.abs(made(ZERO).push(rows_of(values)).values - expected).max() > 10.0


def test_what_is_filled_in_is_in_own_units() -> None:
    """The value before, and the constant of the policy: neither is an offset away."""
    values = CARRIERS + NOISE[:SIZE]
    values[2] = NAN
    carried, constant = (made(Origins(CARRIERS), previous=flag).push(rows_of(values)) for flag in (True, False))
    assert own(carried)[0, 2].tolist() == values[1].tolist()
    assert own(constant)[0, 2].tolist() == CONSTANTS.tolist()


def test_a_key_counts_from_its_own_first_values() -> None:
    """Keys of any level keep their movement, also a feature that comes later than its key's first row."""
    values = np.array([1e3, 1.0]) * (CARRIERS + NOISE)
    values[:6, 1] = NAN
    stage = made(Origins(is_by_key=True), LEVELS)
    windows = stage.push(rows_of(values))
    assert stage.columns["origins"][0].tolist() == [values[0, 0], values[6, 1]]
    late = windows.offsets >= 6
    assert own(windows)[late][:, -1].tolist() == values[SIZE - 1 :][-late.sum() :].tolist()
    assert own(windows)[~late][:, :, 1].tolist() == np.full((int((~late).sum()), SIZE), CONSTANTS[1]).tolist()


def test_the_model_gets_the_movement_in_spreads_of_the_key() -> None:
    """Standardised around two thousand million as around zero, and what it expected comes back to its units."""
    far, near = (
        made(Origins(is_by_key=True), LEVELS).push(rows_of(around + NOISE)) for around in (CARRIERS, CARRIERS * 0)
    )
    found, expected = standardised(far), standardised(near)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    zeros = np.zeros((len(far), FEATURES), dtype=np.float32)
    back = in_own_units(ErrorBatch(zeros, zeros, found[:, -1]), far).expected
    np.testing.assert_allclose(back, newest(far, np.arange(len(far))), rtol=0, atol=2e-5)


def test_a_late_first_value_changes_no_window_before_it() -> None:
    """Windows of before leave as they would have left in a batch of their own: a replay cuts its batches elsewhere."""
    values = CARRIERS + NOISE[:14]
    values[:9, 1] = NAN
    values[:5, 0] = NAN
    stream = [Arrival(0, 1_000 * row, tuple(cells)) for row, cells in enumerate(values.tolist())]
    whole, alone = (made(Origins(is_by_key=True), LEVELS) for _ in range(2))
    one_by_one = merged([per_key(alone.push(row_batch(stream, row, row + 1))) for row in range(len(stream))])
    assert per_key(whole.push(row_batch(stream))) == one_by_one
    assert state_of(alone) == state_of(whole)


@quick
@given(ordered_streams(), CUTS)
def test_cuts_company_and_restarts_leave_no_trace(stream: list[Arrival], cuts: list[int]) -> None:
    """Where a batch ends, or a process, is nothing that a key's windows may depend on; also before its first values."""
    whole, alone = (made(Origins(is_by_key=True), LEVELS) for _ in range(2))
    expected = per_key(whole.push(row_batch(stream)))
    parts = []
    for start, stop in pieces(len(stream), cuts):
        restored = made(Origins(is_by_key=True), LEVELS)
        restored.columns.restore(every_slot(), alone.columns.export(every_slot()))
        alone = restored
        parts.append(per_key(alone.push(row_batch(stream, start, stop))))
    assert merged(parts) == expected
    assert state_of(alone) == state_of(whole)


def test_state_is_as_large_as_ever_but_where_keys_count_from_their_own() -> None:
    """A global origin costs no byte a key; a key's own costs 8 for each feature."""
    sizes = {
        name: made(origins, LEVELS).columns.size_bytes
        for name, origins in (("none", ZERO), ("global", Origins(CARRIERS)), ("key", Origins(is_by_key=True)))
    }
    assert sizes["global"] == sizes["none"] == sizes["key"] - 8 * FEATURES


def test_the_scaling_of_an_origin_is_that_of_the_values() -> None:
    """Standardising (ring - (mean - origin)) / scale gives what (value - mean) / scale does in 64 bits."""
    scaling = Scaling(CARRIERS + 0.25, np.full(FEATURES, 6.0))
    windows = made(Origins(CARRIERS)).push(rows_of(CARRIERS + NOISE))
    exact = scaling.apply(CARRIERS + NOISE)[SIZE - 1 :]
    np.testing.assert_allclose(scaling.from_origins(CARRIERS).apply(windows.values[:, -1]), exact, atol=1e-6)
