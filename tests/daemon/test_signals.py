"""A real process with real signals, sockets and deadlines. Its log lines tell when to act; nothing is waited out."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamae.daemon.service import serve
from streamae.errors import FatalError
from streamae.settings.sources import load_settings
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HARD_LIMIT_S = 60

# Settings are the arguments of the program; `serve` does everything that `streamae run` does around an engine.
PREAMBLE = """
import json, sys, threading
from pathlib import Path
from streamae.settings.sources import load_settings
from streamae.daemon.service import serve
from streamae.engine.status import EngineStatus

def say(event, **values):
    print(json.dumps({"event": event} | values), flush=True)

flags = {"service.http_port": "0"} | json.loads(sys.argv[1])
path = flags.pop("reread.path", None)
loaded = load_settings(path and Path(path), {}, flags)

def changes():
    from streamae.assembly.tuning import build_tuning
    from streamae.daemon.reload import Changes
    from tests.engines import tiny_bundle

    return Changes(lambda: load_settings(Path(path), {}, flags), lambda of: build_tuning(of, tiny_bundle()))
"""

EMBEDDED = """
from tests.engines import Rig, broker_with, stream

class Reporting(Rig):
    def step(self, now_ms):
        self.engine.step(now_ms)
        if not any(self.engine.source.lag().values()) and len(self.engine.partitions):
            say("caught_up")
            self.step = self.engine.step
    def __getattr__(self, name):
        return getattr(self.engine, name)

rigs = []
def build(telemetry):
    rigs.append(Reporting(broker_with(stream())))
    return rigs[0]

code = serve(loaded, build)
say("left_behind", events=len(rigs[0].events()), keys=len(rigs[0].state()))
sys.exit(code)
"""

SCRIPTED = """
class Engine:
    def step(self, now_ms):
        say("stepped")
        {step}
    def drain(self, now_ms):
        say("draining")
        {drain}
    def close(self): say("closed")
    def report(self): pass
    def status(self):
        return EngineStatus(partitions=1)

sys.exit(serve(loaded, lambda telemetry: Engine()))
"""
FOREVER = "threading.Event().wait()"
SHORTLY = "threading.Event().wait(0.01)"


class Child:
    """A running service and its log."""

    def __init__(self, program: str, settings: dict[str, str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + program, json.dumps(settings)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seen: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Read the log until a line with that name; fail when it ends before."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line: dict[str, Any] = json.loads(text)
            self.seen.append(line)
            if line["event"] == event:
                return line
        raise AssertionError(f"no {event} among {[line['event'] for line in self.seen]}")

    def end(self) -> int:
        """Read the rest of the log and return the exit code."""
        assert self.process.stdout is not None
        self.seen += [json.loads(text) for text in self.process.stdout]
        return self.process.wait(HARD_LIMIT_S)

    def events(self) -> list[str]:
        """Return the names of all lines read."""
        return [line["event"] for line in self.seen]

    def ask(self, path: str) -> tuple[int, bytes]:
        """Ask the health server."""
        port = next(line["http_port"] for line in self.seen if line["event"] == "starting")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        return status, body


Start = Callable[..., Child]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start children, and leave none behind."""
    children: list[Child] = []

    def started(program: str, env: dict[str, str] | None = None, **settings: str) -> Child:
        named = {name.replace("__", "."): value for name, value in settings.items()}
        children.append(Child(program, named, env or {}))
        return children[-1]

    yield started
    for child in children:
        child.process.kill()
        child.process.wait(HARD_LIMIT_S)
        if child.process.stdout is not None:
            child.process.stdout.close()


def scripted(step: str = SHORTLY, drain: str = "pass") -> str:
    """Return the program of a small engine."""
    return SCRIPTED.replace("{step}", step).replace("{drain}", drain)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_engine_is_drained_and_the_exit_is_clean(start: Start, number: signal.Signals) -> None:
    """A stop in the middle of a stream commits outputs, saves every key, and exits 0."""
    child = start(EMBEDDED)
    child.until("caught_up")
    child.process.send_signal(number)
    assert child.end() == 0
    stopping = next(line for line in child.seen if line["event"] == "stopping")
    assert stopping["signal"] == number.name
    assert child.seen[-2]["event"] == "stopped"
    assert child.seen[-2]["code"] == 0
    left = child.seen[-1]
    assert left["events"] >= 2
    assert left["keys"] == 3


def test_the_process_answers_for_its_health(start: Start) -> None:
    """The three endpoints work in a real process, on the port that the log names."""
    child = start(EMBEDDED)
    child.until("caught_up")
    assert child.ask("/livez")[0] == 200
    assert child.ask("/readyz") == (200, b'{"status": "ok", "reasons": []}\n')
    status, metrics = child.ask("/metrics")
    assert status == 200
    assert b"streamae_build_info" in metrics
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 0


DEVICE = """
class Device:
    def run(self, values):
        say("on_the_device")
        {run}
"""


def on_device(run: str) -> str:
    """Return the program of a whole engine whose device does `run` with every batch."""
    engine = EMBEDDED.replace("broker_with(stream())", 'broker_with(stream()), parts={"runner": Device()}')
    return DEVICE.replace("{run}", run) + engine


def test_a_device_that_hangs_ends_liveness_and_the_watchdog(start: Start, tmp_path: Path) -> None:
    """Nobody feeds the supervisor on behalf of a step that never comes back; it restarts us, and readiness is asked apart."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(HARD_LIMIT_S)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        child = start(on_device(FOREVER), env=env, service__stall_timeout_ms="500")
        child.until("on_the_device")
        wait_until(lambda: child.ask("/livez")[0] == 503, "liveness to end", HARD_LIMIT_S)
        assert b"no progress of the loop" in child.ask("/livez")[1]
        assert b"streamae_loop_last_progress_timestamp_seconds" in child.ask("/metrics")[1]
        supervisor.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while supervisor.recv(4_096):
                pass  # what was sent before the hang
        wait_until(
            lambda: child.ask("/livez")[1].count(b"for 1 s") or child.ask("/livez")[1].count(b"for 2 s"), "1 s more"
        )
        with pytest.raises(BlockingIOError):
            supervisor.recv(4_096)
        assert child.process.poll() is None


def test_a_device_that_fails_ends_the_process(start: Start) -> None:
    """Exit 1 with the reason and where it came from; no drain, since what is in hand was not judged."""
    failure = "raise DeviceError('cuda: an illegal memory access was encountered') from RuntimeError('illegal')"
    child = start("from streamae.errors import DeviceError\n" + on_device(failure))
    assert child.end() == 1
    fatal = next(line for line in child.seen if line["event"] == "fatal")
    assert (fatal["kind"], fatal["error"]) == ("DeviceError", "cuda: an illegal memory access was encountered")
    assert "RuntimeError: illegal" in fatal["exception"]
    assert "stopping" not in child.events()


def test_settings_are_read_again_on_hangup(start: Start, tmp_path: Path) -> None:
    """A real SIGHUP with a real file: a broken one is refused with all its errors, a good one counts, and it stays up."""
    path = tmp_path / "streamae.toml"
    path.write_text("[threshold]\nk = 8.0\n", encoding="utf-8")
    child = start(EMBEDDED.replace("serve(loaded, build)", "serve(loaded, build, changes())"), reread__path=str(path))
    child.until("caught_up")
    path.write_text("[threshold]\nk = -1\nrul = 'sigma'\n", encoding="utf-8")
    child.process.send_signal(signal.SIGHUP)
    failed = child.until("settings_reload_failed")
    assert [problem.split(":")[0] for problem in failed["problems"]] == ["threshold.rul", "threshold.k"]
    assert child.ask("/metrics")[1].count(b"streamae_config_last_reload_successful 0.0") == 1
    path.write_text("[threshold]\nk = 3.5\n[kafka]\ngroup_id = 'other'\n", encoding="utf-8")
    child.process.send_signal(signal.SIGHUP)
    reloaded = child.until("settings_reloaded")
    assert reloaded["changed"] == ["threshold.k"]
    assert reloaded["needs_restart"] == ["kafka.group_id"]
    assert child.ask("/metrics")[1].count(b"streamae_config_last_reload_successful 1.0") == 1
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 0


def test_hangup_does_not_end_the_process(start: Start) -> None:
    """SIGHUP, which ends a process by default, is logged where there is nothing to reload, and steps go on after it."""
    child = start(scripted())
    child.until("stepped")
    child.process.send_signal(signal.SIGHUP)
    assert child.until("signal_ignored")["signal"] == "SIGHUP"
    child.until("stepped")
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 0
    assert child.events()[-3:] == ["draining", "closed", "stopped"]


def test_a_drain_that_hangs_is_cut_off(start: Start) -> None:
    """At the drain deadline the process exits 1, though its main thread never came back."""
    child = start(scripted(drain=FOREVER), service__drain_timeout_ms="100")
    child.until("stepped")
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 1
    assert child.events()[-1] == "drain_deadline_missed"


def test_a_step_that_hangs_is_cut_off(start: Start) -> None:
    """The deadline also counts for a step that never ends, a stuck device call for instance."""
    child = start(scripted(step=FOREVER), service__drain_timeout_ms="100")
    child.until("stepped")
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 1
    assert "draining" not in child.events()


def test_a_second_signal_ends_a_hanging_drain(start: Start) -> None:
    """Who asks twice does not wait for the deadline."""
    child = start(scripted(drain=FOREVER), service__drain_timeout_ms="3600000")
    child.until("stepped")
    child.process.send_signal(signal.SIGTERM)
    child.until("draining")
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 1
    assert child.events()[-1] == "stop_forced"


def test_a_crash_exits_with_a_failure(start: Start) -> None:
    """An unexpected error ends the process with 1 and a traceback in its log, without a drain."""
    child = start(scripted(step="raise ZeroDivisionError"))
    assert child.end() == 1
    crashed = next(line for line in child.seen if line["event"] == "crashed")
    assert "ZeroDivisionError" in crashed["exception"]
    assert "draining" not in child.events()


def test_the_supervisor_is_told(start: Start, tmp_path: Path) -> None:
    """A real NOTIFY_SOCKET hears start, readiness, the watchdog, and the stop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(HARD_LIMIT_S)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000"}
        child = start(scripted(), env=env)
        heard = [supervisor.recv(4_096).decode() for _ in range(5)]
        child.process.send_signal(signal.SIGTERM)
        while heard[-1] != "STOPPING=1":
            heard.append(supervisor.recv(4_096).decode())
        assert child.end() == 0
    assert heard[0].startswith("EXTEND_TIMEOUT_USEC=")
    assert "WATCHDOG=1" in heard  # perhaps already before the first: a slow machine needs 20 ms to begin
    spoken = [message for message in heard if message != "WATCHDOG=1"]
    assert spoken[1:] == ["READY=1", "STATUS=1 partitions (0 replaying), 0 keys", "STOPPING=1"]


def test_a_port_in_use_stops_the_start() -> None:
    """A health port that is taken ends the start with one clear line, before anything else runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        loaded = load_settings(None, {}, {"service.http_port": port})
        with pytest.raises(FatalError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*service\.http_port"):
            serve(loaded, lambda telemetry: pytest.fail("built"))
