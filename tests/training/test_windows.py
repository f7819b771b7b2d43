"""Series to windows: the split by time, nothing across it, and the same windows as in the live stream."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.batches import ErrorBatch, Floats, Partition, RecordBatch, Series
from streamae.core.contents import contents_of
from streamae.core.grid import RowGrid
from streamae.core.key_levels import MIN_ROWS
from streamae.core.scaling import Scaling
from streamae.core.windowing import KeyWindows, Missing
from streamae.errors import DataError
from streamae.training.options import MIN_WINDOWS, TrainOptions
from streamae.training.windows import TrainingWindows, training_windows
from tests.engines import FEATURES, START_MS, WINDOW, Rig, SquareModel, broker_with, tiny_bundle
from tests.engines import settings as engine_settings
from tests.model.models import STEP_MS, changed, series, sines

OPTIONS = changed(TrainOptions(), window_size=5)
NAN = float("nan")


def counting(rows: int = 100, key: str = "a", first: float = 0.0) -> Series:
    """Return a series of one feature whose value is the row number."""
    return series(first + np.arange(rows, dtype=np.float64)[:, None], key)


def row_numbers(windows: TrainingWindows) -> tuple[list[list[int]], list[list[int]]]:
    """Return the row numbers of the fit and of the calibration windows of `counting` series."""
    fit = windows.scaling.invert(windows.fit)
    return np.rint(fit[:, :, 0]).astype(int).tolist(), windows.calibration[:, :, 0].astype(int).tolist()


def test_the_newest_share_is_for_calibration_and_nothing_straddles() -> None:
    """A window with rows on both sides would let the network see what it is judged on."""
    fit, calibration = row_numbers(training_windows([counting()], OPTIONS))
    assert fit == [list(range(start, start + 5)) for start in range(76)]
    assert calibration == [list(range(start, start + 5)) for start in range(80, 96)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(100, 150), min_size=1, max_size=4),
    share=st.floats(0.15, 0.6),
    size=st.integers(4, 7),
)
def test_no_row_is_in_both_kinds_of_windows(lengths: list[int], share: float, size: int) -> None:
    """For any lengths, share and window size, each series is cut once, and by its own time."""
    all_series = [counting(n, f"k{i}", 1_000.0 * i) for i, n in enumerate(lengths)]
    options = changed(TrainOptions(), window_size=size, calibration_share=share)
    fit, calibration = row_numbers(training_windows(all_series, options))
    for i, length in enumerate(lengths):
        old = {row for window in fit for row in window if row // 1_000 == i}
        new = {row for window in calibration for row in window if row // 1_000 == i}
        assert max(old) < min(new)
        assert len(old) + len(new) == length
        assert abs(len(new) - share * length) <= 1


def test_a_short_series_keeps_more_for_calibration() -> None:
    """The usual share of 50 rows is 10, 6 windows of 5: too few, though there are rows enough for both kinds."""
    fit, calibration = row_numbers(training_windows([counting(50)], OPTIONS))
    assert len(calibration) == MIN_WINDOWS + 1
    assert fit[-1][-1] == 36
    assert calibration[0][0] == 37


def test_the_share_falls_with_the_length_to_the_usual_one() -> None:
    """A series one row longer must not be split altogether differently, whatever its length, up from the least."""
    parts = [OPTIONS.calibration_part(rows) for rows in range(26, 400)]
    assert parts[0] == 0.5
    assert parts[-1] == OPTIONS.train.calibration_share
    assert all(0 <= parts[i] - parts[i + 1] < 0.025 for i in range(len(parts) - 1))


def test_gaps_in_the_newest_part_make_it_larger() -> None:
    """Rows in pieces too short for a window must not refuse a series whose older half has windows enough."""
    whole = counting(100)
    times = whole.event_times_ms + 10 * OPTIONS.max_gap_ms * np.maximum(np.arange(100) - 79, 0)
    fit, calibration = row_numbers(training_windows([replace(whole, event_times_ms=times)], OPTIONS))
    assert fit[-1][-1] == 49
    assert (calibration[0][0], calibration[-1][-1]) == (50, 79)


def test_scaling_is_fitted_before_the_split_only() -> None:
    """A level shift in the calibration rows must show as an error there, not move the scale."""
    values = np.random.default_rng(0).normal(5.0, 2.0, (200, 2))
    values[160:] += 1_000.0
    found = training_windows([series(values)], OPTIONS)
    expected = Scaling.fit(values[:160].astype(np.float32))
    np.testing.assert_allclose(found.scaling.means, expected.means)
    np.testing.assert_allclose(found.scaling.scales, expected.scales)
    np.testing.assert_allclose(found.fit[0], expected.apply(values[:5].astype(np.float32)), rtol=1e-5)


def test_windows_are_those_of_the_live_stream() -> None:
    """Training goes through grid and windowing like the daemon, gaps and missing values included."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(120, 2)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = NAN
    times = np.cumsum(rng.integers(1, 4, 120)) * STEP_MS
    times[50:] += 100 * STEP_MS
    one = Series("a", ("x", "y"), times, values)
    options = changed(TrainOptions(), window_size=6, max_gap_ms=10 * STEP_MS, calibration_share=0.5)
    found = training_windows([one], options)

    slots = np.zeros(120, dtype=np.int32)
    said = contents_of(values)
    records = RecordBatch([], [Partition("a", 0)] * 120, [b"a"] * 120, np.arange(120), times, values, contents=said)
    grid = RowGrid(1, 2, max_gap_ms=options.max_gap_ms)
    live = KeyWindows(
        1,
        6,
        2,
        stride=1,
        max_gap_ms=options.max_gap_ms,
        missing=Missing(np.ones(2, dtype=np.bool_), found.scaling.means.astype(np.float32)),
        max_imputed_share=0.5,
    )
    for stage in (grid, live):
        stage.columns.reset(slots[:1])
    windows = live.push(grid.push(records, slots)[0])
    split = times[60]
    np.testing.assert_allclose(
        found.fit, found.scaling.apply(windows.values[windows.end_times_ms < split]), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(found.calibration, windows.values[windows.start_times_ms >= split])


def test_no_window_reaches_across_a_gap() -> None:
    """Rows hours apart are no sequence."""
    one = counting()
    times = one.event_times_ms.copy()
    times[40:] += 2 * OPTIONS.max_gap_ms
    fit, _ = row_numbers(training_windows([replace(one, event_times_ms=times)], OPTIONS))
    assert not [window for window in fit if window[0] < 40 <= window[-1]]
    assert len(fit) == 72


def test_series_do_not_mix() -> None:
    """A window holds rows of one key, also when many keys are cut at once."""
    many = [counting(60, f"k{i}", 1_000.0 * i) for i in range(20)]
    fit, calibration = row_numbers(training_windows(many, OPTIONS))
    for window in fit + calibration:
        assert window == list(range(window[0], window[0] + 5))
    assert {window[0] // 1_000 for window in fit} == set(range(20))


def test_pieces_do_not_show() -> None:
    """Memory is bounded by cutting the work, which must change nothing."""
    many = [sines(f"k{i}", 100 + 37 * i, seed=i) for i in range(5)]
    whole = training_windows(many, OPTIONS)
    pieces = training_windows(many, OPTIONS, max_cells_a_push=1)
    assert sorted(map(bytes, pieces.fit)) == sorted(map(bytes, whole.fit))
    assert sorted(map(bytes, pieces.calibration)) == sorted(map(bytes, whole.calibration))


@pytest.mark.parametrize(("most", "every"), [(1_000, 1), (80, 1), (79, 2), (40, 2), (20, 4), (10, 8)])
def test_many_windows_are_thinned_evenly(most: int, every: int) -> None:
    """The whole time is represented, not its beginning."""
    fit, _ = row_numbers(training_windows([counting()], changed(OPTIONS, max_windows=most), max_cells_a_push=35))
    assert [window[0] for window in fit] == list(range(0, 76, every))
    assert len(fit) <= most


def test_calibration_windows_are_bounded_too() -> None:
    """Error levels need a sample, not every window of a year."""
    _, calibration = row_numbers(training_windows([counting()], OPTIONS, max_calibration_windows=10))
    assert [window[0] for window in calibration] == list(range(80, 96, 2))


def test_late_and_repeated_records_are_left_out_and_counted() -> None:
    """As in the live stream; the count tells whoever trained that the file is not in order."""
    one = counting()
    order = np.arange(100)
    order[[10, 11]] = order[[11, 10]]
    order[20] = order[19]
    found = training_windows([one.take(order)], OPTIONS)
    assert (found.left_out, found.rows) == (2, 98)


@pytest.mark.parametrize(("equal_time", "rows"), [("keep", 100), ("drop", 99), ("dead_letter", 99)])
def test_rows_of_one_time_are_kept_or_left_out_as_in_the_live_stream(equal_time: str, rows: int) -> None:
    """Two payments of one second are two rows to learn from, unless the stream takes one of a time."""
    one = counting()
    times = one.event_times_ms.copy()
    times[20] = times[19]
    found = training_windows([replace(one, event_times_ms=times)], changed(OPTIONS, equal_time=equal_time))
    assert (found.rows, found.left_out, found.step_ms) == (rows, 100 - rows, one.event_times_ms[1] - times[0])


def test_own_ids_tell_rows_apart_that_look_alike() -> None:
    """The same amount twice in one second is two payments where each has its own number, and one where none has."""
    twice = counting().take(np.array([*range(20), *range(19, 100)]))
    ids = np.array([f"payment-{row}" for row in range(101)], dtype=object)
    again = np.array([*ids[:20], *ids[19:100]], dtype=object)
    found = [
        training_windows([one], OPTIONS).rows for one in (twice, replace(twice, ids=ids), replace(twice, ids=again))
    ]
    assert found == [100, 101, 100]


def test_a_grid_merges_records() -> None:
    """Fast or irregular records become rows of one time bucket each; the open bucket at the end counts."""
    values = np.repeat(np.arange(100.0), 4)[:, None]
    one = series(values, step_ms=250)
    found = training_windows([one], changed(OPTIONS, grid_ms=1_000, grid_merge="mean"))
    assert (found.rows, found.step_ms) == (100, 1_000.0)
    fit, calibration = row_numbers(found)
    assert fit[0] == [0, 1, 2, 3, 4]
    assert calibration[-1] == [95, 96, 97, 98, 99]


@pytest.mark.parametrize(
    ("options", "filled"),
    [
        (OPTIONS, 9.0),
        (changed(OPTIONS, missing="constant", missing_constant=-5.0), -5.0),
        (changed(OPTIONS, missing_overrides={"x0": "constant"}, missing_constant=7.0), 7.0),
    ],
    ids=["previous", "constant", "override"],
)
def test_missing_values_follow_the_policy(options: TrainOptions, filled: float) -> None:
    """What fills a hole in training fills it in the live stream."""
    one = counting()
    one.values[10] = NAN
    found = training_windows([one], options)
    window = found.scaling.invert(found.fit)[6, :, 0]
    np.testing.assert_allclose(window, [6, 7, 8, 9, filled], atol=1e-3)
    assert found.left_out == 0


def test_the_constant_is_the_mean_unless_given() -> None:
    """The same default as in the live stream."""
    one = counting()
    one.values[10] = NAN
    found = training_windows([one], changed(OPTIONS, missing="constant"))
    np.testing.assert_allclose(found.fit[6, 4, 0], 0.0, atol=1e-6)


def test_rejected_rows_are_left_out_and_counted() -> None:
    """With policy reject a record without the value never becomes a row."""
    one = counting()
    one.values[10] = NAN
    found = training_windows([one], changed(OPTIONS, missing="reject"))
    assert (found.left_out, found.rows) == (1, 99)
    assert row_numbers(found)[0][6] == [6, 7, 8, 9, 11]


def test_mostly_imputed_windows_are_left_out() -> None:
    """A network trained on filled-in values learns the filling."""
    one = counting()
    one.values[30:50] = NAN
    found = training_windows([one], changed(OPTIONS, max_imputed_share=0.4))
    assert len(found.fit) == 76 - 20  # ends 32 to 51 have at least three


def test_the_step_is_the_median() -> None:
    """Gaps and bursts must not decide the time scale of everything after."""
    one = counting()
    times = one.event_times_ms.copy()
    times[50:] += 10 * STEP_MS
    assert training_windows([replace(one, event_times_ms=times)], OPTIONS).step_ms == STEP_MS


def test_the_digest_follows_the_data() -> None:
    """The bundle says what it was trained on, and only the data decides."""
    one = sines()
    digest = training_windows([one], OPTIONS).digest
    assert training_windows([one], changed(OPTIONS, stride=4)).digest == digest
    values = one.values.copy()
    values[0, 0] += 1
    others = [
        replace(one, key="b"),
        replace(one, features=("y", "z")),
        replace(one, event_times_ms=one.event_times_ms + 1),
        replace(one, values=values),
    ]
    assert len({digest, *(training_windows([other], OPTIONS).digest for other in others)}) == 5


def test_constant_series_are_fine() -> None:
    """A sensor that never moved is the best reason to alert when it does."""
    found = training_windows([series(np.full((100, 2), 3.5))], OPTIONS)
    assert not found.fit.any()
    np.testing.assert_array_equal(found.scaling.scales, 1.0)


def test_the_input_is_not_changed() -> None:
    """Evaluation uses the same series afterwards."""
    one = sines()
    one.values[5, 0] = NAN
    before = one.values.copy()
    training_windows([one], OPTIONS)
    np.testing.assert_array_equal(one.values, before)


def test_short_series_beside_long_ones_are_harmless() -> None:
    """A key that was just added must not keep the others from training."""
    found = training_windows([counting(), counting(3, "b", 1_000.0), counting(0, "c")], OPTIONS)
    assert len(found.fit) == 76


@pytest.mark.parametrize(
    ("all_series", "reason"),
    [
        ([], "no series"),
        ([series(np.zeros((100, 0)))], "no features"),
        ([counting(3)], "only 0 windows of 5 rows to train on"),
        ([counting(14)], "only 7 windows of 5 rows to train on"),
        ([counting(23)], "only 1 windows of 5 rows to calibrate on, at least 8 are needed"),
        ([counting(0)], "only 0 rows, 0 records left out"),
        ([sines(features=2), sines("b", features=3)], "'b' and 'a' have different features: x2"),
        (
            [sines(), replace(sines("b"), features=("x1", "x0"))],
            "different features: the order of columns",
        ),
        ([series(np.full((100, 1), NAN))], "feature 'x0' has no value in the 80 training rows"),
        ([series(np.full((100, 1), 1e31))], "'x0' has a value beyond 1e"),
        ([series(np.full((100, 1), -np.inf))], "'x0' has a value beyond 1e"),
        ([replace(counting(), event_times_ms=np.zeros(100, dtype=np.int64))], "all rows of a key have one time"),
        ([replace(counting(), event_times_ms=np.zeros(7, dtype=np.int64))], r"shape \(100, 1\) for 7 times"),
    ],
)
def test_data_that_cannot_train_says_why(all_series: list[Series], reason: str) -> None:
    """Before anything is computed, and with what to do about it."""
    with pytest.raises(DataError, match=reason):
        training_windows(all_series, OPTIONS)


def test_a_feature_only_seen_in_calibration_is_refused() -> None:
    """Its scale would be anybody's guess."""
    values = np.random.default_rng(0).normal(size=(100, 2))
    values[:80, 1] = NAN
    with pytest.raises(DataError, match="'x1' has no value in the 80 training rows: leave it out"):
        training_windows([series(values)], OPTIONS)


def test_the_advice_is_enough() -> None:
    """Whoever follows the message's number of rows gets a training."""
    with pytest.raises(DataError) as caught:
        training_windows([counting(12)], OPTIONS)
    rows = int(str(caught.value).split("about ")[1].split()[0])
    found = training_windows([counting(rows)], OPTIONS)
    assert min(len(found.fit), len(found.calibration)) >= MIN_WINDOWS


def test_keys_are_scaled_by_themselves_as_in_the_live_stream() -> None:
    """What the engine hands to the model is, window by window and bit by bit, what training makes of the same rows."""
    random = np.random.default_rng(9)
    all_series = [
        Series(name, FEATURES, START_MS + STEP_MS * np.arange(400), random.normal(at, at / 9, (400, 2)).astype("<f4"))
        for name, at in (("machine-1", 5.0), ("machine-2", 5e5))
    ]
    options = changed(TrainOptions(), window_size=WINDOW, scaling="key", max_gap_ms=60_000_000)
    windows = training_windows(all_series, options)
    seen: list[np.ndarray] = []  # type: ignore[type-arg]

    class Witness(SquareModel):
        def run(self, values: Floats) -> ErrorBatch:
            seen.append(values)
            return super().run(values)

    bundle = replace(tiny_bundle(), scaling=windows.scaling, scaled_by="key")
    rig = Rig(
        broker_with(interleaved(all_series), partitions=1),
        bundle=bundle,
        settings=engine_settings(window={"max_gap_ms": 60_000_000}),
        parts={"runner": Witness()},
    )
    rig.run_dry()
    live = np.concatenate(seen)
    order = [row for row in range(400 - MIN_ROWS) for _ in all_series]
    before = np.array([MIN_ROWS + row < 320 for row in order])
    after = np.array([MIN_ROWS + row - WINDOW + 1 >= 320 for row in order])
    assert len(live) == len(order)
    assert same_windows(Scaling.unit(2).apply(live[before]), windows.fit)
    assert same_windows(live[after], windows.calibration)
    assert np.abs(windows.fit).mean() == pytest.approx(
        0.8, rel=0.1
    )  # of a standard normal: both keys, five decades apart


def test_a_tag_that_seldom_speaks_is_learnt_by_what_stood() -> None:
    """A set point told three times in a thousand rows is no column of holes, and its usual value is the one that lasted."""
    values = np.stack([np.arange(1_000.0), np.full(1_000, NAN)], axis=1)
    values[[0, 400, 410], 1] = 3.0, 1.0, 3.0
    found = training_windows([series(values)], changed(OPTIONS, missing="hold"))
    assert found.scaling.means[1] == pytest.approx(3.0 - 2.0 * 10 / 800)
    assert (found.calibration[..., 1] == 3.0).all()
    assert found.doubts == ()
    counted = training_windows([series(values)], changed(OPTIONS, max_imputed_share=1.0))
    assert "no value in more than 50% of the rows" in counted.doubts[0]


def same_windows(first: Floats, second: Floats) -> bool:
    """Whether both hold the same windows, in whatever order."""
    return sorted(one.tobytes() for one in first) == sorted(one.tobytes() for one in second)


def interleaved(all_series: list[Series]) -> list[tuple[bytes, bytes]]:
    """Return (key, JSON value) row by row."""
    return [
        (
            one.key.encode(),
            json.dumps(
                {"ts": int(one.event_times_ms[row])} | dict(zip(one.features, one.values[row].tolist(), strict=True))
            ).encode(),
        )
        for row in range(len(all_series[0]))
        for one in all_series
    ]


@pytest.mark.parametrize("changes", [{}, {"grid_ms": 3 * STEP_MS, "grid_merge": "mean"}, {"log_fields": ("x0",)}])
def test_ordinary_values_are_trained_on_in_the_bits_they_always_had(changes: dict[str, Any]) -> None:
    """Figures of before stay: where 32 bits are enough, digits beyond them change neither windows nor scales."""
    options, one = changed(OPTIONS, **changes), sines()
    short = replace(one, values=one.values.astype(np.float32).astype(np.float64))
    found, before = (training_windows([each], options) for each in (one, short))
    assert found.origins.are_zero
    assert found.digest == before.digest
    for name in ("fit", "calibration"):
        assert getattr(found, name).tobytes() == getattr(before, name).tobytes()
    assert found.scaling.scales.tobytes() == before.scaling.scales.tobytes()


def test_a_large_level_hides_no_movement_and_raises_no_doubt() -> None:
    """2,412,000,000 Hz that move by 6 are one value to 32 bits; two sets of them are not the same data."""
    move = 6 * np.random.default_rng(0).normal(size=(400, 1))
    found = training_windows([series(2.412e9 + move)], OPTIONS)
    assert found.doubts == ()
    assert found.scaling.scales[0] == pytest.approx(6.0, rel=0.1)
    assert found.inputs.invert(found.fit[:1])[0, :, 0] == pytest.approx(
        2.412e9 + move[:5, 0] - found.origins.levels[0], abs=1e-4
    )
    assert found.digest != training_windows([series(2.412e9 + 1.01 * move)], OPTIONS).digest


def test_a_logarithm_of_a_large_level_keeps_its_movement() -> None:
    """What is made of a field that needs 64 bits needs them too."""
    move = 6 * np.random.default_rng(0).normal(size=(400, 1))
    found = training_windows([series(2.412e9 + move)], changed(OPTIONS, log_fields=("x0",)))
    assert found.origins.levels[0] == pytest.approx(np.log1p(2.412e9))
    assert np.ptp(found.fit[:, :, 0]) > 3.0
    assert len(np.unique(found.fit[:, -1, 0])) > 300
