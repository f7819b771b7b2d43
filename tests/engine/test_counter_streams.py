"""Streams of counters through the engine: rates as in training, also after a crash, and events in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamae.batches import Series
from streamae.core.encoding import Encoding
from streamae.core.key_levels import MIN_ROWS
from streamae.core.scaling import Scaling
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle
from streamae.settings.data import FeatureSettings, WindowSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.windows import TrainingWindows, training_windows
from tests.engines import START_MS, STEP_MS, WINDOW, Rig, broker_with, settings, tiny_bundle

FIELDS = ("bytes", "temp")
KEYS, ROWS, BURST = 3, 90, 70
USUAL = 1_000.0  # bytes a second
LARGE = 1e13  # bytes counted before: to 32 bits a hundred seconds are one count
ENCODING = Encoding(FIELDS, rate_fields=("bytes",))
GRIDS = pytest.mark.parametrize("grid_ms", [None, 4 * STEP_MS], ids=["no grid", "grid"])


def counters(rows: int = ROWS, burst: int | None = None) -> list[Series]:
    """Return machines that send a reset, a missing value and a silence each; one grows by a hundred times at `burst`."""
    found = []
    for key in range(KEYS):
        random = np.random.default_rng(key)
        times = START_MS + np.arange(rows, dtype=np.int64) * STEP_MS
        times[rows // 2 :] += 90_000
        grown = USUAL + random.normal(0, 20, rows).round()
        if burst is not None and key == 1:
            grown[burst] *= 100
        counts = LARGE + np.cumsum(grown)
        counts[rows // 3 :] -= counts[rows // 3]
        counts[rows // 4] = np.nan
        values = np.stack([counts, random.normal(20, 1, rows)], axis=1)
        found.append(Series(f"machine-{key}", FIELDS, times, values, None))
    return found


def records(series: list[Series]) -> list[tuple[bytes, bytes]]:
    """Return the series as JSON records in the order of event time."""
    rows = [
        (time_ms, one.key.encode(), {"ts": time_ms, "bytes": None if np.isnan(count) else count, "temp": temp})
        for one in series
        for time_ms, (count, temp) in zip(one.event_times_ms.tolist(), one.values.tolist(), strict=True)
    ]
    return [(key, json.dumps(content).encode()) for _, key, content in sorted(rows, key=lambda row: row[:2])]


def bundle(scaling: Scaling | None = None) -> Bundle:
    """Return a bundle whose feature is the rate; the stand-in for a network takes squares around 0."""
    plain = tiny_bundle(features=ENCODING.features)
    levels = np.array([USUAL**2, 400.0])
    calibration = replace(plain.calibration, recent_levels=levels, forecast_levels=levels)
    return replace(plain, encoding=ENCODING, calibration=calibration, scaling=scaling or plain.scaling)


def rig(series: list[Series], of: Bundle | None = None, grid_ms: int | None = None, **more: Any) -> Rig:
    """Return a process that reads counters."""
    chosen = settings(window={"grid_ms": grid_ms, "max_gap_ms": 60_000})
    return Rig(broker_with(records(series)), settings=chosen, bundle=of or bundle(), **more)


def trained(grid_ms: int | None = None, scaling: str = "global") -> TrainingWindows:
    """Return the windows of training, with every window behind the split among them."""
    options = TrainOptions(
        TrainSettings(window_size=WINDOW, calibration_share=0.3),
        WindowSettings(grid_ms=grid_ms, max_gap_ms=60_000),
        FeatureSettings(rate_fields=("bytes",), scaling=scaling),
    )
    return training_windows(counters(rows=4 * MIN_ROWS), options)


@GRIDS
def test_live_rates_are_the_rates_of_training_to_the_bit(grid_ms: int | None) -> None:
    """One implementation, one result, with a grid as without; a reset never shows as growth below zero."""
    of, windows = trained(grid_ms), []
    observer = {"observer": lambda found, *_: windows.append(found.values)}
    rig(counters(rows=4 * MIN_ROWS), bundle(of.scaling), grid_ms, parts=observer).run_dry()
    seen = {window.tobytes() for batch in windows for window in batch}
    is_over = of.calibration_times_ms < of.calibration_times_ms.max() + (grid_ms is None)  # the last bucket stays open
    assert is_over.sum() > KEYS * 20
    assert all(window.tobytes() in seen for window in of.calibration[is_over])
    assert min(batch[..., 0].min() for batch in windows) > USUAL / 2
    assert of.scaling.means[0] == pytest.approx(USUAL, rel=0.05)


def test_keys_know_the_level_of_their_rates() -> None:
    """With scaling by key it is the growth that a key learns its usual level of, not where the counter stands."""
    of = replace(bundle(trained(scaling="key").scaling), scaled_by="key")
    live = rig(counters(rows=2 * MIN_ROWS), of)
    live.run_dry()
    slots = live.engine.states.table.resident()
    assert live.engine.stages.windows.columns["level_means"][slots, 0] == pytest.approx([USUAL] * KEYS, rel=0.05)


@GRIDS
@pytest.mark.parametrize("stop_after", [2, 4, 6])
def test_a_crash_in_mid_stream_changes_no_rate(stop_after: int, grid_ms: int | None) -> None:
    """Counters are part of a key's stored state: what is replayed on it gives the rates of a run that never died."""
    series = counters(burst=BURST)
    whole, first = rig(series, grid_ms=grid_ms), rig(series, grid_ms=grid_ms, max_poll_records=13)
    whole.run_dry()
    first.step(stop_after)
    first.broker.expel(first.engine.source)  # type: ignore[arg-type]
    first.engine = first.build()
    first.run_dry()
    assert first.state() == whole.state()
    assert sorted(record.value or b"" for record in first.events()) == sorted(
        record.value or b"" for record in whole.events()
    )


def test_a_burst_is_told_in_words() -> None:
    """Whoever is called reads growth a second, of the field that is known."""
    process = rig(counters(burst=BURST))
    process.run_dry()
    (event,) = [event for record in process.events() if (event := json.loads(record.value or b""))["kind"] == "opened"]
    assert event["key"] == "machine-1"
    assert event["features"][0]["name"] == "bytes.rate"
    assert event["features"][0]["description"].startswith("bytes grew by ")


def test_state_of_other_bundles_has_no_counters() -> None:
    """Without rates a key's state is what it was, and the two are never taken for each other."""
    with_rates = rig([]).engine.states
    without = rig([], tiny_bundle(features=FIELDS)).engine.states
    assert "counts" not in without.layout
    assert with_rates.layout == without.layout.replace("|", "|counts:<f8[1];times:<i8[1]|", 1)


def test_a_field_cannot_be_a_rate_and_a_logarithm() -> None:
    """Nobody should have to find out which of the two was taken."""
    options = TrainOptions(features=FeatureSettings(rate_fields=("bytes",), log_fields=("bytes",)))
    with pytest.raises(ConfigError, match="features: rate_fields: 'bytes' is one of log_fields too"):
        training_windows(counters(), options)
