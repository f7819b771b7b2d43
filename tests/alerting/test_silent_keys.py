"""A key that says nothing is an alert of its own, and a dead gateway can be told from a dead device."""

from __future__ import annotations

from dataclasses import replace

from streamae.alerting.alert import Action, Alert, Notice, SeverityClass
from streamae.alerting.change import read_change
from streamae.alerting.receivers.messages import MessageMaker
from streamae.batches import Record
from streamae.episode_changes import ChangeKind, EpisodeChange, SilenceCounts
from streamae.reasons import CloseReason
from tests.alerting.changes import rules
from tests.alerting.stored_events import CHANGE, message

SILENT = replace(CHANGE, features=(), silence=SilenceCounts(4, 6))


def told(change: EpisodeChange) -> Alert:
    """Return the alert that an event of the present release becomes."""
    event = message(change, b"room-3")
    read = read_change(Record("anomalies", 0, 7, 1_735_757_820_000, event.key, event.value, list(event.headers)))
    of = rules()
    alert = of.alert_of(read, of.identity_of(read), (SeverityClass.CRITICAL,), 0)
    return replace(alert, close_reason=read.close_reason)


def test_silence_and_anomaly_of_one_key_are_two_alerts() -> None:
    """One may be open beside the other, and routes can tell them apart by `cause`."""
    silent, anomalous = told(SILENT), told(CHANGE)
    assert (silent.identity["cause"], anomalous.identity["cause"]) == ("silence", "anomaly")
    assert silent.dedup_key != anomalous.dedup_key
    assert silent.episode_id != anomalous.episode_id
    assert silent.summary == "room-3: critical silence"


def test_messages_say_how_many_keys_are_silent() -> None:
    """Who is woken sees at once whether it is a device or what stands before it."""
    maker = MessageMaker("mail", None, "{{ alerts[0].silent_keys }}/{{ alerts[0].partition_keys }}", None)
    assert maker.message([Notice(Action.TRIGGER, told(SILENT))])[1] == "4/6"
    assert maker.message([Notice(Action.TRIGGER, told(CHANGE))])[1] == "0/0"
    _, body = MessageMaker("mail", None, None, None).message([Notice(Action.TRIGGER, told(SILENT))])
    assert "4 of the 6 keys of its partition are silent" in body


def test_the_end_of_a_silence_is_said_in_words() -> None:
    """A key that is heard again is no anomaly that went away."""
    closed = replace(SILENT, kind=ChangeKind.CLOSED, sequence=1, close_reason=CloseReason.RETURNED)
    alert = replace(told(closed), ended_ms=1)
    title, _ = MessageMaker("mail", None, None, None).message([Notice(Action.RESOLVE, alert)])
    assert title == "Over: room-3: critical silence"
    _, body = MessageMaker("mail", None, "{{ alerts[0].ending }}", None).message([Notice(Action.RESOLVE, alert)])
    assert body == "Over: heard again"
