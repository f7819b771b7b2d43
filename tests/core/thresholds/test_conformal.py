"""Conformal thresholds against ranks counted one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamae.core.thresholds.conformal import FREE_SCORES, GROWTH, RING, ConformalRule
from tests.score_streams import LEARNING, column, decision_of, judged, quiet


def test_the_threshold_is_the_stated_rank_of_the_newest_scores() -> None:
    """The m-th highest of the last 256 learnt scores, m = floor(p (n + 1)), as a plain sort finds it."""
    rule = ConformalRule(0.02, 1.0, LEARNING)
    verdicts = judged(decision_of(rule), quiet(900, 1, 1))
    learnt: list[float] = []
    for row in range(900):
        newest = np.array(learnt[-RING:])
        if row >= 64:
            rank = max(1, int(0.02 * (len(newest) + 1) + 1e-9))
            mean, sd = newest.mean(), max(newest.std(), 0.1 * max(newest.mean(), 1.0))
            expected = max(np.sort(newest)[-rank], mean + sd)
            assert verdicts.thresholds[row] == pytest.approx(expected, rel=1e-6)
        highest = max(learnt[-RING:]) if row >= FREE_SCORES else np.inf
        learnt.append(min(float(verdicts.scores[row]), GROWTH * highest))


def test_exchangeable_scores_pass_with_the_stated_probability() -> None:
    """Without smoothing and margin the share of p-values at most .02 is .02, within a fifth."""
    rule = ConformalRule(0.02, 1.0, replace(LEARNING, smoothing=1.0))
    verdicts = judged(decision_of(rule, 40), quiet(1_300, 40, 2))
    late = (column(verdicts, "statuses", 40) == 2)[300:]
    assert late.mean() == pytest.approx(0.02, rel=0.25)
