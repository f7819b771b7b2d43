"""Messages by Apprise: to a real mail server, and to web services that show what became of hostile text."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.services.http_server import Hang, HttpServer, Reply
from scripts.services.mail_server import MailServer
from streamae.alerting.alert import Action, Notice, SeverityClass
from streamae.alerting.receiver import Delivered, Receiver, Refused, Retry
from streamae.alerting.receivers.facts import shown_time
from tests.alerting.made_alerts import HOSTILE, MINUTE_MS, NOW_MS, made_alert, made_event, over, trigger
from tests.alerting.receivers_of import built

CRITICAL, WARNING = SeverityClass.CRITICAL, SeverityClass.WARNING


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    with MailServer() as mail:
        yield mail


def people(folder: Path, *addresses: str, **given: Any) -> Receiver:
    """Return a receiver with these addresses."""
    return built("apprise", folder, {"urls_file": "# who is told\n" + "\n".join(addresses)}, **given)


def as_json(server: HttpServer) -> str:
    """Return the address at which a server gets title and message as JSON."""
    return f"json://127.0.0.1:{server.port}/"


def messages(server: HttpServer) -> list[dict[str, Any]]:
    """Return what a server got by `as_json`."""
    return [json.loads(asked.body) for asked in server.asked]


def rack(count: int) -> list[Notice]:
    """Return the first news of so many keys of a dead rack; number 77 is the worst."""
    alerts = [
        made_alert(f"rack-{number:03}", made_event(f"rack-{number:03}", severity=60.0)) for number in range(count)
    ]
    alerts[77] = replace(alerts[77], classes=(WARNING, CRITICAL), event=made_event("rack-077", severity=97.0))
    return [trigger(alert) for alert in alerts]


def test_a_dead_rack_is_one_mail(mail: MailServer, tmp_path: Path) -> None:
    """500 alerts at once are one mail with the worst ten and a count; their end is another one."""
    receiver = people(tmp_path, mail.address, zone="Europe/Rome")
    notices = rack(500)
    assert receiver.send(notices, NOW_MS) == [Delivered()] * 500
    (sent,) = mail.mails
    assert sent["Subject"] == "CRITICAL: 500 alerts, detector=streamae, topic=sensors, partition=0, cause=anomaly"
    text = sent.get_content()
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(lines) == 10
    assert lines[0].startswith("- rack-077: ")
    assert "and 490 more" in text
    assert "since 2025-01-01 18:57:00 UTC (19:57:00 Europe/Rome)" in text
    receiver = people(tmp_path, mail.address)  # one of them waits some seconds from mail to mail
    assert receiver.send([over(notice.alert) for notice in notices], NOW_MS) == [Delivered()] * 500
    assert mail.mails[1]["Subject"].startswith("Over: 500 alerts")
    assert "- Over: rack-077" in mail.mails[1].get_content()
    assert mail.recipients == [["ops@example.org"]] * 2
    receiver.close()


def test_one_alert_is_told_whole(server: HttpServer, tmp_path: Path) -> None:
    """A single alert has its summary as title; features, state and link are in the text."""
    receiver = people(tmp_path, as_json(server))
    event = made_event(state="provisional", state_reason="12 scores so far")
    receiver.send([trigger(made_alert(event=event, link="http://dash.example/a?b=1&c=2"))], NOW_MS)
    (message,) = messages(server)
    assert message["title"] == "WARNING: machine-006: warning anomaly, network_mbit_s 63.55 (expected 297.7)"
    assert message["message"].splitlines() == [
        "- machine-006: warning anomaly, network_mbit_s 63.55 (expected 297.7)",
        "    network_mbit_s 63.55 (expected 297.7)",
        "    requests_per_s 1191 (expected 627)",
        "    since 2025-01-01 18:57:00 UTC",
        "    the key is provisional: 12 scores so far",
        "    http://dash.example/a?b=1&c=2",
    ]


def test_begin_and_end_are_of_one_clock(server: HttpServer, tmp_path: Path) -> None:
    """Records may be hours old when they are judged: who reads since and until reads the time of the records."""
    receiver = people(tmp_path, as_json(server))
    receiver.send([over(made_alert()), over(made_alert("", event={}, sequence=-1))], NOW_MS)
    (message,) = messages(server)
    since = [line.strip() for line in message["message"].splitlines() if "since" in line]
    own = f"since {shown_time(NOW_MS, None)}, until {shown_time(NOW_MS + MINUTE_MS, None)}"
    assert sorted(since) == sorted(["since 2025-01-01 18:57:00 UTC, until 2025-01-01 18:59:00 UTC", own])


def test_an_end_that_is_no_recovery_is_not_called_over(server: HttpServer, tmp_path: Path) -> None:
    """A detector that fell silent has recovered nothing; what was replaced or ended by hand says so too."""
    receiver = people(tmp_path, as_json(server))
    for reason in ("quiet", "stale", "superseded", "operator"):
        receiver.send([over(made_alert(), close_reason=reason)], NOW_MS)
    assert [message["title"].split(":")[0] for message in messages(server)] == [
        "Over",
        "Given up",
        "Replaced by a newer one of the same key",
        "Ended by an operator",
    ]


def test_open_and_over_in_one_message(server: HttpServer, tmp_path: Path) -> None:
    """What is still open comes first, and the title counts both."""
    receiver = people(tmp_path, as_json(server))
    receiver.send([over(made_alert("a")), trigger(made_alert("b"))], NOW_MS)
    (message,) = messages(server)
    assert message["title"].startswith("1 open, 1 over: 2 alerts")
    lines = [line for line in message["message"].splitlines() if line.startswith("- ")]
    assert [line[:4] for line in lines] == ["- b:", "- Ov"]


@pytest.mark.parametrize(
    "address",
    [
        "json://127.0.0.1:{port}/?format=text",
        "json://127.0.0.1:{port}/?format=html",
        "json://127.0.0.1:{port}/?format=markdown",
        "mmost://127.0.0.1:{port}/token",
        "rocket://hook/token@127.0.0.1:{port}/",
    ],
)
def test_hostile_text_stays_text(address: str, server: HttpServer, tmp_path: Path) -> None:
    """Whatever keys, features and reasons hold: no mention, no tag, no link, no second line, in any format."""
    receiver = people(tmp_path, address.format(port=server.port))
    event = made_event(
        HOSTILE,
        state=HOSTILE,
        state_reason=HOSTILE,
        features=[{"name": HOSTILE, "actual": 1.0, "expected": 2.0, "description": HOSTILE}],
    )
    alert = made_alert(HOSTILE, event, summary=HOSTILE, extra={HOSTILE: HOSTILE}, link=f"javascript:{HOSTILE}")
    assert receiver.send([trigger(alert), trigger(replace(alert, episode_id="b"))], NOW_MS) == [Delivered()] * 2
    (asked,) = server.asked
    text = " ".join(str(value) for value in json.loads(asked.body).values())
    assert "evil.example" in text.replace("\\", "")
    for wrong in ("<!channel", "<script", "</b>", "@everyone", "@example", "://evil", "](", "\x1b"):
        assert wrong not in text.replace("\\", ""), wrong
    assert "\nBcc" not in text
    assert not re.search(r"<(?!br\s*/?>)", text)


def test_hostile_text_breaks_no_mail(mail: MailServer, tmp_path: Path) -> None:
    """A key with line ends adds no header and no recipient."""
    receiver = people(tmp_path, mail.address + "&format=html")
    alert = made_alert(HOSTILE, summary=HOSTILE)
    assert receiver.send([trigger(alert)], NOW_MS) == [Delivered()]
    (sent,) = mail.mails
    assert sent["Bcc"] is None
    assert mail.recipients == [["ops@example.org"]]
    assert "<script" not in sent.as_string()


def test_titles_are_one_short_line(server: HttpServer, tmp_path: Path) -> None:
    """Also of a template with many lines, and of a summary without end."""
    receiver = people(tmp_path, as_json(server), title="a\r\nb\n\n{{ alerts[0].summary }}")
    receiver.send([trigger(made_alert(summary="x" * 100_000))], NOW_MS)
    (message,) = messages(server)
    assert message["title"].startswith("a b xxx")
    assert len(message["title"]) <= 250


def test_own_templates(server: HttpServer, tmp_path: Path) -> None:
    """Title and body of the settings are filled with the same facts as ours."""
    body = "{% for a in alerts %}{{ a.labels.topic }}/{{ a.key }}: {{ a.event.features[0].share }}\n{% endfor %}"
    receiver = people(tmp_path, as_json(server), title="{{ receiver }} {{ worst }} {{ count }}", body=body)
    receiver.send([trigger(made_alert("a")), trigger(made_alert("b"))], NOW_MS)
    (message,) = messages(server)
    assert (message["title"], message["message"]) == ("test warning 2", "sensors/a: 0.6\nsensors/b: 0.6")


def test_a_template_that_fails_refuses_only_what_it_fails_on(server: HttpServer, tmp_path: Path) -> None:
    """An alert without what a template asks for becomes a dead letter; the others are told."""
    receiver = people(tmp_path, as_json(server), body="{% for a in alerts %}{{ a.event.site }} {% endfor %}")
    with_site = [made_alert(key, made_event(key, site=key)) for key in "ab"]
    outcomes = receiver.send([trigger(with_site[0]), trigger(made_alert("c")), trigger(with_site[1])], NOW_MS)
    assert [type(outcome) for outcome in outcomes] == [Delivered, Refused, Delivered]
    assert isinstance(outcomes[1], Refused)
    assert "site" in outcomes[1].why
    assert [message["message"] for message in messages(server)] == ["a b"]


def test_who_has_it_is_not_told_again_while_another_fails(server: HttpServer, tmp_path: Path) -> None:
    """One of two addresses is away: the other one gets each alert once, the first one everything when it is back."""
    with HttpServer() as away:
        receiver = people(tmp_path, as_json(server), as_json(away))
        first, second = made_alert("first"), made_alert("second")
        away.replies += [Reply(500), Reply(500)]
        retry = Retry("1 of 2 addresses did not take it")
        assert receiver.send([trigger(first)], NOW_MS) == [retry]
        assert receiver.send([trigger(first), trigger(second)], NOW_MS) == [retry] * 2
        assert receiver.send([trigger(first), trigger(second)], NOW_MS) == [Delivered(), Delivered()]
        assert [message["title"].split(":")[1].strip() for message in messages(server)] == ["first", "second"]
        assert "2 alerts" in messages(away)[-1]["title"]
        assert receiver.send([over(first)], NOW_MS) == [Delivered()]
        assert [len(one.asked) for one in (server, away)] == [3, 4]


def test_one_that_hangs_takes_no_time_of_the_others(server: HttpServer, tmp_path: Path) -> None:
    """The time of a turn is one for all; who failed comes last in the next."""
    with HttpServer(Hang()) as hanging:
        receiver = people(tmp_path, as_json(hanging), as_json(server), timeout_ms=500)
        for _ in range(2):
            assert isinstance(receiver.send([trigger(made_alert())], NOW_MS)[0], Retry)
        assert len(server.asked) == 1


def test_people_read_of_a_risen_class_and_of_nothing_else_that_goes_on(server: HttpServer, tmp_path: Path) -> None:
    """Updates are silent unless it has become worse; after a restart a class that has risen is told once more at most."""
    receiver = people(tmp_path, as_json(server))
    alert = made_alert()
    update = Notice(Action.UPDATE, replace(alert, sequence=1))
    risen = Notice(Action.UPDATE, replace(alert, sequence=2, classes=(WARNING, CRITICAL)))
    for notice in (trigger(alert), update, risen, replace(risen, action=Action.REPEAT)):
        assert receiver.send([notice], NOW_MS) == [Delivered()]
    assert len(server.asked) == 2
    restarted = people(tmp_path, as_json(server))
    for notice in (update, risen, risen):
        assert restarted.send([notice], NOW_MS) == [Delivered()]
    assert len(server.asked) == 3
    assert people(tmp_path, as_json(server)).send([risen], NOW_MS) == [Delivered()]
    assert len(server.asked) == 4


def test_addresses_stay_secret(server: HttpServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a log line nor an outcome holds an address, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    server.replies += [Reply(500), Reply(302, headers={"Location": f"{server.url}/elsewhere"})]
    receiver = people(tmp_path, f"json://ann:s3cret@127.0.0.1:{server.port}/t0ken", "json://s3cret@nobody.invalid")
    outcomes = [receiver.send([trigger(made_alert())], NOW_MS)[0] for _ in range(2)]
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]
    said = caplog.text + repr(outcomes)
    assert "s3cret" not in said
    assert "nobody.invalid" not in said
    assert [record.name for record in caplog.records if record.name.startswith("apprise")] == []
    assert [asked.path for asked in server.asked] == ["/t0ken", "/t0ken"]
