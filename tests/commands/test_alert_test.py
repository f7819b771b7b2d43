"""`streamae alert --test`: a receiver is shown each kind of notice, says what it thinks, and is left with nothing open."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamae.alerting.alert import Action, Notice, SeverityClass
from streamae.alerting.receiver import Delivered, Outcome, Refused, Retry
from streamae.cli import main
from streamae.commands.alert_test import tell
from streamae.errors import ExitCode

NOW_MS = 1_700_000_000_000
WEBHOOK = '[{"name": "ops", "kind": "webhook", "url": "http://127.0.0.1:9/"}, {"name": "lines", "kind": "log"}]'


class Answering:
    """A receiver that remembers what it was sent, and answers as told."""

    name = "ops"
    wants_every_change = groups_alerts = True
    repeat_ms: int | None = None
    repeat_resolved_ms = 0

    def __init__(self, *answers: Outcome) -> None:
        self.answers, self.notices = list(answers), list[Notice]()

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        """Note them."""
        assert now_ms == NOW_MS
        self.notices += notices
        return [self.answers.pop(0) for _ in notices]

    def close(self) -> None:
        """Nothing is open."""


def test_one_alert_begins_goes_on_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """All three are of one alert, and nobody can take it for a real one."""
    receiver = Answering(Delivered(), Delivered(), Delivered())
    assert tell(receiver, NOW_MS, {"env": "prod"}) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [
        "trigger  delivered",
        "update   delivered",
        "resolve  delivered",
    ]
    assert [notice.action for notice in receiver.notices] == [Action.TRIGGER, Action.UPDATE, Action.RESOLVE]
    alerts = [notice.alert for notice in receiver.notices]
    assert len({alert.dedup_key for alert in alerts}) == 1
    assert len({alert.episode_id for alert in alerts}) == 1
    assert [alert.sequence for alert in alerts] == [0, 1, 2]
    assert [alert.ended_ms for alert in alerts] == [None, None, NOW_MS]
    events = [alert.event for alert in alerts]
    assert len({event["start_time_ms"] for event in events}) == 1, "begin and end show one start"
    assert [event["end_time_ms"] for event in events] == [NOW_MS - 120_000, NOW_MS - 60_000, NOW_MS]
    assert {alert.severity for alert in alerts} == {SeverityClass.INFO}
    assert alerts[0].labels == {
        "alertname": "StreamaeTest",
        "cause": "test",
        "detector": "streamae-test",
        "key": "streamae-test",
        "env": "prod",
        "severity": "info",
    }
    assert alerts[0].summary.startswith("TEST")


def test_every_answer_is_shown_and_one_that_is_no_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """What may have arrived is taken back all the same; what a stranger answers cannot move the cursor."""
    receiver = Answering(Retry("no answer in 10 s"), Refused("400: bad \x1b[2J"), Delivered())
    assert tell(receiver, NOW_MS, {}) == ExitCode.FAILURE
    assert capsys.readouterr().out.splitlines() == [
        "trigger  not now: no answer in 10 s",
        "update   'refused: 400: bad \\x1b[2J'",
        "resolve  delivered",
    ]


def test_two_tests_are_two_alerts() -> None:
    """A receiver that knows what it has had would drop the second one."""
    receiver = Answering(*[Delivered()] * 6)
    tell(receiver, NOW_MS, {})
    tell(receiver, NOW_MS, {})
    assert len({notice.alert.episode_id for notice in receiver.notices}) == 2


def test_a_receiver_that_nobody_is_at_fails_and_a_log_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is what a script that sets alerts up goes by."""
    assert main(["alert", "--test", "ops", "--alerts.receivers", WEBHOOK]) == ExitCode.FAILURE
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["alert", "--test", "lines", "--alerts.receivers", WEBHOOK]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1] == "resolve  delivered"


def test_an_unknown_receiver_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen must not look like a receiver that is away."""
    assert main(["alert", "--test", "opps", "--alerts.receivers", WEBHOOK]) == ExitCode.FAILURE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no receiver is called opps: there are ops, lines" in captured.err
