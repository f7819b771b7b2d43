"""What a bundle says of its rows: the meaning binds, the mechanics go with the kind of source, the rest is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamae.errors import BundleError, ConfigError
from streamae.settings.contract import (
    DEFAULTS,
    MEANING,
    MECHANICS,
    SECTIONS,
    Contract,
    Source,
    contract_of,
    learnt_reading,
    read_contract,
    source_of,
    with_contract,
)
from streamae.settings.data import InputSettings
from streamae.settings.sources import load_settings
from streamae.settings.tree import SETTING_NAMES, LoadedSettings, Settings

LEARNT: dict[str, dict[str, Any]] = {
    "input": {
        "key_field": "machine",
        "time_field": "when",
        "time_unit": "s",
        "value_fields": {"load": "cpu.load"},
        "missing_values": ["-200", "-999"],
        "only": {"name": ["cpu", "mem"]},
        "time_origin": "2025-03-03T00:00:00Z",
        "bad_value": "missing",
    },
    "window": {"grid_ms": 10_000, "missing_overrides": {"load": "constant"}, "stride": 5},
    "features": {"log_fields": ["load"], "scaling": "key"},
}


def contract(source: Source = "files:csv", **sections: dict[str, Any]) -> Contract:
    """Return what a training under these settings leaves behind, as it comes back from a bundle."""
    of = Settings.model_validate(LEARNT | sections)
    plain = contract_of(of.input, of.window, of.features, source).plain()
    found = read_contract(json.loads(json.dumps(plain)))
    assert found is not None
    return found


def load(**flags: str) -> LoadedSettings:
    """Load settings that await a bundle; `input__layout="long"` sets `input.layout`."""
    given = {name.replace("__", "."): text for name, text in flags.items()}
    return load_settings(None, {}, given, awaits_bundle=True)


def test_what_nobody_set_is_as_in_training() -> None:
    """A grid of 10 s that the daemon's settings do not mention is a grid of 10 s, and `config` says why."""
    found = with_contract(load(), contract(), "kafka")
    assert (found.settings.window.grid_ms, found.sources["window.grid_ms"]) == (10_000, "bundle")
    assert found.settings.window.missing_overrides == {"load": "constant"}
    assert found.settings.input.missing_values == ("-200", "-999")
    assert found.settings.features.scaling == "key"
    assert (found.settings.window.stride, found.settings.input.bad_value) == (5, "missing")
    assert {found.sources[name] for name in MEANING + DEFAULTS} == {"bundle"}
    assert found.warnings == ()


def test_a_bundle_without_a_contract_changes_nothing() -> None:
    """Bundles of before are served under the settings they always had, which still must fit together."""
    loaded = load(window__grid_ms="20000")
    assert with_contract(loaded, None, "kafka") == loaded
    with pytest.raises(ConfigError, match=r"^input\.layout: long needs window\.grid_ms.* \(flag:--input\.layout\)$"):
        with_contract(load(input__layout="long"), None, "kafka")


def test_another_meaning_ends_the_start_with_every_contradiction() -> None:
    """One line each with both values and where the user's comes from: the model would see rows it never learnt."""
    loaded = load(window__grid_ms="20000", features__scaling="global", window__missing_constant="1", threshold__k="3")
    with pytest.raises(ConfigError) as caught:
        with_contract(loaded, contract(), "kafka")
    assert caught.value.problems == [
        (
            "window.grid_ms: 20000, but the bundle was trained with 10000: leave the setting out, or train again"
            " (flag:--window.grid_ms)"
        ),
        (
            "window.missing_constant: 1.0, but the bundle was trained with -: leave the setting out, or train again"
            " (flag:--window.missing_constant)"
        ),
        (
            'features.scaling: "global", but the bundle was trained with "key": leave the setting out, or train again'
            " (flag:--features.scaling)"
        ),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("window__grid_ms", "10000"),
        ("window__missing_overrides", '{"load": "constant"}'),
        ("window__missing", "previous"),
        ("input__missing_values", "-999,-200"),
        ("features__log_fields", "load"),
    ],
)
def test_the_same_meaning_may_be_said_again(name: str, text: str) -> None:
    """One settings file for training and serving is no contradiction, and stays the source that is shown."""
    found = with_contract(load(**{name: text}), contract(), "kafka")
    setting = name.replace("__", ".")
    assert found.sources[setting] == f"flag:--{setting}"


@pytest.mark.parametrize(
    ("learnt", "read", "is_same"),
    [
        ("files:csv", "files:csv", True),
        ("files:parquet", "files:parquet", True),
        ("files:json_lines", "files:json_lines", True),
        ("files:json_lines", "kafka", True),
        ("kafka", "files:json_lines", True),
        ("files:csv", "kafka", False),
        ("kafka", "files:csv", False),
        ("files:csv", "files:parquet", False),
        ("files:parquet", "kafka", False),
    ],
)
def test_mechanics_go_with_the_kind_of_source(learnt: Source, read: Source, is_same: bool) -> None:
    """Where a CSV file has its time says nothing of a topic; JSON is JSON in a file and in a topic."""
    found = with_contract(load(), contract(learnt), read)
    assert (found.settings.input.time_field == "when") is is_same
    assert {found.sources[name] for name in MECHANICS} == {"bundle" if is_same else "default"}
    if is_same:
        assert found.settings.input.value_fields == {"load": "cpu.load"}
        assert found.settings.input.only == {"name": ("cpu", "mem")}
        assert found.settings.input.time_origin is not None


def test_mechanics_may_be_set_otherwise() -> None:
    """Another time field takes the unit of the trained one with it: it would be read a thousand times off."""
    found = with_contract(load(input__time_field="ts", input__key_field="id"), contract("kafka"), "kafka")
    assert (found.settings.input.time_field, found.settings.input.key_field) == ("ts", "id")
    assert (found.settings.input.time_unit, found.sources["input.time_unit"]) == ("auto", "default")
    assert found.settings.input.value_fields == {"load": "cpu.load"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("learnt", "read", "flags", "is_told"),
    [
        ("files:csv", "files:parquet", {}, True),
        ("kafka", "files:csv", {}, True),
        ("files:csv", "files:parquet", {"input__key_field": "id"}, False),
        ("files:csv", "files:csv", {}, False),
        ("files:csv", "kafka", {}, False),
    ],
)
def test_files_of_another_kind_without_the_trained_key_are_told(
    learnt: Source, read: Source, flags: dict[str, str], is_told: bool
) -> None:
    """All devices of a file would be one key, and the figures plausible; a topic has a key of its own."""
    found = with_contract(load(**flags), contract(learnt, input=LEARNT["input"] | {"key_field": "machine"}), read)
    assert is_told == any("a file is one key" in warning for warning in found.warnings)


def test_another_layout_knows_nothing_of_the_trained_fields() -> None:
    """A long topic gets its grid from the bundle, but not the columns of the wide file that was learnt from."""
    found = with_contract(load(input__layout="long"), contract("kafka"), "kafka")
    assert (found.settings.input.value_fields, found.settings.window.grid_ms) == ((), 10_000)


@pytest.mark.parametrize(
    ("name", "text", "learnt"), [("window.stride", "2", "5"), ("input.bad_value", "dead_letter", '"missing"')]
)
def test_a_default_that_is_set_otherwise_is_told(name: str, text: str, learnt: str) -> None:
    """A stride is the operator's to choose; that it is none of the training is worth one line."""
    found = with_contract(load(**{name.replace(".", "__"): text}), contract(), "kafka")
    shown = text if text.isdecimal() else f'"{text}"'
    assert found.warnings == (f"{name}: {shown}, but the bundle was trained with {learnt} (flag:--{name})",)
    assert found.sources[name] == f"flag:--{name}"


def test_settings_that_only_do_not_fit_the_bundle_are_refused() -> None:
    """A required feature is valid alone, and impossible on the grid that comes with the bundle."""
    learnt = contract(window={"grid_ms": 10_000}, features={"since_previous": False})
    with pytest.raises(ConfigError, match=r"since_previous, need input\.layout = wide"):
        with_contract(load(input__layout="long", features__category_fields="a"), learnt, "kafka")


def test_every_setting_of_a_contract_exists_once() -> None:
    """A renamed setting cannot silently drop out, and none is both binding and free."""
    names = MEANING + MECHANICS + DEFAULTS
    assert len(set(names)) == len(names)
    assert set(names) <= set(SETTING_NAMES)
    assert {name.partition(".")[0] for name in names} == set(SECTIONS)


def test_training_learns_that_one_bad_value_costs_no_record() -> None:
    """A new contract says `missing`, unless the user wanted the records refused."""
    assert learnt_reading(InputSettings()).bad_value == "missing"
    assert learnt_reading(InputSettings(bad_value="dead_letter")).bad_value == "dead_letter"


def test_contracts_of_fewer_settings_are_read() -> None:
    """A setting that came after the bundle was trained has no say in it."""
    plain = contract().plain()
    del plain["meaning"]["window.hold_ms"]
    found = with_contract(load(window__hold_ms="5"), read_contract(plain), "kafka")
    assert found.settings.window.hold_ms == 5


@pytest.mark.parametrize(
    ("part", "content", "reason"),
    [
        ("source", "files:xml", "contract.source is none"),
        ("source", ["kafka"], "contract.source is none"),
        ("meaning", None, "contract.meaning is missing or not an object"),
        ("mechanics", ["input.time_field"], "contract.mechanics is missing or not an object"),
        ("defaults", {"kafka.bootstrap_servers": "elsewhere:9092"}, "kafka.bootstrap_servers is none that"),
        ("mechanics", {"input.files": ["/etc/passwd"]}, "input.files is none that"),
        ("mechanics", {"window.grid_ms": 5}, "window.grid_ms is none that"),
        ("meaning", {"window.grid_ms": -1}, "grid_ms: Input should be greater"),
        ("meaning", {"window.grid_ms": {"a": [1]}}, "grid_ms: Input should be a valid integer"),
        ("mechanics", {"input.time_origin": "soon"}, "time_origin: Input should be a valid datetime"),
    ],
)
def test_a_contract_from_anyone_sets_nothing_else(part: str, content: Any, reason: str) -> None:
    """A bundle decides how records are read, never where from or where to, and no value is taken unchecked."""
    with pytest.raises(BundleError, match=reason):
        read_contract(contract().plain() | {part: content})


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["a.csv"], "files:csv"),
        (["A.CSV.GZ"], "files:csv"),
        (["a.parquet"], "files:parquet"),
        (["a.jsonl.gz"], "files:json_lines"),
        (["a.json"], "files:json_lines"),
        (["a.tsv"], "files:csv"),
        (["a.ndjson"], "files:json_lines"),
        (["a.tsv.gz", "b.json"], "files:csv"),
        (["kafka:sensors"], "kafka"),
        (["notes.txt", "a.parquet"], "files:parquet"),
    ],
)
def test_the_kind_of_files_is_told_by_their_names(tmp_path: Path, names: list[str], source: str) -> None:
    """Given themselves, or found in a folder."""
    assert source_of(map(Path, names)) == source
    if not names[0].startswith("kafka:"):
        for name in names:
            (tmp_path / name).touch()
        assert source_of([tmp_path]) == source
