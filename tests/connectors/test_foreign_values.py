"""Values as other people's producers write them: text, marks, sentinels, one bad field, keys inside of keys."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streamae.batches import RecordBatch
from streamae.connectors.cell_values import NumberRules, read_numbers
from streamae.connectors.codec import Codec
from streamae.connectors.side_fields import truths
from streamae.reasons import Reason
from streamae.settings.data import InputSettings
from tests.records import PARTITION, Record, codec, record

NAN = float("nan")


def rows(batch: RecordBatch) -> list[list[float | None]]:
    """Return values, None = missing."""
    return [[None if np.isnan(cell) else float(cell) for cell in row] for row in batch.values]


def read(subject: Codec, *contents: Any) -> tuple[list[list[float | None]], list[Reason]]:
    """Return what becomes of contents."""
    polled = [Record(c) if isinstance(c, bytes) else record(c) for c in contents]
    batch, rejected = subject.decode({PARTITION: polled})
    return rows(batch), [r.reason for r in rejected]


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "expected"),
    [
        ("21.5", ".", None, 21.5),
        (" -3e2 ", ".", None, -300.0),
        ("+.5", ".", None, 0.5),
        ("21,5", ",", None, 21.5),
        ("1.203,4", ",", ".", 1203.4),
        ("1,203.4", ".", ",", 1203.4),
        ("1 203,4", ",", " ", 1203.4),
        ("1\u00a0203,4", ",", " ", 1203.4),
        ("1'203'004.5", ".", "'", 1203004.5),
        ("1\u2019203.5", ".", "'", 1203.5),
        ("1\u2009203,4", ",", " ", 1203.4),
        ("0.442", ",", ".", None),
        ("\u22125", ".", None, -5.0),
        ("1,20", ".", ",", None),
        ("1,203", ".", None, None),
        ("21.5", ",", None, None),
        ("1_000", ".", None, None),
        ("\uff11\uff12", ".", None, None),
        ("0x10", ".", None, None),
        ("1 2", ".", None, None),
        ("12abc", ".", None, None),
        ("1e999", ".", None, None),
    ],
)
def test_a_number_is_read_as_it_is_spelt(
    text: str, decimal: str, thousands: str | None, expected: float | None
) -> None:
    """Marks stand where they belong, or the text is no number: a thousand must not become one."""
    rules = NumberRules(from_text=True, decimal=decimal, thousands=thousands)
    for column in ([text], ["1", text], [None, text]):
        values, faults = read_numbers(column, rules)
        assert (None if np.isnan(values[-1]) else values[-1]) == expected
        assert bool(faults) == (expected is None)


@pytest.mark.parametrize("word", ["", " ", "NaN", "nan", "NA", "n/a", "null", "None", "-200", " -200.0 "])
def test_words_for_nothing_are_missing(word: str) -> None:
    """What says that there is no value is no bad value; a sentinel counts as text and as number."""
    rules = NumberRules(from_text=True, missing=("-200",))
    values, faults = read_numbers(["1.5", word, "2"], rules)
    np.testing.assert_array_equal(values, [1.5, NAN, 2.0])
    assert faults == {}


def test_a_long_column_is_read_as_its_cells_are() -> None:
    """Blocks without an odd cell are read at once: nobody may notice."""
    rng = np.random.default_rng(0)
    cells = [f"{x:.3f}" for x in rng.normal(size=6_000)]
    for place, odd in ((7, ""), (2_500, "x"), (5_999, "1e400")):
        cells[place] = odd
    rules = NumberRules(from_text=True)
    values, faults = read_numbers(cells, rules)
    alone = [read_numbers([cell], rules) for cell in cells]
    np.testing.assert_array_equal(values, np.concatenate([value for value, _ in alone]))
    assert set(faults) == {2_500, 5_999} == {i for i, (_, faults) in enumerate(alone) if faults}


def test_a_line_end_within_a_cell_moves_no_other_value() -> None:
    """A cell of two numbers on two lines is no number, and the cells behind it stay those of their own records."""
    values, faults = read_numbers(["1\n2", "3", "4"], NumberRules(from_text=True))
    np.testing.assert_array_equal([np.nan, 3, 4], values)
    assert list(faults) == [0]


def test_truth_values_are_one_and_zero_everywhere() -> None:
    """A door contact means the same from JSON, from text and in an array."""
    assert read(codec(), {"temp": True, "load": False}) == ([[1.0, 0.0]], [])
    assert read(codec(numbers="text"), {"temp": "True", "load": "false"}) == ([[1.0, 0.0]], [])
    assert read(codec(value_fields=("v",)), {"v": [True, 2]}) == ([[1.0, 2.0]], [])
    assert read(codec(layout="long"), {"name": "load", "value": True}) == ([[None, 1.0]], [])


def test_numbers_in_text_are_read_where_asked_for() -> None:
    """Prometheus writes text; without the setting it is refused, as a quoted number often is an id."""
    content = {"temp": "21.5", "load": 40}
    assert read(codec(), content) == ([], [Reason.WRONG_TYPE])
    assert read(codec(numbers="text"), content) == ([[21.5, 40.0]], [])
    assert read(codec(numbers="text"), {"temp": "NaN", "load": ""}) == ([[None, None]], [])
    assert read(codec(numbers="text"), {"temp": "+Inf", "load": 1}) == ([], [Reason.NOT_FINITE])


BAD = [
    ({"temp": "n.d.", "load": 2}, Reason.WRONG_TYPE),
    ({"temp": [1], "load": 2}, Reason.WRONG_TYPE),
    ({"temp": {"v": 1}, "load": 2}, Reason.WRONG_TYPE),
    ({"temp": 1e31, "load": 2}, Reason.NOT_FINITE),
    (b'{"temp":1e400,"load":2}', Reason.NOT_FINITE),
    (b'{"temp":Infinity,"load":2}', Reason.NOT_FINITE),
]


@pytest.mark.parametrize(("content", "reason"), BAD)
@pytest.mark.parametrize("numbers", ["json", "text"])
def test_one_bad_field_need_not_cost_the_record(content: Any, reason: Reason, numbers: str) -> None:
    """With `missing` the value is gone and counted by field and reason; with `dead_letter` the record is refused."""
    raw = Record(content) if isinstance(content, bytes) else record(content)
    batch, rejected = codec(bad_value="missing", numbers=numbers).decode({PARTITION: [record({"temp": 5}), raw]})
    assert (rows(batch), rejected) == ([[5.0, None], [None, 2.0]], [])
    assert batch.bad_values == {("temp", reason): 1}
    assert batch.is_spoiled is not None
    assert batch.is_spoiled.tolist() == [False, True]
    assert read(codec(numbers=numbers), content) == ([], [reason])


def test_under_reject_a_bad_value_is_a_missing_feature() -> None:
    """Who wants no row without this feature gets none, whatever is wrong with its value."""
    strict = codec(bad_value="missing", required=(True, False))
    assert read(strict, {"temp": "x", "load": 1}) == ([], [Reason.MISSING_FEATURE])
    assert read(strict, {"temp": 1, "load": "x"}) == ([[1.0, None]], [])


def test_a_bad_key_or_time_still_costs_the_record() -> None:
    """Only values may be bad: a record that belongs nowhere is of no use."""
    subject = codec(bad_value="missing", key_field="id", time_field="at")
    contents = ({"id": [1], "at": 1, "temp": "x"}, {"id": "a", "at": {}, "temp": 1}, {"temp": "x"})
    assert read(subject, *contents)[0] == []


def test_a_bare_nan_is_missing_where_bad_values_are() -> None:
    """Python writes it; it says that there is nothing."""
    batch, rejected = codec(bad_value="missing").decode({PARTITION: [Record(b'{"temp":NaN,"load":1}')]})
    assert (rows(batch), rejected, batch.bad_values) == ([[None, 1.0]], [], {})


def test_a_record_of_bare_nans_is_a_row_like_one_of_nulls() -> None:
    """NaN is missing, and no absent field: the record is neither refused nor taken for one of another kind."""
    for given in ({}, {"unknown_features": "ignore"}):
        subject = codec(bad_value="missing", **given)
        batch, rejected = subject.decode({PARTITION: [Record(b'{"temp":NaN,"load":NaN}')]})
        assert ([[None, None]], [], 0) == (rows(batch), rejected, batch.ignored)


@pytest.mark.parametrize("other", [b"Infinity", b'"x"'])
def test_a_bare_nan_is_no_bad_value_whatever_else_is_in_its_batch(other: bytes) -> None:
    """What is counted of a record does not depend on the records beside it."""
    contents = [Record(b'{"temp":NaN,"load":1}'), Record(b'{"temp":' + other + b',"load":1}')]
    batch, rejected = codec(bad_value="missing").decode({PARTITION: contents})
    assert not rejected
    assert [1] == list(batch.bad_values.values())


@pytest.mark.parametrize("bad_value", ["dead_letter", "missing"])
@pytest.mark.parametrize(
    "value",
    [
        '{"temp": 1, "load": 2}'.encode("utf-16"),
        '{"temp": 1, "load": 2}'.encode("utf-16-le"),
        b'{"temp": 1, "load": 2, "x": "\xff"}',
    ],
)
def test_what_is_no_utf_8_is_refused_also_where_bad_values_are_missing(value: bytes, bad_value: str) -> None:
    """A message is UTF-8 as a whole; that one bad value costs no record changes nothing about it."""
    assert ([], [Reason.NOT_JSON]) == read(codec(bad_value=bad_value), value)


def test_sentinels_are_missing_in_json_too() -> None:
    """-200 means nothing, whether a number or text; other numbers stay."""
    subject = codec(missing_values=("-200", "99.9"))
    assert read(subject, {"temp": -200, "load": 99.9}, {"temp": -200.5, "load": 1}) == (
        [[None, None], [-200.5, 1.0]],
        [],
    )


def test_a_byte_order_mark_is_skipped() -> None:
    """Some producers begin every text with it."""
    assert read(codec(), b'\xef\xbb\xbf{"temp":1,"load":2}') == ([[1.0, 2.0]], [])


def test_a_field_of_a_json_kafka_key_is_the_key() -> None:
    """Connect writes keys as JSON; a key that is none is named so."""
    subject = codec(key_field="$key.payload.id")
    good = record({"temp": 1}, key=json.dumps({"payload": {"id": 7}}).encode())
    batch, rejected = subject.decode(
        {PARTITION: [good, record({"temp": 1}, key=b"plain"), record({"temp": 1}, key=None)]}
    )
    assert batch.keys == [b"7"]
    assert [r.reason for r in rejected] == [Reason.MISSING_KEY, Reason.MISSING_KEY]
    assert "$key.payload.id" in rejected[0].detail


def test_other_records_of_a_shared_topic_are_counted_and_nothing_else() -> None:
    """Measurements that are not meant are no dead letters, not even unreadable ones; ours still are."""
    subject = codec(only={"name": "cpu", "tags.dc": ("a", "b")}, key_field="tags.host")
    tags = {"host": "h", "dc": "a"}
    contents = [
        {"name": "cpu", "tags": tags, "temp": 1},
        {"name": "mem", "tags": tags, "temp": "text"},
        {"name": "cpu", "tags": {"host": "h", "dc": "c"}, "temp": 1},
        {"temp": 1},
        {"name": "cpu", "tags": tags, "temp": "text"},
    ]
    batch, rejected = subject.decode({PARTITION: [record(content) for content in contents]})
    assert (rows(batch), batch.ignored) == ([[1.0, None]], 3)
    assert [r.reason for r in rejected] == [Reason.WRONG_TYPE]


def test_records_without_any_feature_can_be_ignored() -> None:
    """With `ignore` a wide record of another kind is counted; one with a null of ours is ours."""
    subject = codec(unknown_features="ignore")
    batch, rejected = subject.decode({PARTITION: [record({"other": 1}), record({"temp": None}), record({"temp": 1})]})
    assert (rows(batch), rejected, batch.ignored) == ([[None, None], [1.0, None]], [], 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x00\x00\x00\x00\x2a\x06dev\x02", "schema registry (schema id 42)"),
        (b"\x1f\x8b\x08\x00\x00", "gzip"),
        (b"<xml/>", "XML"),
        (b'"{\\"temp\\": 1}"', "encodes it twice"),
        (b'[{"temp": 1}]', "one record a message"),
        (b'{"temp":1}\n{"temp":2}', "several lines"),
    ],
)
def test_what_is_no_json_is_named_for_what_it_looks_like(value: bytes, words: str) -> None:
    """`invalid character (byte 0)` helps nobody."""
    _, rejected = codec().decode({PARTITION: [Record(value)]})
    assert (rejected[0].reason, words in rejected[0].detail) == (Reason.NOT_JSON, True)


def test_labels_and_ids_come_along_where_asked_for() -> None:
    """They are no features; the live stream does not read labels."""
    settings = InputSettings(label_field="Class", id_field="tx.id")
    contents = [{"temp": 1, "Class": 1, "tx": {"id": 17}}, {"temp": 2, "Class": "0"}]
    polled = {PARTITION: [record(content) for content in contents]}
    batch, _ = Codec(settings, ("temp",), (False,), has_labels=True).decode(polled)
    assert batch.labels is not None
    assert (batch.labels.tolist(), batch.ids) == ([True, False], ["17", None])
    assert Codec(settings, ("temp",), (False,)).decode(polled)[0].labels is None


def test_an_id_is_short_text_that_can_be_written_anywhere() -> None:
    """An event must not outgrow its topic by a foreign field, nor fail at half a surrogate pair; nothing is no id."""
    cells = ['"' + "i" * 300 + '"', r'"\ud800"', "true", '""', "null", "9007199254740993"]
    polled = {PARTITION: [Record(b'{"temp": 1, "id": %s}' % cell.encode()) for cell in cells]}
    batch, _ = Codec(InputSettings(id_field="id", bad_value="missing"), ("temp",), (False,)).decode(polled)
    assert batch.ids == ["i" * 256, r"\ud800", "true", None, None, "9007199254740993"]


def test_a_refused_record_keeps_its_id() -> None:
    """Who looks at a dead letter knows the transaction by it; what cannot be parsed has none."""
    polled = {PARTITION: [record({"id": 7, "temp": 1e40}), Record(b'{"id": 8')]}
    _, rejected = Codec(InputSettings(id_field="id"), ("temp",), (False,)).decode(polled)
    assert {one.reason: one.record_id for one in rejected} == {Reason.NOT_FINITE: "7", Reason.NOT_JSON: None}


def test_a_key_of_half_a_surrogate_pair_ends_nothing() -> None:
    """The lenient reading lets through what the strict one refuses: it is a key like others, of bytes that are no text."""
    subject = Codec(InputSettings(key_field="k", bad_value="missing"), ("temp",), (False,))
    polled = {PARTITION: [Record(rb'{"k": "\ud800", "temp": 1}'), Record(b'{"k": "a", "temp": 1}')]}
    batch, rejected = subject.decode(polled)
    assert (batch.keys, rejected) == ([b"\xed\xa0\x80", b"a"], [])


def test_labels_are_read_as_people_write_them() -> None:
    """Anything but zero, false and nothing is an anomaly."""
    assert truths([1, 0, "1.0", "0.0", True, False, None, "", "Attack", "false"]).tolist() == [
        True, False, True, False, True, False, False, False, True, False,
    ]  # fmt: skip


def test_local_times_are_those_of_their_zone() -> None:
    """The repeated hour by the Kafka timestamp; the hour that never was is refused by its name."""
    subject = codec(time_field="at", time_zone="Europe/Rome")
    first_ms, second_ms = 1_761_438_600_000, 1_761_442_200_000  # 02:30 twice
    polled = [
        record({"at": at, "temp": 1, "load": 2}, timestamp=stamp_ms)
        for at, stamp_ms in [
            ("2025-10-26 02:30:00", first_ms + 60_000),
            ("2025-10-26 02:30:00", second_ms + 60_000),
            ("2025-03-30 02:30:00", second_ms),
        ]
    ]
    batch, (refused,) = subject.decode({PARTITION: polled})
    assert batch.event_times_ms.tolist() == [first_ms, second_ms]
    assert refused.reason is Reason.BAD_TIME
    assert refused.detail.startswith("`at` is a time that Europe/Rome never had")


def test_a_refused_time_is_told_what_it_looks_like() -> None:
    """FILETIME in nanoseconds is 1974, and Excel days are minutes after 1970: with the setting that reads them."""
    subject = codec(time_field="at", min_time_ms=662_688_000_000)
    polled = [record({"at": at, "temp": 1, "load": 2}) for at in (133_854_768_000_000_000, 45_719.5, 60)]
    _, refused = subject.decode({PARTITION: polled})
    filetime, excel, other = (one.detail for one in refused)
    assert filetime.endswith("looks like Windows FILETIME, 2025-03-03T12:00:00Z if so: input.time_format = filetime")
    assert "input.time_format = excel" in excel
    assert "looks like" not in other
