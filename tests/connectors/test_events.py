"""Events are valid CloudEvents under the published schema, with identifiers that survive a replay."""

from __future__ import annotations

import base64
import json
import math
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamae
from streamae.batches import KeyState, Partition
from streamae.connectors.events import SCHEMA_ID, EventWriter, episode_id, schema
from streamae.connectors.protocols import Message
from streamae.episode_changes import ChangeKind, EpisodeChange, FeatureExplanation
from tests.records import PARTITION, STAMP_MS

SCHEMA_FILE = Path(streamae.__file__).parent / "schemas" / "anomaly_event.v1.json"
FEATURES = ("temp", "load", "flow")
LATER = ("state_reason", "other_features_share")  # fields that v1 did not begin with
VALIDATOR = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker())
CHANGE = EpisodeChange(
    kind=ChangeKind.OPENED,
    slot=17,
    offset=120,
    opened_offset=118,
    sequence=0,
    start_time_ms=STAMP_MS,
    peak_time_ms=STAMP_MS + 1_001,
    end_time_ms=STAMP_MS + 2_000,
    window_start_ms=STAMP_MS - 30_000,
    window_end_ms=STAMP_MS + 2_500,
    window_rows=32,
    windows=3,
    score=9.5,
    threshold=4.25,
    mean=1.0,
    sd=0.25,
    count=640,
    needed=64,
    state=KeyState.READY,
    state_reason="",
    peak_score=12.5,
    severity=81.5,
    confidence=0.875,
    imputed_share=0.125,
    close_reason=None,
    features=(
        FeatureExplanation(2, 0.5, 7.5, 1.0),
        FeatureExplanation(0, 0.375, -3.0, 20.5),
        FeatureExplanation(1, 0.125, 2.0, 2.0),
    ),
)


def writer(**overrides: Any) -> EventWriter:
    """Return a writer of two features an event."""
    arguments: dict[str, Any] = {
        "topic": "anomalies",
        "source_uri": "urn:streamae",
        "features": FEATURES,
        "top_features": 2,
        "bundle_version": "b1",
        "settings_version": "s1",
        "detector": "plant-a",
    }
    return EventWriter(**(arguments | overrides))


def body(message: Message) -> dict[str, Any]:
    """Parse the value strictly and hold it against the schema."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    content: dict[str, Any] = json.loads(message.value or b"", parse_constant=refuse)
    VALIDATOR.validate(content)
    assert set(content) <= set(schema()["properties"])
    return content


def attributes(message: Message) -> dict[str, str]:
    """Return the headers as text."""
    return {name: (value or b"").decode() for name, value in message.headers}


def test_the_value_holds_everything_a_reader_needs() -> None:
    """Every field of the event, by value: times twice, statistics before learning, the window, the guilty features."""
    assert body(writer().message(CHANGE, b"m1", PARTITION)) == {
        "episode_id": str(episode_id("plant-a", PARTITION, b"m1", 118, STAMP_MS)),
        "kind": "opened",
        "sequence": 0,
        "key": "m1",
        "detector": "plant-a",
        "start_time": "2023-11-14T22:13:20.000Z",
        "start_time_ms": STAMP_MS,
        "peak_time": "2023-11-14T22:13:21.001Z",
        "peak_time_ms": STAMP_MS + 1_001,
        "end_time": "2023-11-14T22:13:22.000Z",
        "end_time_ms": STAMP_MS + 2_000,
        "anomalous_windows": 3,
        "severity": 81.5,
        "confidence": 0.875,
        "score": 9.5,
        "threshold": 4.25,
        "peak_score": 12.5,
        "statistics": {"mean": 1.0, "sd": 0.25, "count": 640},
        "window": {
            "start_time": "2023-11-14T22:12:50.000Z",
            "start_time_ms": STAMP_MS - 30_000,
            "end_time": "2023-11-14T22:13:22.500Z",
            "end_time_ms": STAMP_MS + 2_500,
            "rows": 32,
        },
        "state": "ready",
        "state_progress": 1.0,
        "state_reason": "",
        "imputed_share": 0.125,
        "close_reason": None,
        "features": [
            {"name": "flow", "share": 0.5, "actual": 7.5, "expected": 1.0, "direction": "above"},
            {"name": "temp", "share": 0.375, "actual": -3.0, "expected": 20.5, "direction": "below"},
        ],
        "other_features_share": 0.125,
        "model_version": "b1",
        "settings_version": "s1",
        "source": {"topic": "sensors", "partition": 3, "offset": 120},
    }


def test_the_record_s_own_id_is_in_the_origin() -> None:
    """A transaction is found again by its id; events of records without one are what they were."""
    content = body(writer().message(replace(CHANGE, record_id="tx-17"), b"m1", PARTITION))
    assert content["source"] == {"topic": "sensors", "partition": 3, "offset": 120, "record_id": "tx-17"}
    assert "record_id" not in body(writer().message(CHANGE, b"m1", PARTITION))["source"]


@pytest.mark.parametrize("kind", ChangeKind)
def test_headers_are_cloudevents_in_binary_mode(kind: ChangeKind) -> None:
    """All required attributes and ours are there; the time is that of the window decided on."""
    message = writer().message(replace(CHANGE, kind=kind), b"m1", PARTITION)
    found = attributes(message)
    assert uuid.UUID(found.pop("ce_id")).version == 5
    assert found == {
        "ce_specversion": "1.0",
        "ce_source": "urn:streamae",
        "ce_type": f"io.streamae.anomaly.{kind.value}.v1",
        "ce_time": "2023-11-14T22:13:22.500Z",
        "ce_subject": "m1",
        "ce_dataschema": SCHEMA_ID,
        "content-type": "application/json",
    }
    assert len(message.headers) == 8


def test_a_message_goes_where_its_input_came_from() -> None:
    """Topic and Kafka key are set, and the input position travels along for the replay filter."""
    message = writer().message(CHANGE, b"\xffkey", PARTITION)
    assert (message.topic, message.key, message.cause) == ("anomalies", b"\xffkey", (PARTITION, 120))


@pytest.mark.parametrize("reason", ["quiet", "gap"])
def test_a_closed_episode_says_why(reason: str) -> None:
    """The close reason travels."""
    change = replace(CHANGE, kind=ChangeKind.CLOSED, sequence=4, close_reason=reason)
    content = body(writer().message(change, b"m1", PARTITION))
    assert (content["kind"], content["sequence"], content["close_reason"]) == ("closed", 4, reason)


def test_a_learning_key_has_no_threshold() -> None:
    """An open episode may meet a key that learns again: the infinite threshold is null and the state says so."""
    change = replace(CHANGE, threshold=math.inf, state=KeyState.LEARNING, state_reason="why")
    content = body(writer().message(change, b"m1", PARTITION))
    assert (content["threshold"], content["state"], content["state_reason"]) == (None, "learning", "why")


@pytest.mark.parametrize("state", [KeyState.PROVISIONAL, KeyState.READY, KeyState.RESUMING])
@pytest.mark.parametrize(("count", "needed", "progress"), [(0, 64, 0.0), (16, 64, 0.25), (640, 64, 1.0), (0, 0, 1.0)])
def test_an_event_says_how_well_its_key_is_known(state: KeyState, count: int, needed: int, progress: float) -> None:
    """State and progress travel; what needs no scores is complete from the start."""
    change = replace(CHANGE, state=state, count=count, needed=needed)
    content = body(writer().message(change, b"m1", PARTITION))
    assert (content["state"], content["state_progress"]) == (state.name.lower(), progress)


@pytest.mark.parametrize(
    ("key", "text", "subject"),
    [
        (b"m1", "m1", "m1"),
        ("Größe \U0001f600".encode(), "Größe \U0001f600", "Größe \U0001f600"),
        (b"a\nb\x00\x7f", "a\nb\x00\x7f", r"a\nb\x00\x7f"),
        ("\ufffe\ufdd0\U0010ffff".encode(), "\ufffe\ufdd0\U0010ffff", r"\ufffe\ufdd0\U0010ffff"),
        ("\x85".encode(), "\x85", r"\x85"),
    ],
)
def test_text_keys_are_readable(key: bytes, text: str, subject: str) -> None:
    """The value holds the key as text; the subject escapes what CloudEvents forbids in an attribute."""
    message = writer().message(CHANGE, key, PARTITION)
    content = body(message)
    assert (content["key"], attributes(message)["ce_subject"]) == (text, subject)
    assert "key_base64" not in content


@pytest.mark.parametrize(("key", "text"), [(b"\xff\xfea", r"\xff\xfea"), (b"\xed\xa0\x80", r"\xed\xa0\x80")])
def test_other_keys_are_escaped_and_carried_whole(key: bytes, text: str) -> None:
    """A key that is no UTF-8 is shown escaped, and its bytes can be had from key_base64."""
    message = writer().message(CHANGE, key, PARTITION)
    content = body(message)
    assert (content["key"], attributes(message)["ce_subject"]) == (text, text)
    assert base64.b64decode(content["key_base64"]) == key


def test_an_empty_key_has_no_subject() -> None:
    """CloudEvents wants a subject that is not empty, or none."""
    message = writer().message(CHANGE, b"", PARTITION)
    assert body(message)["key"] == ""
    assert "ce_subject" not in attributes(message)


def ids(change: EpisodeChange, key: bytes = b"m1", partition: Partition = PARTITION, **given: Any) -> tuple[str, str]:
    """Return episode id and ce_id."""
    message = writer(**given).message(change, key, partition)
    return body(message)["episode_id"], attributes(message)["ce_id"]


def test_a_replay_gives_the_same_identifiers() -> None:
    """Another process that decides the same change again names it the same, whatever its slot and its statistics."""
    again = replace(CHANGE, slot=3, offset=121, score=9.500001, severity=81.6, features=())
    assert ids(again, bundle_version="b2", settings_version="s2") == ids(CHANGE)


def test_identifiers_never_change_between_releases() -> None:
    """Consumers store them: the scheme is part of the contract."""
    assert ids(CHANGE) == ("6a30b9a5-93a7-589a-bb46-b3558078d4bb", "11ac549a-26dd-5e61-978f-eb53069651dc")


@pytest.mark.parametrize(
    ("key", "partition", "detector"),
    [
        (b"m2", PARTITION, "plant-a"),
        (b"m1", Partition("sensors", 4), "plant-a"),
        (b"m1", Partition("sensors2", 3), "plant-a"),
        (b"m1", PARTITION, "plant-b"),
    ],
)
def test_other_streams_have_other_identifiers(key: bytes, partition: Partition, detector: str) -> None:
    """Key, topic, partition and detector all tell episodes apart."""
    other = ids(CHANGE, key, partition, detector=detector)
    assert set(other).isdisjoint(ids(CHANGE))


def test_changes_of_one_episode_share_its_id_only() -> None:
    """Within an episode each event has an id of its own; another episode of the key has another id."""
    changes = [
        CHANGE,
        replace(CHANGE, kind=ChangeKind.UPDATED, sequence=1),
        replace(CHANGE, kind=ChangeKind.UPDATED, sequence=2),
        replace(CHANGE, kind=ChangeKind.CLOSED, sequence=2),
    ]
    found = [ids(change) for change in changes]
    assert len({episode for episode, _ in found}) == 1
    assert len({event for _, event in found}) == len(changes)
    assert ids(replace(CHANGE, opened_offset=119))[0] != found[0][0]
    assert ids(replace(CHANGE, start_time_ms=STAMP_MS - 1))[0] != found[0][0]


def test_features_are_named_in_their_order_and_cut() -> None:
    """No more than top_features, in the given order; features without finite values are left out."""
    nan = math.nan
    broken = [FeatureExplanation(1, *numbers) for numbers in [(0.6, nan, 1.0), (0.2, 1.0, math.inf), (nan, 1.0, 1.0)]]
    few = body(writer(top_features=1).message(CHANGE, b"m1", PARTITION))["features"]
    assert [part["name"] for part in few] == ["flow"]
    rest = body(
        writer(top_features=9).message(replace(CHANGE, features=(*broken, *CHANGE.features)), b"m1", PARTITION)
    )["features"]
    assert [part["name"] for part in rest] == ["flow", "temp", "load"]
    assert body(writer().message(replace(CHANGE, features=()), b"m1", PARTITION))["features"] == []


def total_share(content: dict[str, Any]) -> float:
    """Return what the listed features and all others add up to."""
    return math.fsum([content["other_features_share"], *(part["share"] for part in content["features"])])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("features", "is_all"), [(1, True), (3, True), (40, False)])
def test_listed_shares_and_that_of_the_others_sum_to_one(features: int, is_all: bool, seed: int) -> None:
    """A reader sees how much is not explained: nothing at all where every feature is listed."""
    channels = np.sort(np.random.default_rng(seed).exponential(size=features).astype(np.float32))[::-1]
    parts = [FeatureExplanation(i, float(share), 1.0, 0.0) for i, share in enumerate(channels / channels.sum())]
    change = replace(CHANGE, features=tuple(parts[:5]))
    content = body(
        writer(features=[f"f{i}" for i in range(features)], top_features=5).message(change, b"m1", PARTITION)
    )
    assert total_share(content) == pytest.approx(1.0, abs=1e-6)
    assert (content["other_features_share"] == 0.0) is is_all


def test_the_share_of_a_feature_left_out_goes_to_the_others() -> None:
    """What cannot be shown is not lost: one without a finite value counts as one that is not listed."""
    broken = (replace(CHANGE.features[0], expected=math.nan), *CHANGE.features[1:])
    found = [
        body(writer(top_features=9).message(replace(CHANGE, features=features), b"m1", PARTITION))
        for features in (broken, ())
    ]
    assert [len(content["features"]) for content in found] == [2, 0]
    assert [content["other_features_share"] for content in found] == [0.5, 1.0]


def test_what_was_added_later_is_always_written_and_not_required() -> None:
    """Events of an earlier release of v1 stay valid under the schema of this one."""
    content = body(writer().message(CHANGE, b"m1", PARTITION))
    for name in LATER:
        del content[name]
    del content["window"]["rows"]
    VALIDATOR.validate(content)


anything = st.floats()
times = st.integers(min_value=-(2**62), max_value=2**62)


@settings(deadline=None)
@given(
    change=st.builds(
        EpisodeChange,
        kind=st.sampled_from(ChangeKind),
        slot=st.integers(0, 10),
        offset=st.integers(0, 2**62),
        opened_offset=st.integers(0, 2**62),
        sequence=st.integers(0, 100),
        start_time_ms=times,
        peak_time_ms=times,
        end_time_ms=times,
        window_start_ms=times,
        window_end_ms=times,
        window_rows=st.integers(1, 4_096),
        windows=st.integers(0, 100),
        score=anything,
        threshold=anything,
        mean=anything,
        sd=st.floats(min_value=0) | st.just(math.nan),
        count=st.integers(0, 2**62),
        peak_score=anything,
        severity=st.floats(0, 100) | st.just(math.nan),
        confidence=anything,
        imputed_share=anything,
        close_reason=st.sampled_from(["quiet", "gap", None]),
        features=st.lists(
            st.builds(FeatureExplanation, st.integers(0, 2), anything, anything, anything), max_size=4
        ).map(tuple),
    ),
    key=st.binary(max_size=12),
)
def test_every_event_is_valid_whatever_the_numbers(change: EpisodeChange, key: bytes) -> None:
    """NaN, infinities, absurd times and any key still give a value the schema accepts and headers in UTF-8."""
    message = writer().message(change, key, PARTITION)
    content = body(message)
    assert datetime.fromisoformat(attributes(message)["ce_time"]).tzinfo is UTC
    assert base64.b64decode(content["key_base64"]) == key if "key_base64" in content else content["key"].encode() == key
    assert all(value for _, value in message.headers)
    assert message == writer().message(change, key, PARTITION)


def test_the_committed_schema_is_the_generated_one() -> None:
    """The file in the repository is what the code writes; to renew it, write this text to it."""
    written = json.dumps(schema(), indent=2) + "\n"
    assert SCHEMA_FILE.read_text(encoding="utf-8") == written


def test_the_schema_is_a_valid_one_and_documents_itself() -> None:
    """JSON Schema 2020-12 with an id and a title; every property of every object has a description."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert (schema()["$id"], schema()["$schema"]) == (SCHEMA_ID, "https://json-schema.org/draft/2020-12/schema")
    parts = schema()["$defs"]
    for owner in (schema(), *parts.values()):
        for name, field in owner["properties"].items():
            target = parts[field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            assert target.get("description"), name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "reopened"),
        ("severity", 101),
        ("confidence", None),
        ("start_time", "yesterday"),
        ("start_time_ms", "1"),
        ("features", [{"name": "temp"}]),
        ("source", {"topic": "sensors", "partition": -1, "offset": 0}),
        ("close_reason", "bored"),
        ("episode_id", None),
    ],
)
def test_the_schema_refuses_what_is_no_event(field: str, value: Any) -> None:
    """The schema has teeth: wrong words, ranges, types and missing parts do not pass."""
    content = body(writer().message(CHANGE, b"m1", PARTITION))
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(content | {field: value})
    del content[field]
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(content)
