"""The operator's rules in a whole engine: heard or not, by key, also after restarts, evictions and reloads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from streamae.assembly.alert_rules import build_alert_rules
from streamae.core.maintenance import Interval, Weekly
from streamae.core.zones import Zone
from streamae.errors import ConfigError
from streamae.time_zones import read_zone
from tests.engines import FEATURES, START_MS, STEP_MS, Rig, broker_with, header, settings, stream

HOUR_MS = 3_600_000


def moment(row: int) -> str:
    """Event time of a row of the stream, as people write it."""
    return datetime.fromtimestamp((START_MS + row * STEP_MS) / 1_000, UTC).isoformat()


def ruled(**alerts: Any) -> Rig:
    """An engine that has read the usual stream under these rules."""
    rig = Rig(broker_with(stream()), settings=settings(alerts=alerts))
    rig.run_dry()
    return rig


def told(rig: Rig) -> list[tuple[str, str, str | None]]:
    """Key, kind and close reason of all events, by key."""
    values = [json.loads(record.value or b"") for record in rig.events()]
    return sorted((value["key"], value["kind"], value["close_reason"]) for value in values)


def opened(rig: Rig) -> list[str]:
    """Keys with an episode."""
    return sorted({key for key, kind, _ in told(rig) if kind == "opened"})


def test_settings_become_rules() -> None:
    """Names become columns, times become milliseconds, and what is skipped becomes two flags."""
    rules = build_alert_rules(
        settings(
            alerts={
                "direction": {"load": "below"},
                "min_deviation": {"temp": 2.0},
                "overrides": [{"keys": "a", "level_factor": 2.0}],
                "maintenance": [
                    {"start": "1970-01-01T01:00:00+01:00", "end": "1970-01-01T00:00:00.250Z", "skip": "alerting"},
                    {"days": ["sun"], "from_time": "22:30", "to_time": "24:00", "skip": "learning"},
                    {"days": ["sun"], "from_time": "22:30", "to_time": "24:00", "time_zone": "Europe/Rome"},
                ],
            }
        ).alerts,
        FEATURES,
    )
    assert rules.deviations is not None
    assert rules.deviations.signs.tolist() == [0.0, -1.0]
    assert rules.deviations.least.tolist() == [2.0, 0.0]
    assert (rules.overrides[0].pattern, rules.overrides[0].level_factor) == ("a", 2.0)
    once, again, at_place = rules.maintenance
    assert (once.stretch, once.is_silent, once.is_unlearnt) == (Interval(0, 250), True, False)
    assert again.stretch == Weekly(frozenset({6}), 22 * HOUR_MS + HOUR_MS // 2, 24 * HOUR_MS, Zone.fixed(0))
    assert (again.is_silent, again.is_unlearnt) == (False, True)
    assert isinstance(at_place.stretch, Weekly)
    assert at_place.stretch.clock == read_zone("Europe/Rome")


def test_without_settings_there_are_no_rules() -> None:
    """The hot path asks for nothing then."""
    rules = build_alert_rules(settings().alerts, FEATURES)
    assert (rules.overrides, rules.maintenance, rules.deviations) == ((), (), None)


def test_unknown_features_stop_the_start() -> None:
    """All of them are named at once, before anything is read."""
    alerts = {"direction": {"tmep": "above"}, "min_deviation": {"load": 1}, "min_relative_deviation": {"x": 0.1}}
    with pytest.raises(ConfigError) as refused:
        Rig(broker_with([]), settings=settings(alerts=alerts))
    assert refused.value.problems == [
        "alerts.direction: 'tmep' is no feature of the bundle: temp, load",
        "alerts.min_relative_deviation: 'x' is no feature of the bundle: temp, load",
    ]


def test_a_muted_key_learns_and_says_nothing() -> None:
    """Its neighbours are heard, and what is stored of it is as much as of any other key."""
    plain, muted = ruled(), ruled(overrides=[{"keys": "*-1", "mute": True}])
    assert opened(plain) == ["machine-1", "machine-2"]
    assert opened(muted) == ["machine-2"]
    counts = [rig.engine.stages.decision.columns["count"][rig.engine.states.table.resident()] for rig in (plain, muted)]
    assert np.array_equal(*counts)


def test_a_level_factor_is_in_the_event() -> None:
    """The threshold that people see is the one that was compared."""
    usual, wide = (
        json.loads(rig.events()[0].value or b"")
        for rig in (ruled(), ruled(overrides=[{"keys": "*", "level_factor": 2}]))
    )
    assert wide["episode_id"] == usual["episode_id"]
    distances = [event["threshold"] - event["statistics"]["mean"] for event in (usual, wide)]
    assert distances[1] == pytest.approx(2 * distances[0])


def test_maintenance_silences_by_event_time() -> None:
    """Of two spikes half a minute apart only the one outside is heard; rows of one process time do not matter."""
    rig = ruled(maintenance=[{"start": moment(55), "end": moment(65)}])
    assert opened(rig) == ["machine-2"]


def test_an_open_episode_is_closed_when_maintenance_begins() -> None:
    """People are told at once, with the reason, and a replay tells them the same."""
    rig = ruled(maintenance=[{"start": moment(61), "end": moment(80), "keys": "machine-1"}])
    assert ("machine-1", "closed", "maintenance") in told(rig)
    assert ("machine-2", "closed", "quiet") in told(rig)
    again = ruled(maintenance=[{"start": moment(61), "end": moment(80), "keys": "machine-1"}])
    assert [header(record, "ce_id") for record in rig.events()] == [
        header(record, "ce_id") for record in again.events()
    ]


def test_direction_and_size_decide_what_is_heard() -> None:
    """Spikes of 40 above what is expected: heard as rising ones of 30, not as falling ones or ones of 50."""
    assert opened(ruled(direction={"temp": "above"}, min_deviation={"temp": 30})) == ["machine-1", "machine-2"]
    assert opened(ruled(direction={"temp": "below"})) == []
    assert opened(ruled(min_deviation={"temp": 50})) == []


def test_a_pattern_has_deviations_of_its_own() -> None:
    """What an override says of a feature counts for its keys only, stricter or looser; of the rest it says nothing."""
    fussy = {"keys": "*-1", "min_deviation": {"temp": 50}}
    assert opened(ruled(overrides=[fussy])) == ["machine-2"]
    lifted = {"keys": "*-1", "direction": {"temp": "both"}}
    assert opened(ruled(direction={"temp": "below"}, overrides=[lifted])) == ["machine-1"]
    assert opened(ruled(direction={"temp": "below"}, overrides=[{"keys": "*-1", "min_deviation": {"temp": 1}}])) == []
    first = [{"keys": "machine-1"}, fussy]
    assert opened(ruled(overrides=first)) == ["machine-1", "machine-2"]


def test_deviations_of_a_pattern_are_merged_feature_by_feature() -> None:
    """An override changes what it names and nothing else."""
    of = {"direction": {"load": "below"}, "min_deviation": {"temp": 2.0}}
    rules = build_alert_rules(
        settings(
            alerts=of | {"overrides": [{"keys": "a", "min_deviation": {"load": 3.0}}, {"keys": "b", "mute": True}]}
        ).alerts,
        FEATURES,
    )
    one, other = (each.deviations for each in rules.overrides)
    assert one is not None
    assert (one.signs.tolist(), one.least.tolist()) == ([0.0, -1.0], [2.0, 3.0])
    assert other is None


def test_unknown_features_of_a_pattern_are_named_with_their_place() -> None:
    """Among many tables one has to know which."""
    alerts = {"overrides": [{"keys": "a"}, {"keys": "b", "direction": {"tmep": "above"}}]}
    with pytest.raises(ConfigError, match=r"^alerts.overrides.1.direction: 'tmep' is no feature of the bundle"):
        build_alert_rules(settings(alerts=alerts).alerts, FEATURES)


def test_rules_hold_after_a_restart() -> None:
    """Keys that come back from the store are matched again, and an evicted key's slot forgets whose it was."""
    alerts = {"overrides": [{"keys": "machine-2", "mute": True}]}
    records = stream()
    rig = Rig(broker_with(records[:240]), settings=settings(alerts=alerts))
    rig.run_dry()
    for key, value in records[240:]:
        rig.broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
    after = Rig(rig.broker, rig.store, rig.settings)
    after.run_dry()
    assert opened(after) == ["machine-1"]


def test_a_reload_applies_to_keys_in_memory() -> None:
    """Muted while it runs, a key's open episode is closed by its next window, and says why."""
    records = stream(spikes=[(1, row) for row in range(60, 100)])
    rig = Rig(broker_with(records[: 3 * 70]))
    rig.run_dry()
    assert opened(rig) == ["machine-1"]
    rig.retune(settings(alerts={"overrides": [{"keys": "machine-1", "mute": True}]}))
    for key, value in records[3 * 70 :]:
        rig.broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
    rig.run_dry()
    assert [event for event in told(rig) if event[1] != "updated"] == [
        ("machine-1", "closed", "muted"),
        ("machine-1", "opened", None),
    ]


def test_a_reload_that_does_not_fit_changes_nothing() -> None:
    """A wrong name refuses the whole reload; the rules before stay in force."""
    rig = Rig(broker_with(stream()), settings=settings(alerts={"overrides": [{"keys": "*", "mute": True}]}))
    with pytest.raises(ConfigError, match=r"alerts\.direction"):
        rig.retune(settings(alerts={"direction": {"nothing": "above"}}))
    rig.run_dry()
    assert opened(rig) == []


def gauge(rig: Rig, name: str) -> float:
    """Value of a metric after a look around."""
    rig.engine.report()
    text = rig.telemetry.render()[0].decode().splitlines()
    return float(next(line for line in text if line.startswith(f"streamae_{name} ")).split()[-1])


def test_the_rate_that_is_reached_stands_beside_the_budget() -> None:
    """Two episodes in so many windows of a second, and the budget, also after a reload; without one it is NaN."""
    rig = ruled()
    windows = sum(rig.engine.stages.decision.columns["count"][rig.engine.states.table.resident()])
    assert gauge(rig, "episodes_per_key_week") == pytest.approx(2 * 7 * 86_400 / windows)
    assert np.isnan(gauge(rig, "alert_budget_per_key_week"))
    rig.retune(settings(threshold={"alert_budget_per_week": 700}))
    assert gauge(rig, "alert_budget_per_key_week") == 700


def test_a_budget_out_of_reach_stops_the_start() -> None:
    """Before anything is read, with what to do instead."""
    with pytest.raises(ConfigError, match=r"threshold\.alert_budget_per_week: .*ask for less"):
        Rig(broker_with([]), settings=settings(threshold={"alert_budget_per_week": 1e6}))
