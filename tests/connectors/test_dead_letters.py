"""A dead letter is the original record, byte for byte, plus why and from where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae import __version__
from streamae.batches import Partition, Rejected
from streamae.connectors.codec import MAX_DETAIL
from streamae.connectors.dead_letters import dead_letter
from streamae.reasons import Reason
from tests.records import STAMP_MS, Record

ORIGINAL = Record(
    b'{"temp": oops',
    key=b"m1",
    offset=42,
    headers=[("trace", b"\xff\x00"), ("trace", None), ("streamae-reason", b"late"), ("", b"")],
)


def test_a_dead_letter_says_why_and_from_where() -> None:
    """Reason, detail, topic, partition, offset, timestamp and version are headers, after the record's own."""
    message = dead_letter(Rejected(ORIGINAL, Reason.NOT_JSON, "invalid at 10 °C"), "dead")
    assert message.topic == "dead"
    assert message.cause == (Partition("sensors", 3), 42)
    assert list(message.headers[:4]) == ORIGINAL.headers
    assert list(message.headers[4:]) == [
        ("streamae-reason", b"not_json"),
        ("streamae-detail", "invalid at 10 °C".encode()),
        ("streamae-source-topic", b"sensors"),
        ("streamae-source-partition", b"3"),
        ("streamae-source-offset", b"42"),
        ("streamae-source-timestamp", str(STAMP_MS).encode()),
        ("streamae-version", __version__.encode()),
    ]


def test_the_record_s_own_id_is_a_header_where_it_is_known() -> None:
    """Nobody has to parse a broken payload to learn which transaction it was."""
    message = dead_letter(Rejected(ORIGINAL, Reason.WRONG_TYPE, "no number", record_id="tx-ü"), "dead")
    assert message.headers[-1] == ("streamae-record-id", "tx-ü".encode())


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe", b"m1"])
@pytest.mark.parametrize("value", [None, b"", b"\x00\xff", b"{}"])
def test_null_stays_null_and_empty_stays_empty(key: bytes | None, value: bytes | None) -> None:
    """Key and value are neither decoded nor replaced: null and empty are different things in Kafka."""
    message = dead_letter(Rejected(Record(value, key=key), Reason.TOMBSTONE, "no value"), "dead")
    assert (message.key, message.value) == (key, value)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_can_be_sent(reason: Reason) -> None:
    """The header carries the same closed set of words as the metric's label."""
    headers = dict(dead_letter(Rejected(ORIGINAL, reason, "x" * MAX_DETAIL), "dead").headers)
    assert headers["streamae-reason"] == reason.value.encode()
    assert len(headers["streamae-detail"] or b"") == MAX_DETAIL


def test_a_dead_letter_can_be_read_back_into_the_same_record() -> None:
    """Dropping our headers restores the record, also when it is refused a second time."""
    once = dead_letter(Rejected(ORIGINAL, Reason.NOT_JSON, "first"), "dead")
    again = Record(once.value, key=once.key, headers=list(once.headers), topic="dead", partition=0, offset=1)
    twice = dead_letter(Rejected(again, Reason.NOT_JSON, "second"), "dead")
    assert twice.headers[: len(once.headers)] == once.headers
    assert dict(twice.headers)["streamae-source-topic"] == b"dead"
    assert [value for name, value in twice.headers if name == "streamae-detail"] == [b"first", b"second"]


@settings(deadline=None)
@given(
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_DETAIL),
)
def test_any_record_survives_untouched(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], detail: str
) -> None:
    """Whatever key, value and headers are, they come out as they went in, in order and first."""
    original = Record(value, key=key, headers=headers)
    message = dead_letter(Rejected(original, Reason.WRONG_TYPE, detail), "dead")
    assert (message.key, message.value) == (key, value)
    assert list(message.headers[: len(headers)]) == headers
    assert all(isinstance(text, bytes) for _, text in message.headers[len(headers) :])
