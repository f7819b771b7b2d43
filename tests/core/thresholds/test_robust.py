"""Median and MAD by stochastic approximation end where numpy finds them, tail or no tail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamae.core.thresholds.robust import MadRule
from tests.score_streams import LEARNING, decision_of, judged, quiet

RULE = MadRule(8.0, replace(LEARNING, smoothing=1.0))


def test_median_and_mad_are_found() -> None:
    """After 4,000 skewed scores both are within a tenth of the sample's."""
    verdicts = judged(decision_of(RULE), quiet(4_000, 1, 1))
    scores = verdicts.scores[2_000:]
    median = np.median(scores)
    assert verdicts.means[3_000:].mean() == pytest.approx(median, rel=0.05)
    assert verdicts.sds[3_000:].mean() == pytest.approx(1.4826 * np.median(np.abs(scores - median)), rel=0.1)


def test_a_tenth_of_absurd_scores_moves_the_threshold_little() -> None:
    """What would multiply mean and sigma leaves median and MAD within a third."""
    clean = judged(decision_of(RULE), quiet(3_000, 1, 2))
    scores = quiet(3_000, 1, 2).loud(list(range(15, 3_000, 10)), 1e6)
    dirty = judged(decision_of(RULE), scores)
    assert dirty.thresholds[2_000:].mean() == pytest.approx(clean.thresholds[2_000:].mean(), rel=0.35)
    assert dirty.thresholds[2_000:].mean() < 10.0
