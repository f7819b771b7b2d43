"""The life of the process, with a scripted engine and a clock moved by hand."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamae.assembly.tuning import build_tuning
from streamae.daemon.notify import Notifier
from streamae.daemon.reload import Changes, Reload
from streamae.daemon.service import (
    FIRST_BACKOFF_S,
    LAST_BACKOFF_S,
    LOG_INTERVAL_MS,
    READY_GRACE_MS,
    REPORT_INTERVAL_MS,
    STATUS_INTERVAL_MS,
    Limits,
    Service,
)
from streamae.engine.stages import Tuning
from streamae.engine.status import EngineStatus
from streamae.errors import BundleError, ConfigError, FatalError, MembershipError, RetryableError
from streamae.observe import logs
from streamae.observe.telemetry import Telemetry
from streamae.settings.decisions import ThresholdSettings
from streamae.settings.tree import LoadedSettings, Settings
from tests.engines import tiny_bundle

LIMITS = Limits(drain_timeout_ms=20_000, stall_timeout_ms=60_000, store_grace_ms=30_000)
JOINED = EngineStatus(partitions=2, keys=7)

Action = Callable[[], None] | Exception | None


class ScriptedEngine:
    """An engine whose every step does the next thing of a script, and stops the service when it is through."""

    def __init__(self, world: World, script: Sequence[Action]) -> None:
        self.world, self.script = world, list(script)
        self.state = JOINED
        self.calls: list[tuple[str, int]] = []
        self.on_drain: Action = None
        self.on_close: Action = None
        self.reports = 0

    def step(self, now_ms: int) -> None:
        self.world.listen()
        self.calls.append(("step", now_ms))
        action = self.script.pop(0) if self.script else None  # None: the steps between two attempts to drain
        if not self.script and not self.world.service._stop.is_set():
            self.world.service.signalled(signal.SIGTERM)
        act(action)

    def drain(self, now_ms: int) -> None:
        self.calls.append(("drain", now_ms))
        act(self.on_drain)

    def close(self) -> None:
        self.calls.append(("close", self.world.now))
        act(self.on_close)

    def report(self) -> None:
        self.reports += 1

    def adopt(self, tuning: Tuning) -> None:
        self.calls.append(("adopt", self.world.now))

    def status(self) -> EngineStatus:
        return self.state

    def become(self, **changes: Any) -> None:
        """Say other things of itself from now on."""
        self.state = replace(self.state, **changes)

    @property
    def names(self) -> list[str]:
        """What was called, without times."""
        return [name for name, _ in self.calls]


def act(action: Action) -> None:
    """Raise an exception, call anything else."""
    if isinstance(action, Exception):
        raise action
    if action is not None:
        action()


class World:
    """Everything around one service: clock, waits, supervisor, exits, log."""

    def __init__(
        self,
        folder: Path,
        script: Sequence[Action] = (None,),
        watchdog_ms: int | None = None,
        written: Settings | None = None,
    ) -> None:
        self.now = 5_000
        self.waits: list[float] = []
        self.hooks: list[Callable[[], None]] = []
        self.exits: list[int] = []
        self.builds: list[Action] = []
        self.messages: list[str] = []
        self.log = io.StringIO()
        logs.configure("debug", "json", self.log)
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.supervisor.bind(str(folder / "notify"))
        self.supervisor.setblocking(False)
        self.telemetry = Telemetry(lambda: self.now / 1_000)
        self.engine = ScriptedEngine(self, script)
        notifier = Notifier(str(folder / "notify"), watchdog_ms)
        self.service = Service(
            self.build,
            LIMITS,
            self.telemetry,
            notifier,
            now_ms=lambda: self.now,
            wait=self.wait,
            exit_now=self.exits.append,
            reload=None
            if written is None
            else Reload(
                Settings(),
                Changes(lambda: LoadedSettings(written, {}), lambda of: build_tuning(of, tiny_bundle())),
                self.telemetry,
                notifier,
            ),
        )

    def build(self) -> ScriptedEngine:
        """Do what the next start is scripted to do, then hand out the engine."""
        act(self.builds.pop(0) if self.builds else None)
        return self.engine

    def wait(self, seconds: float) -> None:
        """Let the time pass, and what happens meanwhile happen."""
        self.listen()
        while self.hooks:
            self.hooks.pop()()
        self.waits.append(seconds)
        self.advance(round(seconds * 1_000))

    def advance(self, ms: int) -> None:
        """Move the clock."""
        self.now += ms

    def listen(self) -> None:
        """Read what the supervisor was told so far, as systemd does at once: the kernel keeps only ten messages."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages.append(self.supervisor.recv(4_096).decode())

    def heard(self) -> list[str]:
        """Take what the supervisor was told."""
        self.listen()
        messages, self.messages = self.messages, []
        return messages

    def events(self) -> list[str]:
        """Return the names of all log lines."""
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def line(self, event: str) -> dict[str, Any]:
        """Return the first log line with that name."""
        return next(line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event)


Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make worlds, and put the process's logging back afterwards."""
    root, worlds = logging.getLogger(), []
    handlers, level = list(root.handlers), root.level

    def made(*script: Action, watchdog_ms: int | None = None, written: Settings | None = None) -> World:
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        worlds.append(World(folder, script or (None,), watchdog_ms, written))
        return worlds[-1]

    yield made
    for world in worlds:
        world.supervisor.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def later(world: World, ms: int) -> Callable[[], None]:
    """Return a step that takes that long."""
    return lambda: world.advance(ms)


class TestStop:
    """Signals and the way out."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_drains_and_exits_cleanly(self, make: Make, number: signal.Signals) -> None:
        """The first request to stop lets the step end, drains once, closes, and exits 0."""
        world = make(None, None, None)
        world.engine.script.insert(1, lambda: world.service.signalled(number))
        assert world.service.run() == 0
        assert world.engine.names == ["step", "step", "drain", "close"]
        assert "STOPPING=1" in world.heard()
        assert world.exits == []

    def test_a_second_signal_ends_at_once(self, make: Make) -> None:
        """An operator who asks twice does not wait for the drain."""
        world = make()
        world.engine.on_drain = lambda: world.service.signalled(signal.SIGINT)
        world.service.run()
        assert world.exits == [1]
        assert world.line("stop_forced")["signal"] == "SIGINT"

    def test_hangup_without_settings_to_read_is_ignored(self, make: Make) -> None:
        """SIGHUP must not stop a service, nor do anything where there is nothing to read again."""
        world = make(None, None)
        world.engine.script.insert(0, lambda: world.service.signalled(signal.SIGHUP))
        assert world.service.run() == 0
        assert world.engine.names.count("step") == 3
        assert world.line("signal_ignored")["signal"] == "SIGHUP"

    def test_a_drain_waits_for_a_rebalance_to_end(self, make: Make) -> None:
        """Others may leave or join at the same time: the group is followed, and the drain tried again until it works."""
        world = make()
        refusals: list[Exception] = [MembershipError("rebalancing"), MembershipError("rebalancing")]
        world.engine.on_drain = lambda: act(refusals.pop() if refusals else None)
        assert world.service.run() == 0
        assert world.engine.names == ["step", "drain", "step", "drain", "step", "drain", "close"]
        assert "drain_failed" not in world.events()

    def test_a_drain_that_goes_on_failing_is_a_failure(self, make: Make) -> None:
        """After half of the deadline it exits 1, after closing: what it held is read again by the next owner."""
        world = make()
        world.engine.on_drain = MembershipError("rebalancing")
        assert world.service.run() == 1
        assert world.engine.names[:3] == ["step", "drain", "step"]
        assert world.engine.names[-2:] == ["drain", "close"]
        assert sum(world.waits) == pytest.approx(LIMITS.drain_timeout_ms / 2_000)
        assert world.line("drain_failed")["error"] == "rebalancing"

    def test_the_deadline_ends_a_slow_drain(self, make: Make) -> None:
        """A drain beyond its deadline is cut off with exit 1 (the timer itself: test_signals.py)."""
        world = make()
        world.service._drain_too_slow()
        assert world.exits == [1]
        assert world.events() == ["drain_deadline_missed"]

    def test_a_failing_close_changes_nothing(self, make: Make) -> None:
        """The work is committed by then: an error while disconnecting is logged, the exit stays clean."""
        world = make()
        world.engine.on_close = OSError("connection lost")
        assert world.service.run() == 0
        assert "close_failed" in world.events()

    def test_an_input_with_an_end_ends_the_service(self, make: Make) -> None:
        """A replay of files drains and exits 0 by itself."""
        world = make(None, None, None, None)
        world.engine.script[1] = lambda: world.engine.become(finished=True)
        assert world.service.run() == 0
        assert world.engine.names == ["step", "step", "drain", "close"]
        assert world.engine.reports == 1  # however short it was: what is odd about it is told

    def test_an_input_that_ends_unscored_is_a_failure(self, make: Make) -> None:
        """A replay of files that scored nothing exits 1 and says why, once what was windowed is drained."""
        world = make(None, None, None, None)
        world.engine.script[1] = lambda: world.engine.become(finished=True, unscored="windows wait")
        world.engine.on_drain = lambda: world.engine.become(unscored="all records were late")
        assert world.service.run() == 1
        assert world.engine.names == ["step", "step", "drain", "close"]
        assert world.line("nothing_scored")["reason"] == "all records were late"

    def test_an_input_whose_last_windows_are_scored_in_the_drain_is_none(self, make: Make) -> None:
        """Only what holds after the drain counts."""
        world = make(None, None, None, None)
        world.engine.script[1] = lambda: world.engine.become(finished=True, unscored="windows wait")
        world.engine.on_drain = lambda: world.engine.become(unscored="")
        assert world.service.run() == 0
        assert "nothing_scored" not in world.events()

    def test_a_stop_during_start_closes_what_was_started(self, make: Make) -> None:
        """A signal while the model loads takes effect as soon as it has loaded: nothing is read."""
        world = make()
        world.builds = [lambda: world.service.signalled(signal.SIGTERM)]
        assert world.service.run() == 0
        assert world.engine.names == ["drain", "close"]

    def test_a_stop_while_services_are_away_ends_the_start(self, make: Make) -> None:
        """Retrying a start stops when asked to; there is nothing to drain."""
        world = make()

        def stopped() -> None:
            world.service.signalled(signal.SIGTERM)
            raise RetryableError("no broker")

        world.builds = [RetryableError("no broker"), stopped]
        assert world.service.run() == 0
        assert world.engine.names == []


class TestReload:
    """SIGHUP; what happens then is in test_reload.py."""

    def test_settings_change_between_two_steps(self, make: Make) -> None:
        """Never inside the step that was under way when the signal came, and the service goes on."""
        world = make(None, None, None, written=Settings(threshold=ThresholdSettings(k=3)))
        world.engine.script[0] = lambda: world.service.signalled(signal.SIGHUP)
        assert world.service.run() == 0
        assert world.engine.names == ["step", "drain", "adopt", "step", "step", "drain", "close"]
        assert "RELOADING=1" in [message.splitlines()[0] for message in world.heard()]

    def test_a_hangup_while_starting_is_remembered(self, make: Make) -> None:
        """The file may change while the model loads: its settings count from the first step on."""
        world = make(None, None, written=Settings(threshold=ThresholdSettings(k=3)))
        world.builds = [lambda: world.service.signalled(signal.SIGHUP)]
        assert world.service.run() == 0
        assert world.engine.names[:3] == ["drain", "adopt", "step"]

    def test_an_outage_delays_the_change(self, make: Make) -> None:
        """Old decisions must be committed first: a failing commit is retried as ever, then the change is made."""
        world = make(None, None, None, written=Settings(threshold=ThresholdSettings(k=3)))
        world.engine.script[0] = lambda: world.service.signalled(signal.SIGHUP)
        world.engine.on_drain = RetryableError("no broker")

        def listen() -> None:
            world.engine.on_drain = None

        world.hooks.append(listen)
        assert world.service.run() == 0
        assert world.engine.names == ["step", "drain", "drain", "adopt", "step", "step", "drain", "close"]
        assert world.waits == [FIRST_BACKOFF_S]


class TestFailures:
    """What the loop bears and what it does not."""

    def test_retryable_errors_are_backed_off(self, make: Make) -> None:
        """A service that is away is asked again, twice as late each time, up to a limit; the process stays."""
        world = make(*[RetryableError("no broker")] * 9, None)
        assert world.service.run() == 0
        assert world.waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
        assert (world.waits[0], world.waits[-1]) == (FIRST_BACKOFF_S, LAST_BACKOFF_S)

    def test_a_process_that_is_no_member_polls_on(self, make: Make) -> None:
        """It joins by polling, within a time limit, and all others stand still for it: it must not sleep through that."""
        world = make(*[RetryableError("no broker")] * 4, *[MembershipError("rebalancing")] * 5, None)
        assert world.service.run() == 0
        assert world.waits == pytest.approx([0.1, 0.2, 0.4, 0.8] + [FIRST_BACKOFF_S] * 5)

    def test_success_starts_the_backoff_anew(self, make: Make) -> None:
        """After one good step the next trouble is met quickly again."""
        world = make(RetryableError("a"), RetryableError("a"), None, RetryableError("b"), None)
        world.service.run()
        assert world.waits == pytest.approx([0.1, 0.2, 0.1])

    def test_an_outage_is_logged_once(self, make: Make) -> None:
        """Its begin and its end are two lines, not one line each second."""
        world = make(*[RetryableError("no broker")] * 5, None)
        world.service.run()
        assert world.events().count("retrying") == 1
        assert world.line("retrying")["error"] == "no broker"
        assert world.line("recovered")["after_ms"] == 3_100

    def test_retries_are_counted(self, make: Make) -> None:
        """Every attempt shows in the metrics, also those not logged."""
        world = make(*[RetryableError("no broker")] * 5, None)
        world.service.run()
        assert b"streamae_retries_total 5.0" in world.telemetry.render()[0]

    def test_the_backoff_is_shorter_than_the_watchdog(self, make: Make) -> None:
        """Waiting for a broker never looks like a stuck loop, even to an impatient supervisor."""
        world = make(*[RetryableError("no broker")] * 6, None, watchdog_ms=2_000)
        world.service.run()
        assert max(world.waits) == 0.5

    @pytest.mark.parametrize("error", [FatalError("fenced"), BundleError("torn")])
    def test_a_fatal_error_exits_without_drain(self, make: Make, error: Exception) -> None:
        """Where going on could break a guarantee nothing more is committed; the supervisor restarts."""
        world = make(error, None)
        assert world.service.run() == 1
        assert world.engine.names == ["step", "close"]
        assert world.line("fatal")["error"] == str(error)
        assert world.line("fatal")["kind"] == type(error).__name__

    def test_a_bug_exits_with_its_traceback(self, make: Make) -> None:
        """An unexpected exception is no reason to go on; the log tells where it was."""
        world = make(ZeroDivisionError("oops"), None)
        assert world.service.run() == 1
        assert world.engine.names == ["step", "close"]
        assert "ZeroDivisionError: oops" in world.line("crashed")["exception"]

    def test_wrong_settings_are_the_callers_business(self, make: Make) -> None:
        """Settings that only the start can judge end as a ConfigError, for exit code 78."""
        world = make()
        world.builds = [ConfigError(["input.value_fields: not those of the bundle"])]
        with pytest.raises(ConfigError, match="value_fields"):
            world.service.run()

    def test_a_start_is_retried(self, make: Make) -> None:
        """Kafka or Redis may come up after us."""
        world = make()
        world.builds = [RetryableError("no broker"), RetryableError("no broker"), None]
        assert world.service.run() == 0
        assert world.waits == pytest.approx([0.1, 0.2])
        assert world.engine.names == ["step", "drain", "close"]

    def test_a_failed_start_closes_nothing(self, make: Make) -> None:
        """A bundle that cannot be loaded exits 1 with the reason; there is no engine to close."""
        world = make()
        world.builds = [BundleError("bundle.json: not JSON")]
        assert world.service.run() == 1
        assert world.engine.names == []
        assert world.line("fatal")["error"] == "bundle.json: not JSON"


class TestHealth:
    """Liveness and readiness."""

    def test_not_ready_until_the_first_step(self, make: Make) -> None:
        """A process that still loads its model is alive, not ready."""
        world = make()
        assert world.service.ready() == ["starting"]
        world.advance(10 * LIMITS.stall_timeout_ms)
        assert world.service.live() == []

    def test_the_status_is_readiness_and_what_the_engine_says(self, make: Make) -> None:
        """Before the first step there are only the reasons; then all that the engine last said of itself."""
        world = make(None, None)
        assert world.service.status() == {"ready": False, "reasons": ["starting"]}
        seen: list[dict[str, Any]] = []
        world.engine.script.insert(1, lambda: seen.append(world.service.status()))
        world.service.run()
        assert seen == [{"ready": True, "reasons": [], **world.engine.state.plain()}]

    def test_what_is_wrong_with_the_stream_leaves_it_ready(self, make: Make) -> None:
        """It stands beside readiness, and in `/status`."""
        world = make(None, None)
        world.engine.become(warnings=["half of the records are late"], stream={"records": 7})
        seen: list[Any] = []
        world.engine.script.insert(
            1, lambda: seen.extend([world.service.ready(), world.service.warnings(), world.service.status()])
        )
        world.service.run()
        ready, warnings, status = seen
        assert (ready, warnings) == ([], ["half of the records are late"])
        assert (status["ready"], status["warnings"], status["stream"]) == (True, warnings, {"records": 7})

    def test_ready_once_joined(self, make: Make) -> None:
        """After a step as a member of the group nothing speaks against it."""
        world = make(None, None)
        seen: list[list[str]] = []
        world.engine.script.insert(1, lambda: seen.append(world.service.ready()))
        world.service.run()
        assert seen == [[]]

    @pytest.mark.parametrize(
        ("state", "reasons"),
        [
            ({"partitions": 0, "joined": False}, ["not a member of the consumer group yet"]),
            ({"partitions": 0, "joined": True}, []),
            ({"partitions": 3, "joined": False}, []),
            ({"halted": 2}, ["partitions halted: 2, their state is lost and state.on_loss is halt"]),
            ({"replaying": 2}, []),
            ({"store_failing_since_ms": 4_000}, []),
            ({"store_failing_since_ms": -24_999}, []),
            ({"store_failing_since_ms": -25_001}, ["state not saved for 30 s"]),
            (
                {"partitions": 0, "joined": False, "store_failing_since_ms": -60_000},
                ["not a member of the consumer group yet", "state not saved for 65 s"],
            ),
        ],
    )
    def test_readiness_gives_its_reasons(self, make: Make, state: dict[str, Any], reasons: list[str]) -> None:
        """Member of the group, and state saved within the grace: all that is missing is listed."""
        world = make(None, None)
        world.engine.become(**state)
        seen: list[list[str]] = []
        world.engine.script.insert(1, lambda: seen.append(world.service.ready()))
        world.service.run()
        assert seen == [reasons]

    def test_a_long_outage_is_not_ready(self, make: Make) -> None:
        """Retrying longer than the grace shows, with the reason, and ends with the outage."""
        world = make(*[RetryableError("no broker")] * 12, None, None, None)
        seen: list[list[str]] = []
        world.engine.script.insert(11, lambda: seen.append(world.service.ready()))
        world.engine.script[11:11] = [RetryableError("no broker")]
        world.engine.script[-2] = lambda: seen.append(world.service.ready())
        world.service.run()
        assert sum(world.waits) * 1_000 > LIMITS.store_grace_ms
        assert seen == [["retrying: RetryableError: no broker"], []]

    def test_a_short_outage_stays_ready(self, make: Make) -> None:
        """One broker restart does not flip readiness."""
        world = make(None, RetryableError("no broker"), None, None)
        seen: list[list[str]] = []
        world.engine.script[2] = lambda: seen.append(world.service.ready())
        world.service.run()
        assert seen == [[]]

    def test_stopping_is_not_ready(self, make: Make) -> None:
        """A draining process takes no new work."""
        world = make()
        seen: list[list[str]] = []
        world.engine.on_drain = lambda: seen.append(world.service.ready())
        world.service.run()
        assert seen == [["stopping"]]

    def test_a_stuck_step_is_not_alive(self, make: Make) -> None:
        """A step that does not come back is found by liveness, to the millisecond of the limit."""
        world = make(None, None)
        seen: list[list[str]] = []

        def stuck() -> None:
            world.advance(LIMITS.stall_timeout_ms)
            seen.append(world.service.live())
            world.advance(1)
            seen.append(world.service.live())

        world.engine.script.insert(1, stuck)
        world.engine.script.insert(2, lambda: seen.append(world.service.live()))
        world.service.run()
        assert seen == [[], ["no progress of the loop for 60 s"], []]

    def test_an_outage_is_alive(self, make: Make) -> None:
        """A broker that is away for an hour gets nobody restarted."""
        seen: list[list[str]] = []
        world = make(*[RetryableError("no broker")] * 800, None, None)
        world.engine.script[-2] = lambda: seen.append(world.service.live())
        world.service.run()
        assert world.now > 3_600_000
        assert seen == [[]]

    def test_progress_shows_in_the_metrics(self, make: Make) -> None:
        """The alert on a stalled loop reads the time of the last turn."""
        world = make(None, None)
        world.engine.script[0] = later(world, 7_000)
        world.service.run()
        assert b"streamae_loop_last_progress_timestamp_seconds 12.0" in world.telemetry.render()[0]


class TestSupervisor:
    """What systemd hears, and when."""

    def test_ready_after_the_group_is_joined(self, make: Make) -> None:
        """Units ordered after this one start when it works, not when it was started."""
        world = make(None, None, None)
        world.engine.become(joined=False, partitions=0)
        heard: list[list[str]] = []
        world.engine.script[0] = lambda: heard.append(world.heard())
        world.engine.script[1] = lambda: world.engine.become(joined=True, partitions=2)
        world.engine.script[2] = lambda: heard.append(world.heard())
        world.service.run()
        assert heard == [
            ["EXTEND_TIMEOUT_USEC=300000000"],
            ["READY=1", "STATUS=2 partitions (0 replaying), 7 keys"],
        ]

    def test_ready_after_a_bounded_wait(self, make: Make) -> None:
        """Without a broker the unit counts as started after the grace, and its status says what is missing."""
        world = make(*[None] * 3)
        world.engine.become(joined=False, partitions=0)
        world.engine.script[0] = later(world, READY_GRACE_MS - 1)
        heard: list[list[str]] = []

        def second() -> None:
            heard.append(world.heard())
            world.advance(1)

        world.engine.script[1] = second
        world.engine.script[2] = lambda: heard.append(world.heard())
        world.service.run()
        status = "STATUS=0 partitions (0 replaying), 7 keys; not a member of the consumer group yet"
        assert "READY=1" not in heard[0]
        assert heard[1] == ["READY=1", status]

    def test_ready_is_said_once(self, make: Make) -> None:
        """The state does not flap at the supervisor."""
        world = make(*[None] * 5)
        world.service.run()
        assert world.heard().count("READY=1") == 1

    def test_a_start_without_services_becomes_ready_too(self, make: Make) -> None:
        """systemd does not kill a process that waits for its broker."""
        world = make()
        world.builds = [*[RetryableError("no broker")] * 12, None]
        world.service.run()
        heard = world.heard()
        assert heard.count("EXTEND_TIMEOUT_USEC=300000000") == 13
        assert heard.index("READY=1") < len(heard) - 3
        assert "STATUS=retrying: RetryableError: no broker" in heard

    def test_the_watchdog_is_fed_by_the_loop(self, make: Make) -> None:
        """A ping at half the interval, only when steps complete: never more, and none from a stuck step."""
        world = make(*[None] * 11, watchdog_ms=30_000)
        pings: list[int] = []

        def step() -> None:
            pings.append(world.heard().count("WATCHDOG=1"))
            world.advance(5_000)

        world.engine.script[:10] = [step] * 10
        world.service.run()
        assert pings == [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]

    def test_a_long_step_feeds_the_watchdog_after_it(self, make: Make) -> None:
        """While a step runs nothing pings on its behalf."""
        world = make(None, None, None, watchdog_ms=10_000)
        during: list[list[str]] = []

        def long() -> None:
            world.heard()
            for _ in range(10):
                world.advance(3_000)
            during.append(world.heard())

        world.engine.script[1] = long
        world.service.run()
        assert during == [[]]
        assert "WATCHDOG=1" in world.heard()

    def test_without_a_watchdog_there_are_no_pings(self, make: Make) -> None:
        """Nobody asked for them."""
        world = make(*[None] * 5)
        world.engine.script[:4] = [later(world, 60_000)] * 4
        world.service.run()
        assert "WATCHDOG=1" not in world.heard()

    def test_waiting_for_a_broker_feeds_the_watchdog(self, make: Make) -> None:
        """An outage is not a hang."""
        world = make(*[RetryableError("no broker")] * 30, None, watchdog_ms=30_000)
        world.service.run()
        assert world.heard().count("WATCHDOG=1") >= 5

    def test_the_status_is_renewed_at_an_interval(self, make: Make) -> None:
        """`systemctl status` is at most ten seconds old, and the socket is not flooded."""
        world = make(*[None] * 21)
        world.engine.script[:20] = [later(world, STATUS_INTERVAL_MS // 4)] * 20
        world.service.run()
        expected = 1 + 19 // 4  # with READY=1 after the first step, then after every fourth
        assert sum(message.startswith("STATUS=") for message in world.heard()) == expected

    def test_costly_metrics_are_renewed_at_an_interval(self, make: Make) -> None:
        """Lag and key states are refreshed every few seconds, not every step."""
        world = make(*[None] * 21)
        world.engine.script[:20] = [later(world, REPORT_INTERVAL_MS // 5)] * 20
        world.service.run()
        assert world.engine.reports == 4

    def test_metrics_are_renewed_while_nothing_succeeds(self, make: Make) -> None:
        """Gauges that stand still during an outage would show the last good moment, and no alert would fire."""
        world = make(*[RetryableError("outcome unknown")] * 12, None)
        world.service.run()
        assert sum(world.waits) * 1_000 > 6 * REPORT_INTERVAL_MS
        assert world.engine.reports >= 6

    def test_the_log_says_once_a_minute_where_the_engine_stands(self, make: Make) -> None:
        """Someone who only has the log sees that it works, and on what."""
        world = make(*[None] * 21)
        world.engine.script[:20] = [later(world, LOG_INTERVAL_MS // 5)] * 20
        world.service.run()
        lines = [json.loads(line) for line in world.log.getvalue().splitlines()]
        found = [line for line in lines if line["event"] == "status"]
        assert len(found) == 4
        assert {"partitions": 2, "keys": 7}.items() <= found[0].items()


def test_the_engine_gets_the_clock_of_the_service(make: Make) -> None:
    """One monotonic clock for everything; the engine never reads one itself."""
    world = make(None, None)
    world.engine.script[0] = later(world, 250)
    world.service.run()
    assert world.engine.calls == [("step", 5_000), ("step", 5_250), ("drain", 5_250), ("close", 5_250)]


def test_a_signal_after_the_end_changes_nothing(make: Make) -> None:
    """A supervisor that asks twice must not turn a clean stop into a failure."""
    world = make(None)
    assert world.service.run() == 0
    world.service.signalled(signal.SIGTERM)
    assert world.exits == []
