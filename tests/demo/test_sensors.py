"""The generator keeps its promises: bits by seed, normal training rows, spacing, and anomalies one can see."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from streamae.demo.sensors import LENGTHS, SPACING_ROWS, START_MS, Injection, Kind, SyntheticStream, generate
from streamae.errors import DataError
from streamae.evaluation.metrics import runs

ROWS, TRAIN = 1_200, 500


@pytest.fixture(scope="module")
def stream() -> SyntheticStream:
    """One stream for the tests that only look."""
    return generate(keys=25, rows=ROWS, train_rows=TRAIN, seed=3)


def clean_twin(**changes: int) -> SyntheticStream:
    """The stream without anomalies."""
    return generate(keys=25, rows=ROWS, train_rows=TRAIN, seed=3, anomalies_per_key=0, **changes)


def part(stream: SyntheticStream, injection: Injection) -> np.ndarray:
    """Injected cells in units of each feature's standard deviation over the key's training rows."""
    values = next(one.values for one in stream.series if one.key == injection.key)
    train = values[:TRAIN]
    scaled = (values - train.mean(axis=0)) / train.std(axis=0)
    return scaled[injection.start_row : injection.end_row, list(injection.features)]


def of_kind(stream: SyntheticStream, kind: Kind) -> list[Injection]:
    """Injections of one kind; the fixture holds ten of each."""
    return [injection for injection in stream.injections if injection.kind is kind]


def test_equal_arguments_give_equal_bits() -> None:
    """A seed fixes values, labels and injections."""
    first, second = (generate(keys=3, rows=950, train_rows=400, seed=11) for _ in range(2))
    assert first.injections == second.injections
    for one, two in zip(first.series, second.series, strict=True):
        assert np.array_equal(one.values, two.values)
        assert np.array_equal(one.labels, two.labels)


def test_another_seed_gives_another_stream() -> None:
    """The seed reaches the values."""
    first, second = (generate(keys=1, rows=950, train_rows=400, seed=seed) for seed in (1, 2))
    assert not np.allclose(first.series[0].values, second.series[0].values)


def test_shapes_names_and_times(stream: SyntheticStream) -> None:
    """Every key has the same rows at the step asked for, 64 bits without gaps, and its own name."""
    assert len({one.key for one in stream.series}) == 25
    for one in stream.series:
        assert (ROWS, len(stream.features)) == one.values.shape
        assert np.float64 == one.values.dtype
        assert np.isfinite(one.values).all()
        assert stream.features == one.features
        assert one.event_times_ms[0] == START_MS
        assert {60_000} == set(np.diff(one.event_times_ms).tolist())


@pytest.mark.parametrize("features", [1, 2, 11])
def test_any_number_of_features(features: int) -> None:
    """Names stay unique beyond the catalogue and one feature is enough."""
    stream = generate(keys=2, rows=1_000, features=features, train_rows=400, seed=0)
    assert features == len(set(stream.features)) == stream.series[0].values.shape[1]


def test_training_rows_are_normal_and_kinds_balanced(stream: SyntheticStream) -> None:
    """No anomaly before the training rows end; each kind comes equally often."""
    assert all(injection.start_row >= TRAIN + SPACING_ROWS for injection in stream.injections)
    assert dict.fromkeys(Kind, 10) == Counter(injection.kind for injection in stream.injections)


def test_labels_are_exactly_the_injected_rows(stream: SyntheticStream) -> None:
    """The label runs of a key are its injections, no more and no less."""
    for one in stream.series:
        expected = [(i.start_row, i.end_row) for i in stream.injections if i.key == one.key]
        assert expected == list(zip(*(edges.tolist() for edges in runs(one.labels)), strict=True))


def test_anomalies_keep_their_distance() -> None:
    """Even where it is tight, two anomalies of a key and the end of the stream lie a spacing apart."""
    stream = generate(keys=40, rows=3 * 192 + 128 + 300, train_rows=300, anomalies_per_key=3, seed=1)
    for one in stream.series:
        starts, ends = runs(one.labels)
        assert len(starts) == 3
        assert (starts[1:] - ends[:-1] >= SPACING_ROWS).all()
        assert len(one.labels) - ends[-1] >= SPACING_ROWS


def test_lengths_fit_their_kind(stream: SyntheticStream) -> None:
    """Rows of an anomaly stay within the bounds of its kind."""
    for injection in stream.injections:
        shortest, longest = LENGTHS[injection.kind]
        assert shortest <= injection.end_row - injection.start_row <= longest


def test_fraction_of_anomalies_is_spread_over_keys() -> None:
    """Half an anomaly a key means about every second key has one."""
    stream = generate(keys=200, rows=700, features=2, train_rows=300, anomalies_per_key=0.5, seed=4)
    counts = Counter(injection.key for injection in stream.injections)
    assert {1} == set(counts.values())
    assert 70 <= len(counts) <= 130


def test_too_many_anomalies_are_refused() -> None:
    """Instead of letting anomalies merge the generator names the rows it needs."""
    with pytest.raises(DataError, match="704 rows behind the training rows, there are 600"):
        generate(keys=1, rows=1_000, train_rows=400, anomalies_per_key=3)


def test_only_injected_cells_are_wrong() -> None:
    """Outside an injection's rows and features the curves are untouched."""
    stream = generate(keys=1, rows=950, train_rows=400, anomalies_per_key=2, seed=9)
    values = stream.series[0].values
    touched = np.zeros(values.shape, dtype=np.bool_)
    for injection in stream.injections:
        touched[injection.start_row : injection.end_row, list(injection.features)] = True
    train = values[:400]
    scaled = np.abs((values - train.mean(axis=0)) / train.std(axis=0))
    assert scaled[~touched].max() < 6.0
    assert 0 < touched.sum() < 0.1 * touched.size


def test_spikes_stand_far_out(stream: SyntheticStream) -> None:
    """Each spiking cell lies beyond anything the training rows show."""
    for injection in of_kind(stream, Kind.SPIKE):
        assert np.abs(part(stream, injection)).mean() > 4.5


def test_level_shifts_displace_the_curve(stream: SyntheticStream) -> None:
    """The mean of the shifted rows is at least two standard deviations off the training mean."""
    for injection in of_kind(stream, Kind.LEVEL_SHIFT):
        assert (np.abs(part(stream, injection).mean(axis=0)) > 2.0).all()


def test_dropouts_read_zero_far_below_normal(stream: SyntheticStream) -> None:
    """Zero is outside the normal range of every feature."""
    for injection in of_kind(stream, Kind.DROPOUT):
        values = next(one.values for one in stream.series if one.key == injection.key)
        assert not values[injection.start_row : injection.end_row, list(injection.features)].any()
        assert (part(stream, injection) < -3.5).all()


def test_frozen_sensors_repeat_one_value(stream: SyntheticStream) -> None:
    """All frozen rows equal the first one, which itself is a normal value."""
    for injection in of_kind(stream, Kind.FROZEN_SENSOR):
        cells = part(stream, injection)
        assert (cells == cells[0]).all()
        assert (np.abs(cells[0]) < 5.0).all()


def test_correlation_breaks_look_normal_one_by_one(stream: SyntheticStream) -> None:
    """No value leaves the normal range: only its relation to the other features is wrong."""
    for injection in of_kind(stream, Kind.CORRELATION_BREAK):
        assert np.abs(part(stream, injection)).max() < 5.5


def test_correlation_breaks_break_the_relation_to_the_other_features(stream: SyntheticStream) -> None:
    """A linear fit from the other features, made on normal rows, misses the broken rows by far."""
    ratios = []
    for injection in of_kind(stream, Kind.CORRELATION_BREAK):
        values = next(one.values for one in stream.series if one.key == injection.key).astype(np.float64)
        others = [i for i in range(values.shape[1]) if i not in injection.features]
        inputs = np.column_stack([values[:, others], np.ones(len(values))])
        target = values[:, injection.features[0]]
        weights = np.linalg.lstsq(inputs[:TRAIN], target[:TRAIN], rcond=None)[0]
        missed = np.abs(inputs @ weights - target)
        ratios.append(missed[injection.start_row : injection.end_row].mean() / missed[:TRAIN].mean())
    assert min(ratios) > 3.0


def test_features_correlate_and_keys_differ() -> None:
    """Shared factors bind the features of a key; phase, level and amplitude separate keys."""
    stream = clean_twin()
    correlations = [np.corrcoef(one.values.T) for one in stream.series]
    assert np.median(np.abs(np.stack(correlations))[:, ~np.eye(8, dtype=np.bool_)]) > 0.5
    levels = np.stack([one.values.mean(axis=0) for one in stream.series])
    amplitudes = np.stack([one.values.std(axis=0) for one in stream.series])
    assert (levels.std(axis=0) > 0.2 * amplitudes.mean(axis=0)).all()
    first, second = stream.series[0].values[:, 0], stream.series[1].values[:, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.9


def test_noise_has_heavy_tails() -> None:
    """Rough changes of each curve show more extremes than a normal distribution (3), so the task is not trivial."""
    kurtoses = []
    for one in clean_twin().series:
        rough = np.diff(one.values.astype(np.float64), n=4, axis=0)
        kurtoses.append(((rough / rough.std(axis=0)) ** 4).mean(axis=0))
    assert np.mean(kurtoses) > 3.3


def test_days_repeat() -> None:
    """The season has the length asked for: the curve correlates with itself one day later, not half a day later."""
    for one in clean_twin(season_rows=96).series[:5]:
        curve = one.values[:, 0].astype(np.float64)
        whole = np.corrcoef(curve[96:], curve[:-96])[0, 1]
        half = np.corrcoef(curve[48:], curve[:-48])[0, 1]
        assert whole > 0.3
        assert half < 0.0
