"""Records of every layout become columns, and every unusable one a dead letter with the right reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamae.batches import Partition, RecordBatch, Rejected
from streamae.connectors.codec import MAX_DETAIL, Codec
from streamae.errors import ConfigError
from streamae.reasons import Reason
from tests.records import FEATURES, PARTITION, STAMP_MS, Record, codec, record

GOOD = {"temp": 20.5, "load": 0.75}


def decode(subject: Codec, *records: Record) -> tuple[RecordBatch, list[Rejected]]:
    """Decode records of one partition."""
    return subject.decode({PARTITION: records})


def values_of(subject: Codec, *contents: Any) -> list[list[float | None]]:
    """Decode and return the value rows, None for NaN; nothing may be rejected."""
    batch, rejected = decode(subject, *(record(content) for content in contents))
    assert rejected == []
    return [[None if np.isnan(x) else float(x) for x in row] for row in batch.values]


def reason_of(subject: Codec, bad: Record) -> tuple[Reason, str]:
    """Decode one record that must be refused; return its reason and detail."""
    batch, rejected = decode(subject, bad)
    assert len(batch) == 0
    assert [r.raw for r in rejected] == [bad]
    return rejected[0].reason, rejected[0].detail


# Columns


def test_a_batch_holds_everything_in_arrival_order() -> None:
    """Keys, offsets, times, values, partitions and originals of several partitions stay aligned."""
    other = Partition("sensors", 5)
    first = [
        record(GOOD, key=b"a", offset=7),
        record({"temp": 1, "load": 2}, key=b"b", offset=9, timestamp=STAMP_MS + 1),
    ]
    second = [record({"temp": -3.5, "load": None}, key=b"a", offset=1, partition=5)]
    batch, rejected = codec().decode({PARTITION: first, other: second})
    assert rejected == []
    assert batch.raw == [*first, *second]
    assert batch.partitions == [PARTITION, PARTITION, other]
    assert batch.keys == [b"a", b"b", b"a"]
    assert batch.offsets.tolist() == [7, 9, 1]
    assert batch.event_times_ms.tolist() == [STAMP_MS, STAMP_MS + 1, STAMP_MS]
    np.testing.assert_array_equal(batch.values, [[20.5, 0.75], [1, 2], [-3.5, np.nan]])
    assert [batch.offsets.dtype, batch.event_times_ms.dtype, batch.values.dtype] == ["int64", "int64", "float64"]


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_an_empty_poll_is_an_empty_batch(layout: str) -> None:
    """No records give columns of length zero and the right width."""
    for polled in ({}, {PARTITION: []}):
        batch, rejected = codec(layout=layout).decode(polled)
        assert len(batch) == 0
        assert batch.values.shape == (0, 2)
        assert rejected == []


def test_one_bad_record_harms_no_other() -> None:
    """Between bad records of every kind the good ones come through unchanged and in order."""
    bad = [Record(b"{"), Record(None), record({"temp": "x"}), record({"temp": 1e39}), record({}), Record(b"\xff")]
    mixed = [r for i, each in enumerate(bad) for r in (record({"temp": i, "load": -i}, offset=i), each)]
    batch, rejected = decode(codec(), *mixed)
    assert batch.offsets.tolist() == list(range(len(bad)))
    assert batch.values.tolist() == [[i, -i] for i in range(len(bad))]
    assert {id(r.raw) for r in rejected} == {id(each) for each in bad}


def test_nothing_but_bad_records() -> None:
    """A poll without a usable record gives an empty batch and all rejections."""
    batch, rejected = decode(codec(), Record(b"?"), record([]), record({"load": "x"}))
    assert len(batch) == 0
    assert [r.reason for r in rejected] == [Reason.NOT_JSON, Reason.NOT_JSON, Reason.WRONG_TYPE]


# Layouts


def test_wide_fields_are_found_by_name_in_any_order() -> None:
    """Fields are matched by name whatever their order; other fields are ignored, nested ones too."""
    content = {"x": {"temp": 9, "y": [1, {"load": 9}]}, "load": 2, "s": "temp", "temp": 1}
    assert values_of(codec(), content) == [[1, 2]]


def test_wide_with_one_feature() -> None:
    """A single feature is a plain number field, not an array."""
    subject = codec(("temp",))
    assert values_of(subject, {"temp": 1.5}, {"temp": None}) == [[1.5], [None]]
    assert reason_of(subject, record({"temp": [1.5]}))[0] is Reason.WRONG_TYPE
    assert reason_of(subject, record({"load": 1}))[0] is Reason.MISSING_FEATURE


@pytest.mark.parametrize(
    "name",
    ["1st", "class", "a b", "temp °C", "Größe", "__class__", "self", "", "$", "a-b", "it's", "value_0", "x" * 300],
)
def test_field_names_need_not_be_identifiers(name: str) -> None:
    """Any JSON name works as a field, also Python keywords and names our own attributes have."""
    assert values_of(codec((name, "load")), {name: 3, "load": 4}) == [[3, 4]]


def test_dotted_paths_reach_into_objects() -> None:
    """Features, key and time may lie at any depth, several below one object."""
    subject = codec(value_fields=("body.air.temp", "body.load"), key_field="body.id", time_field="meta.at")
    content = {"meta": {"at": STAMP_MS + 5}, "body": {"load": 2, "id": "m9", "air": {"temp": 1, "more": {}}}}
    batch, rejected = decode(subject, record(content))
    assert rejected == []
    assert (batch.keys, batch.event_times_ms.tolist(), batch.values.tolist()) == ([b"m9"], [STAMP_MS + 5], [[1, 2]])


@pytest.mark.parametrize("air", [{}, {"air": None}, {"air": {}}, {"air": {"temp": None}}])
def test_an_absent_or_null_object_means_its_fields_are_missing(air: dict[str, Any]) -> None:
    """A missing inner object is a missing feature, not an error."""
    assert values_of(codec(value_fields=("air.temp", "load")), {**air, "load": 2}) == [[None, 2]]


def test_absent_objects_do_not_share_what_others_hold() -> None:
    """A record with the inner object leaves no trace in the next one without it."""
    subject = codec(value_fields=("air.temp", "load"))
    assert values_of(subject, {"load": 1}, {"air": {"temp": 5}, "load": 2}, {"load": 3}) == [
        [None, 1],
        [5, 2],
        [None, 3],
    ]


def test_an_inner_value_that_is_no_object_is_a_wrong_type() -> None:
    """A number where the mapping expects an object is reported with its path."""
    reason, detail = reason_of(codec(value_fields=("air.temp", "load")), record({"air": 5, "load": 1}))
    assert reason is Reason.WRONG_TYPE
    assert "$.air" in detail


def test_a_backslash_keeps_a_dot_in_a_name() -> None:
    """`cpu\\.load` is the field "cpu.load", `cpu.load` the field "load" inside "cpu"."""
    subject = codec(value_fields=(r"cpu\.load", "cpu.load"))
    assert values_of(subject, {"cpu.load": 1, "cpu": {"load": 2}}) == [[1, 2]]


def test_feature_names_are_the_default_fields() -> None:
    """Without value_fields the bundle's feature names are the paths."""
    assert values_of(codec(("air.temp", "load")), {"air": {"temp": 1}, "load": 2}) == [[1, 2]]


def test_one_array_holds_all_features() -> None:
    """One value field for several features is an array in their order; single elements may be null."""
    subject = codec(value_fields=("body.values",))
    assert values_of(subject, {"body": {"values": [1, 2.5]}}, {"body": {"values": [None, 3]}}) == [[1, 2.5], [None, 3]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1], Reason.WRONG_LENGTH),
        ([], Reason.WRONG_LENGTH),
        ([1, 2, 3], Reason.WRONG_LENGTH),
        ([1, "2"], Reason.WRONG_TYPE),
        ([1, [2]], Reason.WRONG_TYPE),
        ({"0": 1, "1": 2}, Reason.WRONG_TYPE),
        (5, Reason.WRONG_TYPE),
        (None, Reason.MISSING_FEATURE),
        ([1, -1e31], Reason.NOT_FINITE),
    ],
)
def test_arrays_of_another_shape_are_refused(values: Any, reason: Reason) -> None:
    """An array must hold exactly one number or null per feature."""
    assert reason_of(codec(value_fields=("values",)), record({"values": values}))[0] is reason


def test_an_absent_array_is_a_missing_feature() -> None:
    """Without its array a record says nothing, whatever the policy."""
    assert reason_of(codec(value_fields=("values",)), record({"temp": 1}))[0] is Reason.MISSING_FEATURE


def test_long_records_fill_one_feature_each() -> None:
    """In the long layout the named feature gets the value, the others stay missing."""
    subject = codec(layout="long", name_field="metric.name", value_field="metric.v")
    contents = [{"metric": {"name": n, "v": v}} for n, v in [("load", 2), ("temp", 1.5), ("load", None)]]
    assert values_of(subject, *contents) == [[None, 2], [1.5, None], [None, None]]


def test_long_names_may_differ_from_the_features() -> None:
    """value_fields gives the names in the topic, in the features' order."""
    subject = codec(layout="long", value_fields=("a.b", "c"))
    assert values_of(subject, {"name": "c", "value": 2}, {"name": "a.b", "value": 1}) == [[None, 2], [1, None]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"name": "humidity", "value": 1}, Reason.UNKNOWN_FEATURE),
        ({"name": "", "value": 1}, Reason.UNKNOWN_FEATURE),
        ({"value": 1}, Reason.MISSING_FEATURE),
        ({"name": None, "value": 1}, Reason.MISSING_FEATURE),
        ({"name": "temp"}, Reason.MISSING_FEATURE),
        ({"name": 5, "value": 1}, Reason.WRONG_TYPE),
        ({"name": "temp", "value": "1"}, Reason.WRONG_TYPE),
        ({"name": "temp", "value": 1e31}, Reason.NOT_FINITE),
        ({"name": "humidity", "value": 1e31}, Reason.UNKNOWN_FEATURE),
    ],
)
def test_long_records_that_fit_no_feature_are_refused(content: Any, reason: Reason) -> None:
    """Unknown or absent names and absent or unusable values each have their reason."""
    assert reason_of(codec(layout="long"), record(content))[0] is reason


def test_unknown_names_can_be_ignored() -> None:
    """With `ignore`, records of other metrics are neither in the batch nor rejected, even without a key."""
    subject = codec(layout="long", unknown_features="ignore")
    others = [record({"name": "humidity", "value": 1}, key=key) for key in (b"m1", None)]
    batch, rejected = decode(subject, *others, record({"name": "temp", "value": 1}, offset=4))
    assert (batch.offsets.tolist(), rejected) == ([4], [])


# Keys


@pytest.mark.parametrize("key", [b"m1", b"", b"\xff\x00", "Größe".encode(), b"k" * 256])
def test_the_kafka_key_is_used_as_it_is(key: bytes) -> None:
    """Without a key field the key is the Kafka key, byte for byte, text or not."""
    batch, rejected = decode(codec(), record(GOOD, key=key))
    assert (batch.keys, rejected) == ([key], [])


@pytest.mark.parametrize(
    ("value", "key"),
    [("m1", b"m1"), ("", b""), ("Größe", "Größe".encode()), (7, b"7"), (-7, b"-7"), (2**70, str(2**70).encode())],
)
def test_the_key_field_is_text_or_an_integer(value: Any, key: bytes) -> None:
    """Text becomes UTF-8, an integer its decimal text; the Kafka key does not matter then."""
    batch, rejected = decode(codec(key_field="id"), record({"id": value, **GOOD}, key=None))
    assert (batch.keys, rejected) == ([key], [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.MISSING_KEY),
        (1.5, Reason.WRONG_TYPE),
        (1.0, Reason.WRONG_TYPE),
        (True, Reason.WRONG_TYPE),
        (["m1"], Reason.WRONG_TYPE),
        ({}, Reason.WRONG_TYPE),
        ("k" * 257, Reason.KEY_TOO_LARGE),
        ("ö" * 129, Reason.KEY_TOO_LARGE),
        (10**300, Reason.KEY_TOO_LARGE),
    ],
)
def test_key_fields_that_are_no_key_are_refused(value: Any, reason: Reason) -> None:
    """A key field is refused when null, of another type, or too long in bytes; the Kafka key is no substitute."""
    assert reason_of(codec(key_field="id"), record({"id": value, **GOOD}, key=b"m1"))[0] is reason


def test_an_integer_key_beyond_python_is_too_large() -> None:
    """More digits than Python reads as an integer is a key too large, not an error."""
    huge = Record(b'{"id":' + b"9" * 5_000 + b',"temp":1}')
    assert reason_of(codec(key_field="id"), huge)[0] is Reason.KEY_TOO_LARGE


def test_an_absent_key_is_reported_with_its_field() -> None:
    """The detail names the key field, or says that there is no Kafka key."""
    assert reason_of(codec(key_field="a.id"), record(GOOD)) == (
        Reason.MISSING_KEY,
        "the key field `a.id` is absent or null",
    )
    reason, detail = reason_of(codec(), record(GOOD, key=None))
    assert reason is Reason.MISSING_KEY
    assert "input.key_field" in detail


def test_a_long_kafka_key_is_refused() -> None:
    """The size limit holds for Kafka keys too."""
    reason, detail = reason_of(codec(max_key_bytes=3), record(GOOD, key=b"four"))
    assert (reason, detail) == (Reason.KEY_TOO_LARGE, "the key has 4 bytes, input.max_key_bytes is 3")


# Times


@pytest.mark.parametrize("at", [STAMP_MS + 5, (STAMP_MS + 5) / 1_000, "2023-11-14T22:13:20.005Z"])
def test_the_time_field_may_be_a_number_or_text(at: Any) -> None:
    """Integers, fractions and ISO 8601 are told apart record by record."""
    batch, rejected = decode(codec(time_field="at"), record({"at": at, **GOOD}), record({"at": "2023-11-14", **GOOD}))
    assert (batch.event_times_ms.tolist(), rejected) == ([STAMP_MS + 5, 1_699_920_000_000], [])


def test_the_time_unit_is_obeyed() -> None:
    """A set unit is not second-guessed by the size of the number."""
    batch, _ = decode(codec(time_field="at", time_unit="ms"), record({"at": 1_700_000_000, **GOOD}))
    assert batch.event_times_ms.tolist() == [1_700_000_000]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (None, Reason.MISSING_TIME),
        (True, Reason.WRONG_TYPE),
        ([1], Reason.WRONG_TYPE),
        ({}, Reason.WRONG_TYPE),
        ("yesterday", Reason.BAD_TIME),
        ("", Reason.BAD_TIME),
        (str(STAMP_MS), Reason.BAD_TIME),
        (-1, Reason.BAD_TIME),
        ("1969-12-31T23:59:59Z", Reason.BAD_TIME),
        (10**40, Reason.BAD_TIME),
        (10**400, Reason.BAD_TIME),
        (-1e300, Reason.BAD_TIME),
        (STAMP_MS + 86_400_001, Reason.BAD_TIME),
        ("9999-12-31T23:59:59Z", Reason.BAD_TIME),
        ("9999-12-31T23:59:59-01:00", Reason.BAD_TIME),
    ],
)
def test_times_that_are_none_are_refused(at: Any, reason: Reason) -> None:
    """Null, other types, other text, before min_time, absurd, or too far ahead of the Kafka timestamp."""
    assert reason_of(codec(time_field="at"), record({"at": at, **GOOD}))[0] is reason


@pytest.mark.parametrize("digits", [b"9" * 5_000, b"1e999", b"-1e999"])
def test_times_beyond_any_number_are_bad(digits: bytes) -> None:
    """A time the parser itself cannot hold is a bad time, not a bad feature."""
    assert reason_of(codec(time_field="at"), Record(b'{"temp":1,"at":' + digits + b"}"))[0] is Reason.BAD_TIME


def test_times_at_the_limits_pass() -> None:
    """min_time_ms and Kafka timestamp + max_future_ms are themselves allowed."""
    subject = codec(time_field="at", time_unit="ms", min_time_ms=1_000, max_future_ms=10)
    times = [1_000, STAMP_MS + 10, 999, STAMP_MS + 11]
    batch, rejected = decode(subject, *(record({"at": at, **GOOD}) for at in times))
    assert batch.event_times_ms.tolist() == times[:2]
    assert [r.detail for r in rejected] == [
        "the event time is 1 ms before input.min_time_ms 1000",
        "the event time is 11 ms past the Kafka timestamp, input.max_future_ms is 10",
    ]


def test_times_before_the_epoch_pass_when_allowed() -> None:
    """A negative min_time_ms lets historical data in."""
    batch, rejected = decode(codec(time_field="at", min_time_ms=-(10**12)), record({"at": "1960-01-01", **GOOD}))
    assert (batch.event_times_ms.tolist(), rejected) == ([-315_619_200_000], [])


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00+01:00"])
def test_times_that_cannot_be_written_are_bad(at: str) -> None:
    """Whatever the settings allow, an event time lies in the years 1 to 9999, or no event could name it."""
    subject = codec(time_field="at", min_time_ms=-(10**18), max_future_ms=10**18)
    assert reason_of(subject, record({"at": at, **GOOD}, timestamp=-1))[0] is Reason.BAD_TIME


def test_without_kafka_timestamp_the_future_is_open() -> None:
    """A record without a Kafka timestamp cannot be too far ahead of it."""
    _, rejected = decode(codec(time_field="at"), record({"at": "2500-01-01", **GOOD}, timestamp=-1))
    assert rejected == []


def test_the_kafka_timestamp_is_checked_as_event_time() -> None:
    """Without a time field: no timestamp is a missing time; one before min_time or after 9999 a bad one."""
    records = [record(GOOD, timestamp=t) for t in (-1, 5, 2**62, 10)]
    batch, rejected = decode(codec(min_time_ms=10), *records)
    assert batch.event_times_ms.tolist() == [10]
    assert [r.reason for r in rejected] == [Reason.MISSING_TIME, Reason.BAD_TIME, Reason.BAD_TIME]


def test_an_absurd_kafka_timestamp_does_not_hide_an_event_time() -> None:
    """The comparison with the Kafka timestamp cannot overflow."""
    subject = codec(time_field="at", min_time_ms=-(10**14))
    _, rejected = decode(subject, record({"at": "1960-01-01", **GOOD}, timestamp=2**63 - 1))
    assert rejected == []


# Values


@pytest.mark.parametrize("value", ["1.5", [], {}, [1], "NaN", ""])
def test_only_numbers_are_numbers(value: Any) -> None:
    """Numeric text is refused unless asked for, with the field's path and both types in the detail."""
    reason, detail = reason_of(codec(), record({"temp": value, "load": 1}))
    assert reason is Reason.WRONG_TYPE
    assert "`$.temp`" in detail


@pytest.mark.parametrize(
    "literal",
    [b"NaN", b"Infinity", b"-Infinity", b" NaN", b"1e999", b"-1e999", b"9" * 400, b"1e31", b"-1e39", b"1e308"],
)
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_numbers_that_would_not_be_finite_are_refused(literal: bytes, layout: str) -> None:
    """NaN, infinities, and whatever overflows double or 1e30 never reach the columns."""
    text = b'{"temp":%s,"load":1}' if layout == "wide" else b'{"name":"temp","value":%s}'
    assert reason_of(codec(layout=layout), Record(text % literal))[0] is Reason.NOT_FINITE


def test_the_largest_and_smallest_values_survive() -> None:
    """1e30 in size is still allowed, all digits of 64 bits are kept, integers of any length are numbers."""
    assert values_of(codec(), {"temp": -1e30, "load": 1e-300}) == [[-1e30, 1e-300]]
    assert values_of(codec(), {"temp": 10**25, "load": -0.0}) == [[1e25, 0]]


def test_a_refused_value_is_named() -> None:
    """The detail names the features that are too large, and never more than a few."""
    features = tuple(f"f{i}" for i in range(9))
    _, detail = reason_of(codec(features), record(dict.fromkeys(features, 1e31)))
    assert detail == "larger than 1e+30 in size: f0, f1, f2, f3, f4 and 4 more"


@pytest.mark.parametrize("content", [{"temp": 1}, {"temp": 1, "load": None}])
def test_a_missing_feature_follows_its_policy(content: Any) -> None:
    """Absent and null alike: NaN by default, refused where the feature's policy is reject."""
    assert values_of(codec(), content) == [[1, None]]
    assert values_of(codec(required=(True, False)), content) == [[1, None]]
    assert reason_of(codec(required=(False, True)), record(content)) == (
        Reason.MISSING_FEATURE,
        "absent or null, with policy reject: load",
    )


def test_missing_features_are_named_record_by_record() -> None:
    """Each dead letter names its own missing features, in the bundle's order."""
    subject = codec(("a", "b", "c"), required=(True, False, True))
    _, rejected = decode(subject, *map(record, [{"a": 1}, {"c": 1}, {"b": 1}, {"a": 1, "c": 2}]))
    assert [r.detail.rpartition(": ")[2] for r in rejected] == ["c", "a", "a, c"]


def test_a_null_array_element_follows_the_policy_too() -> None:
    """Arrays obey reject per element."""
    subject = codec(value_fields=("values",), required=(False, True))
    assert reason_of(subject, record({"values": [1, None]}))[0] is Reason.MISSING_FEATURE
    assert values_of(subject, {"values": [None, 1]}) == [[None, 1]]


def test_a_record_of_another_kind_is_refused() -> None:
    """A record with none of the feature fields is no row of imputed values; all null is."""
    assert reason_of(codec(), record({"status": "ok"}))[0] is Reason.MISSING_FEATURE
    assert values_of(codec(), {"temp": None, "load": None}, {"load": None}) == [[None, None], [None, None]]


# Bytes


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b'{"temp":1,}',
        b"{'temp':1}",
        b'{"temp":1}{"temp":1}',
        b'{"temp":01}',
        b'{"temp":0x10}',
        b'{"temp":nul}',
        '{"temp":1}'.encode("utf-16"),
        b'{"temp":1,"note":"\xff"}',
        b'{"temp":1,"\xff":2}',
        b'{"temp":1,"note":"\\ud800"}',
        b'{"temp":1,"note":"\\udc00 "}',
        b'{"temp":1,"note":"\xed\xa0\x80"}',
        b'{"temp":1,"note":"\x01"}',
        b'{"temp":1,"note":' + b"[" * 20_000 + b"]" * 20_000 + b"}",  # Python 3.13 allows 10,000
        b'{"note":' * 5_000,
        b"[" * 200_000,
        b"null",
        b"[1,2]",
        b'"temp"',
        b"1.5",
        b"true",
        b"\x00" * 50,
        bytes(range(256)),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_bytes_that_are_no_json_object_are_refused(value: bytes) -> None:
    """Malformed, wrongly encoded, too deep or no object: also where the defect is in a field we do not read."""
    assert reason_of(codec(), Record(value))[0] is Reason.NOT_JSON


def test_of_duplicate_names_the_last_wins() -> None:
    """JSON allows repeated names; the last value counts, as in most parsers."""
    batch, _ = decode(codec(key_field="id"), Record(b'{"id":"a","temp":1,"temp":2,"load":3,"id":"b"}'))
    assert (batch.keys, batch.values.tolist()) == ([b"b"], [[2, 3]])


def test_valid_text_outside_ascii_passes() -> None:
    """Valid UTF-8 and escaped surrogate pairs are no defect."""
    batch, rejected = decode(codec(key_field="id"), Record('{"id":"\\ud83d\\ude00","ü":"é","temp":1}'.encode()))
    assert (batch.keys, rejected) == (["\U0001f600".encode()], [])


def test_a_value_above_the_size_limit_is_not_even_parsed() -> None:
    """The limit counts bytes and comes before decoding."""
    value = b'{"temp":1}'
    assert decode(codec(max_record_bytes=10), Record(value))[1] == []
    reason, detail = reason_of(codec(max_record_bytes=9), Record(value))
    assert (reason, detail) == (Reason.TOO_LARGE, "the value has 10 bytes, input.max_record_bytes is 9")


def test_a_tombstone_is_refused() -> None:
    """A record without value is a dead letter of its own reason; an empty value is no JSON."""
    assert reason_of(codec(), Record(None)) == (Reason.TOMBSTONE, "the record has no value")


def test_of_several_defects_one_is_reported() -> None:
    """A record is rejected once, for the first of type, key, time, value."""
    subject = codec(key_field="id", time_field="at")
    contents = [
        {"temp": "x"},
        {"temp": 1e31, "at": None},
        {"id": "a", "temp": 1e31},
        {"id": "a", "at": STAMP_MS, "temp": 1e31},
    ]
    _, rejected = decode(subject, *map(record, contents))
    expected = [Reason.WRONG_TYPE, Reason.MISSING_KEY, Reason.MISSING_TIME, Reason.NOT_FINITE]
    assert [r.reason for r in rejected] == expected


@pytest.mark.parametrize("secret", ["hunter2", "hunter2" * 200])
def test_details_hold_no_payload_and_are_short(secret: str) -> None:
    """Whatever a record holds, its content does not get into the detail, and the detail stays short."""
    long_name = "f" * 600
    subject = codec((long_name, "load"), key_field="id", time_field="at", required=(True, True))
    contents = [
        {"id": [secret]},
        {"id": secret * 40, "at": STAMP_MS, long_name: 1, "load": 1},
        {"id": "a", "at": secret, long_name: 1, "load": 1},
        {"id": "a", "at": STAMP_MS, long_name: secret},
        {"id": "a", "at": STAMP_MS, "load": 1, secret: secret},
        {"id": "a", "at": STAMP_MS, "load": 1e31, long_name: 1e31, secret: secret},
        {secret: secret},
    ]
    broken = [Record(b'{"a":"%s"' % secret.encode()), Record(secret.encode()), Record(secret.encode() + b"\xff")]
    _, rejected = decode(subject, *map(record, contents), *broken)
    assert len(rejected) == len(contents) + len(broken)
    assert all(r.detail and "hunter2" not in r.detail and len(r.detail) <= MAX_DETAIL for r in rejected)


# Mappings


@pytest.mark.parametrize(
    "overrides",
    [
        {"value_fields": ("a", "b", "c")},
        {"value_fields": ("a",), "layout": "long"},
        {"value_fields": ("a", "a")},
        {"value_fields": ("a", "a.b")},
        {"value_fields": ("a.b", "a")},
        {"value_fields": ("a.b", "a.b.c")},
        {"key_field": "temp"},
        {"key_field": "id", "time_field": "id"},
        {"layout": "long", "name_field": "value"},
        {"key_field": 'a"b'},
        {"key_field": "a\nb"},
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused_at_once(overrides: dict[str, Any]) -> None:
    """Wrong counts, fields used twice and fields inside values are settings errors that name the field."""
    with pytest.raises(ConfigError, match=r"^input"):
        codec(FEATURES, **overrides)
