"""From settings to receivers: what is wrong with a file is told by the name of its setting, without what is in it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamae.alerting.receiver import Delivered
from streamae.errors import ConfigError
from streamae.observe import logs
from streamae.settings.delivery import DeliverySettings
from tests.alerting.made_alerts import HOSTILE, NOW_MS, made_alert, over, trigger
from tests.alerting.receivers_of import built

URL = "http://127.0.0.1:1"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("kind", "given", "files", "nature"),
    [
        ("alertmanager", {"urls": [URL]}, {}, (False, True, 60_000, 900_000)),
        ("pagerduty", {}, {"routing_key_file": "key"}, (False, True, None, 0)),
        ("webhook", {"url": URL}, {}, (True, True, None, 0)),
        ("apprise", {}, {"urls_file": "json://127.0.0.1/"}, (False, False, None, 0)),
        ("log", {}, {}, (True, True, None, 0)),
    ],
)
def test_each_kind(
    kind: str, given: dict[str, Any], files: dict[str, str], nature: tuple[object, ...], tmp_path: Path
) -> None:
    """Every kind of the settings is built, and says what it can: changes, groups, repeats."""
    receiver = built(kind, tmp_path, files, **given)
    assert receiver.name == "test"
    found = (receiver.wants_every_change, receiver.groups_alerts, receiver.repeat_ms, receiver.repeat_resolved_ms)
    assert found == nature
    receiver.close()
    receiver.close()


def test_repeats_are_a_setting(tmp_path: Path) -> None:
    """How often Alertmanager is told again is what the settings say."""
    receiver = built("alertmanager", tmp_path, urls=[URL], alerts=DeliverySettings(repeat_ms=5_000))
    assert receiver.repeat_ms == 5_000


@pytest.mark.parametrize(
    ("kind", "given", "files", "problem"),
    [
        ("pagerduty", {}, {"routing_key_file": ""}, "routing_key_file: is empty: "),
        ("pagerduty", {}, {"routing_key_file": "s3cret\nmore"}, "routing_key_file: more than one line"),
        ("pagerduty", {"ca_file": "."}, {"routing_key_file": "k"}, "ca_file: cannot be read: "),
        ("pagerduty", {}, {"routing_key_file": "k", "ca_file": "s3cret"}, "ca_file: cannot be read: "),
        ("webhook", {"url": URL, "username": "a"}, {"password_file": "\r\n"}, "password_file: is empty: "),
        ("webhook", {"url": URL}, {"token_file": "s3crét"}, "token_file: not ASCII: "),
        (
            "webhook",
            {"url": URL, "username": "a"},
            {"password_file": "s3cret", "token_file": "b"},
            "token_file: either",
        ),
        ("apprise", {}, {"urls_file": "# nobody\n\n"}, "urls_file: is empty: "),
        ("apprise", {}, {"urls_file": "json://127.0.0.1/\nnonsense://s3cret"}, "urls_file: line 2 is no address"),
        ("apprise", {"title": "{{ s3cret"}, {"urls_file": "json://127.0.0.1/"}, "title, body: not a Jinja template: "),
    ],
)
def test_what_cannot_be_used_is_named(
    kind: str, given: dict[str, Any], files: dict[str, str], problem: str, tmp_path: Path
) -> None:
    """The line names receiver, setting and file, never the secret."""
    with pytest.raises(ConfigError) as caught:
        built(kind, tmp_path, files, **given)
    (line,) = caught.value.problems
    assert line.startswith(f"alerts.receivers[test].{problem}")
    assert "s3cr" not in line


@pytest.mark.parametrize(
    "secret", ["s3cret", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "bm90IHByZWZpeGVkIGJ1dCBsb25nIGVub3VnaA=="]
)
def test_what_is_no_signing_secret_is_refused(secret: str, tmp_path: Path) -> None:
    """A secret without its mark, that is no base64, or too short signs nothing."""
    path = tmp_path / "secret"
    path.write_text(secret, encoding="utf-8")
    with pytest.raises(ConfigError, match="secret_files: no signing secret") as caught:
        built("webhook", tmp_path, url=URL, secret_files=[path])
    assert secret not in str(caught.value).replace("whsec_ and", "") or secret == "whsec_"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """What is not there is told like what cannot be used."""
    with pytest.raises(ConfigError, match=r"alerts\.receivers\[test\]\.urls_file: cannot be read: .*: No such file"):
        built("apprise", tmp_path, urls_file=tmp_path / "absent")


@pytest.mark.parametrize(
    ("kind", "absent", "is_needed"),
    [
        ("alertmanager", "urllib3", True),
        ("pagerduty", "apprise", False),
        ("webhook", "jinja2", False),
        ("apprise", "apprise", True),
        ("apprise", "jinja2", True),
    ],
)
def test_without_the_extra_the_remedy_is_named(kind: str, absent: str, is_needed: bool, tmp_path: Path) -> None:
    """Where a library is not installed, only what needs it is refused, with what to install; the log needs none."""
    files = {"routing_key_file": "k", "urls_file": "json://127.0.0.1/"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    given = {
        "alertmanager": {"urls": [URL]},
        "pagerduty": {"routing_key_file": str(tmp_path / "routing_key_file")},
        "webhook": {"url": URL},
        "apprise": {"urls_file": str(tmp_path / "urls_file")},
    }[kind]
    program = (
        "import json, sys\n"
        f"sys.modules[{absent!r}] = None\n"
        "from streamae.alerting.receivers.build import build_receiver\n"
        "from streamae.errors import ConfigError\n"
        "from streamae.settings.delivery import DeliverySettings, ReceiverSettings\n"
        f"for given in ({{'kind': 'log'}}, {{'kind': {kind!r}, **json.loads(sys.argv[1])}}):\n"
        "    try:\n"
        "        print(build_receiver(ReceiverSettings(name='test', **given), DeliverySettings()).name)\n"
        "    except ConfigError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(given)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    refused = f"alerts.receivers[test].kind: {kind} needs {absent}: install streamae[alerts]"
    first, second = done.stdout.splitlines()
    assert (first, second) == ("test", refused if is_needed else "test")


def test_the_log_has_a_line_for_each_change(tmp_path: Path) -> None:
    """Each change is one line with what was asked for, whom it concerns and why it is over."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    receiver = built("log", tmp_path)
    alert = made_alert(HOSTILE)
    assert receiver.send([trigger(alert), over(alert, close_reason="stale")], NOW_MS) == [Delivered(), Delivered()]
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["event"], first["receiver"], first["action"]) == ("alert", "test", "trigger")
    assert first["labels"] == alert.labels
    assert second["ending"].startswith("given up")
