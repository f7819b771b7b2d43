"""Points at which a process dies on purpose: never by accident, and exactly where it was told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamae import fail_points
from streamae.fail_points import ALERT_POINTS, POINTS, VARIABLE, armed, fail_point

ROOT = Path(__file__).resolve().parents[1]


def test_nothing_happens_unless_asked_for() -> None:
    """A process without the variable passes every point."""
    for name in (*POINTS, *ALERT_POINTS):
        fail_point(name)


def test_it_dies_at_the_passage_it_was_told() -> None:
    """The third passage of the named point ends the process; others do not count."""
    passed: list[str] = []
    step = armed("after_send:3", lambda: passed.append("died"))
    for _ in range(5):
        step("after_flush")
        step("after_send")
        passed.append("after_send")
    assert passed.index("died") == 2
    assert passed.count("died") == 1


@pytest.mark.parametrize("setting", ["", "after_send", "after_send:0", "after_send:x", "nowhere:1", "after_send:-1"])
def test_a_mistyped_point_is_refused(setting: str) -> None:
    """A torture run that arms nothing would prove nothing."""
    with pytest.raises(ValueError, match="NAME:PASSAGE"):
        armed(setting)


def test_the_variable_kills_a_real_process_without_clean_up() -> None:
    """What dies dies as by kill -9: no handler, no flush."""
    program = "import atexit; atexit.register(print, 'bye')\nfrom streamae.fail_points import fail_point\n"
    program += "fail_point('in_commit')\nprint('alive')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {VARIABLE: "in_commit:1"},
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")


def test_every_point_is_passed_somewhere() -> None:
    """A name that no code passes would be a torture test that never happens."""
    sources = [path for path in (ROOT / "streamae").rglob("*.py") if path != Path(fail_points.__file__)]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert [name for name in (*POINTS, *ALERT_POINTS) if f'fail_point("{name}")' not in text] == []
