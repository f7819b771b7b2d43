"""`streamae silence` and `alert resolve`: orders are given with who and why, listed, and ended early."""

from __future__ import annotations

import getpass
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from urllib.request import Request, urlopen

import pytest

from scripts.services import Alertmanager, KafkaBroker
from streamae.alerting.order_topic import read_orders
from streamae.alerting.orders import Orders
from streamae.cli import main
from streamae.commands.silence import table
from streamae.errors import ExitCode
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.conftest import running

HOUR_MS = 3_600_000
MADE = re.compile(r"silence ([0-9a-f]{8}): (.+) until (\S+Z), by (.+)\n")


class Desk:
    """The command line of an operator, with a topic of its own."""

    def __init__(self, kafka: KafkaBroker, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._settings, self._topic, self._capsys = (
            KafkaSettings(bootstrap_servers=kafka.bootstrap_servers),
            topic,
            capsys,
        )
        self._flags = ["--kafka.bootstrap_servers", kafka.bootstrap_servers, "--alerts.orders_topic", topic]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return exit code, standard output and standard error."""
        code = main([*self._flags, *arguments])
        return code, *self._capsys.readouterr()

    def orders(self) -> Orders:
        """Return what stands in the topic."""
        return read_orders(self._settings, self._topic, 24 * HOUR_MS).orders(time.time_ns() // 1_000_000)


@pytest.fixture
def desk(kafka: KafkaBroker, fresh_name: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> Desk:
    """An operator's desk."""
    topic = fresh_name("orders")
    kafka_io.create_topics(kafka.bootstrap_servers, topic, configs={"cleanup.policy": "compact"})
    return Desk(kafka, topic, capsys)


@pytest.mark.slow
@pytest.mark.integration
def test_a_silence_is_set_listed_and_ended(desk: Desk) -> None:
    """From the first word to the last, with who and why in all of them."""
    assert desk("silence", "list") == (ExitCode.OK, "no silences\n", "")
    code, out, err = desk(
        "silence", "rack-7-*", "--label", "team=core", "--for", "2h", "--why", "reboot", "--who", "Kim"
    )
    assert code == ExitCode.OK
    assert err.startswith("no Alertmanager was asked: "), "whoever forgets --config hears of it"
    made = MADE.fullmatch(out)
    assert made
    name, what, until, by = made.groups()
    assert (what, by) == ("key=rack-7-* team=core", "Kim")
    (silence,) = desk.orders().silences
    assert (silence.id, silence.labels) == (name, {"key": "rack-7-*", "team": "core"})
    assert (silence.who, silence.why, silence.ends_ms - silence.starts_ms) == ("Kim", "reboot", 2 * HOUR_MS)
    _, out, _ = desk("silence", "list")
    assert [line.split() for line in out.splitlines()] == [
        ["id", "until", "what", "who", "why", "elsewhere"],
        [name, until, "key=rack-7-*", "team=core", "Kim", "reboot"],
    ]
    code, out, _ = desk("silence", "expire", name, "--why", "done")
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    assert (code, out) == (ExitCode.OK, f"silence {name} ended: key=rack-7-* team=core, by {by}\n")
    assert desk("silence", "list")[1] == "no silences\n"
    code, out, err = desk("silence", "expire", name)
    assert (code, out) == (ExitCode.FAILURE, "")
    assert f"silence {name} is over since" in err


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    """A real one."""
    with running(Alertmanager()) as server:
        yield server


def suppressed(server: Alertmanager, **labels: str) -> bool:
    """Tell Alertmanager of an alert and return whether it silences that."""
    body = json.dumps([{"labels": {"alertname": "A", **labels}}]).encode()
    with urlopen(Request(f"{server.url}/api/v2/alerts", body, {"Content-Type": "application/json"})):
        pass
    with urlopen(f"{server.url}/api/v2/alerts") as answer:
        found = [alert for alert in json.load(answer) if alert["labels"] == {"alertname": "A", **labels}]
    return bool(found[0]["status"]["silencedBy"])


@pytest.mark.slow
@pytest.mark.integration
def test_alertmanager_is_silent_too_and_its_own_silences_are_seen(desk: Desk, alertmanager: Alertmanager) -> None:
    """One command for all receivers: made there, listed once, ended there; and what others made there can be ended."""
    receivers = json.dumps([{"name": "am", "kind": "alertmanager", "urls": [alertmanager.url]}])
    flags = ("--alerts.receivers", receivers)
    assert not suppressed(alertmanager, key="rack-1")
    code, out, err = desk("silence", "*", "--for", "2h", "--why", "reboot", "--who", "Kim", *flags)
    assert code == ExitCode.OK
    assert out.endswith(", by Kim, also in am\n")
    assert err == ""
    (silence,) = desk.orders().silences
    assert suppressed(alertmanager, key="rack-1")
    assert not suppressed(alertmanager, other="alerts without a key are not meant")
    (_, line) = desk("silence", "list", *flags)[1].splitlines()
    assert line.split() == [silence.id, line.split()[1], "key=*", "Kim", "reboot", "am"]
    code, out, err = desk("silence", "expire", silence.id, *flags)
    assert (code, err) == (ExitCode.OK, "")
    assert not suppressed(alertmanager, key="rack-1")

    body = {
        "matchers": [{"name": "key", "value": "x", "isRegex": False}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2099-01-01T00:00:00Z",
        "createdBy": "lee",
        "comment": "by hand",
    }
    post = Request(
        f"{alertmanager.url}/api/v2/silences", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(post) as answer:
        foreign = json.load(answer)["silenceID"]
    (_, line) = desk("silence", "list", *flags)[1].splitlines()
    assert line.split() == [foreign, "2099-01-01T00:00:00.000Z", 'key="x"', "lee", "by", "hand", "am", "only"]
    assert desk("silence", "expire", foreign, *flags) == (ExitCode.OK, f"silence {foreign} ended in am\n", "")
    assert desk("silence", "list", *flags)[1] == "no silences\n"


@pytest.mark.slow
@pytest.mark.integration
def test_an_alertmanager_that_is_away_keeps_nobody_else_from_being_silent(desk: Desk) -> None:
    """The order stands, and what was not done there is told with exit code 1, at the beginning, in lists and at the end."""
    flags = ("--alerts.receivers", '[{"name": "am", "kind": "alertmanager", "urls": ["http://127.0.0.1:9"]}]')
    code, out, err = desk("silence", "a", "--for", "2h", "--why", "w", *flags)
    assert (code, err.startswith("am is not silenced by itself, ")) == (ExitCode.FAILURE, True)
    (silence,) = desk.orders().silences
    assert out.startswith(f"silence {silence.id}: key=a until ")
    assert silence.elsewhere == {}
    code, out, err = desk("silence", "list", *flags)
    assert (code, silence.id in out, err.startswith("am does not tell its silences: ")) == (
        ExitCode.FAILURE,
        True,
        True,
    )
    assert desk("silence", "expire", silence.id, *flags)[0] == ExitCode.OK


@pytest.mark.slow
@pytest.mark.integration
def test_what_cannot_be_recorded_is_not_silenced_elsewhere(desk: Desk, alertmanager: Alertmanager) -> None:
    """A silence that nobody would find in the list is taken back."""
    receivers = json.dumps([{"name": "am", "kind": "alertmanager", "urls": [alertmanager.url]}])
    flags = ("--alerts.receivers", receivers, "--alerts.orders_topic", "no-such-orders")
    flags = (*flags, "--kafka.request_timeout_ms", "5000")
    code, out, err = desk("silence", "rack-1", "--for", "2h", "--why", "w", *flags)
    assert (code, out) == (ExitCode.FAILURE, "")
    assert "topic no-such-orders is missing" in err
    assert not suppressed(alertmanager, key="rack-1")


@pytest.mark.slow
@pytest.mark.integration
def test_what_is_retired_is_resolved_by_order(desk: Desk) -> None:
    """The order stands in the topic with its patterns, its time, who and why."""
    before_ms = time.time_ns() // 1_000_000
    code, out, _ = desk("alert", "resolve", "--detector", "old-*", "--key", "a", "--why", "gone", "--who", "Kim")
    assert code == ExitCode.OK
    (order,) = desk.orders().resolutions
    assert out.startswith(f"order {order.id}: ")
    assert (order.labels, order.who, order.why) == ({"detector": "old-*", "key": "a"}, "Kim", "gone")
    assert before_ms <= order.given_ms <= time.time_ns() // 1_000_000


@pytest.mark.slow
@pytest.mark.integration
def test_what_cannot_be_ordered_is_said(desk: Desk) -> None:
    """Too long, unknown, or no topic: nothing is written."""
    code, _, err = desk("silence", "a", "--for", "2h", "--why", "w", "--alerts.max_silence_ms", "3600000")
    assert (code, err) == (ExitCode.FAILURE, "streamae: --for: at most 1h (alerts.max_silence_ms)\n")
    code, _, err = desk("silence", "expire", "1234")
    assert (code, "there is no silence 1234" in err) == (ExitCode.FAILURE, True)
    code, _, err = desk("silence", "list", "--alerts.orders_topic", "no-such-orders")
    assert (code, "there is no topic no-such-orders" in err) == (ExitCode.FAILURE, True)
    assert list(desk.orders().silences) == []


def test_a_list_shows_what_others_typed_and_obeys_nothing_of_it() -> None:
    """A comment made elsewhere can hold anything."""
    assert table(("id", "why"), [("1", "a\x1b[2Jb"), ("22", "")]) == "id  why\n1   'a\\x1b[2Jb'\n22"
