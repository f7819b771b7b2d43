"""Every row of a series gets the score, the threshold and the verdict that the daemon would give it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamae.batches import Series
from streamae.core.scoring import ScoreHistory
from streamae.errors import FatalError
from streamae.replay.live_scores import RowScores, _by_row, lead_in, score_live, smoothed
from streamae.replay.play import play
from streamae.settings.data import WindowSettings
from streamae.settings.decisions import ThresholdSettings
from streamae.settings.tree import Settings
from tests.engines import WINDOW, tiny_bundle

ROWS, SPIKE = 300, 200
SETTINGS = Settings(threshold=ThresholdSettings(min_windows=40))
BUNDLE = tiny_bundle()


def series(key: str = "a", seed: int = 3, rows: int = ROWS) -> Series:
    """Noise in two features with a spike of four rows."""
    values = np.random.default_rng(seed).standard_normal((rows, 2)).astype(np.float32)
    values[SPIKE : SPIKE + 4] += 30.0
    return Series(key, BUNDLE.features, np.arange(rows, dtype=np.int64) * 1_000, values)


def scored(*given: Series, settings: Settings = SETTINGS) -> list[RowScores]:
    """The rows of one run."""
    return score_live(given, play(given, BUNDLE, settings)).rows


def test_each_row_has_its_own_score() -> None:
    """From the first full window on every row is scored, and the alarm stands at the spike, not a row beside it."""
    (rows,) = scored(series())
    assert np.flatnonzero(~np.isnan(rows.scores)).tolist() == list(range(WINDOW - 1, ROWS))
    assert np.flatnonzero(rows.alarms)[0] == SPIKE
    assert rows.judged[SPIKE] > rows.thresholds[SPIKE]
    assert np.isinf(rows.thresholds[WINDOW - 1])


def test_lateness_changes_no_score_of_rows_in_order() -> None:
    """A daemon that waits for late records is judged by the same scores, each at the row that it belongs to."""
    waits = SETTINGS.model_copy(update={"window": WindowSettings(lateness_ms=20_000)})
    (plain,), (waiting,) = scored(series()), scored(series(), settings=waits)
    for name in RowScores.__slots__:
        assert np.array_equal(getattr(plain, name), getattr(waiting, name), equal_nan=name != "alarms")


def test_a_score_depends_on_rows_up_to_its_own_only() -> None:
    """Cutting the series off behind a row changes nothing before it, bit by bit: no figure comes from the future."""
    whole = series()
    for stop in (SPIKE + 1, SPIKE + 7, ROWS - 1):
        cut = dataclasses.replace(whole, event_times_ms=whole.event_times_ms[:stop], values=whole.values[:stop])
        (short,), (long,) = scored(cut), scored(whole)
        for name in RowScores.__slots__:
            assert np.array_equal(getattr(short, name), getattr(long, name)[:stop], equal_nan=name != "alarms"), (
                name,
                stop,
            )


def test_keys_of_one_run_are_told_apart() -> None:
    """Several series in one engine, interleaved by time, get what each gets alone."""
    first, second = series("a", 1), series("b", 2, rows=260)
    together = scored(first, second)
    for one, alone in zip(together, (scored(first)[0], scored(second)[0]), strict=True):
        for name in ("scores", "judged", "thresholds"):
            assert np.array_equal(getattr(one, name), getattr(alone, name), equal_nan=True)


def test_rows_that_cannot_be_used_have_no_score_and_shift_nothing() -> None:
    """A repeated row, a late row and a missing value that is refused leave holes; all others stay where they are."""
    odd = series()
    odd.event_times_ms[50], odd.values[50] = odd.event_times_ms[49], odd.values[49]
    odd.event_times_ms[60] = odd.event_times_ms[40]
    odd.values[70, 0] = np.nan
    (rows,) = scored(odd, settings=Settings(window=WindowSettings(missing="reject")))
    holes = [row for row in np.flatnonzero(np.isnan(rows.scores)).tolist() if row >= WINDOW]
    assert holes == [50, 60, 70]
    assert int(np.nanargmax(rows.judged)) in range(SPIKE, SPIKE + 4)


def test_missing_values_follow_the_policy() -> None:
    """With `previous` a hole is filled and the row is scored."""
    holed = series()
    holed.values[70] = np.nan
    (rows,) = scored(holed)
    assert not np.isnan(rows.scores[70])


def test_small_features_keep_their_digits() -> None:
    """A feature measured in billionths scores as the same one measured in units: nothing is rounded on the way."""
    large = series()
    small = dataclasses.replace(large, values=(large.values * np.float32(2.0**-30)))
    scaling = dataclasses.replace(BUNDLE.scaling, scales=np.full(2, 2.0**-30))
    found = score_live([small], play([small], dataclasses.replace(BUNDLE, scaling=scaling), SETTINGS)).rows[0]
    assert np.array_equal(found.scores, scored(large)[0].scores, equal_nan=True)


def test_features_may_be_called_anything() -> None:
    """Names with dots, or those of our own fields, are no paths into the record."""
    names = ("key", "a.time")
    odd = dataclasses.replace(series(), features=names)
    rows = score_live([odd], play([odd], tiny_bundle(features=names), SETTINGS)).rows[0]
    assert np.array_equal(rows.scores, scored(series())[0].scores, equal_nan=True)


def test_a_window_at_another_row_is_a_bug_and_said_so() -> None:
    """Scores that slipped by a row would make every figure wrong without a trace: the run ends instead."""
    given = [series()]
    run = score_live(given, play(given, BUNDLE, SETTINGS))
    recording = run.recording
    assert _by_row(given, recording, run.slots, has_own_times=True)
    recording.windows[0] = dataclasses.replace(recording.windows[0], offsets=recording.windows[0].offsets - 1)
    with pytest.raises(FatalError, match="do not stand at the rows"):
        _by_row(given, recording, run.slots, has_own_times=True)


def test_nothing_scored_is_an_answer() -> None:
    """A series shorter than a window has rows without scores, not an error."""
    short = dataclasses.replace(series(), event_times_ms=np.arange(3), values=np.zeros((3, 2), np.float32))
    (rows,) = scored(short)
    assert np.isnan(rows.scores).all()
    assert not rows.alarms.any()


def test_episodes_and_rows_tell_the_same() -> None:
    """What was published begins at the first row in alarm."""
    run = score_live([series()], play([series()], BUNDLE, SETTINGS))
    assert [one.start_ms for one in run.episodes] == [SPIKE * 1_000]
    assert run.rows[0].since(SPIKE).alarms[0]


def test_the_lead_in_fills_a_window_and_teaches_the_key() -> None:
    """The first row that counts is judged: by the bundle's training scores, or else by rows of the training part."""
    assert lead_in(BUNDLE) > WINDOW - 1 + SETTINGS.threshold.min_windows
    history = ScoreHistory(np.ones((1, 5, 2), np.float32), np.ones((1, 5), np.float32), np.array([5], dtype=np.int64))
    assert lead_in(dataclasses.replace(BUNDLE, history=history)) == WINDOW - 1


def test_smoothing_is_an_exponential_mean_that_begins_anew() -> None:
    """Closed form over a run; a gap forgets what was before."""
    totals = np.arange(1.0, 6.0)
    found = smoothed(totals, np.array([True, False, False, True, False]))
    weights = 0.3
    expected = [1.0, 1.0 + weights, 0.7 * (1.0 + weights) + weights * 3.0, 4.0, 4.0 + weights]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
