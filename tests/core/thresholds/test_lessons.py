"""What other detectors were reported for, held against every threshold rule."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.batches import Status
from streamae.core.thresholds.rule import ThresholdRule
from tests.score_streams import RULES, Scores, column, decision_of, judged, quiet

each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
KEYS = 8
IDLE = slice(200, 800)


def alarms(rule: ThresholdRule, scores: Scores) -> np.ndarray:
    """Return which windows are judged anomalous, (N, K)."""
    keys = scores.channels.shape[1]
    return column(judged(decision_of(rule, keys), scores), "statuses", keys) == Status.ANOMALOUS


@pytest.mark.parametrize("name", RULES)
def test_traffic_after_an_idle_night_is_no_anomaly(name: str) -> None:
    """Hours at zero must not shrink what is usual so far that ordinary scores alarm from then on.

    The ring of `conformal` knows nothing but zeros after 256 windows: it alarms, for 20 windows at most.
    """
    scores = quiet(1_200, KEYS, seed=4)
    scores.channels[IDLE] = 0.0
    scores.forecasts[IDLE] = 0.0
    after = alarms(RULES[name], scores)[IDLE.stop :]
    assert after[20:].mean() < 0.01
    assert after[:20].any(axis=0).mean() <= (1.0 if name == "conformal" else 0.5)


@each_rule
def test_a_second_anomaly_soon_after_the_first_is_seen(rule: ThresholdRule) -> None:
    """What was just learnt from an anomaly does not hide the next."""
    first, second = 600, 610
    found = alarms(rule, quiet(700, KEYS, seed=5).loud([first, second], 100.0))[:, 0]
    assert found[first]
    assert found[second]


@each_rule
def test_the_first_exceedance_does_not_freeze_the_threshold(rule: ThresholdRule) -> None:
    """After an anomaly the key goes on to learn, and a slow change of its level never alarms."""
    scores = quiet(4_000, 1, seed=6).loud([500], 100.0)
    drift = np.linspace(1.0, 3.0, 3_400, dtype=np.float32)
    scores.channels[600:] *= drift[:, None, None]
    scores.forecasts[600:] *= drift[:, None]
    found = alarms(rule, scores)[:, 0]
    assert found[500]
    assert found[600:].mean() < 0.005
