"""The columns of a report: their names, their definitions together, and what an average counts."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.evaluation.measures import (
    COLUMNS,
    NO_POINT_ADJUSTMENT,
    UNFLATTERED,
    Measures,
    failed,
    macro,
    measure,
)
from streamae.evaluation.metrics import event_report, openings
from streamae.evaluation.nab import nab_score
from streamae.evaluation.ranking import average_precision, period, recall_at, vus_pr

ROWS = 4_000
DEFINED_WITHOUT_EVENTS = {"false_episodes_per_10k", "alarm_share"}


def case(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores, alarms and values of a detector that finds some of it."""
    random = np.random.default_rng(seed)
    labels = np.zeros(ROWS, dtype=np.bool_)
    scores = random.normal(size=ROWS)
    for start, size in ((300, 2.0), (900, 0.2), (1_500, 2.0), (1_700, 1.0), (2_600, 0.4), (3_200, 3.0)):
        labels[start : start + 40] = True
        scores[start : start + 40] += size
    values = np.column_stack([np.sin(np.arange(9_000) * 2 * np.pi / 24), random.normal(size=9_000)])
    return labels, scores, scores > 2.3, values.astype(np.float32)


def test_columns_are_the_ones_agreed_in_their_order() -> None:
    """Tables of different versions compare by these names."""
    assert COLUMNS == (
        "ap",
        "vus_pr",
        "recall_at_8",
        "event_recall",
        "event_precision",
        "event_f1",
        "strict_f1",
        "false_episodes_per_10k",
        "alarm_share",
        "delay_steps",
        "nab_standard",
    )


def test_every_column_is_its_own_definition() -> None:
    """No column is mixed up with another, and VUS-PR takes the period of the first channel of all rows."""
    labels, scores, alarms, values = case()
    report = event_report(labels, alarms, 64)
    assert period(values[:, 0]) == 24
    assert measure(labels, scores, alarms, values) == Measures(
        average_precision(labels, scores),
        vus_pr(labels, scores, 24),
        recall_at(labels, scores, 8.0),
        report.recall,
        report.precision,
        report.f1,
        report.strict_f1,
        report.false_per_10k,
        report.alarm_share,
        report.median_delay,
        nab_score(labels, openings(alarms)).normalised,
    )
    assert len(set(dataclasses.astuple(measure(labels, scores, alarms, values)))) == len(COLUMNS)


def test_perfect_detector() -> None:
    """Alarms and scores equal to the labels: the best value of every column but VUS-PR, whose borders are soft."""
    labels, _, _, values = case()
    best = measure(labels, labels.astype(np.float64), labels, values)
    assert dataclasses.replace(best, vus_pr=1.0) == Measures(1, 1, 1, 1, 1, 1, 1, 0, 0, 0, pytest.approx(100))
    assert best.vus_pr > 0.8


def test_alarming_without_pause_shows_in_the_columns_beside_event_f1() -> None:
    """That is why they are shown together."""
    labels, scores, _, values = case()
    constant = measure(labels, scores, np.ones_like(labels), values)
    assert constant.event_f1 == constant.alarm_share == 1.0
    assert constant.strict_f1 < 0.2
    assert constant.nab_standard < 0


def test_without_events_only_false_alarms_count() -> None:
    """Nothing can be found on a clean series, but an alarm there is still a false alarm."""
    _, scores, alarms, values = case()
    clean = dataclasses.asdict(measure(np.zeros(ROWS, np.bool_), scores, alarms, values))
    assert {name for name, value in clean.items() if not math.isnan(value)} == DEFINED_WITHOUT_EVENTS
    assert clean["false_episodes_per_10k"] > 0
    silent = measure(np.zeros(ROWS, np.bool_), scores, np.zeros(ROWS, np.bool_), values)
    assert silent.false_episodes_per_10k == silent.alarm_share == 0.0


def test_silence_is_zero_and_has_no_delay() -> None:
    """A detector that never alarms found nothing; how late it is cannot be said."""
    labels, scores, _, values = case()
    silent = measure(labels, scores, np.zeros_like(labels), values)
    assert silent.event_recall == silent.event_precision == silent.event_f1 == silent.strict_f1 == 0.0
    assert silent.nab_standard == silent.false_episodes_per_10k == silent.alarm_share == 0.0
    assert math.isnan(silent.delay_steps)


def test_rows_without_a_score_rank_lowest() -> None:
    """A gap in the scores is no evidence, and no NaN in the table."""
    labels, scores, alarms, values = case()
    gaps = scores.copy()
    gaps[1_000:1_600] = math.nan
    found = measure(labels, gaps, alarms, values)
    lowest = measure(labels, np.where(np.isnan(gaps), scores.min() - 1.0, gaps), alarms, values)
    assert (found.ap, found.vus_pr) == (lowest.ap, lowest.vus_pr)
    assert found.ap < measure(labels, scores, alarms, values).ap


def test_nothing_to_measure_is_refused() -> None:
    """A series that is all training has no figures, not zeros."""
    none = np.zeros(0, dtype=np.bool_)
    with pytest.raises(ValueError, match="no test part"):
        measure(none, np.zeros(0), none, np.zeros((5, 1), np.float32))


def test_lengths_must_agree() -> None:
    """Scores that do not align with the labels are a caller's error."""
    labels, scores, alarms, values = case()
    with pytest.raises(ValueError, match="one entry a row"):
        measure(labels, scores[1:], alarms, values)
    with pytest.raises(ValueError, match="one entry a row"):
        measure(labels, scores, alarms[1:], values)


def test_failure_counts_zero_but_does_not_look_quiet() -> None:
    """Zero where large is good; undefined where small is good, or where no method has a figure."""
    zeros = dataclasses.asdict(failed(has_events=True))
    assert {name for name, value in zeros.items() if value == 0.0} == set(COLUMNS) - set(UNFLATTERED)
    assert all(math.isnan(zeros[name]) for name in UNFLATTERED)
    assert all(math.isnan(value) for value in dataclasses.astuple(failed(has_events=False)))


def test_average_counts_failures_as_zero_and_says_how_many_series_count() -> None:
    """A gap would lift the mean of a method that fails on the hard series."""
    labels, scores, alarms, values = case()
    good = measure(labels, scores, alarms, values)
    clean = measure(np.zeros(ROWS, np.bool_), scores, alarms, values)
    average = macro([good, failed(has_events=True), clean, failed(has_events=False)])
    assert average.series == 4
    assert average.means.ap == pytest.approx(good.ap / 2)
    assert average.means.alarm_share == pytest.approx((good.alarm_share + clean.alarm_share) / 2)
    assert average.means.delay_steps == good.delay_steps
    assert average.counts == dict.fromkeys(COLUMNS, 2) | {"delay_steps": 1}


def test_average_of_nothing_is_undefined() -> None:
    """No series, no figure."""
    empty = macro([])
    assert empty.series == 0
    assert all(math.isnan(value) for value in dataclasses.astuple(empty.means))
    assert set(empty.counts.values()) == {0}


@given(st.lists(st.lists(st.one_of(st.floats(-9, 9), st.just(math.nan)), min_size=11, max_size=11), max_size=6))
def test_average_equals_the_mean_of_what_is_known(rows: list[list[float]]) -> None:
    """Column by column, each series once."""
    average = macro([Measures(*row) for row in rows])
    for i, name in enumerate(COLUMNS):
        known = [row[i] for row in rows if not math.isnan(row[i])]
        assert average.counts[name] == len(known)
        expected = sum(known) / len(known) if known else math.nan
        assert getattr(average.means, name) == pytest.approx(expected, nan_ok=True)


def test_random_scores_show_why_point_adjustment_is_refused() -> None:
    """The sentence's claim holds: adjusted, random alarms pass 0.9 where their real F1 is next to nothing."""
    random = np.random.default_rng(8)
    labels = np.zeros(20_000, dtype=np.bool_)
    for start in range(1_000, 20_000, 4_000):
        labels[start : start + 700] = True
    alarms = random.random(20_000) > 0.99
    adjusted = alarms.copy()
    for start in range(1_000, 20_000, 4_000):
        adjusted[start : start + 700] |= alarms[start : start + 700].any()

    def f1(found: np.ndarray) -> float:
        return float(2 * (labels & found).sum() / (labels.sum() + found.sum()))

    assert f1(adjusted) > 0.9
    assert f1(alarms) < 0.05
    assert "0.9" in NO_POINT_ADJUSTMENT
