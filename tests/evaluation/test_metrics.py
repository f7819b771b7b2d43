"""Event-level figures against a row-by-row oracle and against cases drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.evaluation.metrics import (
    EventReport,
    Interval,
    event_report,
    intervals_of,
    match_episodes,
    pool,
    runs,
)


def drawn(picture: str) -> np.ndarray:
    """Turn a picture into flags: `#` is True."""
    return np.array([character == "#" for character in picture], dtype=np.bool_)


def oracle(labels: list[bool], alarms: list[bool], gap: int) -> EventReport:
    """Count row by row, in the words of the definitions, without numpy."""
    count = len(labels)
    events: list[list[int]] = []
    for row in range(count):
        if labels[row]:
            if row and labels[row - 1]:
                events[-1].append(row)
            else:
                events.append([row])
    episodes: list[list[int]] = []
    for row in range(count):
        if alarms[row]:
            if episodes and row - episodes[-1][-1] <= gap:
                episodes[-1].append(row)
            else:
                episodes.append([row])
    shadow = {late for event in events for late in range(event[-1] + 1, event[-1] + 1 + gap)}
    blocks, covered = 0, -1
    for row in range(count):
        if alarms[row] and not labels[row] and row not in shadow and row > covered:
            blocks += 1
            covered = row + gap - 1
    firsts = [next((row for row in event if alarms[row]), None) for event in events]
    return EventReport(
        events=len(events),
        found=sum(first is not None for first in firsts),
        episodes=len(episodes),
        false_episodes=sum(not any(labels[row] for row in episode) for episode in episodes),
        false_blocks=blocks,
        normal_rows=sum(not label for label in labels),
        normal_alarm_rows=sum(alarm and not label for label, alarm in zip(labels, alarms, strict=True)),
        delays=tuple(first - event[0] for first, event in zip(firsts, events, strict=True) if first is not None),
    )


@st.composite
def flag_pairs(draw: st.DrawFn) -> tuple[list[bool], list[bool]]:
    """Two flag rows made of runs, so that gaps and blocks of all sizes occur."""

    def flags(count: int) -> list[bool]:
        lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=14))
        value = draw(st.booleans())
        row: list[bool] = []
        for length in lengths:
            row += [value] * length
            value = not value
        return (row + [False] * count)[:count]

    count = draw(st.integers(0, 70))
    return flags(count), flags(count)


@given(flag_pairs(), st.integers(1, 12))
def test_report_equals_row_by_row_oracle(pair: tuple[list[bool], list[bool]], gap: int) -> None:
    """Every count of the vectorised report is that of the plain definition."""
    labels, alarms = pair
    assert oracle(labels, alarms, gap) == event_report(
        np.array(labels, dtype=np.bool_), np.array(alarms, dtype=np.bool_), gap
    )


def test_long_series_with_the_default_gap_equals_oracle() -> None:
    """The default gap of 64 rows is used, on a series long enough for many blocks."""
    random = np.random.default_rng(5)
    labels = np.repeat(random.random(60) < 0.1, 50)
    alarms = np.repeat(random.random(300) < 0.15, 10)
    assert oracle(labels.tolist(), alarms.tolist(), 64) == event_report(labels, alarms)


def test_figures_of_a_drawn_case() -> None:
    """Recall, precision, delay and shares come out as counted by eye."""
    labels = drawn("....####....................####....")
    alarms = drawn("......##........#...#...............")
    report = event_report(labels, alarms, gap=6)
    assert (report.events, report.found, report.episodes, report.false_episodes) == (2, 1, 2, 1)
    assert 0.5 == report.recall == report.precision == report.f1
    assert report.median_delay == 2.0
    assert report.alarm_share == 2 / 28
    assert pytest.approx(report.false_per_10k) == 1 / 28 * 10_000


def test_alarms_within_the_gap_are_one_episode_and_beyond_it_two() -> None:
    """The gap counts row distance: exactly the gap still joins, one more does not."""
    labels = np.zeros(40, dtype=np.bool_)
    joined, split = labels.copy(), labels.copy()
    joined[[3, 13]] = True
    split[[3, 14]] = True
    assert event_report(labels, joined, gap=10).episodes == 1
    assert event_report(labels, split, gap=10).episodes == 2


def test_tail_behind_an_event_is_forgiven_once_over() -> None:
    """Alarms in the gap rows behind an event open no false block; the first row after them does."""
    labels = drawn("..##................")
    assert event_report(labels, drawn(".........#.........."), gap=6).false_blocks == 0
    assert event_report(labels, drawn("..........#........."), gap=6).false_blocks == 1


def test_alarm_before_an_event_is_not_forgiven() -> None:
    """The tolerance lies behind the event only: an early alarm is a false block."""
    assert event_report(drawn("......##"), drawn(".....#.."), gap=4).false_blocks == 1


def test_constant_alarm_games_f1_but_not_strict_f1() -> None:
    """An alarm on every row scores 1 by overlap, which is why the strict figure stands beside it."""
    labels = np.zeros(20_000, dtype=np.bool_)
    labels[10_000:10_050] = True
    report = event_report(labels, np.ones_like(labels))
    assert report.f1 == 1.0
    assert report.alarm_share == 1.0
    assert report.strict_f1 < 0.01


def test_perfect_alarm_scores_one_everywhere() -> None:
    """Alarms equal to the labels are perfect in every figure."""
    labels = drawn("....###.........##..")
    report = event_report(labels, labels, gap=3)
    assert 1.0 == report.recall == report.precision == report.f1 == report.strict_f1
    assert 0.0 == report.false_per_10k == report.alarm_share == report.median_delay


def test_silence_scores_zero_not_nan() -> None:
    """A detector that never alarms gets zeros, so that it cannot drop out of an average."""
    report = event_report(drawn("..##.."), drawn("......"))
    assert 0.0 == report.recall == report.precision == report.f1 == report.strict_f1
    assert math.isnan(report.median_delay)


def test_series_without_events_has_no_recall() -> None:
    """Recall and F1 are undefined without events, while false episodes are still counted."""
    report = event_report(drawn("......"), drawn("..#..."))
    assert math.isnan(report.recall)
    assert math.isnan(report.f1)
    assert math.isnan(report.strict_f1)
    assert report.false_episodes == 1


def test_series_of_events_only_has_no_normal_rows() -> None:
    """Rates per normal row are undefined when there is none."""
    report = event_report(drawn("###"), drawn("#.."))
    assert math.isnan(report.alarm_share)
    assert math.isnan(report.false_per_10k)


def test_different_lengths_are_refused() -> None:
    """Labels and alarms of different series are a caller's error."""
    with pytest.raises(ValueError, match="one entry a row"):
        event_report(drawn("..."), drawn("...."))


@given(flag_pairs())
def test_arguments_are_not_changed(pair: tuple[list[bool], list[bool]]) -> None:
    """The report only reads."""
    labels, alarms = (np.array(flags, dtype=np.bool_) for flags in pair)
    event_report(labels, alarms, 4)
    assert pair == (labels.tolist(), alarms.tolist())


def test_pool_adds_counts_and_keeps_all_delays() -> None:
    """Pooled figures are those of the summed counts, not means of ratios."""
    first = event_report(drawn("..##......"), drawn("...#......"), gap=2)
    second = event_report(drawn("..##....##"), drawn(".....#...."), gap=2)
    both = pool([first, second])
    assert (both.events, both.found, both.episodes, both.false_episodes) == (3, 1, 2, 1)
    assert both.recall == 1 / 3
    assert both.delays == (1,)
    assert both.normal_rows == 14


def test_pool_of_nothing_is_empty() -> None:
    """No series at all gives counts of zero."""
    assert EventReport(0, 0, 0, 0, 0, 0, 0, ()) == pool([])


@given(st.lists(st.booleans(), max_size=40))
def test_runs_rebuild_the_flags(flags: list[bool]) -> None:
    """Starts and ends describe exactly the rows that are True, in order and apart from each other."""
    starts, ends = runs(np.array(flags, dtype=np.bool_))
    rebuilt = [False] * len(flags)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rebuilt[start:end] = [True] * (end - start)
    assert flags == rebuilt
    assert (starts[1:] > ends[:-1]).all()


TRUTH = Interval("a", 100, 200)


@pytest.mark.parametrize(
    ("episode", "is_met"),
    [
        (Interval("a", 150, 160), True),
        (Interval("a", 100, 300), True),
        (Interval("a", 99, 300), False),
        (Interval("a", 50, 99), False),
        (Interval("a", 230, 240), True),
        (Interval("a", 231, 240), False),
        (Interval("b", 150, 160), False),
    ],
)
def test_episode_meets_the_interval_in_which_or_right_behind_which_it_begins(episode: Interval, is_met: bool) -> None:
    """Both ends are included, the tolerance lies behind the interval, keys never mix, and being up already is no find."""
    matching = match_episodes([TRUTH], [episode], tolerance_ms=30)
    assert [is_met] == matching.is_true.tolist()
    assert [0 if is_met else -1] == matching.episode_of.tolist()


def test_delay_runs_from_the_interval_to_the_earliest_episode() -> None:
    """The first episode in event time answers an interval, whatever the order of publication."""
    matching = match_episodes([TRUTH], [Interval("a", 190, 195), Interval("a", 130, 140)])
    assert matching.episode_of.tolist() == [1]
    assert matching.delays_ms.tolist() == [30]
    assert matching.is_true.tolist() == [True, True]


def test_episode_already_open_before_the_interval_has_not_found_it() -> None:
    """A false alarm that lasts into an anomaly is a false alarm, and the anomaly is missed."""
    matching = match_episodes([TRUTH], [Interval("a", 20, 140)])
    assert (matching.recall, matching.precision) == (0.0, 0.0)


def test_matching_figures() -> None:
    """Recall counts intervals, precision counts episodes; one episode may answer two intervals."""
    truth = [TRUTH, Interval("a", 140, 230), Interval("b", 0, 5)]
    matching = match_episodes(truth, [Interval("a", 150, 225), Interval("b", 50, 60)])
    assert pytest.approx(matching.recall) == 2 / 3
    assert matching.precision == 0.5


def test_matching_of_nothing() -> None:
    """Without intervals recall is undefined; without episodes precision is zero."""
    nothing = match_episodes([], [])
    assert math.isnan(nothing.recall)
    assert nothing.precision == 0.0


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.integers(0, 9)), max_size=12), st.integers(0, 5)
)
def test_matching_equals_pairwise_oracle(drawn_episodes: list[tuple[str, int, int]], tolerance: int) -> None:
    """Grouping by key and sorting by time changes nothing against comparing every pair."""
    truth = [Interval("a", 5, 9), Interval("b", 20, 20), Interval("a", 40, 55)]
    episodes = [Interval(key, start, start + length) for key, start, length in drawn_episodes]
    meets = [
        [one.key == two.key and two.start_ms <= one.start_ms <= two.end_ms + tolerance for one in episodes]
        for two in truth
    ]
    matching = match_episodes(truth, episodes, tolerance)
    assert [any(row) for row in meets] == (matching.episode_of >= 0).tolist()
    assert [any(column) for column in zip(*meets, strict=True)] == matching.is_true.tolist()


def test_intervals_of_labels_carry_first_and_last_row_times() -> None:
    """Label runs become intervals in event time with both end rows included."""
    times = np.arange(6, dtype=np.int64) * 10
    assert [Interval("k", 10, 20), Interval("k", 50, 50)] == intervals_of("k", drawn(".##..#"), times)
