"""Stories show different keys and kinds, and line scores up with the rows they belong to."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.demo.sensors import Injection, Kind, SyntheticStream, generate
from streamae.demo.stories import CURVES, ROWS_AFTER, ROWS_BEFORE, choose, story
from streamae.evaluation.metrics import Matching
from streamae.replay.play import Episode
from streamae.replay.recording import Judgement

WINDOW = 16


@pytest.fixture(scope="module")
def stream() -> SyntheticStream:
    """Four keys with an anomaly or two each."""
    return generate(keys=4, rows=1_200, train_rows=500, anomalies_per_key=2, seed=12)


def matching(delays: list[int | None]) -> Matching:
    """Found with a delay, or not (None)."""
    found = np.array([-1 if delay is None else number for number, delay in enumerate(delays)])
    return Matching(found, np.array([delay or 0 for delay in delays]), np.ones(0, dtype=np.bool_))


def injection(key: str, kind: Kind) -> Injection:
    return Injection(key, kind, 700, 720, (1,))


def judged(stream: SyntheticStream, first_row: int = WINDOW - 1) -> dict[str, Judgement]:
    """Scores that carry their own row number, from `first_row` on."""
    rows = np.arange(first_row, 1_200)
    times = stream.series[0].event_times_ms[rows]
    expected = (rows[:, None] * np.ones(8)).astype(np.float32)
    return {one.key: Judgement(times, rows.astype(np.float64), rows + 0.5, expected) for one in stream.series}


def test_each_story_has_its_own_kind_and_key() -> None:
    """Two injections of a kind, or of a key, are never shown together."""
    pool = [injection("a", Kind.SPIKE), injection("b", Kind.SPIKE), injection("a", Kind.DROPOUT)]
    assert choose(pool, matching([0, 0, 0])) == [pool[0]]
    pool.append(injection("c", Kind.DROPOUT))
    assert {(one.key, one.kind) for one in choose(pool, matching([0, 0, 0, 0]))} == {
        ("a", Kind.SPIKE),
        ("c", Kind.DROPOUT),
    }


def test_found_anomalies_come_before_missed_ones() -> None:
    """A missed anomaly is shown only where a kind was not found at all."""
    pool = [injection("a", Kind.LEVEL_SHIFT), injection("b", Kind.LEVEL_SHIFT), injection("c", Kind.DROPOUT)]
    assert choose(pool, matching([None, 9, None]), count=2) == [pool[1], pool[2]]


def test_prompt_findings_come_before_late_ones() -> None:
    """Of a kind the one found soonest is shown."""
    pool = [injection("a", Kind.SPIKE), injection("b", Kind.SPIKE)]
    assert choose(pool, matching([5, 2])) == [pool[1]]


def test_no_more_than_asked_for() -> None:
    """The picture has a fixed number of columns at most."""
    pool = [injection(str(i), kind) for i, kind in enumerate(Kind)]
    assert len(choose(pool, matching([0] * len(pool)), count=2)) == 2
    assert choose([], matching([])) == []


def test_guilty_features_come_first(stream: SyntheticStream) -> None:
    """The curves that are wrong head the story; others fill it up."""
    for one in stream.injections:
        told = story(stream, one, judged(stream), [])
        assert told.features[: len(one.features)] == tuple(stream.features[i] for i in one.features)
        assert len(set(told.features)) == CURVES


def test_story_is_cut_around_the_injection(stream: SyntheticStream) -> None:
    """Rows before and after are shown, and values are those of the cut."""
    one = stream.injections[0]
    told = story(stream, one, judged(stream), [])
    series = next(other for other in stream.series if other.key == one.key)
    first, last = one.start_row - ROWS_BEFORE, min(1_200, one.end_row + ROWS_AFTER)
    assert told.times_ms.tolist() == series.event_times_ms[first:last].tolist()
    assert np.array_equal(told.values[:, 0], series.values[first:last, one.features[0]])


def test_scores_stand_at_the_row_they_judge(stream: SyntheticStream) -> None:
    """A window's score, threshold and forecast belong to its newest row."""
    one = stream.injections[0]
    told = story(stream, one, judged(stream), [])
    rows = np.arange(one.start_row - ROWS_BEFORE, one.start_row - ROWS_BEFORE + len(told.times_ms))
    assert np.array_equal(told.scores, rows)
    assert np.array_equal(told.thresholds, rows + 0.5)
    assert np.array_equal(told.expected, np.repeat(rows[:, None], CURVES, axis=1))


def test_rows_without_a_window_have_no_score(stream: SyntheticStream) -> None:
    """Before the first window there is nothing to draw, and after it everything."""
    one = stream.injections[0]
    told = story(stream, one, judged(stream, first_row=one.start_row), [])
    assert np.isnan(told.scores[:ROWS_BEFORE]).all()
    assert np.isnan(told.expected[:ROWS_BEFORE]).all()
    assert np.isfinite(told.scores[ROWS_BEFORE:]).all()


def test_truth_and_episodes_of_the_cut_only(stream: SyntheticStream) -> None:
    """Other keys' episodes, and what lies outside of the cut, do not appear."""
    one = stream.injections[0]
    times = next(other.event_times_ms for other in stream.series if other.key == one.key)
    start_ms, end_ms = int(times[one.start_row]), int(times[one.end_row - 1])
    inside = Episode(one.key, start_ms, end_ms, 77.4, ("a",), is_closed=True)
    elsewhere = Episode("another", start_ms, end_ms, 77.0, ("a",), is_closed=True)
    before = Episode(one.key, int(times[0]), int(times[5]), 77.0, ("a",), is_closed=True)
    told = story(stream, one, judged(stream), [inside, elsewhere, before])
    assert [(span.start_ms, span.end_ms, span.label) for span in told.episodes] == [(start_ms, end_ms, "severity 77")]
    assert (start_ms, end_ms, one.kind.replace("_", " ")) in [
        (span.start_ms, span.end_ms, span.label) for span in told.truth
    ]
    assert all(span.end_ms >= told.times_ms[0] and span.start_ms <= told.times_ms[-1] for span in told.truth)
