"""Streams of transactions through the engine: features as in training, also after a restart, and events in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from streamae.batches import Series
from streamae.connectors.events import schema
from streamae.connectors.memory import MemoryBroker
from streamae.core.encoding import Encoding
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle
from streamae.replay.recording import Recording
from streamae.settings.data import FeatureSettings, WindowSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.windows import training_windows
from tests.engines import DEAD, START_MS, TOPIC, WINDOW, Rig, broker_with, header, settings, tiny_bundle

FEATURES = FeatureSettings(
    log_fields=("amount",),
    category_cap=2,
    hash_buckets=2,
    time_features=("hour", "weekday"),
    utc_offset_minutes=60,
    since_previous=True,
)
GAP_MS = 10 * 86_400_000
KEYS, ROWS = 3, 90


def cards(missing: float = 0.05) -> list[Series]:
    """Return transactions of `KEYS` cards at irregular times: some without shop or amount, of one instant, or twice."""
    found = []
    for key in range(KEYS):
        random = np.random.default_rng(key)
        times = START_MS + np.cumsum(random.exponential(3_600_000, ROWS)).astype(np.int64)
        times[40] = times[39]  # another transaction of the same moment
        values = np.stack([random.lognormal(3, 1, ROWS), random.integers(18, 80, ROWS)], axis=1).round(2)
        values[random.random(ROWS) < missing, 0] = np.nan
        words = random.choice(np.array(["bakery", "fuel", "casino", "7", None], dtype=object), (ROWS, 1))
        one = Series(f"card-{key}", ("amount", "age"), times, values.astype(np.float32), None, ("shop",), words)
        found.append(one.take(np.array([*range(61), *range(60, ROWS)])))  # the same one again, which is dropped
    return found


def records(series: list[Series]) -> list[tuple[bytes, bytes]]:
    """Return the series as JSON records in the order of event time."""
    rows = []
    for one in series:
        assert one.words is not None
        for time_ms, (amount, age), (shop,) in zip(
            one.event_times_ms.tolist(), one.values.tolist(), one.words.tolist(), strict=True
        ):
            content = {"ts": time_ms, "amount": amount if np.isfinite(amount) else None, "age": age, "shop": shop}
            rows.append((time_ms, one.key.encode(), json.dumps(content).encode()))
    return [row[1:] for row in sorted(rows, key=lambda row: row[0])]


def encoding(series: list[Series]) -> Encoding:
    """Return what training learns from the series."""
    found = training_windows(series, train_options()).derived.encoding
    assert found is not None
    return found


def train_options() -> TrainOptions:
    """Return options under which calibration holds every window behind the split."""
    train = TrainSettings(window_size=WINDOW, calibration_share=0.5)
    return TrainOptions(train, WindowSettings(max_gap_ms=GAP_MS), FEATURES)


def bundle_of(of: Encoding) -> Bundle:
    """Return a bundle that derives these features."""
    plain = tiny_bundle(features=of.features)
    levels = np.array([10.0, 2_500.0] + [1.0] * (len(of.features) - 2))  # squares of usual values
    return replace(
        plain, encoding=of, calibration=replace(plain.calibration, recent_levels=levels, forecast_levels=levels)
    )


def rig(broker: MemoryBroker, bundle: Bundle, **more: Any) -> Rig:
    """Return a process that reads transactions."""
    far = {"max_future_ms": GAP_MS}  # all records carry the same Kafka timestamp
    of = settings(window={"max_gap_ms": GAP_MS}, features={"category_fields": ("shop",)}, input=far)
    return Rig(broker, settings=of, bundle=bundle, **more)


def test_live_windows_are_the_windows_of_training_to_the_bit() -> None:
    """One implementation, one result: whatever the polls were, and whoever read the words."""
    series = cards()
    trained = training_windows(series, train_options())
    assert trained.derived.encoding is not None
    windows: list[Any] = []
    bundle = replace(bundle_of(trained.derived.encoding), scaling=trained.scaling)
    live = rig(broker_with(records(series)), bundle, parts={"observer": lambda found, *_: windows.append(found)})
    live.run_dry()
    values = np.concatenate([batch.values for batch in windows])
    seen = {window.tobytes() for window in values}
    assert len(trained.calibration) > KEYS * 30
    assert all(window.tobytes() in seen for window in trained.calibration)
    assert values.shape[2] == len(trained.derived.encoding.features) == trained.scaling.means.size
    assert not live.dead_letters()


def test_the_scale_is_that_of_the_derived_features() -> None:
    """Scaling, its fill-ins and the network see logarithms and columns, never raw fields."""
    trained = training_windows(cards(), train_options())
    assert trained.features[:2] == ("amount.log", "age")
    assert trained.derived.encoding is not None
    assert 2 < trained.scaling.means[0] < 4
    assert trained.derived.encoding.categories[0].known == tuple(sorted(trained.derived.encoding.categories[0].known))
    assert len(trained.derived.encoding.categories[0].known) == 2  # the cap; of four words two are known


@pytest.mark.parametrize("stop_after", [2, 4, 6])
def test_a_restart_in_mid_stream_keeps_the_intervals(stop_after: int) -> None:
    """The time of each key's newest record is part of its stored state: nothing tells a restarted run from another."""
    series = cards()
    of = bundle_of(encoding(series))
    whole, recording = rig(broker_with(records(series)), of), Recording()
    whole.run_dry()
    broker = broker_with(records(series))
    first = rig(broker, of)
    first.step(stop_after)
    first.engine.drain(first.now_ms)
    broker.expel(first.engine.source)  # type: ignore[arg-type]
    first.engine.source.close()
    second = rig(broker, of, store=first.store, parts={"observer": recording})
    second.run_dry()
    assert recording.count > 0
    assert second.state() == whole.state()
    assert [record.value for record in second.events()] == [record.value for record in whole.events()]


def test_state_without_the_interval_is_not_taken_for_state_with_it() -> None:
    """The layout of the state names its parts: a retrained bundle must not read times out of other bytes."""
    of = encoding(cards())
    with_interval = rig(broker_with([]), bundle_of(of)).engine
    without = rig(broker_with([]), bundle_of(replace(of, timed=("hour", "weekday")))).engine
    assert with_interval.states.layout.startswith("encoder(newest:<i8[])|grid(newest:<i8[];contents:<u8[8])|")
    assert with_interval.states.layout != without.states.layout
    assert len(with_interval.states.parts) == len(without.states.parts) + 1


def test_events_speak_of_the_fields() -> None:
    """Every feature of an event of a derived stream has a sentence, and the published schema knows it."""
    series = cards(missing=0.0)
    series[1].values[60, 0] = 1e28
    process = rig(broker_with(records(series)), bundle_of(encoding(series)))
    process.run_dry()
    contents = [json.loads(record.value or b"") for record in process.events()]
    assert contents
    for content in contents:
        jsonschema.validate(content, schema())
        assert all(part["description"] for part in content["features"])
    guilty = contents[0]["features"][0]
    assert guilty["name"] == "amount.log"
    assert guilty["description"].startswith("amount 1e+28, expected about ")


def test_unusable_transactions_are_dead_letters_and_change_nothing() -> None:
    """A category that is a list, an absurd amount or a record out of order leaves no trace in the features of others."""
    series = cards()
    good = records(series)
    bad = [
        (good[50][0], b'{"ts": 1, "amount": 1, "age": 1, "shop": ["a"]}'),
        (good[50][0], b'{"ts": %d, "amount": 1e31, "age": 1}' % (START_MS + 1)),
        (good[50][0], b'{"ts": %d, "amount": 1, "age": 1}' % (START_MS + 1)),
    ]
    of = bundle_of(encoding(series))
    clean, soiled = rig(broker_with(good), of), rig(broker_with([*good[:60], *bad, *good[60:]]), of)
    clean.run_dry()
    soiled.run_dry()
    reasons = [header(record, "streamae-reason") for record in soiled.dead_letters()]
    assert sorted(filter(None, reasons)) == ["late", "not_finite", "wrong_type"]
    intervals = [{key: packed[:8] for key, packed in process.state().items()} for process in (clean, soiled)]
    assert intervals[0] == intervals[1]
    assert len(soiled.broker.records(TOPIC)) == len(good) + 3
    assert len(soiled.broker.records(DEAD)) == 3


def test_policies_name_fields_not_features() -> None:
    """Nobody should have to know what was derived from a field to say what its absence means."""
    of = bundle_of(encoding(cards()))
    for name, is_known in (("shop", True), ("amount", True), ("amount.log", False), ("interval", False)):
        wanted = settings(window={"missing_overrides": {name: "reject"}, "max_gap_ms": GAP_MS})
        if is_known:
            Rig(broker_with([]), settings=wanted, bundle=of)
        else:
            with pytest.raises(ConfigError, match="is no feature of the bundle: amount, age, shop"):
                Rig(broker_with([]), settings=wanted, bundle=of)
