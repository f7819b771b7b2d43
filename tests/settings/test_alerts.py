"""The alert settings: what a person writes is what is meant, and what cannot be meant is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamae.errors import ConfigError
from streamae.settings.documents import describe
from streamae.settings.sources import load_settings
from streamae.settings.tree import Settings, fingerprint

FILE = """
[alerts]
direction = {temperature = "above"}
min_deviation = {temperature = 2.5}
min_relative_deviation = {load = 0.1}

[[alerts.overrides]]
keys = "pump-7"

[[alerts.overrides]]
keys = "pump-*"
level_factor = 1.3

[[alerts.maintenance]]
start = 2026-03-01T02:00:00+01:00
end = 2026-03-01T06:00:00+01:00
skip = "learning"

[[alerts.maintenance]]
keys = "line-?"
days = ["sat", "sun"]
from_time = "22:00"
to_time = "06:00"
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return what is wrong with a file."""
    path = tmp_path / "streamae.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_settings(path, {}, {})
    return refused.value.problems


def test_a_file_is_read_as_it_is_meant(tmp_path: Path) -> None:
    """Tables, arrays of tables and times of TOML arrive, and defaults fill the rest."""
    path = tmp_path / "streamae.toml"
    path.write_text(FILE, encoding="utf-8")
    alerts = load_settings(path, {}, {}).settings.alerts
    assert (alerts.direction, alerts.min_deviation) == ({"temperature": "above"}, {"temperature": 2.5})
    assert [(each.keys, each.level_factor, each.mute) for each in alerts.overrides] == [
        ("pump-7", 1.0, False),
        ("pump-*", 1.3, False),
    ]
    once, again = alerts.maintenance
    assert once.start is not None
    assert (once.keys, once.start.timestamp(), once.skip) == ("*", 1_772_326_800.0, "learning")
    assert (again.days, again.from_time, again.skip) == (("sat", "sun"), "22:00", "both")


def test_rules_can_be_given_as_text(tmp_path: Path) -> None:
    """In variables and flags lists of tables are JSON; empty text means none."""
    text = '[{"keys": "a*", "mute": true}]'
    loaded = load_settings(None, {"STREAMAE_ALERTS__OVERRIDES": text}, {"alerts.direction": '{"a": "below"}'})
    assert loaded.settings.alerts.overrides[0].mute
    assert loaded.settings.alerts.direction == {"a": "below"}
    assert load_settings(None, {"STREAMAE_ALERTS__OVERRIDES": ""}, {}).settings.alerts.overrides == ()


def test_rules_are_shown_as_they_are_written(tmp_path: Path) -> None:
    """`streamae config` shows what was set of each table, times with their zone."""
    path = tmp_path / "streamae.toml"
    path.write_text(FILE, encoding="utf-8")
    rows = {row.name: row.value for row in describe(load_settings(path, {}, {}))}
    assert rows["alerts.overrides"] == '[{keys = "pump-7"}, {keys = "pump-*", level_factor = 1.3}]'
    assert "start = 2026-03-01T02:00:00+01:00" in rows["alerts.maintenance"]


@pytest.mark.parametrize(
    ("table", "where", "what"),
    [
        ("[[alerts.overrides]]\nlevel_factor = 2", "alerts.overrides", "[0][keys]"),
        ("[[alerts.overrides]]\nkeys = 'a'\nlevel_factor = 0", "alerts.overrides", "greater than 0"),
        ("[[alerts.overrides]]\nkeys = 'a'\nfactor = 2", "alerts.overrides", "[0][factor]"),
        ("[alerts]\nmin_deviation = {a = -1}", "alerts.min_deviation", "[a]"),
        ("[alerts]\ndirection = {a = 'up'}", "alerts.direction", "above"),
        ("[[alerts.maintenance]]\nkeys = '*'", "alerts.maintenance", "either start and end, or from_time and to_time"),
        ("[[alerts.maintenance]]\nstart = 2026-03-01T02:00:00Z", "alerts.maintenance", "either start and end"),
        ("[[alerts.maintenance]]\nfrom_time = '22:00'", "alerts.maintenance", "either start and end"),
        (
            "[[alerts.maintenance]]\nstart = 2026-03-01T02:00:00\nend = 2026-03-01T03:00:00Z",
            "alerts.maintenance",
            "timezone",
        ),
        (
            "[[alerts.maintenance]]\nstart = 2026-03-01T02:00:00Z\nend = 2026-03-01T02:00:00+00:00",
            "alerts.maintenance",
            "end must be after start",
        ),
        ("[[alerts.maintenance]]\nfrom_time = '9:00'\nto_time = '10:00'", "alerts.maintenance", "[from_time]"),
        ("[[alerts.maintenance]]\nfrom_time = '24:00'\nto_time = '10:00'", "alerts.maintenance", "00:00"),
        ("[[alerts.maintenance]]\nfrom_time = '09:00'\nto_time = '25:00'", "alerts.maintenance", "[to_time]"),
        (
            "[[alerts.maintenance]]\ndays = ['noday']\nfrom_time = '09:00'\nto_time = '10:00'",
            "alerts.maintenance",
            "[days]",
        ),
        (
            "[[alerts.maintenance]]\nfrom_time = '09:00'\nto_time = '10:00'\ntime_zone = 'UTC'\nutc_offset_minutes = 60",
            "alerts.maintenance",
            "two clocks",
        ),
        (
            "[[alerts.maintenance]]\ndays = []\nfrom_time = '09:00'\nto_time = '10:00'",
            "alerts.maintenance",
            "[days]",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, table: str, where: str, what: str) -> None:
    """With the setting, the number of the table and the field."""
    found = problems(tmp_path, table)
    assert any(line.startswith(f"{where}: ") and what in line for line in found), found


@pytest.mark.parametrize(
    "alerts",
    [
        {"direction": {"a": "above"}},
        {"min_deviation": {"a": 1}},
        {"min_relative_deviation": {"a": 1}},
        {"overrides": [{"keys": "a"}]},
        {"maintenance": [{"from_time": "00:00", "to_time": "24:00"}]},
    ],
)
def test_every_rule_is_part_of_the_settings_version(alerts: dict[str, object]) -> None:
    """An event tells which rules it was decided under."""
    assert fingerprint(Settings.model_validate({"alerts": alerts})) != fingerprint(Settings())


def test_maintenance_without_a_zone_has_the_fingerprint_of_before() -> None:
    """A daemon with untouched settings finds its state again; with a zone, other windows may alarm."""
    night = {"from_time": "22:00", "to_time": "06:00"}
    once = {"start": "2026-03-01T02:00:00+01:00", "end": "2026-03-01T06:00:00+01:00"}
    before = Settings.model_validate({"alerts": {"maintenance": [night | {"utc_offset_minutes": 60}, once]}})
    assert fingerprint(before) == "be457acb9e71"
    at_place = Settings.model_validate({"alerts": {"maintenance": [night | {"time_zone": "Europe/Rome"}, once]}})
    assert fingerprint(at_place) != fingerprint(Settings.model_validate({"alerts": {"maintenance": [night, once]}}))


def test_how_alerts_reach_people_changes_no_decision() -> None:
    """Another receiver or route must not make the daemon's events look like those of other settings."""
    delivery = {"receivers": [{"name": "log", "kind": "log"}], "hold_ms": 3_600_000, "labels": {"site": "north"}}
    assert fingerprint(Settings.model_validate({"alerts": delivery})) == fingerprint(Settings())
