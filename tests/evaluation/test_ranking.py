"""Ranking figures against plain definitions, and VUS-PR against figures that others published on the same rows."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.metrics import average_precision_score

from streamae.batches import Doubles
from streamae.evaluation.ranking import NO_PERIOD, average_precision, period, recall_at, vus_pr
from streamae.evaluation.suite import Suite
from tests.shared_data import shared_data

NAN = float("nan")


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels made of runs, at least one of them True, and scores with ties, infinities and gaps."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=12))
    first = draw(st.booleans())
    labels = np.concatenate([np.full(length, first == (i % 2 == 0)) for i, length in enumerate(lengths)])
    values = st.one_of(st.integers(0, 6).map(float), st.sampled_from([NAN, math.inf, -math.inf, 2.5]))
    scores = draw(st.lists(values, min_size=len(labels), max_size=len(labels)))
    return labels, np.array(scores)


def precision_by_rows(labels: list[bool], scores: list[float]) -> float:
    """Average precision, threshold by threshold."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        alarms = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        recall = sum(alarms) / sum(labels)
        total += (recall - recall_before) * sum(alarms) / len(alarms)
        recall_before = recall
    return total


def events_of(labels: list[bool]) -> list[tuple[int, int]]:
    """First and last row of each event."""
    found: list[tuple[int, int]] = []
    for row, label in enumerate(labels):
        if label and row and labels[row - 1]:
            found[-1] = (found[-1][0], row)
        elif label:
            found.append((row, row))
    return found


def volume_by_rows(labels: list[bool], scores: list[float], window: int) -> float:
    """VUS-PR in plain loops: buffer by buffer, threshold by threshold, row by row."""
    count, events = len(labels), events_of(labels)
    ladder = sorted(scores, reverse=True)
    areas = []
    for width in range(window + 1):
        soft = [float(label) for label in labels]
        for first, last in events:
            for row in range(count):
                distance = first - row if row < first else row - last
                if 0 < distance <= width // 2:
                    soft[row] = min(1.0, soft[row] + math.sqrt(1 - distance / width))
        wide: list[list[int]] = []
        for first, last in events:
            if wide and first - width // 2 <= wide[-1][1]:
                wide[-1][1] = last + width // 2
            else:
                wide.append([first - width // 2, last + width // 2])
        area, recall_before = 0.0, 0.0
        for step in range(250):
            rank = int(step * ((count - 1) / 249)) if step < 249 else count - 1  # rounded as in the benchmark
            threshold = ladder[rank]
            alarms = [row for row in range(count) if scores[row] >= threshold]
            found = sum(soft[row] for row in alarms)
            reached = sum(any(first <= row <= last for row in alarms) for first, last in wide) / len(wide)
            extra = sum(soft[row] for row in alarms if not labels[row])
            recall = min(found / (sum(labels) + extra / 2), 1.0) * reached
            area += (recall - recall_before) * found / len(alarms)
            recall_before = recall
        areas.append(area)
    return sum(areas) / len(areas)


def recall_by_thresholds(labels: list[bool], scores: list[float], per_10k: float) -> float:
    """Event recall at the lowest threshold within the budget, trying every one."""
    events, best = events_of(labels), 0.0
    shadow = {row for _, last in events for row in range(last + 1, last + 65)}
    budget = per_10k * sum(not label for label in labels) / 10_000
    for threshold in sorted(set(scores) - {-math.inf}, reverse=True):
        blocks, covered = 0, -1
        for row, score in enumerate(scores):
            if score >= threshold and not labels[row] and row not in shadow and row > covered:
                blocks, covered = blocks + 1, row + 63
        if blocks > budget:
            break
        best = sum(max(scores[first : last + 1]) >= threshold for first, last in events) / len(events)
    return best


def plain(scores: np.ndarray) -> list[float]:
    """Scores as floats, a missing one lowest."""
    return [-math.inf if math.isnan(score) else score for score in scores.tolist()]


@given(labelled_scores())
def test_average_precision_equals_the_definition(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Ties, infinities and missing scores are treated as one threshold a distinct value."""
    labels, scores = case
    if labels.any():
        assert average_precision(labels, scores) == pytest.approx(precision_by_rows(labels.tolist(), plain(scores)))


@pytest.mark.parametrize("levels", [2, 7, 1_000_000])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.9])
def test_average_precision_is_that_of_the_library(levels: int, share: float) -> None:
    """On 5,000 rows it equals scikit-learn's, whether nearly all scores are tied or hardly any are."""
    random = np.random.default_rng(levels)
    labels = random.random(5_000) < share
    scores = np.floor((random.random(5_000) + 0.3 * labels) * levels)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), rel=1e-12)


def test_average_precision_of_known_rankings() -> None:
    """Perfect is 1; constant scores get the share of anomalous rows, whatever their order."""
    labels = np.repeat([False, True, False], [50, 10, 40])
    assert average_precision(labels, labels.astype(np.float32)) == 1.0
    assert average_precision(labels, np.zeros(100)) == pytest.approx(0.1)
    assert average_precision(labels, np.full(100, NAN)) == pytest.approx(0.1)


@given(labelled_scores(), st.integers(0, 11))
def test_vus_equals_the_definition(case: tuple[np.ndarray, np.ndarray], window: int) -> None:
    """The vectorised surface is that of plain loops, with events that touch the ends or grow into each other."""
    labels, scores = case
    if labels.any():
        expected = volume_by_rows(labels.tolist(), plain(scores), window)
        assert vus_pr(labels, scores, window) == pytest.approx(expected, abs=1e-12)


def test_vus_of_a_longer_series_equals_the_definition() -> None:
    """More rows than thresholds: ranks between the thresholds are skipped as defined."""
    random = np.random.default_rng(11)
    labels = np.repeat(random.random(70) < 0.2, 10)
    scores = random.normal(size=700) + labels
    assert vus_pr(labels, scores, 5) == pytest.approx(volume_by_rows(labels.tolist(), scores.tolist(), 5), abs=1e-12)


def test_vus_forgives_an_alarm_beside_the_event_and_ap_does_not() -> None:
    """That is what the buffers are for."""
    labels = np.zeros(400, dtype=np.bool_)
    labels[200:210] = True
    beside = np.zeros(400)
    beside[190:200] = 1.0
    assert vus_pr(labels, beside, 40) > 4 * average_precision(labels, beside)


@given(labelled_scores(), st.sampled_from([0.0, 8.0, 300.0, 3_000.0]))
def test_recall_at_equals_trying_every_threshold(case: tuple[np.ndarray, np.ndarray], per_10k: float) -> None:
    """Bisection over the distinct scores finds the lowest threshold within the budget."""
    labels, scores = case
    labels, scores = np.tile(np.append(labels, [False] * 70), 3), np.tile(np.append(scores, [0.5] * 70), 3)
    scores[:60] += 0.25
    if labels.any():
        assert recall_at(labels, scores, per_10k) == recall_by_thresholds(labels.tolist(), plain(scores), per_10k)


def test_recall_at_counts_events_above_the_allowed_noise() -> None:
    """With 8 blocks allowed, the ninth loudest false block is the level that events must pass."""
    labels = np.zeros(10_100, dtype=np.bool_)
    scores = np.zeros(10_100)
    scores[np.arange(1, 13) * 700] = np.arange(12, 0, -1)  # false peaks 12, 11, ... 1: the ninth is 4
    for start, peak in ((9_200, 4.5), (9_400, 4.0), (9_600, 20.0), (9_800, 3.0)):
        labels[start : start + 25] = True
        scores[start + 3] = peak
    assert recall_at(labels, scores) == 0.5
    assert recall_at(labels, scores, 12.0) == 1.0
    assert recall_at(labels, scores, 0.0) == 0.25


def test_recall_at_cannot_be_had_by_alarming_without_pause() -> None:
    """A constant score has no threshold within the budget: nothing is found."""
    labels = np.zeros(2_000, dtype=np.bool_)
    labels[500:520] = True
    assert recall_at(labels, np.ones(2_000)) == 0.0
    assert recall_at(labels, np.full(2_000, NAN)) == 0.0


def test_recall_at_never_finds_an_event_without_a_score() -> None:
    """Rows that were not scored are never in alarm, however large the budget."""
    labels = np.repeat([False, True, False, True], [100, 10, 100, 10])
    scores = np.where(np.arange(220) < 110, NAN, 1.0)
    assert recall_at(labels, scores, 10_000.0) == 0.5


def test_without_events_there_is_no_ranking_figure() -> None:
    """Undefined is NaN, not 0 and not 1."""
    labels, scores = np.zeros(9, dtype=np.bool_), np.arange(9.0)
    assert math.isnan(average_precision(labels, scores))
    assert math.isnan(vus_pr(labels, scores, 3))
    assert math.isnan(recall_at(labels, scores))


def test_a_series_of_one_event_only_is_perfect() -> None:
    """Without normal rows no alarm can be false."""
    labels, scores = np.ones(9, dtype=np.bool_), np.arange(9.0)
    assert average_precision(labels, scores) == vus_pr(labels, scores, 3) == recall_at(labels, scores) == 1.0


def test_wrong_arguments_are_refused() -> None:
    """Scores of another series, or a negative window, are a caller's error."""
    labels, scores = np.ones(4, dtype=np.bool_), np.ones(5)
    for figure in (average_precision, recall_at, lambda one, two: vus_pr(one, two, 3)):
        with pytest.raises(ValueError, match="one entry a row"):
            figure(labels, scores)
    with pytest.raises(ValueError, match="window is -1 rows"):
        vus_pr(labels, scores[:4], -1)


@given(labelled_scores())
def test_only_the_order_of_the_scores_matters(case: tuple[np.ndarray, np.ndarray]) -> None:
    """A monotone change of the scores changes nothing, and the arguments are only read."""
    labels, scores = case
    before = labels.copy(), scores.copy()
    moved = np.arctan(np.nan_to_num(scores, nan=NAN, posinf=9.0, neginf=-9.0))
    moved[np.isnan(scores)] = -9.0
    for one, two in (
        (average_precision(labels, scores), average_precision(labels, np.where(np.isneginf(scores), -9.0, moved))),
        (vus_pr(labels, scores, 4), vus_pr(labels, np.where(np.isneginf(scores), -9.0, moved), 4)),
    ):
        np.testing.assert_equal(one, two)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(scores, before[1])


def period_by_lags(values: list[float]) -> int:
    """The window by its definition: the autocorrelation lag by lag."""
    mean = sum(values) / len(values)
    away = [value - mean for value in values]
    lags = [sum(a * b for a, b in zip(away, away[lag:], strict=False)) for lag in range(3, min(401, len(values)))]
    peaks = [i for i in range(1, len(lags) - 1) if lags[i - 1] < lags[i] > lags[i + 1]]
    if not peaks:
        return 125
    best = max(peaks, key=lambda i: lags[i])
    return best + 3 if 3 <= best <= 300 else 125


@pytest.mark.parametrize("seed", range(12))
def test_period_equals_the_definition(seed: int) -> None:
    """The transform gives what lag by lag gives, on noise with and without a season."""
    random = np.random.default_rng(seed)
    rows = random.integers(8, 900)
    values = random.normal(size=rows) + seed % 3 * np.sin(np.arange(rows) / random.uniform(1, 60))
    assert period(values) == period_by_lags(values.tolist())


@pytest.mark.parametrize(
    ("length", "expected"), [(5, NO_PERIOD), (6, 6), (48, 48), (303, 303), (304, NO_PERIOD), (390, NO_PERIOD)]
)
def test_period_of_a_repeated_pulse(length: int, expected: int) -> None:
    """Lags from 6 to 303 are taken; a pulse that repeats faster or more slowly has no period."""
    values = np.zeros(6_000)
    values[::length] = 1.0
    assert period(values) == expected


def test_period_where_there_is_none() -> None:
    """Constant, missing, short and monotone series fall back to the fixed window."""
    gaps = np.where(np.arange(1_000) % 50 == 0, NAN, 0.1)  # less its mean, only rounding is left, with a period
    for values in (np.full(500, 0.1), gaps, np.full(500, NAN), np.zeros(0), np.ones(2), np.arange(500.0)):
        assert period(values) == NO_PERIOD


def test_period_reads_missing_values_as_the_mean_and_the_head_only() -> None:
    """Gaps do not hide a season, and what comes after 20,000 rows does not count."""
    values = np.sin(np.arange(20_000) * 2 * np.pi / 60)
    values[100:160] = NAN
    assert period(values) == 60
    assert period(np.append(values, np.random.default_rng(1).normal(size=9_000) * 50)) == 60


def principal_components(rows: Doubles, window: int, share: float | None) -> Doubles:
    """TSB-AD's PCA detector: weighted distances of standardised windows to principal axes.

    Axes up to the given share of the variance, all if None; their signs are those of the largest entry of the left
    singular vectors (as that library's releases of the time had it), which the distances depend on.
    """
    count = len(rows)
    windows = sliding_window_view(rows, window, axis=0).reshape(count - window + 1, -1)
    mean, sd = windows.mean(axis=0), windows.std(axis=0)
    z = (windows - mean) / np.where(sd > 1e-12 * (1 + np.abs(mean)), sd, 1.0)
    left, values, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    axes = axes * np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])[:, None]
    shares = values**2 / (values**2).sum()
    kept = len(shares) if share is None else int(np.searchsorted(np.cumsum(shares), share, side="right")) + 1
    squares = (z**2).sum(axis=1)[:, None] + 1.0 - 2.0 * z @ axes[:kept].T
    scores = (np.sqrt(np.maximum(squares, 0.0)) / shares[:kept]).sum(axis=1)
    return np.pad(scores, (math.ceil((window - 1) / 2), (window - 1) // 2), mode="edge")


def published(folder: Path) -> list[dict[str, str]]:
    """The published figures of PCA on rows that we hold exactly."""
    with (folder / "ANCHORS_tsb_ad.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [row for row in rows if row["match"] == "exact" and row["method"] in {"PCA", "Sub-PCA"}]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "least"), [("smd", 3), ("smap_msl", 13), ("ucr", 6)])
def test_vus_equals_published_figures(group: str, least: int) -> None:
    """Period, VUS-PR, labels and rows agree with TSB-AD's to the last published digit, on series of three groups."""
    folder = shared_data()
    series = {(one.group, one.name): one for one in Suite.open(folder).series}
    anchors = [row for row in published(folder) if row["dataset"] == group]
    for row in sorted(anchors, key=lambda row: int(row["rows"]))[:least]:
        loaded = series[group, row["series"]].load()
        part = slice(int(row["start_row"]), int(row["start_row"]) + int(row["rows"]))
        values, labels = loaded.series.values[part].astype(np.float64), loaded.labels[part].copy()
        if group == "ucr":
            labels[np.argmax(labels)] = False  # our label begins a row earlier
        window = period(values[:, 0])
        scores = principal_components(values, *((1, 0.25) if row["method"] == "PCA" else (window, None)))
        assert vus_pr(labels, scores, window) == pytest.approx(float(row["vus_pr"]), abs=2e-4), row["series"]
    assert len(anchors) >= least
