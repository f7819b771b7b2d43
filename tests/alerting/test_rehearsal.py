"""The dry run: what the past would have brought to whom, by the same rules as the real thing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from streamae.alerting.owners import Owners
from streamae.alerting.receivers.alertmanager import Alertmanager
from streamae.alerting.receivers.apprise import AppriseReceiver
from streamae.alerting.receivers.log import LogReceiver
from streamae.alerting.receivers.pagerduty import PagerDuty
from streamae.alerting.receivers.webhook import Webhook
from streamae.alerting.rehearsal import FOLDED, HOUR_MS, TELL_EVERY_CHANGE, Rehearsal, Row
from streamae.batches import Record
from streamae.commands.alert_dry_run import describe
from streamae.settings.alerts import AlertSettings

T0 = 1_700_000_000_000 // HOUR_MS * HOUR_MS
END_MS = T0 + 48 * HOUR_MS
SECOND, MINUTE = 1_000, 60_000
FILE = Path("/nowhere")
RECEIVERS = (
    {"name": "pager", "kind": "pagerduty", "routing_key_file": FILE},
    {"name": "hook", "kind": "webhook", "url": "http://127.0.0.1/"},
    {
        "name": "mail",
        "kind": "apprise",
        "urls_file": FILE,
        "group_wait_ms": 30 * SECOND,
        "group_interval_ms": 5 * MINUTE,
    },
)


def record(key: str, sequence: int, at_ms: int, *, kind: str = "", severity: float = 95.0, **more: Any) -> Record:
    """Return a change of the only episode of a key."""
    event = {
        "episode_id": f"episode-{key}",
        "kind": kind or ("opened" if sequence == 0 else "updated"),
        "sequence": sequence,
        "key": key,
        "detector": "d",
        "severity": severity,
        "confidence": 1.0,
        "state": "ready",
        "start_time_ms": at_ms,
        "source": {"topic": "in", "partition": 0, "offset": 1},
        **more,
    }
    return Record("anomalies", 0, 0, at_ms, key.encode(), json.dumps(event).encode())


def rehearsal(*partitions: Iterable[Record], owners: Owners | None = None, **more: Any) -> Rehearsal:
    """Return the rehearsal of these partitions."""
    settings = AlertSettings(**{"receivers": RECEIVERS, **more})
    found = Rehearsal(settings, owners or Owners.read(None, {}))
    for records in partitions:
        found.begin_partition()
        found.take(records)
    return found


def rows(*partitions: Iterable[Record], **more: Any) -> dict[tuple[str, str], Row]:
    """Return what came of it."""
    return rehearsal(*partitions, **more).rows(END_MS)


def counts(row: Row) -> tuple[int, int, int]:
    """Return messages, alerts and what is open."""
    return row.messages, row.alerts, row.open


def test_kinds_are_told_as_their_receivers_are() -> None:
    """The dry run builds no receiver, since their secrets need not be there: what it knows of them is still true."""
    kinds = {
        "alertmanager": Alertmanager,
        "pagerduty": PagerDuty,
        "webhook": Webhook,
        "apprise": AppriseReceiver,
        "log": LogReceiver,
    }
    assert {kind for kind, receiver in kinds.items() if receiver.wants_every_change} == TELL_EVERY_CHANGE
    assert {kind for kind, receiver in kinds.items() if not receiver.groups_alerts} == FOLDED


def test_each_receiver_gets_what_the_shipped_routes_and_its_nature_say() -> None:
    """Pages are of critical alerts only; a service of one's own gets every change; people get no news of what goes on."""
    bad = [record("a", number, T0 + number * 5 * MINUTE) for number in range(4)]
    bad.append(record("a", 4, T0 + 20 * MINUTE, kind="closed"))
    mild = [record("b", 0, T0, severity=60.0), record("b", 1, T0 + MINUTE, severity=70.0)]
    worse = [record("c", 0, T0, severity=60.0), record("c", 1, T0 + 2 * HOUR_MS, severity=96.0)]
    found = rows(bad, mild, worse)
    assert counts(found["pager", ""]) == (3, 2, 1)
    assert counts(found["hook", ""]) == (9, 3, 2)
    assert counts(found["mail", ""]) == (3, 3, 2)
    assert found["hook", ""].hours == {T0 // HOUR_MS: 8, T0 // HOUR_MS + 2: 1}
    assert found["hook", ""].keys == {"a": 5, "b": 2, "c": 2}


def test_a_dead_rack_is_counted_as_the_messages_it_would_be() -> None:
    """Folding goes over all partitions: one message, what joined, one end."""
    racks = [
        [record(f"k{half}-{number}", 0, T0 + number * 10) for number in range(250)]
        + [record(f"late{half}", 0, T0 + MINUTE)]
        + [record(f"k{half}-{number}", 1, T0 + HOUR_MS + number * 100, kind="closed") for number in range(250)]
        + [record(f"late{half}", 1, T0 + HOUR_MS + 2 * MINUTE, kind="closed")]
        for half in range(2)
    ]
    found = rows(*racks)
    assert counts(found["mail", ""]) == (3, 502, 0)
    assert counts(found["pager", ""]) == (1_004, 502, 0)


def test_what_was_open_before_is_not_counted_as_begun(tmp_path: Path) -> None:
    """The past begins in the middle of episodes: they end in it, or are still open, but nobody was told of them anew."""
    owners = tmp_path / "owners.csv"
    owners.write_text("pattern,team\npress-*,metal\n*,plant\n", encoding="utf-8")
    found = rows(
        [
            record("press-1", 7, T0),
            record("press-2", 3, T0, kind="closed"),
            record("oven", 5, T0),
            record("press-1", 8, T0 + MINUTE, kind="closed"),
        ],
        owners=Owners.read(owners, {}),
    )
    assert counts(found["pager", ""]) == (2, 0, 1)
    assert counts(found["pager", "metal"]) == (2, 0, 0)
    assert counts(found["pager", "plant"]) == (0, 0, 1)
    assert counts(found["mail", "metal"]) == (1, 0, 0)


def test_an_episode_that_ends_before_its_message_went_is_begin_and_end() -> None:
    """As with the real desk: nothing is kept from people because it was short."""
    found = rows([record("a", 0, T0), record("a", 1, T0 + SECOND, kind="closed")])
    assert counts(found["mail", ""]) == (2, 1, 0)


def test_what_is_no_change_and_what_is_not_meant_is_counted_apart() -> None:
    """Neither the shadow detector nor garbage pages anybody."""
    garbage = Record("anomalies", 0, 0, T0, b"k", b"?")
    shadow = record("a", 0, T0, detector="shadow")
    found = rehearsal([garbage, shadow, record("b", 0, T0)], detectors=("d",))
    assert found.unreadable == {"not_json": 1}
    assert counts(found.rows(END_MS)["pager", ""]) == (1, 1, 1)


def test_stamps_that_go_back_do_not_turn_begin_and_end_round() -> None:
    """Producers set Kafka timestamps as they like."""
    found = rows([record("a", 0, T0 + 2 * HOUR_MS), record("a", 1, T0, kind="closed")])
    assert counts(found["mail", ""]) == (2, 1, 0)
    assert found["mail", ""].hours == {T0 // HOUR_MS + 2: 2}


def test_what_gets_worse_before_its_message_went_is_one_message() -> None:
    """The message tells the newest state, as that of the real desk does."""
    found = rows([record("a", 0, T0, severity=60.0), record("a", 1, T0 + 10 * SECOND)])
    assert counts(found["mail", ""]) == (1, 1, 1)


def test_it_is_printed_by_receiver_and_team(tmp_path: Path) -> None:
    """Rates of the days that were looked at, the worst hour, the noisiest keys, and what is open."""
    owners = tmp_path / "owners.csv"
    owners.write_text("pattern,team\nodd*,metal\n", encoding="utf-8")
    past = [record("odd\x1b[2J", 0, T0), record("b", 0, T0 + 3 * HOUR_MS), record("c", 0, T0 + 3 * HOUR_MS)]
    found = rehearsal(past, [Record("anomalies", 1, 0, T0, None, None)], owners=Owners.read(owners, {}))
    lines = describe(found, T0 - HOUR_MS, END_MS).splitlines()
    assert lines[:4] == [
        "3 changes of 3 episodes, 2023-11-14T22:00:00Z to 2023-11-16T22:00:00Z (2.0 days); nothing was sent",
        "1 records are no change: no_value",
        "",
        "receiver        team             messages a day  alerts a day  open now  worst hour",
    ]
    assert [line.split() for line in lines[4:] if line.startswith("pager")] == [
        ["pager", "(all)", "1.5", "1.5", "3", "2", "from", "2023-11-15T01:00:00Z"],
        ["pager", "metal", "0.5", "0.5", "1", "1", "from", "2023-11-14T22:00:00Z"],
    ]
    assert any(line.startswith("  noisiest: odd") and line.endswith(" 1, b 1, c 1") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_short_past_is_said_to_be_short() -> None:
    """A day's rate that was taken from minutes is no plan for anybody's night."""
    found = rehearsal([record("a", 0, T0)])
    heads = [describe(found, T0 - HOUR_MS, T0 + span_ms).splitlines()[0] for span_ms in (HOUR_MS // 2, 2 * HOUR_MS)]
    assert heads[0].endswith(
        "(less than an hour, counted as one: too short to tell what a day brings); nothing was sent"
    )
    assert heads[1].endswith("(2.0 hours: too short to tell what a day brings); nothing was sent")


@pytest.mark.parametrize("receiver", ["pager", "hook", "mail"])
def test_a_receiver_without_alerts_is_shown(receiver: str) -> None:
    """Nothing at all is also an answer, and no message a day is a hint that a route leads nowhere."""
    assert counts(rows([])[receiver, ""]) == (0, 0, 0)
