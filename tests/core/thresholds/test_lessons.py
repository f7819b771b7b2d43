"""What other detectors were reported for, held against every threshold rule."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from streamae.batches import KeyState, Status
from streamae.core.thresholds.rule import ThresholdRule
from tests.score_streams import (
    CHANNELS,
    FOLLOWING,
    RULES,
    Scores,
    column,
    decision_of,
    for_each,
    history,
    judged,
    quiet,
)

each_rule = for_each(RULES)
each_following_rule = for_each(FOLLOWING)  # `static` knows one level
KEYS = 8
IDLE = slice(200, 800)
MOVED = {  # of the logarithm of the threshold, by an anomaly of a hundred times: most in one window, most in all
    "sigma": (0.01, 0.2),
    "static": (1e-9, 1e-9),  # never moves
    "block_maxima": (0.35, 0.5),  # an alarm that is over raises it, once
    "mad": (0.01, 0.2),
    "pot": (0.35, 0.7),  # its first alarm counts for the threshold, in a tail of few excesses
    "dspot": (0.35, 0.7),
    "conformal": (0.35, 1.5),  # its ring is the one memory with an end
}
OTHERS_MOVED = (0.05, 0.5)  # of rules without an exception of their own
DAYS, DAY, HOUR = 5, 1_440, 60  # windows
TOLD_AFTER_TWO_DAYS = {  # least and most share of the daily peaks of one hour, at five times the usual
    "static": (1.0, 1.0),
    "quantile": (0.0, 0.05),  # an hour of a day is far more than its tail of one in a thousand
    "pot": (0.0, 0.6),  # its tail learns the peaks of some keys, and leaves out what alarms of others
    "dspot": (0.0, 0.6),
}
OTHERS_TOLD = (0.9, 1.0)


def alarms(rule: ThresholdRule, scores: Scores) -> np.ndarray:
    """Return which windows are judged anomalous, (N, K)."""
    keys = scores.channels.shape[1]
    return column(judged(decision_of(rule, keys), scores), "statuses", keys) == Status.ANOMALOUS


@pytest.mark.slow
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
@pytest.mark.parametrize("later", [1, 10, 80])
def test_a_second_anomaly_soon_after_the_first_is_seen(rule: ThresholdRule, later: int) -> None:
    """What was just learnt from an anomaly does not hide the next, one window or one block later."""
    first, second = 600, 600 + later
    found = alarms(rule, quiet(700, KEYS, seed=5).loud([first, second], 100.0))[:, 0]
    assert found[first]
    assert found[second]


@each_following_rule
def test_the_first_exceedance_does_not_freeze_the_threshold(rule: ThresholdRule) -> None:
    """After an anomaly the key goes on to learn, and a slow change of its level never alarms."""
    scores = quiet(4_000, 1, seed=6).loud([500], 100.0)
    drift = np.linspace(1.0, 3.0, 3_400, dtype=np.float32)
    scores.channels[600:] *= drift[:, None, None]
    scores.forecasts[600:] *= drift[:, None]
    found = alarms(rule, scores)[:, 0]
    assert found[500]
    assert found[600:].mean() < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_an_anomaly_moves_the_threshold_in_small_steps_when_it_comes_and_when_it_is_forgotten(name: str) -> None:
    """There is no window of memory whose edge makes the threshold jump, neither in nor out."""
    start, (step, whole) = 1_500, MOVED.get(name, OTHERS_MOVED)
    scores = quiet(2_400, KEYS, seed=21)
    for key in range(KEYS):
        scores = scores.loud(slice(start, start + 5), 100.0, key)
    thresholds = np.log(column(judged(decision_of(RULES[name], KEYS), scores), "thresholds", KEYS)[start - 10 :])
    assert np.abs(np.diff(thresholds, axis=0)).max() < step
    assert np.abs(thresholds - thresholds[0]).max() < whole


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_a_daily_peak_is_told_first_and_then_as_often_as_is_stated(name: str) -> None:
    """No rule forgives an hour's peak before it has come, and which of them do so later is known."""
    scores = quiet(DAYS * DAY, KEYS, seed=11)
    rows = np.flatnonzero(np.arange(DAYS * DAY) % DAY // HOUR == 12)
    for key in range(KEYS):
        scores = scores.loud(rows.tolist(), 5.0, key)
    told = alarms(RULES[name], scores).reshape(DAYS, DAY, KEYS)[:, 12 * HOUR : 14 * HOUR].any(axis=1)
    least, most = TOLD_AFTER_TWO_DAYS.get(name, OTHERS_TOLD)
    assert told[0].all()
    assert least <= told[2:].mean() <= most


@each_following_rule
@pytest.mark.parametrize("high", [1.0, 1_000.0])
def test_a_score_of_two_values_is_usual(rule: ThresholdRule, high: float) -> None:
    """A score that is zero or one value is finite and quiet, and thirty times the value is found."""
    scores, found = quiet(1_400, KEYS), high * np.random.default_rng(3).integers(0, 2, (1_400, KEYS))
    scores.channels[:], scores.forecasts[:] = found[:, :, None], found
    scores.channels[1_300:1_305], scores.forecasts[1_300:1_305] = 30.0 * high, 30.0 * high
    verdicts = judged(decision_of(rule, KEYS), scores)
    statuses = column(verdicts, "statuses", KEYS)
    assert np.isfinite(verdicts.scores).all()
    assert np.isfinite(verdicts.rarities).all()
    assert (statuses[200:1_300] == Status.ANOMALOUS).mean() < 0.005
    assert (statuses[1_300:1_305] == Status.ANOMALOUS).any(axis=0).all()


@each_rule
def test_features_without_a_spread_neither_alarm_nor_hide(rule: ThresholdRule) -> None:
    """Beside a feature that never moves and one of two values the third is judged as ever."""
    scores = quiet(1_600, KEYS, seed=4)
    scores.channels[:, :, 1] = 0.0
    scores.channels[:, :, 2] = 4.0 * (np.random.default_rng(3).random((1_600, KEYS)) < 0.3)
    scores.channels[1_500:1_505, :, 0] *= 50.0
    scores.forecasts[1_500:1_505] *= 50.0
    found = alarms(rule, scores)
    assert found[200:1_500].mean() < 0.002
    assert found[1_500:1_505].any(axis=0).all()


@each_following_rule
@pytest.mark.parametrize("rows", [8, 64])
def test_the_worst_of_many_rows_is_held_against_the_worst_of_as_many(rule: ThresholdRule, rows: int) -> None:
    """Longer windows whose worst row counts have higher scores, not more alarms, for old keys and for new ones."""
    prior = history(worst_of(rows, 600, 3, seed=5))
    for decision in (decision_of(rule, KEYS), decision_of(rule, KEYS, prior=prior)):
        statuses = column(judged(decision, worst_of(rows, 800, KEYS, seed=6)), "statuses", KEYS)
        assert (statuses == Status.ANOMALOUS).mean() < 0.03  # one rare row is in 64 windows of 6,400


def worst_of(rows: int, windows: int, keys: int, seed: int) -> Scores:
    """Return scores of quiet data that are the largest squared error of so many rows, each window one row later."""
    errors = np.random.default_rng(seed).standard_normal((windows + rows - 1, keys, CHANNELS)).astype(np.float32) ** 2
    channels = sliding_window_view(errors, rows, axis=0).max(axis=-1)
    is_first = np.zeros((windows, keys), dtype=np.bool_)
    is_first[0] = True
    return Scores(channels, channels.mean(axis=2), is_first)


@each_rule
def test_coming_back_after_days_of_silence_is_no_anomaly(rule: ThresholdRule) -> None:
    """A key that was away and goes on as before is quiet, says that it is back, and still finds an anomaly."""
    scores, gap = quiet(900, KEYS, seed=5), 600
    scores.is_first[gap] = True
    for key in range(KEYS):
        scores = scores.loud(slice(800, 805), 100.0, key)
    decision = decision_of(rule, KEYS)
    judged(decision, scores.part(0, gap))
    verdicts = judged(decision, scores.part(gap, 900), gap + 14_400)  # ten days of windows that never came
    statuses, states = (column(verdicts, name, KEYS) for name in ("statuses", "states"))
    assert (statuses[: 800 - gap] == Status.NORMAL).mean() > 0.998
    assert (statuses[:10] == Status.NORMAL).all()
    assert (states[0] == KeyState.RESUMING).all()
    assert (states[1:] == KeyState.READY).all()
    assert (statuses[800 - gap : 805 - gap] == Status.ANOMALOUS).any(axis=0).all()
