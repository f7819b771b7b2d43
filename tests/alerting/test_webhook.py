"""The webhook: CloudEvents of each change, with signatures that anybody's library can check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.services.http_server import HttpServer, Reply
from streamae.alerting.alert import Action, Alert, Notice
from streamae.alerting.receiver import Delivered, Receiver, Refused, Retry
from streamae.alerting.receivers.webhook import cloud_event, signature_headers
from streamae.connectors.events import EVENT_TYPE, event_id
from tests.alerting.made_alerts import HOSTILE, NOW_MS, episode_of, made_alert, made_event, over, trigger
from tests.alerting.receivers_of import built

SECRETS = [bytes(range(24)), bytes(range(100, 132))]


def whsec(secret: bytes) -> str:
    """Return a secret as it is written."""
    return "whsec_" + base64.b64encode(secret).decode()


def signed(folder: Path, url: str, secrets: list[bytes]) -> Receiver:
    """Return a webhook that signs."""
    paths = []
    for number, secret in enumerate(secrets):
        paths.append(folder / f"secret-{number}")
        paths[-1].write_text(whsec(secret) + "\n", encoding="utf-8")
    return built("webhook", folder, url=url, secret_files=paths)


def test_a_change_arrives_as_it_stands_on_the_topic(server: HttpServer, tmp_path: Path) -> None:
    """Identifier, type and data are those of the event on the output topic; ours are beside them."""
    receiver = built("webhook", tmp_path, url=f"{server.url}/hook?a=1")
    alert = made_alert()
    assert receiver.send([trigger(alert)], NOW_MS) == [Delivered()]
    (asked,) = server.asked
    assert (asked.path, asked.headers["content-type"]) == ("/hook?a=1", "application/cloudevents+json; charset=utf-8")
    event = json.loads(asked.body)
    assert json.loads(event.pop("streamaelabels")) == alert.labels
    assert event == {
        "specversion": "1.0",
        "id": event_id(uuid.UUID(alert.episode_id), "opened", 0),
        "source": "urn:streamae:detector:streamae",
        "type": "io.streamae.anomaly.opened.v1",
        "time": "2025-01-01T18:59:00.000Z",
        "subject": "machine-006",
        "datacontenttype": "application/json",
        "dataschema": "urn:streamae:schema:anomaly-event:v1",
        "streamaereceiver": "test",
        "streamaeaction": "trigger",
        "streamaeclass": "warning",
        "streamaesummary": alert.summary,
        "data": dict(alert.event),
    }
    assert asked.headers["idempotency-key"] == asked.headers["webhook-id"] == event["id"]
    assert "webhook-signature" not in asked.headers


def test_names_of_attributes_are_allowed_ones() -> None:
    """CloudEvents: lower-case letters and digits, at most 20; values are no empty text."""
    event = cloud_event(over(made_alert(link="http://dash.example")), "a-receiver")
    attributes = {name: value for name, value in event.items() if name != "data"}
    assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in attributes)
    assert all(isinstance(value, str) and value for value in attributes.values())


def test_every_change_has_its_own_identifier_also_ends_that_nobody_published() -> None:
    """A receiver that skips what it has seen loses nothing, and what is sent again is skipped."""
    alert = made_alert()
    updated = replace(alert, event=made_event(kind="updated", sequence=1), sequence=1)
    closed = over(updated)
    notices = [
        trigger(alert),
        Notice(Action.UPDATE, updated),
        closed,
        *[
            Notice(Action.RESOLVE, replace(updated, ended_ms=NOW_MS, close_reason=reason))
            for reason in ("stale", "superseded", "operator")
        ],
        Notice(Action.UPDATE, replace(updated, extra={"detector": "silent"})),
        Notice(Action.TRIGGER, replace(closed.alert, ended_ms=None)),
        trigger(made_alert("silent", event={}, sequence=-1)),
        over(made_alert("silent", event={}, sequence=-1)),
    ]
    ids = [cloud_event(notice, "test")["id"] for notice in notices]
    assert len(set(ids)) == len(ids)
    assert ids == [cloud_event(notice, "test")["id"] for notice in notices]
    published = [
        event_id(uuid.UUID(alert.episode_id), kind, number)
        for kind, number in (("opened", 0), ("updated", 1), ("closed", 2))
    ]
    assert ids[:3] == published
    types = [cloud_event(notice, "test")["type"] for notice in notices]
    assert types[:3] == [EVENT_TYPE.format(kind=kind) for kind in ("opened", "updated", "closed")]
    assert set(types[3:]) == {f"io.streamae.alert.{action}.v1" for action in ("resolve", "update", "trigger")}


def test_an_end_that_nobody_published_says_when_and_why() -> None:
    """Its time is the end, not that of the last event."""
    alert = replace(made_alert(), ended_ms=NOW_MS, close_reason="stale")
    event = cloud_event(Notice(Action.RESOLVE, alert), "test")
    assert (event["time"], event["streamaeclosereason"]) == ("2025-01-01T19:33:20.000Z", "stale")


@pytest.mark.parametrize("count", [1, 2])
def test_signatures_can_be_checked(count: int, server: HttpServer, tmp_path: Path) -> None:
    """Each secret has its signature over identifier, time and body, as Standard Webhooks say."""
    receiver = signed(tmp_path, server.url, SECRETS[:count])
    receiver.send([trigger(made_alert())], NOW_MS)
    (asked,) = server.asked
    message_id, stamp = asked.headers["webhook-id"], asked.headers["webhook-timestamp"]
    assert int(stamp) == NOW_MS // 1_000
    signatures = asked.headers["webhook-signature"].split(" ")
    content = f"{message_id}.{stamp}.".encode() + asked.body
    for secret, signature in zip(SECRETS[:count], signatures, strict=True):
        digest = hmac.new(secret, content, hashlib.sha256).digest()
        assert signature == f"v1,{base64.b64encode(digest).decode()}"


def test_the_example_of_the_standard() -> None:
    """The published example of Standard Webhooks comes out to the letter."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signature_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}', [secret])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_order_within_an_episode_holds(server: HttpServer, tmp_path: Path) -> None:
    """What follows a change that failed waits with it; other episodes go on; all come again with the same identifiers."""
    receiver = built("webhook", tmp_path, url=server.url)
    alert = made_alert()
    notices = [trigger(alert), over(alert), trigger(made_alert("b"))]
    server.replies.append(Reply(503, headers={"Retry-After": "0"}))
    assert receiver.send(notices, NOW_MS) == [
        Retry("answered 503", 0),
        Retry("answered 503", 0, may_have_arrived=False, was_tried=False),
        Delivered(),
    ]
    assert receiver.send(notices[:2], NOW_MS) == [Delivered(), Delivered()]
    ids = [json.loads(asked.body)["id"] for asked in server.asked]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3


def test_credentials_and_secrets_are_not_told(server: HttpServer, tmp_path: Path) -> None:
    """A receiver that repeats what it was sent does not bring a token into dead letters and logs."""
    server.usual = lambda asked: Reply(403, asked.headers["authorization"].encode())
    receiver = built("webhook", tmp_path, {"token_file": "t0ken"}, url=server.url)
    assert receiver.send([trigger(made_alert())], NOW_MS) == [Refused("answered 403: Bearer ***")]


@pytest.mark.parametrize("key", [HOSTILE, "\ud800 half", "ключ", "\x00", "x" * 100_000])
def test_hostile_keys_stay_data(key: str, server: HttpServer, tmp_path: Path) -> None:
    """Whatever a key holds, the body is JSON that reads back as the event, and no header is broken."""
    receiver = built("webhook", tmp_path, url=server.url)
    alert = replace(
        made_alert("safe"), event={**made_event("safe"), "key": key}, identity={"key": key, "detector": key}
    )
    assert receiver.send([trigger(replace(alert, episode_id=episode_of("safe")))], NOW_MS) == [Delivered()]
    event = json.loads(server.asked[0].body)
    assert event["data"]["key"] == key
    assert "\n" not in event.get("subject", "")


def test_what_is_no_json_is_refused_alone(server: HttpServer, tmp_path: Path) -> None:
    """A number that JSON does not know costs its own change."""
    receiver = built("webhook", tmp_path, url=server.url)
    odd: Alert = made_alert("odd", event=made_event("odd", score=float("nan")))
    outcomes: list[Any] = receiver.send([trigger(odd), trigger(made_alert())], NOW_MS)
    assert outcomes == [Refused("cannot be told: ValueError"), Delivered()]
