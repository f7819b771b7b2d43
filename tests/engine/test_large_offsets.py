"""A carrier of 2,412,000,000 Hz that moves by 6: trained on, served, told and stored without losing the movement."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamae.batches import Doubles, Series
from streamae.connectors.memory import MemoryBroker
from streamae.connectors.memory_store import MemoryStore
from streamae.core.key_levels import standardised
from streamae.core.layouts import layout_of
from streamae.core.origins import Origins
from streamae.model.bundle import Bundle
from streamae.settings.data import FeatureSettings, WindowSettings
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from streamae.training.windows import training_windows
from tests.engines import START_MS, STEP_MS, TOPIC, WINDOW, Rig, settings, tiny_bundle

CARRIER, MOVE = 2.412e9, 6.0
NAMES = ("carrier", "load")
ROWS, SPIKE, OFF_ROWS = 420, 400, 4
OPTIONS = TrainOptions(
    TrainSettings(window_size=WINDOW, kind="ridge", memory_windows=8, recent_steps=2), model=ModelSettings(threads=1)
)
BY_KEY = {"scaling": "key"}


def signal(seed: int, rows: int = ROWS, level: float = CARRIER) -> Doubles:
    """Return (rows, 2): a carrier with one decimal, and a load of ordinary size."""
    noise = np.random.default_rng(seed).normal(size=(rows, 2)).clip(-2.5, 2.5)
    return np.stack([(level + MOVE * noise[:, 0]).round(1), (50.0 + noise[:, 1]).round(1)], axis=1)


def trained(**features: Any) -> Bundle:
    """Return a bundle of three radios; by key they are on bands far apart."""
    options = replace(OPTIONS, features=type(OPTIONS.features).model_validate(features))
    times = START_MS + STEP_MS * np.arange(600, dtype=np.int64)
    bands = [CARRIER * (1 + key * bool(features)) for key in range(3)]
    return train(
        [Series(f"radio-{key}", NAMES, times, signal(key, 600, band)) for key, band in enumerate(bands)], options
    )


def broker_of(values: Doubles) -> MemoryBroker:
    """Return a broker whose topic holds rows of one key, NaN as null."""
    broker = MemoryBroker(1)
    broker.create_topic(TOPIC, 1)
    for row, cells in enumerate(values.tolist()):
        content = {name: None if np.isnan(cell) else cell for name, cell in zip(NAMES, cells, strict=True)}
        value = json.dumps({"ts": START_MS + row * STEP_MS} | content).encode()
        broker.produce(TOPIC, b"radio", value, timestamp=START_MS)
    return broker


def rig_of(bundle: Bundle, values: Doubles, store: MemoryStore | None = None, **sections: dict[str, Any]) -> Rig:
    """Return a process that serves a bundle with the network it has."""
    threshold = {"rule": "block_maxima", "min_windows": 20}
    of = settings(**({"threshold": threshold} | sections))
    parts: dict[str, Any] = {"runner": None}
    return Rig(broker_of(values), store or MemoryStore(), of, bundle=bundle, parts=parts)


def spiked(by: float = 60.0, level: float = CARRIER) -> Doubles:
    """Return a stream in which the carrier is off for some rows."""
    values = signal(9, level=level)
    values[SPIKE : SPIKE + OFF_ROWS, 0] = round(level + by, 1)
    return values


def opened(rig: Rig) -> dict[str, Any]:
    """Return the only opening event about the spike."""
    rig.run_dry()
    events = [json.loads(record.value or b"") for record in rig.events()]
    at_spike = [one for one in events if one["kind"] == "opened" and one["start_time_ms"] >= START_MS + SPIKE * STEP_MS]
    assert len(at_spike) == 1
    found: dict[str, Any] = at_spike[0]
    return found


@pytest.fixture(scope="module")
def by_mean() -> Bundle:
    """A bundle scaled alike for all keys."""
    return trained()


@pytest.fixture(scope="module")
def by_key() -> Bundle:
    """A bundle of keys with levels of their own."""
    return trained(**BY_KEY)


def test_the_scale_is_that_of_the_movement(by_mean: Bundle) -> None:
    """Neither "one value only" nor the spread of rounding; the ordinary feature beside it counts from 0."""
    assert by_mean.origins is not None
    assert by_mean.scaling.scales[0] == pytest.approx(MOVE, rel=0.1)
    assert by_mean.origins.levels.tolist() == [by_mean.scaling.means[0], 0.0]
    assert by_mean.scaling.means[0] == pytest.approx(CARRIER, abs=1.0)


def test_ten_deviations_are_an_episode_that_says_what_was_measured(by_mean: Bundle) -> None:
    """The carrier is named, with the decimals it was sent with; what was expected is near, not 256 Hz away."""
    worst = opened(rig_of(by_mean, spiked()))["features"][0]
    assert (worst["name"], worst["actual"]) == ("carrier", CARRIER + 60.0)
    assert worst["expected"] == pytest.approx(CARRIER, abs=2 * MOVE)
    assert worst["direction"] == "above"


@pytest.mark.parametrize("grid_ms", [None, 2 * STEP_MS])
@pytest.mark.parametrize("scaling", ["global", "key"])
def test_live_windows_are_the_windows_of_training_to_the_bit(scaling: str, grid_ms: int | None) -> None:
    """One implementation of the way to 32 bits, from an origin as from 0, with a grid as without."""
    window = WindowSettings(grid_ms=grid_ms, grid_merge="mean")
    options = replace(OPTIONS, window=window, features=FeatureSettings(scaling=scaling))  # type: ignore[arg-type]
    times = START_MS + STEP_MS * np.arange(600, dtype=np.int64)
    of = training_windows([Series("radio", NAMES, times, signal(9, 600))], options)
    bundle = replace(tiny_bundle(features=NAMES), scaling=of.scaling, scaled_by=scaling, origins=of.origins)  # type: ignore[arg-type]
    seen: list[bytes] = []
    rig = rig_of(bundle, signal(9, 600), window={"grid_ms": grid_ms, "grid_merge": "mean"})
    rig.parts = {"observer": lambda batch, *_: seen.extend(one.tobytes() for one in standardised(batch))}
    rig.engine = rig.build()
    rig.run_dry()
    assert len(of.calibration) > 40
    assert {one.tobytes() for one in of.calibration[:-1]} <= set(seen)  # of a grid the last bucket stays open


@pytest.mark.parametrize("level", [CARRIER, 5.8e9])
def test_a_key_of_any_band_counts_from_its_own_first_value(by_key: Bundle, level: float) -> None:
    """Also on a band that training did not know."""
    assert by_key.origins is not None
    assert by_key.origins.is_by_key
    worst = opened(rig_of(by_key, spiked(level=level), window={"missing": "constant"}))["features"][0]
    assert (worst["name"], worst["actual"]) == ("carrier", level + 60.0)
    assert worst["expected"] == pytest.approx(level, abs=2 * MOVE)


@pytest.mark.parametrize("least", [50.0, 75.0])
def test_the_least_deviation_is_one_of_own_units(by_mean: Bundle, least: float) -> None:
    """60 Hz are more than 50 and less than 75, whatever they lie on top of."""
    rig = rig_of(by_mean, spiked(), alerts={"min_deviation": {"carrier": least, "load": 1e3}})
    rig.run_dry()
    events = [json.loads(record.value or b"") for record in rig.events()]
    assert any(one["kind"] == "opened" and one["start_time_ms"] >= START_MS + SPIKE * STEP_MS for one in events) == (
        least < 60
    )


@pytest.mark.parametrize("missing", ["previous", "constant"])
@pytest.mark.parametrize("name", ["by_mean", "by_key"])
def test_what_is_filled_in_is_no_anomaly(name: str, missing: str, request: pytest.FixtureRequest) -> None:
    """A hole is filled with a value of the key's size: from a wrong origin it would be off by thousands of millions."""
    values = signal(9)
    values[300:303, 0] = np.nan
    bundle = request.getfixturevalue(name)
    constant = {"missing_constant": CARRIER} if missing == "constant" else {}
    rig = rig_of(bundle, values, window={"missing": missing} | ({} if name == "by_mean" else constant))
    rig.run_dry()
    assert rig.events() == []


def test_stored_state_of_another_meaning_is_not_taken(by_mean: Bundle, by_key: Bundle) -> None:
    """What counted from 0 never continues as what counts from an origin: layout and fingerprint differ, and it is seen."""
    for bundle in (by_mean, by_key):
        plain, counted = (rig_of(of, signal(9)) for of in (replace(bundle, origins=None), bundle))
        assert layout_of(plain.engine.stages.state) != layout_of(counted.engine.stages.state)
        assert plain.engine.recovery.fingerprint != counted.engine.recovery.fingerprint
        plain.run_dry()
        plain.engine.close()
        counted = rig_of(bundle, signal(9), plain.store)
        counted.broker = plain.broker
        counted.engine = counted.build()
        counted.run_dry()
        started = counted.telemetry.render()[0].decode()
        assert 'partition_starts_total{reason="clean"} 1' not in started
        assert counted.engine.stages.windows.columns["written"][0] == len(signal(9))


def test_origins_of_zero_are_the_state_of_before() -> None:
    """A bundle trained today on ordinary values keeps as many bytes a key, under the same layout, as one of before."""
    times = START_MS + STEP_MS * np.arange(600, dtype=np.int64)
    bundle = train([Series("a", NAMES, times, signal(1, 600, level=20.0))], OPTIONS)
    assert bundle.origins is not None
    assert bundle.origins.are_zero
    plain, counted = (rig_of(of, signal(9, level=20.0)) for of in (replace(bundle, origins=None), bundle))
    assert layout_of(plain.engine.stages.state) == layout_of(counted.engine.stages.state)
    for rig in (plain, counted):
        rig.run_dry()
    assert list(plain.state().values()) == list(counted.state().values())
    assert replace(bundle, origins=Origins()).version == bundle.version


def test_ordinary_numbers_are_told_as_they_were_sent() -> None:
    """50.1 is not 50.09999847412109 because 32 bits hold no other."""
    times = START_MS + STEP_MS * np.arange(600, dtype=np.int64)
    bundle = train([Series("a", NAMES, times, signal(1, 600, level=20.0))], OPTIONS)
    worst = opened(rig_of(bundle, spiked(by=80.1, level=20.0)))["features"][0]
    assert (worst["name"], worst["actual"]) == ("carrier", 100.1)
    assert len(str(worst["expected"])) < 12
