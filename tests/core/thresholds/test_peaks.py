"""Peaks over threshold keep their probability, with and without a moving level."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.batches import Status
from streamae.core.thresholds.peaks import RING, PeaksRule
from tests.score_streams import LEARNING, column, decision_of, judged, quiet


@pytest.mark.slow
@pytest.mark.parametrize("is_drifting", [False, True])
@pytest.mark.parametrize("probability", [1e-2, 1e-3])
def test_the_share_above_the_threshold_is_the_stated_one(probability: float, is_drifting: bool) -> None:
    """On 120,000 quiet windows within a factor of 2.5: a ring of 32 excesses and a moving quantile allow no more."""
    rule = PeaksRule(probability, LEARNING, is_drifting)
    verdicts = judged(decision_of(rule, 60), quiet(2_500, 60, 1))
    late = (column(verdicts, "scores", 60) > column(verdicts, "thresholds", 60))[500:]
    assert probability / 2.5 < late.mean() < probability * 2.5


def test_a_moving_level_follows_drift() -> None:
    """A score that climbs to the sevenfold over 3,000 windows brings no more than a handful of alarms."""
    scores = quiet(3_000, 1, 2)
    scores.channels[:] += np.linspace(0.0, 6.0, 3_000, dtype=np.float32)[:, None, None]
    verdicts = judged(decision_of(PeaksRule(1e-3, LEARNING, is_drifting=True)), scores)
    assert (verdicts.statuses[500:] == Status.ANOMALOUS).sum() <= 15


def test_no_excess_is_higher_than_the_threshold_of_its_time_and_the_oldest_leave() -> None:
    """However large an anomaly is, the ring of the newest holds no more of it than an alarm needed."""
    decision = decision_of(PeaksRule(1e-3, LEARNING))
    verdicts = judged(decision, quiet(3_000, 1, 3).loud([2_500], 1e6))
    assert decision.columns["excess_count"][0] > RING
    assert decision.columns["excesses"][0].max() <= verdicts.thresholds[64:].max()


@pytest.mark.parametrize("is_drifting", [False, True])
def test_of_a_run_of_alarms_the_first_is_kept(is_drifting: bool) -> None:
    """An anomaly is one rare event however long it lasts: without it the tail would be cut off, with all of it poisoned."""
    decision, start, length = decision_of(PeaksRule(1e-4, LEARNING, is_drifting)), 1_000, 40
    scores = quiet(start + length, 1, 3).loud(slice(start, None), 100.0)
    kept = []
    for first, end in ((0, start), (start, start + 1), (start + 1, start + length)):
        verdicts = judged(decision, scores.part(first, end), first)
        assert (verdicts.statuses == Status.ANOMALOUS).all() == (first >= start)
        kept.append(int(decision.columns["excess_count"][0]))
    assert kept == [kept[0], kept[0] + 1, kept[0] + 1]
