"""Orders: they come back from their records as they were given, the newest of each counts, broken ones do no harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streamae.alerting.orders import MOST_LETTERS, OrderBook, Resolution, read_order, tell, write_order
from streamae.alerting.silences import Silence
from streamae.batches import Record
from tests.alerting.alerts import alert

HOUR_MS = 3_600_000
SILENCE = Silence("s1", {"key": "rack-*"}, 1_000, 1_000 + HOUR_MS, "kim@desk", "reboot", elsewhere={"am": "uuid"})
RESOLUTION = Resolution("r1", {"detector": "old-*", "key": "a"}, 5_000, "kim@desk", "retired")

texts = st.text(max_size=MOST_LETTERS)
names = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
labels = st.dictionaries(texts, texts, min_size=1, max_size=3)
times = st.integers(-(2**62), 2**62)


def record(key: bytes | None, value: bytes | None, offset: int = 0) -> Record:
    """Return a record of the topic."""
    return Record("orders", 0, offset, 0, key, value)


def book(*orders: Silence | Resolution) -> OrderBook:
    """Return a book of these."""
    found = OrderBook(HOUR_MS)
    found.take(record(*write_order(order)) for order in orders)
    return found


@given(st.builds(Silence, names, labels, times, times, texts, texts, texts, texts, labels))
def test_a_silence_is_read_as_it_was_written(silence: Silence) -> None:
    """Whatever people type."""
    assert read_order(*write_order(silence)) == silence


@given(st.builds(Resolution, names, labels, times, texts, texts))
def test_a_resolution_is_read_as_it_was_written(resolution: Resolution) -> None:
    """Whatever people type."""
    assert read_order(*write_order(resolution)) == resolution


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the record of `SILENCE` after a change."""
    found = json.loads(write_order(SILENCE)[1])
    change(found)
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b" " * 70_000, "70,000 bytes"),
        (b"[]", "version 1"),
        (changed(lambda found: found.update(version=2)), "version 1"),
        (changed(lambda found: found.update(id="other")), "another id"),
        (changed(lambda found: found.update(id=7)), "id is no text"),
        (changed(lambda found: found.update(labels={})), "everything"),
        (changed(lambda found: found.update(labels=["key"])), "labels is no JSON object"),
        (changed(lambda found: found.update(labels={"key": 3})), "key is no text"),
        (changed(lambda found: found.update(ends_ms=1.5)), "ends_ms is no time"),
        (changed(lambda found: found.update(starts_ms=True)), "starts_ms is no time"),
        (changed(lambda found: found.pop("why")), "why is no text"),
        (changed(lambda found: found.update(who="x" * 2_000)), "who is no text"),
        (changed(lambda found: found.update(kind="mute")), "unknown kind 'mute'"),
    ],
)
def test_a_broken_order_is_refused_with_a_line_and_takes_nothing_away(value: bytes, why: str) -> None:
    """One wrong record must not make the other orders unreadable."""
    found = book(RESOLUTION)
    with pytest.raises(ValueError, match=why):
        read_order(b"s1", value)
    with capture_logs() as lines:
        assert found.take([record(b"s1", value, 7), record(*write_order(SILENCE))]) == [SILENCE]
    assert [(line["event"], line["offset"]) for line in lines] == [("order_unreadable", 7)]
    assert found.orders(1_000).resolutions == (RESOLUTION,)


def test_what_a_later_release_adds_is_ignored() -> None:
    """An older process goes on obeying while the newer one is rolled out."""
    assert read_order(b"s1", changed(lambda found: found.update(colour="red"))) == SILENCE


def test_the_newest_record_of_an_order_counts_and_an_empty_one_ends_it() -> None:
    """That is how a compacted topic keeps them."""
    ended = replace(SILENCE, ends_ms=2_000, ended_by="lee@desk")
    found = book(SILENCE)
    assert found.orders(1_999).silences.covers({"key": "rack-1"}, 1_999)
    assert found.take([record(*write_order(ended)), record(*write_order(ended))]) == [ended]
    assert found.take([record(*write_order(ended))]) == []
    assert list(found.orders(1_999).silences) == [ended]
    assert list(found.orders(2_000).silences) == []
    assert found.silence("s1") == ended
    assert found.silence("r1") is None
    assert found.take([record(b"s1", None)]) == []
    assert found.silence("s1") is None


def test_no_silence_is_longer_than_the_settings_allow() -> None:
    """Also one that was written by another hand, or under other settings."""
    found = book(replace(SILENCE, ends_ms=1_000 + 9_000 * HOUR_MS))
    (silence,) = found.orders(1_000).silences
    assert silence.ends_ms == 1_000 + HOUR_MS
    assert list(found.orders(1_000 + HOUR_MS).silences) == []


@pytest.mark.parametrize(
    ("labels", "since_ms", "is_ended"),
    [
        ({"detector": "old-1", "key": "a"}, 5_000, True),
        ({"detector": "old-1", "key": "a"}, 5_001, False),
        ({"detector": "new-1", "key": "a"}, 5_000, False),
        ({"detector": "old-1", "key": "b"}, 5_000, False),
        ({"detector": "old-1"}, 5_000, False),
    ],
)
def test_what_begins_after_an_order_is_not_ended_by_it(labels: dict[str, str], since_ms: int, is_ended: bool) -> None:
    """Orders are read again at each start: a key that was retired and came back must be heard."""
    found = replace(alert(started_ms=since_ms), identity=labels)
    assert RESOLUTION.ends(found) is is_ended


def test_the_log_says_who_and_why() -> None:
    """The audit of who made alerts quiet stands in the log of the process that obeys."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        for order in (SILENCE, replace(SILENCE, ended_by="lee@desk"), RESOLUTION):
            tell(order)
    assert [(line["event"], line["who"], line["why"], line.get("ended_by")) for line in lines] == [
        ("silence_set", "kim@desk", "reboot", None),
        ("silence_ended", "kim@desk", "reboot", "lee@desk"),
        ("alerts_ended_by_operator", "kim@desk", "retired", None),
    ]


def test_two_books_are_compared_by_their_orders() -> None:
    """After an outage the topic is read whole again: only what is new is told."""
    ended = replace(SILENCE, ended_by="lee@desk")
    assert book(ended, RESOLUTION).since(book(SILENCE, RESOLUTION)) == [ended]
