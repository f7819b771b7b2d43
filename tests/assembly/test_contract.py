"""What a bundle says of its rows reaches the engine."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from streamae.assembly.build import state_fingerprint
from streamae.assembly.connectors import read_learnt_keys
from streamae.connectors.learnt_keys import LearntKeys
from streamae.connectors.memory_store import MemoryStore
from streamae.core.layouts import former_layout_of
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle, load_bundle
from streamae.replay.play import embedded_engine
from streamae.settings.contract import contract_of, read_contract, with_contract
from streamae.settings.tree import LoadedSettings, Settings, fingerprint
from tests.engines import FEATURES, Rig, broker_with, ids, settings, stream, tiny_bundle
from tests.golden.made import BEFORE, RECORDS, SAVED, STORED, read_json, series


def with_contract_bundle() -> Bundle:
    """Return a bundle that says how its rows were made."""
    of = Settings()
    return dataclasses.replace(
        tiny_bundle(), contract=contract_of(of.input, of.window, of.features, "files:csv").plain()
    )


def test_a_daemon_with_a_bundle_of_before_starts_clean() -> None:
    """Under untouched settings its state is that of the manifest users have stored, and is gone on from."""
    old = load_bundle(STORED / "bundles" / "zscore")
    loaded = LoadedSettings(settings(state=SAVED), {})
    effective = with_contract(loaded, read_contract(old.contract), "kafka").settings
    manifests = [found for found in read_json(STORED / "checkpoint.json").values() if "fp" in found]
    stored = {base64.b64decode(manifest["fp"]).decode() for manifest in manifests}
    broker, store = broker_with(RECORDS), MemoryStore()
    first = Rig(broker, store, settings=effective)
    first.run_dry()
    first.engine.close()
    assert {first.engine.recovery.fingerprint} == stored
    second = Rig(broker, store, settings=effective)
    second.step(3)
    assert 'partition_starts_total{reason="clean"} 2.0' in second.telemetry.render()[0].decode()
    assert fingerprint(Settings()) == read_json(STORED / "default-fingerprint.json")


def test_keys_that_learnt_before_are_still_known() -> None:
    """The file of a bootstrap fits a stored bundle under the settings of today, also one of the release before."""
    old = load_bundle(STORED / "bundles" / "zscore")
    engine, _ = embedded_engine(series(), old, Settings())
    now = LearntKeys.read(STORED / "learnt-keys")
    assert (now.fingerprint, now.layout) == (engine.recovery.fingerprint, engine.states.layout)
    former = state_fingerprint(Settings(), old, former_layout_of(engine.stages.state)[1])
    before = read_learnt_keys(BEFORE / "learnt-keys", engine.recovery.fingerprint, former)
    assert before is not None
    assert before.layout == ""
    last = engine.stages.last
    assert last is not None
    end = -last.columns.size_bytes  # which came later, as did the contents of the newest time
    assert {key: packed[:8] + packed[72:end] for key, packed in now.items()} == dict(before)
    with pytest.raises(ConfigError, match="learnt with another bundle"):
        read_learnt_keys(BEFORE / "learnt-keys", engine.recovery.fingerprint, engine.recovery.fingerprint)


@pytest.mark.parametrize(
    ("sections", "is_other"),
    [
        ({"input": {"missing_values": ["-200"]}}, True),
        ({"window": {"missing": "hold", "hold_ms": 5_000}}, True),
        ({"input": {"decimal_mark": ",", "numbers": "text", "delimiter": ";"}}, False),
        ({"input": {"time_field": "when", "value_fields": ["load", "temp"], "bad_value": "missing"}}, False),
    ],
)
def test_state_depends_on_what_a_value_means(sections: dict[str, Any], is_other: bool) -> None:
    """Keys learn again where a number becomes another one, not where it is written or found elsewhere."""
    before, after = (state_fingerprint(of, tiny_bundle()) for of in (settings(), settings(**sections)))
    assert (before != after) is is_other


def test_a_bootstrap_and_the_daemon_agree_on_what_state_depends_on() -> None:
    """Values that mean missing are part of it; the files of a bootstrap may write their numbers in their own way."""
    live = settings(input={"missing_values": ["-999", "-200"]})
    files = settings(input={"missing_values": ["-200", "-999"], "decimal_mark": ",", "numbers": "text"})
    engine, _ = embedded_engine(series(), tiny_bundle(), files)
    assert engine.recovery.fingerprint == state_fingerprint(live, tiny_bundle())


@pytest.mark.parametrize("bundle", [tiny_bundle(), with_contract_bundle()], ids=["before", "contract"])
def test_swapped_fields_are_put_right(bundle: Bundle) -> None:
    """The names of the bundle in another order bring the alerts they always brought, instead of false ones."""
    records = stream(3, 120)
    usual, swapped = (
        Rig(broker_with(records), settings=settings(input={"value_fields": fields}), bundle=bundle)
        for fields in ((), tuple(reversed(FEATURES)))
    )
    usual.run_dry()
    swapped.run_dry()
    assert ids(usual.events()) == ids(swapped.events()) != []
    assert usual.state() == swapped.state()


def test_fields_that_fit_by_their_order_only_are_taken_for_bundles_of_before() -> None:
    """They were never told otherwise; a bundle that knows its rows wants to hear which field is which."""
    other = settings(input={"value_fields": ["a.x", "b.y"]})
    Rig(broker_with([]), settings=other)
    with pytest.raises(ConfigError, match=r"\[a\.x, b\.y\] for the features \[temp, load\]"):
        Rig(broker_with([]), settings=other, bundle=with_contract_bundle())
    Rig(
        broker_with([]),
        settings=settings(input={"value_fields": {"temp": "a.x", "load": "b.y"}}),
        bundle=with_contract_bundle(),
    )
