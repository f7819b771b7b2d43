"""NAB's corpus score: a sum over series, failures included, and the best single threshold beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from streamae.evaluation.measures import failed
from streamae.evaluation.nab_corpus import HEADER, corpus_scores, corpus_text, write_corpus_scores
from streamae.evaluation.results import Curves, Place, Result, failure

ROWS, START, END = 200, 100, 120


def keep(folder: Path, series: str, alarm_row: int | None, *, level: float = 5.0, has_event: bool = True) -> Result:
    """Keep a series with one window [100, 120), a score of `level` at its first row, and perhaps an alarm."""
    labels, alarms, scores = np.zeros(ROWS, dtype=bool), np.zeros(ROWS, dtype=bool), np.ones(ROWS)
    labels[START:END] = has_event
    scores[START] = level
    if alarm_row is not None:
        alarms[alarm_row] = True
    result = Result("plant", series, "default", 0, failed(has_events=has_event), rows=ROWS, events=int(has_event))
    Place(folder, "plant", series, "default", 0).save(result, Curves(labels, scores, np.full(ROWS, 2.0), alarms))
    return result


def test_alarms_on_the_first_rows_are_perfect(tmp_path: Path) -> None:
    """100 means every window found at once and nothing else, at the own threshold as at the best one."""
    (found,) = corpus_scores([keep(tmp_path, name, START) for name in "ab"], tmp_path)
    assert (found.windows, found.own, found.optimised) == (2, pytest.approx(100.0), pytest.approx(100.0))
    assert found.threshold == 5.0


def test_the_sum_over_series_is_normalised_once(tmp_path: Path) -> None:
    """False rows of a series without windows cost the corpus: it is no mean of the series' own figures."""
    results = [keep(tmp_path, "a", START), keep(tmp_path, "quiet", 50, level=1.0, has_event=False)]
    (found,) = corpus_scores(results, tmp_path)
    assert found.own == pytest.approx(100.0 * (1.0 - 0.11 + 1.0) / 2.0)
    assert found.optimised == pytest.approx(100.0)


def test_a_failed_series_counts_as_silence(tmp_path: Path) -> None:
    """Who fails on half of the windows has half of the score, whatever the threshold."""
    broken = failure(Place(tmp_path, "plant", "b", "default", 0), "too short", rows=ROWS, events=1)
    (found,) = corpus_scores([keep(tmp_path, "a", START), broken], tmp_path)
    assert (found.windows, found.own, found.optimised) == (2, pytest.approx(50.0), pytest.approx(50.0))


def test_rows_of_a_learning_key_are_never_alarms(tmp_path: Path) -> None:
    """The optimised threshold cannot find what a key that withholds its verdict does not tell."""
    result = keep(tmp_path, "a", None)
    curves = Place(tmp_path, "plant", "a", "default", 0).curves()
    assert curves is not None
    learning = Curves(curves.labels, curves.scores, np.full(ROWS, np.inf), curves.alarms)
    Place(tmp_path, "plant", "a", "default", 0).save(result, learning)
    (found,) = corpus_scores([result], tmp_path)
    assert (found.own, found.optimised, found.threshold) == (0.0, 0.0, np.inf)


def test_groups_without_windows_are_left_out(tmp_path: Path) -> None:
    """Nothing to find has no score."""
    assert corpus_scores([keep(tmp_path, "a", 50, has_event=False)], tmp_path) == []


def test_table_and_text_say_what_was_optimised(tmp_path: Path) -> None:
    """Nobody takes the optimised figure for the shipped one."""
    scores = corpus_scores([keep(tmp_path, "a", START)], tmp_path)
    write_corpus_scores(tmp_path / "nab.csv", scores)
    with (tmp_path / "nab.csv").open(encoding="utf-8", newline="") as stream:
        header, line = csv.reader(stream)
    assert tuple(header) == HEADER
    assert line == ["plant", "default", "0", "1", "100.0", "100.0", "5.0", "100.0"]
    text = corpus_text(scores)
    assert "optimised with the labels" in text
    assert text.splitlines()[1] == "plant  default  100.0  100.0  100.0  (1 windows)"


def test_an_episode_is_one_alarm(tmp_path: Path) -> None:
    """Rows in alarm one after the other page once, and cost once."""
    result = keep(tmp_path, "a", START)
    place = Place(tmp_path, "plant", "a", "default", 0)
    curves = place.curves()
    assert curves is not None
    alarms = curves.alarms.copy()
    alarms[START : END + 30] = True  # goes on behind the window
    place.save(result, Curves(curves.labels, curves.scores, curves.thresholds, alarms))
    (found,) = corpus_scores([result], tmp_path)
    assert found.own == pytest.approx(100.0)


def test_a_score_that_stays_high_costs_one_alarm_or_many(tmp_path: Path) -> None:
    """Thirty false rows in a row are one false episode; by the row they cost thirty times as much."""
    labels, scores = np.zeros(ROWS, dtype=bool), np.ones(ROWS)
    labels[START:END], scores[START], scores[:30] = True, 5.0, 6.0
    result = Result("plant", "a", "default", 0, failed(has_events=True), rows=ROWS, events=1)
    curves = Curves(labels, scores, np.full(ROWS, 2.0), np.zeros(ROWS, dtype=bool))
    Place(tmp_path, "plant", "a", "default", 0).save(result, curves)
    (found,) = corpus_scores([result], tmp_path)
    assert found.threshold == 5.0
    assert found.optimised == pytest.approx(100.0 * (2.0 - 0.11) / 2.0)
    assert found.optimised_rows == 0.0
