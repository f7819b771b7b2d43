"""PagerDuty: incidents as its rules make them, and what we send for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.services.http_server import Hang, HttpServer, Reply, closed_port
from scripts.services.incident_server import IncidentServer
from streamae.alerting.alert import Action, Notice, SeverityClass
from streamae.alerting.receiver import Delivered, Refused, Retry
from streamae.alerting.receivers.pagerduty import ADDRESSES, MOST_BYTES, MOST_DETAILS
from streamae.alerting.receivers.turns import NO_TIME
from tests.alerting.made_alerts import HOSTILE, NOW_MS, made_alert, made_event, over, trigger
from tests.alerting.receivers_of import built

KEY = {"routing_key_file": "R0UT1NGKEY\n"}
WARNING, CRITICAL = SeverityClass.WARNING, SeverityClass.CRITICAL


def test_an_episode_is_one_incident(incidents: IncidentServer, tmp_path: Path) -> None:
    """Trigger, a risen class and the end are one incident, which is open in between; the next episode is another."""
    receiver = built("pagerduty", tmp_path, KEY, url=f"{incidents.url}/v2/enqueue")
    alert = made_alert()
    risen = replace(alert, classes=(WARNING, CRITICAL), sequence=2, summary="worse")
    assert receiver.send([trigger(alert), trigger(made_alert("other"))], NOW_MS) == [Delivered(), Delivered()]
    assert receiver.send([Notice(Action.UPDATE, risen)], NOW_MS) == [Delivered()]
    assert [incident.is_open for incident in incidents.incidents] == [True, True]
    assert receiver.send([over(risen)], NOW_MS) == [Delivered()]
    (first, other) = incidents.incidents
    assert (first.dedup_key, first.is_open, other.is_open) == (alert.dedup_key, False, True)
    assert first.severities == ["warning", "critical"]
    assert first.summaries == [alert.summary, "worse"]
    receiver.send([trigger(alert)], NOW_MS)
    assert len(incidents.incidents) == 3
    receiver.close()


def test_what_is_sent(server: HttpServer, tmp_path: Path) -> None:
    """Each field of an event of the Events API is where PagerDuty shows it."""
    server.usual = Reply(202)
    receiver = built("pagerduty", tmp_path, KEY, url=server.url, zone="Europe/Rome")
    alert = made_alert(link="http://dash.example/a")
    receiver.send([trigger(alert)], NOW_MS)
    event = json.loads(server.asked[0].body)
    payload = event.pop("payload")
    details = payload.pop("custom_details")
    assert event == {
        "routing_key": "R0UT1NGKEY",
        "event_action": "trigger",
        "dedup_key": alert.dedup_key,
        "client": "streamae",
        "client_url": "http://dash.example/a",
        "links": [{"href": "http://dash.example/a", "text": "where to look"}],
    }
    assert payload == {
        "summary": alert.summary,
        "source": "machine-006",
        "severity": "warning",
        "timestamp": "2025-01-01T18:57:00.000Z",
        "component": "network_mbit_s",
        "group": "streamae",
        "class": "anomaly",
    }
    assert details["feature 1"] == "network_mbit_s 63.55 (expected 297.7)"
    assert details["start_time"] == "2025-01-01 18:57:00 UTC (19:57:00 Europe/Rome)"
    assert (details["state"], details["severity"], details["topic"]) == ("ready", "71.25", "sensors")


def test_an_end_that_is_no_recovery_says_so(server: HttpServer, tmp_path: Path) -> None:
    """Who looks into the incident of a silent detector reads that nobody knows whether it goes on."""
    receiver = built("pagerduty", tmp_path, KEY, url=server.url)
    receiver.send([over(made_alert(), close_reason="stale")], NOW_MS)
    event = json.loads(server.asked[0].body)
    assert event["event_action"] == "resolve"
    assert event["payload"]["custom_details"]["ending"].startswith("given up: its detector is silent")


def test_everything_is_bounded(incidents: IncidentServer, tmp_path: Path) -> None:
    """Endless keys, names and events come out shorter than PagerDuty's limits, and are taken."""
    receiver = built("pagerduty", tmp_path, KEY, url=f"{incidents.url}/v2/enqueue")
    long = HOSTILE * 20_000
    features = [{"name": long, "actual": 1e300, "expected": -1.0, "description": long}] * 10_000
    event = made_event("long", features=features, state=long, state_reason=long)
    extra = {f"name {number} {long[:5_000]}": long for number in range(500)}
    assert receiver.send([trigger(made_alert("long", event, summary=long, extra=extra))], NOW_MS) == [Delivered()]
    (asked,) = incidents.asked
    assert len(asked.body) < MOST_BYTES
    (incident,) = incidents.incidents
    assert len(json.loads(asked.body)["payload"]["custom_details"]) <= MOST_DETAILS
    assert len(incident.summaries[0]) <= 1_024
    assert "\n" not in incident.summaries[0]


def test_regions_are_addresses() -> None:
    """Each region has its own host, always by TLS."""
    assert ADDRESSES == {
        "us": "https://events.pagerduty.com/v2/enqueue",
        "eu": "https://events.eu.pagerduty.com/v2/enqueue",
    }


def test_refusals_are_told_without_the_key(incidents: IncidentServer, tmp_path: Path) -> None:
    """A wrong integration key is a refusal in PagerDuty's words, in which the key is blotted out."""
    receiver = built("pagerduty", tmp_path, {"routing_key_file": "WR0NG"}, url=f"{incidents.url}/v2/enqueue")
    (outcome,) = receiver.send([trigger(made_alert())], NOW_MS)
    assert isinstance(outcome, Refused)
    assert "'routing_key' *** is unknown" in outcome.why


def test_one_that_always_fails_does_not_hold_up_the_others(incidents: IncidentServer, tmp_path: Path) -> None:
    """A poisonous alert is retried and refused alone; what follows it is told in the same turn."""
    receiver = built("pagerduty", tmp_path, KEY, url=f"{incidents.url}/v2/enqueue")
    incidents.replies += [Reply(500), Reply(400, b"bad")]
    outcomes = receiver.send([trigger(made_alert(key)) for key in "abc"], NOW_MS)
    assert outcomes == [Retry("answered 500"), Refused("answered 400: bad"), Delivered()]


@pytest.mark.parametrize(
    ("replies", "asked", "outcome"),
    [
        ([Reply(503)] * 9, 3, Retry("answered 503")),
        ([Reply(429, headers={"Retry-After": "60"})], 1, Retry("answered 429", 60_000, may_have_arrived=False)),
    ],
)
def test_who_is_not_at_home_is_left_alone(
    replies: list[Reply], asked: int, outcome: Retry, server: HttpServer, tmp_path: Path
) -> None:
    """After three failures in a row, or where it asks for a pause, the rest of the turn is not tried."""
    server.replies += replies
    receiver = built("pagerduty", tmp_path, KEY, url=server.url)
    outcomes = receiver.send([trigger(made_alert(str(number))) for number in range(9)], NOW_MS)
    assert outcomes == [outcome] * asked + [replace(outcome, may_have_arrived=False, was_tried=False)] * (9 - asked)
    assert len(server.asked) == asked


def test_failures_here_and_there_stop_nobody(server: HttpServer, tmp_path: Path) -> None:
    """Only failures in a row mean that nobody is at home."""
    server.replies += [Reply(500), Reply(202)] * 5
    receiver = built("pagerduty", tmp_path, KEY, url=server.url)
    outcomes = receiver.send([trigger(made_alert(str(number))) for number in range(10)], NOW_MS)
    assert outcomes == [Retry("answered 500"), Delivered()] * 5


def test_a_turn_is_bounded(server: HttpServer, tmp_path: Path) -> None:
    """A service that hangs costs one timeout, not one for each alert; the others come again at once."""
    server.usual = Hang()
    receiver = built("pagerduty", tmp_path, KEY, url=server.url, timeout_ms=300)
    outcomes = receiver.send([trigger(made_alert(str(number))) for number in range(9)], NOW_MS)
    assert outcomes[0] == Retry("127.0.0.1 did not answer in time")
    assert outcomes[1:] == [NO_TIME] * 8


def test_news_of_an_episode_waits_for_what_failed_before_it(server: HttpServer, tmp_path: Path) -> None:
    """An end never overtakes its beginning."""
    server.replies.append(Reply(500))
    receiver = built("pagerduty", tmp_path, KEY, url=server.url)
    alert = made_alert()
    assert receiver.send([trigger(alert), over(alert), trigger(made_alert("b"))], NOW_MS) == [
        Retry("answered 500"),
        Retry("answered 500", may_have_arrived=False, was_tried=False),
        Delivered(),
    ]
    assert len(server.asked) == 2


@pytest.mark.parametrize("event", [{}, {"features": 3, "start_time_ms": "x", "severity": [1]}])
def test_events_of_other_releases_are_told(event: dict[str, Any], incidents: IncidentServer, tmp_path: Path) -> None:
    """What is absent or of another kind is left out; somebody is paged."""
    receiver = built("pagerduty", tmp_path, KEY, url=f"{incidents.url}/v2/enqueue")
    assert receiver.send([trigger(made_alert(event=event))], NOW_MS) == [Delivered()]


def test_away(tmp_path: Path) -> None:
    """Nobody there is no refusal."""
    receiver = built("pagerduty", tmp_path, KEY, url=f"http://127.0.0.1:{closed_port()}")
    (outcome,) = receiver.send([trigger(made_alert())], NOW_MS)
    assert isinstance(outcome, Retry)
