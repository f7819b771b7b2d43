"""The NAB score against its rules written row by row, and against the benchmark's own published figure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erfc

from streamae.batches import Doubles
from streamae.evaluation.nab import NabScore, NabSeries, best_threshold, corpus_score, nab_score
from streamae.evaluation.suite import Suite
from tests.shared_data import shared_data

NAN = float("nan")


def sigmoid(place: float) -> float:
    """The benchmark's scaled sigmoid: 1 far before the window's end, 0 at it, -1 far behind."""
    return 2 / (1 + math.exp(5 * place)) - 1 if place <= 3 else -1.0


def by_rows(labels: list[bool], alarms: list[bool], probation_rows: int) -> NabScore:
    """The score of the standard profile in plain loops."""
    windows: list[tuple[int, int]] = []
    for row, label in enumerate(labels):
        if label and row and labels[row - 1]:
            windows[-1] = (windows[-1][0], row)
        elif label:
            windows.append((row, row))
    raw = 0.0
    judged = [(first, last) for first, last in windows if last >= probation_rows]
    for first, last in judged:
        inside = [row for row in range(first, last + 1) if alarms[row] and row >= probation_rows]
        raw += sigmoid(-(last - inside[0] + 1) / (last - first + 1)) / sigmoid(-1.0) if inside else -1.0
    for row in range(probation_rows, len(labels)):
        if alarms[row] and not labels[row]:
            before = [(first, last) for first, last in windows if last < row]
            if not before or before[-1][0] == before[-1][1]:
                raw -= 0.11
            else:
                first, last = before[-1]
                raw += 0.11 * sigmoid((row - last) / (last - first))
    return NabScore(raw, len(judged))


@st.composite
def series(draw: st.DrawFn) -> tuple[list[bool], list[float], int]:
    """Labels made of runs, scores with ties and gaps, and a probation."""
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=9))
    first = draw(st.booleans())
    labels = [first == (i % 2 == 0) for i, length in enumerate(lengths) for _ in range(length)]
    values = st.one_of(st.integers(0, 5).map(float), st.just(NAN))
    scores = draw(st.lists(values, min_size=len(labels), max_size=len(labels)))
    return labels, scores, draw(st.integers(0, len(labels)))


def flags(values: list[bool]) -> np.ndarray:
    """As an array."""
    return np.array(values, dtype=np.bool_)


@given(series())
def test_score_equals_the_rules_row_by_row(case: tuple[list[bool], list[float], int]) -> None:
    """Windows at the edges, of one row, or cut by the probation, and alarms anywhere."""
    labels, scores, probation_rows = case
    alarms = [score >= 3.0 for score in scores]
    expected = by_rows(labels, alarms, probation_rows)
    found = nab_score(flags(labels), flags(alarms), probation_rows)
    assert found.raw == pytest.approx(expected.raw, abs=1e-12)
    assert found.windows == expected.windows


def test_perfection_is_100_and_silence_0() -> None:
    """One alarm on each window's first row and none elsewhere; no alarm at all."""
    labels = np.repeat([False, True, False, True, False], [30, 10, 40, 20, 5])
    perfect = np.zeros_like(labels)
    perfect[[30, 80]] = True
    assert nab_score(labels, perfect).normalised == pytest.approx(100.0)
    assert nab_score(labels, np.zeros_like(labels)).normalised == 0.0
    assert nab_score(labels, perfect) == NabScore(pytest.approx(2.0), 2)


def test_constant_alarm_does_not_pay() -> None:
    """Every false row costs: alarming without pause falls far below silence."""
    labels = np.repeat([False, True, False], [500, 50, 450])
    assert nab_score(labels, np.ones_like(labels)).normalised < -1_000


def test_later_alarms_in_a_window_are_worth_less() -> None:
    """The worth falls from row to row and stays positive to the window's last row."""
    labels = np.repeat([False, True, False], [10, 20, 10])
    worth = []
    for row in range(10, 30):
        alarms = np.zeros_like(labels)
        alarms[row:30] = True  # what follows in the window changes nothing
        worth.append(nab_score(labels, alarms).raw)
    assert (np.diff(worth) < 0).all()
    assert worth[-1] > 0


def test_rows_of_the_probation_do_not_count() -> None:
    """Neither their alarms nor a window that ends among them; the window still softens a false row right behind it."""
    labels = np.repeat([False, True, False], [5, 10, 85])
    alarms = np.zeros_like(labels)
    alarms[[2, 7, 16]] = True
    score = nab_score(labels, alarms, probation_rows=15)
    assert score.windows == 0
    assert math.isnan(score.normalised)
    assert score.raw == pytest.approx(0.11 * sigmoid(2 / 9))


def test_corpus_adds_series_and_false_rows_of_those_without_windows() -> None:
    """A corpus is judged by its sums: an alarm on a clean series costs, and no series counts more than its windows."""
    labels = np.repeat([False, True, False], [30, 10, 40])
    perfect, clean, once = np.zeros_like(labels), np.zeros_like(labels), np.zeros_like(labels)
    perfect[30] = once[50] = True
    every = [nab_score(labels, perfect), nab_score(clean, once)]
    assert corpus_score(every) == NabScore(pytest.approx(0.89), 1)
    assert corpus_score(every).normalised == pytest.approx(94.5)
    assert corpus_score([]).windows == 0


@given(st.lists(series(), max_size=4))
def test_best_threshold_equals_trying_every_one(cases: list[tuple[list[bool], list[float], int]]) -> None:
    """The sweep finds the best of all thresholds of the corpus, the highest of equal ones, silence included."""
    corpus = [NabSeries(flags(labels), np.array(scores), rows) for labels, scores, rows in cases]
    best_raw, best = -math.inf, math.inf
    for threshold in [math.inf, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]:
        raw = sum(by_rows(labels, [score >= threshold for score in scores], rows).raw for labels, scores, rows in cases)
        if raw > best_raw + 1e-9:
            best_raw, best = raw, threshold
    found = best_threshold(corpus)
    assert found.score.raw == pytest.approx(best_raw, abs=1e-9)
    assert found.threshold == best
    at_threshold = corpus_score(nab_score(one.labels, one.scores >= best, one.probation_rows) for one in corpus)
    assert at_threshold.windows == found.score.windows
    assert at_threshold.raw == pytest.approx(found.score.raw, abs=1e-9)


def test_other_lengths_are_refused() -> None:
    """Labels and alarms of different series are a caller's error."""
    labels = np.zeros(3, dtype=np.bool_)
    with pytest.raises(ValueError, match="one entry a row"):
        nab_score(labels, np.zeros(4, dtype=np.bool_))
    with pytest.raises(ValueError, match="one entry a row"):
        best_threshold([NabSeries(labels, np.zeros(4), 0)])


def windowed_gaussian(values: Doubles) -> Doubles:
    """The benchmark's baseline: how unlikely a row is under mean and spread of the 6,400 rows before, moved by 100.

    Rounded to 12 digits, as its published scores were when they were judged.
    """
    size, step = 6_400, 100
    centred, row = values - values.mean(), np.arange(len(values))
    sums, squares = (np.append(0.0, np.cumsum(centred**power)) for power in (1, 2))
    first = np.maximum(row - size, 0) // step * step
    last = np.where(row <= size, row, size + first)
    first = np.where(row <= size, 0, first)
    count = np.maximum(last - first, 1)
    mean = (sums[last] - sums[first]) / count
    sd = np.sqrt(np.maximum((squares[last] - squares[first]) / count - mean**2, 0.0))
    sd = np.where(sd < 1e-9 * max(1.0, np.abs(values).max()), 1e-6, sd)
    scores = 1.0 - 0.5 * erfc(np.abs(centred - mean) / sd / 1.4142)
    scores[0] = 0.0
    return np.round(scores, 12)


def test_published_score_of_a_detector_is_reproduced() -> None:
    """All 58 series: windowedGaussian_standard_scores.csv says threshold 1.0, raw score -24.0131 (39.6 normalised)."""
    folder = shared_data()
    corpus = []
    for found in Suite.open(folder).select(["nab"]).series:
        loaded = found.load()
        scores = windowed_gaussian(loaded.series.values[:, 0].astype(np.float64))
        corpus.append(NabSeries(loaded.labels, scores, loaded.train_rows))
    best = best_threshold(corpus)
    assert best.threshold == 1.0
    assert best.score == NabScore(pytest.approx(-24.0131054891, abs=1e-6), 116)
    assert best.score.normalised == pytest.approx(39.65, abs=0.01)
