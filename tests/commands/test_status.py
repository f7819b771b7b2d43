"""`streamae status`: the daemon is found by its settings, and what it says is put into lines a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from streamae.cli import main
from streamae.commands.status import ask, describe, url_of
from streamae.daemon.health import STATUS_PATH, HealthServer
from streamae.errors import ConfigError, ExitCode, FatalError
from streamae.settings.serving import ServiceSettings

ANSWER: dict[str, Any] = {
    "ready": True,
    "reasons": [],
    "partitions": 6,
    "replaying": 2,
    "halted": 0,
    "keys": 1_207,
    "key_states": [
        {"state": "learning", "reason": "too young", "keys": 7, "progress": 0.314, "examples": ["a", "b"]},
        {"state": "ready", "reason": "", "keys": 1_199, "progress": 1.0, "examples": []},
        {
            "state": "starved",
            "reason": "holes",
            "keys": 1,
            "progress": None,
            "examples": ["c"],
            "features": ["temp", "valve"],
        },
    ],
}


@pytest.fixture
def daemon() -> Iterator[str]:
    """The address of a process that answers `ANSWER`."""
    server = HealthServer("127.0.0.1", 0, list, list, lambda: (b"", "text/plain"), lambda: ANSWER)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.close()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9464"),
        ("0.0.0.0", "http://127.0.0.1:9464"),
        ("::", "http://[::1]:9464"),
        ("node-7", "http://node-7:9464"),
    ],
)
def test_the_settings_say_where_the_daemon_is(host: str, url: str) -> None:
    """Who listens everywhere also listens here."""
    assert url_of(ServiceSettings(http_host=host)) == url


def test_any_free_port_is_not_guessed() -> None:
    """The log names it; the message says so."""
    with pytest.raises(ConfigError, match="--url"):
        url_of(ServiceSettings(http_port=0))


def test_the_answer_comes_as_it_was_given(daemon: str) -> None:
    """Nothing is added on the way; a slash at the end of the address does no harm."""
    assert ask(daemon) == ask(f"{daemon}/") == ANSWER
    assert STATUS_PATH == "/status"


def test_states_are_lines_with_progress_and_reason() -> None:
    """Counts, shares, words and some names, right under whether the process is ready."""
    assert describe(ANSWER).splitlines() == [
        "ready",
        "partitions 6, replaying 2, halted 0",
        "keys 1,207",
        "  learning             7   31%  too young (a, b)",
        "  ready            1,199  100%",
        "  starved              1        holes: temp, valve (c)",
    ]


def test_a_process_that_is_not_ready_says_why() -> None:
    """Before anything was counted there are only the reasons."""
    starting = {"ready": False, "reasons": ["starting", "no member"]}
    assert describe(starting).splitlines() == ["not ready: starting; no member", "keys are not counted yet"]


def test_what_is_wrong_with_the_stream_is_a_line_each() -> None:
    """Above the keys: it is the likely reason for what is said of them."""
    found = ANSWER | {"warnings": ["60% of the newest records are late", "the step differs"], "stream": {"records": 9}}
    lines = describe(found).splitlines()
    assert lines[2:4] == ["warning: 60% of the newest records are late", "warning: the step differs"]
    assert [line for line in lines if not line.startswith("warning")] == describe(ANSWER).splitlines()


def test_nobody_there_is_one_line() -> None:
    """A closed port is told with its address."""
    with pytest.raises(FatalError, match=r"no daemon answers at http://127\.0\.0\.1:9: "):
        ask("http://127.0.0.1:9")
    with pytest.raises(FatalError, match="begins with http"):
        ask("file:///etc/passwd")


@pytest.mark.parametrize("answer", [[], {"ready": True}, {"reasons": "many"}])
def test_another_server_is_noticed(answer: Any) -> None:
    """Something else on that port is not taken for a daemon."""
    server = HealthServer("127.0.0.1", 0, list, list, lambda: (b"", ""), lambda: answer)
    server.start()
    try:
        with pytest.raises(FatalError, match="is no streamae daemon"):
            ask(f"http://127.0.0.1:{server.port}")
    finally:
        server.close()


def test_a_daemon_without_the_path_is_told() -> None:
    """An older version answers 404."""
    server = HealthServer("127.0.0.1", 0, list, list, lambda: (b"", "text/plain"))
    server.start()
    try:
        with pytest.raises(FatalError, match="404"):
            ask(f"http://127.0.0.1:{server.port}")
    finally:
        server.close()


def test_the_command_asks_and_prints(daemon: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By address or by settings; as text or as JSON; exit code 0 as long as somebody answers."""
    assert main(["status", "--url", daemon]) == ExitCode.OK
    assert capsys.readouterr().out == describe(ANSWER) + "\n"
    assert main(["status", "--json", "--service.http_port", daemon.rpartition(":")[2]]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == ANSWER
    assert main(["status", "--url", "http://127.0.0.1:9"]) == ExitCode.FAILURE
    assert "no daemon answers" in capsys.readouterr().err
