"""Labels that receivers take for identity: fixed, bounded, harmless, and different for different keys."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.alerting.alert import Alert, Cause, SeverityClass
from streamae.alerting.change import read_change
from streamae.alerting.identity import identity_of, is_own, own_alert, summary_of, watchdog_alert
from streamae.alerting.owners import Owners
from streamae.alerting.texts import LONGEST_LABEL, label_value
from tests.alerting.changes import change, rules
from tests.alerting.stored_events import STORED, record_of

PARTS = [{"name": "network_mbit_s", "share": 0.7, "actual": 63.55, "expected": 297.7}, {"name": "fan_rpm"}]


def alert(**fields: Any) -> Alert:
    """Return the alert of a change, as rules make it."""
    one = change(**fields)
    made = rules()
    return made.alert_of(one, made.identity_of(one), (made.class_of(one),), 5)


def test_the_identity_is_what_stays_with_an_episode() -> None:
    """What Alertmanager tells alerts apart by; labels of all alerts and of the owner join, those of the event win."""
    found = identity_of(change(), {"env": "live", "team": "none", "key": "x"}, {"team": "metal", "cause": "y"})
    assert found == {
        "alertname": "StreamaeAnomaly",
        "detector": "streamae",
        "topic": "metrics",
        "partition": "4",
        "key": "m1",
        "cause": "anomaly",
        "env": "live",
        "team": "metal",
    }


def test_nothing_of_the_identity_changes_with_the_episode() -> None:
    """Severity, values, guilty features, sequence and times are no part of it: each would be another alert."""
    first, later = change(), change("closed", 5, severity=99.0, state="resuming", features=PARTS, end_time_ms=7)
    assert identity_of(first, {}, {}) == identity_of(later, {}, {})


def test_owners_labels_join_the_identity(tmp_path: Path) -> None:
    """A team is told by its label."""
    path = tmp_path / "owners.csv"
    path.write_text("pattern,team\nm*,metal\n", encoding="utf-8")
    assert rules(owners=Owners.read(path, {})).identity_of(change())["team"] == "metal"


def test_keys_that_look_alike_are_told_apart() -> None:
    """Bytes that are no text appear as their escapes, which another key may hold as text."""
    as_bytes = change(key="press\\xff", key_base64=base64.b64encode(b"press\xff").decode())
    as_text = change(key="press\\xff")
    assert identity_of(as_bytes, {}, {})["key"] != identity_of(as_text, {}, {})["key"]


@given(st.text(max_size=30) | st.text(min_size=LONGEST_LABEL - 2, max_size=LONGEST_LABEL + 40))
def test_labels_are_bounded_and_harmless(text: str) -> None:
    """Whatever a key is, its label is short, has no control characters, and can be encoded."""
    found = label_value(text)
    assert len(found) <= LONGEST_LABEL
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in found)
    found.encode()
    assert found == text or found != label_value(text + "x")


@pytest.mark.parametrize(
    ("first", "second"), [("a\x00b", "a\x01b"), ("a" * 2_000, "a" * 2_001), ("a\r\nBcc: x", "a\n\nBcc: x")]
)
def test_what_is_cut_or_mended_stays_apart(first: str, second: str) -> None:
    """Two keys never become one alert, of which the end of one would end the other."""
    assert label_value(first) != label_value(second)
    assert label_value(first) == label_value(first)


def test_the_summary_is_one_line_with_the_guiltiest_feature() -> None:
    """Key, class, cause and the value that is to blame."""
    assert alert(key="machine-006", severity=95.0, features=PARTS).summary == (
        "machine-006: critical anomaly, network_mbit_s 63.55 (expected 297.7)"
    )


def test_a_stored_event_has_its_summary() -> None:
    """What a release wrote is put into words."""
    one = read_change(record_of(STORED / "0.1.0-updated.json"))
    assert rules().class_of(one) is SeverityClass.CRITICAL
    assert summary_of(one, SeverityClass.CRITICAL) == (
        "machine-006: critical anomaly, network_mbit_s 63.55 (expected 297.7)"
    )


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (None, ""),
        ([], ""),
        ("none", ""),
        (["load"], ""),
        ([{"share": 1.0}], ""),
        ([{"name": "load", "actual": "x", "expected": 1}], ", load"),
        ([{"name": "load", "description": "pressure fell to 1"}], ", pressure fell to 1"),
        ([{"name": "a\r\nb", "actual": 1, "expected": 2.0}], ", a b 1 (expected 2)"),
    ],
)
def test_features_of_another_form_break_nothing(features: Any, words: str) -> None:
    """A later release may write features otherwise, and names may hold anything."""
    assert alert(features=features).summary == f"m1: warning anomaly{words}"


def test_numbers_of_any_size_break_no_summary() -> None:
    """A whole number too large for a float would end every courier, again after each restart."""
    one = change(features=[{"name": "load", "actual": 10**400, "expected": -(10**400)}])
    assert summary_of(one, SeverityClass.CRITICAL) == "m1: critical anomaly, load ? (expected ?)"


def test_the_summary_is_bounded() -> None:
    """Keys, causes and names of any length give one short line."""
    found = alert(key="k" * 5_000, cause="c" * 5_000, features=[{"name": "n" * 5_000, "actual": 1, "expected": 2}])
    assert len(found.summary) < 700


def test_alerts_of_our_own_are_told_apart_by_what_they_are_about() -> None:
    """Two silent detectors are two alerts, the same one again is the same, and none is taken for an episode."""
    first, second = (own_alert(Cause.DETECTOR_SILENT, "x", 1, name=name, labels={"env": "live"}) for name in "ab")
    assert first.dedup_key != second.dedup_key
    assert first.dedup_key == own_alert(Cause.DETECTOR_SILENT, "y", 2, name="a", labels={"env": "live"}).dedup_key
    assert first.identity == {
        "alertname": "StreamaeDetectorSilent",
        "cause": "detector_silent",
        "detector": "a",
        "env": "live",
    }
    assert first.severity is SeverityClass.CRITICAL
    assert own_alert(Cause.DELIVERY_FAILED, "x", 1, name="pager").identity["receiver"] == "pager"
    assert own_alert(Cause.SUMMARY, "x", 1).severity is SeverityClass.WARNING
    assert is_own(first)
    assert not is_own(alert())


def test_the_watchdog_is_always_the_same_alert() -> None:
    """Its identity is the same after a restart, so that it does not fire twice."""
    first, second = watchdog_alert({"env": "test"}, 1), watchdog_alert({"env": "test"}, 2)
    assert first.dedup_key == second.dedup_key
    assert first.labels == {"alertname": "StreamaeWatchdog", "cause": Cause.WATCHDOG, "env": "test", "severity": "info"}
