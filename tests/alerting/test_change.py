"""Events of this release, the one before and the one after are read; what cannot be told says why."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.alerting.change import Place, Unreadable, UnreadableChange, read_change
from streamae.batches import Record
from streamae.episode_changes import ChangeKind
from tests.alerting.changes import NOW_MS, OUTPUT, START_MS, change, record
from tests.alerting.stored_events import CHANGES, STORED, message, record_of
from tests.alerting.stored_events import START_MS as STORED_MS

FILES = sorted(STORED.glob("*.json"))


def refused(raw: Record) -> UnreadableChange:
    """Return why a record is refused."""
    with pytest.raises(UnreadableChange) as caught:
        read_change(raw)
    return caught.value


def test_a_change_holds_what_alerts_need() -> None:
    """Every field of a change, from value, headers, timestamp and place."""
    raw = record("updated", 3, offset=12, end_time_ms=START_MS + 5, state="provisional")
    found = read_change(raw)
    assert (found.event_id, found.episode_id, found.kind, found.sequence) == ("e1-3", "e1", ChangeKind.UPDATED, 3)
    assert (found.detector, found.key, found.topic, found.partition) == ("streamae", "m1", "metrics", 4)
    assert (found.severity, found.confidence, found.state, found.cause) == (60.0, 0.9, "provisional", "anomaly")
    assert (found.start_ms, found.end_ms, found.stamped_ms) == (START_MS, START_MS + 5, NOW_MS)
    assert (found.at, found.raw, found.close_reason) == (Place(OUTPUT, 12), raw, "")
    assert found.event == json.loads(raw.value or b"")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_events_are_read(path: Any) -> None:
    """What some release wrote is read for good: headers and value as they came from its writer."""
    found = read_change(record_of(path, offset=5))
    kind = path.stem.partition("-")[2]
    assert found.kind == (kind if kind in set(ChangeKind) else ChangeKind.OPENED)
    assert (found.detector, found.topic, found.partition, found.start_ms) == ("streamae", "metrics", 4, STORED_MS)
    assert found.event_id == dict(found.raw.headers)["ce_id"].decode()  # type: ignore[union-attr]
    assert found.close_reason == ("quiet" if found.is_closed else "")


def test_every_kind_of_event_is_stored() -> None:
    """Of this release each kind of event is among the stored ones."""
    assert {path.stem.partition("-")[2] for path in FILES} >= set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_events_of_the_present_writer_are_read(name: str) -> None:
    """Reader and writer of one release fit together."""
    written = message(*CHANGES[name])
    raw = Record(written.topic, 0, 0, NOW_MS, written.key, written.value, list(written.headers))
    assert read_change(raw).severity == CHANGES[name][0].severity


def test_fields_that_may_be_missing_have_sensible_values() -> None:
    """An event that says little is told, and counts as bad: a page too many is better than one missed."""
    names = ("start_time_ms", "end_time_ms", "severity", "confidence", "state", "source")
    found = change(**dict.fromkeys(names))
    assert (found.severity, found.confidence, found.state) == (100.0, 1.0, "ready")
    assert (found.start_ms, found.end_ms, found.topic, found.partition) == (NOW_MS, NOW_MS, "", -1)


def test_what_is_not_known_is_ignored_or_stays_text() -> None:
    """A later release of version 1 may add fields, causes, states and close reasons."""
    found = change("closed", cause="silence", state="dreaming", close_reason="merged", of_tomorrow={"a": [1]})
    assert (found.cause, found.state, found.close_reason) == ("silence", "dreaming", "merged")
    assert change("closed", close_reason=None).close_reason == "closed"


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("io.streamae.anomaly.opened.v1", ChangeKind.OPENED),
        ("io.streamae.silence.closed_early.v1", ChangeKind.CLOSED),
        ("io.streamae.anomaly.reclosed", ChangeKind.CLOSED),
        ("io.streamae.anomaly.acknowledged.v1", ChangeKind.UPDATED),
    ],
)
def test_the_type_says_what_happened(event_type: str, kind: ChangeKind) -> None:
    """Any type with `closed` closes, and one that is not known goes on."""
    assert change(event_type=event_type).kind is kind


def test_without_headers_the_value_says_what_happened() -> None:
    """A copy of the topic may have lost its headers."""
    found = read_change(replace(record("closed", 2), headers=[]))
    assert (found.kind, found.event_id) == (ChangeKind.CLOSED, "e1/2")


@pytest.mark.parametrize("version", ["v2", "v10", "v0"])
def test_another_major_version_is_refused(version: str) -> None:
    """What is meant by it is not known: it is said, not guessed."""
    error = refused(record(event_type=f"io.streamae.anomaly.opened.{version}"))
    assert error.reason is Unreadable.UNKNOWN_VERSION
    assert "upgrade the alerts" in error.detail


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Unreadable.NO_VALUE),
        (b"", Unreadable.NO_VALUE),
        (b"{", Unreadable.NOT_JSON),
        (b"[]", Unreadable.NOT_JSON),
        (b'"a"', Unreadable.NOT_JSON),
        (b"[" * 200_000, Unreadable.NOT_JSON),
        (b'{"a": NaN}', Unreadable.NOT_JSON),
        (b'{"a": "\xff"}', Unreadable.NOT_JSON),
        (b'{"a": "\\ud800"}', Unreadable.NOT_JSON),
        (b"{}", Unreadable.MISSING_FIELD),
    ],
)
def test_what_is_no_event_is_refused(value: bytes | None, reason: Unreadable) -> None:
    """No bytes raise anything but the one exception."""
    assert refused(replace(record(), value=value)).reason is reason


@pytest.mark.parametrize("name", ["episode_id", "sequence", "detector", "key"])
def test_what_an_alert_cannot_do_without_is_asked_for(name: str) -> None:
    """Without these nobody could say what is meant, or whether it is new."""
    error = refused(record(**{name: None}))
    assert (error.reason, error.detail) == (Unreadable.MISSING_FIELD, f"there is no {name}")


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": "1"},
        {"sequence": True},
        {"sequence": -1},
        {"sequence": 1.5},
        {"sequence": 2**70},
        {"episode_id": ""},
        {"episode_id": "e" * 300},
        {"episode_id": 7},
        {"severity": "high"},
        {"severity": 10**100 * 10**250},
        {"key": ["m1"]},
        {"source": "metrics"},
        {"source": {"partition": "4"}},
        {"cause": 3},
    ],
)
def test_a_field_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    """A wrong value is said, never guessed at."""
    assert refused(record(**fields)).reason in {Unreadable.WRONG_TYPE, Unreadable.NOT_JSON}


@given(
    st.dictionaries(
        st.sampled_from(("episode_id", "sequence", "key", "detector", "severity", "source", "kind", "features", "x")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=5,
        ),
    ),
    st.lists(st.tuples(st.sampled_from(("ce_type", "ce_id", "x")), st.none() | st.binary(max_size=40)), max_size=3),
)
def test_nothing_raises_but_the_one_exception(content: dict[str, Any], headers: list[tuple[str, bytes | None]]) -> None:
    """Whatever stands in a record, it is a change or it says why not."""
    raw = replace(record(), value=json.dumps(content).encode(), headers=headers)
    with suppress(UnreadableChange):
        read_change(raw)
