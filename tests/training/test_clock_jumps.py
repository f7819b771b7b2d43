"""Wild times in past data: training leaves out what the live stream refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamae.batches import Series
from streamae.settings.data import WindowSettings
from streamae.settings.training import TrainSettings
from streamae.training.clock_jumps import without_jumps
from streamae.training.options import TrainOptions
from streamae.training.windows import training_windows
from tests.engines import Rig, broker_with, header, settings

MINUTE_MS, HOUR_MS, ROWS, PAUSE = 60_000, 3_600_000, 300, 280


def pumps() -> list[Series]:
    """Return three pumps; the first ends with a time that is 20 h ahead, the third sleeps for two hours, later all for five."""
    found = []
    for key in range(3):
        minutes = np.arange(ROWS)
        if key == 2:
            minutes[150:] += 120
        minutes[minutes >= PAUSE] += 300
        times = 1_740_960_000_000 + MINUTE_MS * minutes
        values = np.random.default_rng(key).normal(size=(ROWS, 2))
        found.append(Series(f"pump-{key}", ("temp", "load"), times, values, np.arange(ROWS) % 7 == 0))
    found[0].event_times_ms[-1] += 20 * HOUR_MS
    return found


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_what_the_live_stream_refuses_is_left_out(chunk: int) -> None:
    """Row by row the same as `run`, which is given the same rows; rows, values and labels stay together."""
    series = pumps()
    rows = sorted(
        (
            (int(time_ms), number, row)
            for number, one in enumerate(series)
            for row, time_ms in enumerate(one.event_times_ms)
        ),
    )
    records = [
        (series[number].key.encode(), b'{"ts": %d, "temp": 1, "load": %d}' % (time_ms, row))
        for time_ms, number, row in rows
    ]
    chosen = settings(window={"max_jump_ms": HOUR_MS}, input={"max_future_ms": 10**15})
    process = Rig(broker_with(records, 1), settings=chosen)
    process.run_dry()
    refused = {
        (record.key, record.value)
        for record in process.dead_letters()
        if header(record, "streamae-reason") == "clock_jump"
    }
    kept = without_jumps(series, HOUR_MS, chunk)
    given = [(number, row) for _, number, row in rows]
    ahead = {given[number] for number, record in enumerate(records) if record in refused}
    assert ahead == {(0, ROWS - 1), (0, PAUSE)}, "the wild time, and the first record after the pause"
    assert [len(one) for one in kept] == [ROWS - 2, ROWS, ROWS]
    assert kept[0].values.tobytes() == np.delete(series[0].values, [PAUSE, ROWS - 1], axis=0).tobytes()
    assert kept[0].labels is not None
    assert len(kept[0].labels) == ROWS - 2


def test_without_the_setting_series_are_as_they_were() -> None:
    """Nothing is looked at, let alone copied, unless somebody asks for it."""
    series = pumps()
    assert without_jumps(series, None) is series
    assert without_jumps([], HOUR_MS) == []


def test_training_counts_what_it_leaves_out() -> None:
    """A row that is ahead is no row of the training, and is counted among those left out."""
    window = WindowSettings(max_jump_ms=HOUR_MS)
    options = TrainOptions(TrainSettings(window_size=8), window)
    found = training_windows(pumps(), options)
    assert found.left_out == 2
    assert found.rows == 3 * ROWS - 2
    plain = replace(options, window=WindowSettings())
    assert training_windows(pumps(), plain).left_out == 0
