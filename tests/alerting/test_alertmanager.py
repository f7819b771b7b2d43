"""Alertmanager: a real one for what it makes of alerts, a server that says what we like for what we make of answers."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.services import Alertmanager
from scripts.services.http_server import Asked, Hang, HttpServer, Reply, closed_port
from streamae.alerting.alert import Action, Cause, Notice, SeverityClass
from streamae.alerting.http_client import Request
from streamae.alerting.identity import OWN_NAMES, watchdog_alert
from streamae.alerting.receiver import Delivered, Refused, Retry
from streamae.alerting.receivers.silence_api import SilenceFailedError, as_regex
from streamae.alerting.receivers.turns import NO_TIME
from tests.alerting.made_alerts import HOSTILE, MINUTE_MS, NOW_MS, made_alert, made_event, over, trigger
from tests.alerting.receivers_of import built
from tests.conftest import running
from tests.waiting import wait_until

INFO, WARNING, CRITICAL = SeverityClass


def wall_ms() -> int:
    """Alertmanager goes by its own clock."""
    return time.time_ns() // 1_000_000


def listed(client: Any, service: Alertmanager, key: str) -> list[dict[str, Any]]:
    """Return the alerts that Alertmanager shows for a key."""
    answer = client.ask(Request("GET", f"{service.url}/api/v2/alerts", most_bytes=10_000_000))
    return [one for one in json.loads(answer.body) if one["labels"].get("key") == key]


def told(hook: HttpServer, key: str) -> list[tuple[str, str]]:
    """Return status and severity of what Alertmanager has told of a key, in order."""
    groups = [json.loads(asked.body) for asked in list(hook.asked)]
    alerts = [one for group in groups for one in group["alerts"] if one["labels"].get("key") == key]
    return [(one["status"], one["labels"]["severity"]) for one in alerts]


@pytest.mark.integration
def test_firing_and_resolved(alertmanager: Alertmanager, hook: HttpServer, client: Any, tmp_path: Path) -> None:
    """A real Alertmanager tells of an alert and of its end, with our labels and annotations."""
    receiver = built("alertmanager", tmp_path, urls=[alertmanager.url], zone="Europe/Rome")
    now_ms = wall_ms()
    alert = made_alert("firing", started_ms=now_ms, link="http://dash.example/firing")
    assert receiver.send([trigger(alert)], now_ms) == [Delivered()]
    wait_until(lambda: ("firing", "warning") in told(hook, "firing"), "it fires")
    (shown,) = listed(client, alertmanager, "firing")
    assert shown["labels"] == {**alert.identity, "severity": "warning"}
    assert shown["generatorURL"] == "http://dash.example/firing"
    notes = shown["annotations"]
    assert notes["summary"] == alert.summary
    assert notes["description"].splitlines()[0] == "network_mbit_s 63.55 (expected 297.7)"
    assert notes["start_time"] == "2025-01-01 18:57:00 UTC (19:57:00 Europe/Rome)"
    assert (notes["episode_id"], notes["sequence"]) == (alert.episode_id, "0")
    assert (notes["key_state"], notes["confidence"], notes["severity_score"]) == ("ready", "0.62", "71.25")
    assert receiver.send([over(alert, wall_ms())], wall_ms()) == [Delivered()]
    wait_until(lambda: ("resolved", "warning") in told(hook, "firing"), "its end")
    receiver.close()


@pytest.mark.integration
def test_a_risen_class_is_a_second_alert_and_both_end(
    alertmanager: Alertmanager, hook: HttpServer, client: Any, tmp_path: Path
) -> None:
    """Routes there go by severity: what became critical fires as critical too, and the close ends both."""
    receiver = built("alertmanager", tmp_path, urls=[alertmanager.url])
    alert = made_alert("rises", started_ms=wall_ms())
    receiver.send([trigger(alert)], wall_ms())
    risen = replace(alert, classes=(WARNING, CRITICAL), sequence=3)
    receiver.send([Notice(Action.UPDATE, risen)], wall_ms())
    wait_until(lambda: {("firing", "warning"), ("firing", "critical")} <= set(told(hook, "rises")), "both classes")
    receiver.send([over(risen, wall_ms())], wall_ms())
    wait_until(lambda: {("resolved", "warning"), ("resolved", "critical")} <= set(told(hook, "rises")), "both ends")
    assert listed(client, alertmanager, "rises") == []
    receiver.close()


@pytest.mark.integration
def test_the_example_tells_of_one_class_only(hook: HttpServer, client: Any, tmp_path: Path) -> None:
    """With the inhibit rules that ship, who reads of a critical episode does not read of it as a warning beside."""
    example = Path(__file__).resolve().parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"
    shipped = yaml.safe_load(example.read_text(encoding="utf-8"))
    with running(Alertmanager(hook.url, shipped["route"]["group_by"], shipped["inhibit_rules"])) as service:
        receiver = built("alertmanager", tmp_path, urls=[service.url])
        classes = (INFO, WARNING, CRITICAL)
        rises, other = (made_alert(key, started_ms=wall_ms()) for key in ("inhibits", "beside"))
        receiver.send([trigger(replace(rises, classes=classes)), trigger(other)], wall_ms())
        wait_until(lambda: told(hook, "inhibits") != [] and told(hook, "beside") != [], "both to be told")
        assert set(told(hook, "inhibits")) == {("firing", "critical")}
        assert set(told(hook, "beside")) == {("firing", "warning")}
        state = {one["labels"]["severity"]: one["status"]["state"] for one in listed(client, service, "inhibits")}
        assert state == {"info": "suppressed", "warning": "suppressed", "critical": "active"}
        receiver.close()


@pytest.mark.integration
def test_repeating_keeps_an_alert_and_telling_twice_makes_no_second_one(
    alertmanager: Alertmanager, hook: HttpServer, client: Any, tmp_path: Path
) -> None:
    """What is sent again is the same alert, its end pushed on; people are told once."""
    receiver = built("alertmanager", tmp_path, urls=[alertmanager.url])
    alert = made_alert("again", started_ms=wall_ms())
    receiver.send([trigger(alert)], wall_ms())
    wait_until(lambda: told(hook, "again") != [], "it to be told")
    (first,) = listed(client, alertmanager, "again")
    newer = replace(alert, event=made_event("again", "updated", 1, severity=80.0), sequence=1, summary="worse")
    receiver.send([Notice(Action.REPEAT, newer)], wall_ms() + MINUTE_MS)
    (second,) = listed(client, alertmanager, "again")
    assert second["endsAt"] > first["endsAt"]
    assert (second["fingerprint"], second["startsAt"]) == (first["fingerprint"], first["startsAt"])
    assert second["annotations"]["summary"] == "worse"
    assert told(hook, "again") == [("firing", "warning")]
    receiver.close()


@pytest.mark.integration
def test_its_restart_between_close_and_resolve_still_ends_in_resolved(hook: HttpServer, tmp_path: Path) -> None:
    """It comes back without alerts in memory: what is sent again for a while tells it of the end that it missed."""
    with running(Alertmanager(hook.url)) as own:
        receiver = built("alertmanager", tmp_path, urls=[own.url])
        alert = made_alert("restart", started_ms=wall_ms())
        receiver.send([trigger(alert)], wall_ms())
        wait_until(lambda: told(hook, "restart") == [("firing", "warning")], "it fires")
        own.stop()
        ended = over(alert, wall_ms())
        assert isinstance(receiver.send([ended], wall_ms())[0], Retry)
        own.start()
        assert receiver.send([ended], wall_ms()) == [Delivered()]
        wait_until(lambda: ("resolved", "warning") in told(hook, "restart"), "its end")
        assert receiver.repeat_resolved_ms == 15 * MINUTE_MS
        receiver.close()


@pytest.mark.integration
def test_one_bad_alert_of_many_is_refused_alone(alertmanager: Alertmanager, client: Any, tmp_path: Path) -> None:
    """A label that Alertmanager does not take costs its own alert; the 299 others arrive."""
    receiver = built("alertmanager", tmp_path, urls=[alertmanager.url])
    alerts = [made_alert(f"many-{number}", started_ms=wall_ms()) for number in range(300)]
    alerts[123] = replace(alerts[123], identity={**alerts[123].identity, "not a name": "x"})
    outcomes = receiver.send([trigger(alert) for alert in alerts], wall_ms())
    assert [number for number, outcome in enumerate(outcomes) if outcome != Delivered()] == [123]
    assert isinstance(outcomes[123], Refused)
    assert outcomes[123].why.startswith("answered 400")
    answer = client.ask(Request("GET", f"{alertmanager.url}/api/v2/alerts", most_bytes=10_000_000))
    keys = {one["labels"].get("key") for one in json.loads(answer.body)}
    assert keys >= {f"many-{number}" for number in range(300) if number != 123}
    receiver.close()


def test_what_is_passed_on_to_a_chat_is_no_more_than_text(server: HttpServer, tmp_path: Path) -> None:
    """Alertmanager hands annotations on as they are: none calls everybody or holds a link; labels stay exact."""
    receiver = built("alertmanager", tmp_path, urls=[server.url])
    features = [{"name": HOSTILE, "actual": 1.0, "expected": 2.0, "description": HOSTILE}]
    event = made_event(HOSTILE, episode_id=HOSTILE, state=HOSTILE, features=features)
    alert = made_alert(HOSTILE, event, episode_id=HOSTILE, summary=HOSTILE, extra={"odd name!": HOSTILE})
    receiver.send([trigger(alert), over(alert, close_reason=HOSTILE)], NOW_MS)
    sent = json.loads(server.asked[0].body)
    assert len(sent[0]["annotations"]["description"].splitlines()) == 1
    for described in sent:
        assert described["labels"]["key"] == HOSTILE
        notes = described["annotations"]
        assert {"summary", "description", "episode_id", "odd_name_"} <= set(notes)
        for text in notes.values():
            assert "<" not in text
            assert not re.search(r"@\w|://|\]\(", text)
    receiver.close()


@pytest.mark.integration
def test_hostile_keys_are_labels_like_others(alertmanager: Alertmanager, client: Any, tmp_path: Path) -> None:
    """Whatever stands in a key comes back as it was sent; nothing of it is taken for anything else."""
    receiver = built("alertmanager", tmp_path, urls=[alertmanager.url])
    alert = made_alert(HOSTILE, started_ms=wall_ms(), extra={"odd name!": HOSTILE})
    assert receiver.send([trigger(alert)], wall_ms()) == [Delivered()]
    (shown,) = listed(client, alertmanager, HOSTILE)
    assert "\n" not in shown["annotations"]["odd_name_"]
    receiver.close()


@pytest.mark.integration
def test_a_silence_is_made_found_and_ended(alertmanager: Alertmanager, client: Any, tmp_path: Path) -> None:
    """A silence of ours withholds what fits its patterns there, is listed with who and why, and can be ended."""
    receiver = built("alertmanager", tmp_path, urls=[f"http://127.0.0.1:{closed_port()}", alertmanager.url])
    silences = receiver.silences  # type: ignore[attr-defined]
    now_ms = wall_ms()
    made = silences.create_silence(
        {"key": "rack-7.*", "team": "core"}, now_ms, now_ms + 2 * 60 * MINUTE_MS, "ann", "new disks"
    )
    labels = {"team": "core"}
    for key in ("rack-7.disk1", "rack-7xdisk1"):
        alert = made_alert(key, started_ms=now_ms)
        receiver.send([trigger(replace(alert, identity={**alert.identity, **labels}))], now_ms)
    wait_until(lambda: listed(client, alertmanager, "rack-7.disk1")[0]["status"]["silencedBy"] == [made], "the silence")
    assert listed(client, alertmanager, "rack-7xdisk1")[0]["status"]["silencedBy"] == []
    (found,) = [one for one in silences.list_silences() if one.id == made]
    assert (found.state, found.who, found.why) == ("active", "ann", "new disks")
    assert found.matchers == ('key=~"rack-7\\\\..*"', 'team=~"core"')
    silences.expire_silence(made)
    wait_until(
        lambda: listed(client, alertmanager, "rack-7.disk1")[0]["status"]["silencedBy"] == [], "the end of the silence"
    )
    assert [one.state for one in silences.list_silences() if one.id == made] == ["expired"]
    with pytest.raises(SilenceFailedError, match="answered 4"):
        silences.expire_silence("no such silence")
    receiver.close()


@pytest.mark.integration
def test_the_watchdog_fires(alertmanager: Alertmanager, hook: HttpServer, tmp_path: Path) -> None:
    """The alert that always fires arrives there like any other."""
    receiver = built("alertmanager", tmp_path, urls=[alertmanager.url])
    alert = watchdog_alert({"env": "test"}, wall_ms())
    assert receiver.send([trigger(alert)], wall_ms()) == [Delivered()]
    wait_until(
        lambda: any(OWN_NAMES[Cause.WATCHDOG] in asked.body.decode() for asked in list(hook.asked)), "the watchdog"
    )
    receiver.close()


def posted(asked: Asked) -> list[dict[str, Any]]:
    """Return the alerts of a request."""
    found: list[dict[str, Any]] = json.loads(asked.body)
    return found


def test_ends_lie_ahead_while_open_and_never_before_the_start(server: HttpServer, tmp_path: Path) -> None:
    """Ten minutes without us resolve nothing; an end before the start, which it would refuse, is the start."""
    receiver = built("alertmanager", tmp_path, urls=[server.url + "/prefix/"])
    receiver.send([trigger(made_alert()), over(made_alert("b"), NOW_MS - 1)], NOW_MS)
    (asked,) = server.asked
    assert asked.path == "/prefix/api/v2/alerts"
    assert [(one["startsAt"], one["endsAt"]) for one in posted(asked)] == [
        ("2025-01-01T19:33:20.000Z", "2025-01-01T19:48:20.000Z"),
        ("2025-01-01T19:33:20.000Z", "2025-01-01T19:33:20.000Z"),
    ]


def test_all_members_are_told_and_one_is_enough(server: HttpServer, tmp_path: Path) -> None:
    """A member that is away, or that refuses, costs nothing while another one takes it."""
    with HttpServer(Reply(500)) as failing, HttpServer(Reply(404)) as wrong:
        urls = [failing.url, wrong.url, server.url, f"http://127.0.0.1:{closed_port()}"]
        receiver = built("alertmanager", tmp_path, urls=urls)
        assert receiver.send([trigger(made_alert())], NOW_MS) == [Delivered()]
        assert [len(one.asked) for one in (failing, wrong, server)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ((Reply(500), Reply(404)), Retry("answered 500")),
        ((Reply(404), Reply(429, headers={"Retry-After": "5"})), Retry("answered 429", 5_000, may_have_arrived=False)),
        ((Reply(429), Reply(500)), Retry("answered 429")),
        ((Reply(404), Reply(403)), Refused("answered 404")),
        ((Reply(400), Reply(500)), Refused("answered 400")),
        ((Reply(500), Reply(400)), Refused("answered 400")),
    ],
)
def test_what_members_say_together(
    answers: tuple[Reply, Reply], outcome: Refused | Retry, server: HttpServer, tmp_path: Path
) -> None:
    """Refused only where nobody may yet take it; what one member has read and refused needs no second one."""
    with HttpServer(answers[1]) as other:
        server.usual = answers[0]
        receiver = built("alertmanager", tmp_path, urls=[server.url, other.url])
        assert receiver.send([trigger(made_alert())], NOW_MS) == [outcome]


def test_a_bad_alert_holds_up_nobody_while_a_member_is_away(server: HttpServer, tmp_path: Path) -> None:
    """Splitting finds it with the member that is left."""

    def judge(asked: Asked) -> Reply:
        return Reply(400 if any(one["labels"]["key"] == "bad" for one in posted(asked)) else 200)

    server.usual = judge
    receiver = built("alertmanager", tmp_path, urls=[f"http://127.0.0.1:{closed_port()}", server.url])
    keys = ["a", "b", "bad", "d", "e", "f", "g"]
    outcomes = receiver.send([trigger(made_alert(key)) for key in keys], NOW_MS)
    assert outcomes == [Delivered(), Delivered(), Refused("answered 400"), *[Delivered()] * 4]


def test_a_wrong_address_is_not_split(server: HttpServer, tmp_path: Path) -> None:
    """A 404 says nothing about any alert: one request tells it of all."""
    server.usual = Reply(404)
    receiver = built("alertmanager", tmp_path, urls=[server.url])
    outcomes = receiver.send([trigger(made_alert(str(number))) for number in range(8)], NOW_MS)
    assert outcomes == [Refused("answered 404")] * 8
    assert len(server.asked) == 1


def test_batches_are_bounded_and_the_rest_waits_for_who_is_away(server: HttpServer, tmp_path: Path) -> None:
    """Many alerts are several requests; once one of these fails the others are not tried."""
    receiver = built("alertmanager", tmp_path, urls=[server.url])
    notices = [trigger(made_alert(str(number))) for number in range(500)]
    assert receiver.send(notices, NOW_MS) == [Delivered()] * 500
    assert [len(posted(asked)) for asked in server.asked] == [200, 200, 100]
    server.replies += [Reply(), Reply(503)]
    outcomes = receiver.send(notices, NOW_MS)
    assert outcomes == [
        *[Delivered()] * 200,
        *[Retry("answered 503")] * 200,
        *[Retry("answered 503", may_have_arrived=False, was_tried=False)] * 100,
    ]
    assert len(server.asked) == 5


def test_a_hanging_member_costs_one_timeout(server: HttpServer, tmp_path: Path) -> None:
    """All members are asked side by side, and the time of a turn is bounded in all."""
    server.usual = Hang()
    receiver = built("alertmanager", tmp_path, urls=[server.url] * 3, timeout_ms=300)
    notices = [trigger(made_alert(str(number))) for number in range(500)]
    outcomes = receiver.send(notices, NOW_MS)
    assert len(outcomes) == 500
    late = "127.0.0.1 did not answer in time"
    assert set(outcomes) <= {Retry(late), Retry(late, may_have_arrived=False, was_tried=False), NO_TIME}


def test_what_cannot_be_told_is_refused_alone(server: HttpServer, tmp_path: Path) -> None:
    """An event of a shape that nobody foresaw does not end the thread, nor keep others from being told."""
    receiver = built("alertmanager", tmp_path, urls=[server.url])
    odd = made_alert("odd", summary=7)
    assert receiver.send([trigger(odd), trigger(made_alert())], NOW_MS) == [
        Refused("cannot be told: TypeError"),
        Delivered(),
    ]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"features": None, "severity": "high", "start_time_ms": "x", "state": 3, "window": []},
        {"features": [None, {"name": 3}, {"name": "a"}], "severity": float("nan"), "start_time_ms": 10**30},
        {"features": {"name": "a"}, "confidence": True, "close_reason": {}, "start_time_ms": -(10**30)},
    ],
)
def test_events_of_other_releases_are_told(event: dict[str, Any], server: HttpServer, tmp_path: Path) -> None:
    """What is absent or of another kind is left out; the alert goes out."""
    receiver = built("alertmanager", tmp_path, urls=[server.url])
    assert receiver.send([trigger(made_alert(event=event))], NOW_MS) == [Delivered()]


def test_credentials_are_sent_and_not_shown(server: HttpServer, tmp_path: Path) -> None:
    """A password or token goes into the header alone, also where the answer repeats it."""
    server.usual = lambda asked: Reply(401, asked.headers["authorization"].encode())
    receiver = built("alertmanager", tmp_path, {"password_file": "s3cret\n"}, urls=[server.url], username="ann")
    assert receiver.send([trigger(made_alert())], NOW_MS) == [Refused("answered 401: Basic ***")]
    receiver = built("alertmanager", tmp_path, {"token_file": "t0ken"}, urls=[server.url])
    assert receiver.send([trigger(made_alert())], NOW_MS) == [Refused("answered 401: Bearer ***")]
    assert [asked.headers["authorization"] for asked in server.asked] == ["Basic YW5uOnMzY3JldA==", "Bearer t0ken"]


@pytest.mark.parametrize(
    ("pattern", "regex"),
    [
        ("plain-key_1", "plain-key_1"),
        ("a.b*c?", "a\\.b.*c."),
        ("[ab]c[!d]", "[ab]c[^d]"),
        ("[]x]", "[\\]x]"),
        ("[^a]", "[\\^a]"),
        ("[", "\\["),
        ("a]", "a\\]"),
        ("(x|y)^$+{2}\\", "\\(x\\|y\\)\\^\\$\\+\\{2\\}\\\\"),
    ],
)
def test_patterns_become_regular_expressions(pattern: str, regex: str) -> None:
    """Nothing but `*`, `?` and brackets means anything in a pattern."""
    assert as_regex(pattern) == regex
