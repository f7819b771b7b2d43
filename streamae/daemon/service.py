"""The life of the process: start, turn the engine, answer for its health, stop within a deadline.

    run()   signals on -> health server on -> engine built (retried while services are away)
            -> engine.step() again and again -> engine.drain() -> engine.close() -> exit code

First SIGTERM or SIGINT: drain, exit 0. Second one, or the drain deadline: exit 1 on the spot, which loses
nothing, since outputs and offsets are committed together. SIGHUP: settings are read again between two steps.
This module must not know what a step does.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread, Timer
from typing import Any

from streamae.daemon.health import HealthServer
from streamae.daemon.notify import Notifier
from streamae.daemon.reload import Changes, Reload
from streamae.daemon.supervised import Supervised
from streamae.engine.status import EngineStatus
from streamae.errors import ConfigError, ExitCode, FatalError, MembershipError, RetryableError, StreamaeError
from streamae.observe import logs
from streamae.observe.listener import Listener
from streamae.observe.telemetry import Telemetry
from streamae.settings.tree import LoadedSettings

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0
STATUS_INTERVAL_MS = 10_000
LOG_INTERVAL_MS = 60_000
REPORT_INTERVAL_MS = 5_000
AT_LENGTH = frozenset({"key_states", "warnings", "stream", "unscored"})  # not in the log again and again
READY_GRACE_MS = 30_000  # systemd hears READY=1 this long after the start even when the group is not joined
START_TIMEOUT_S = 300.0  # what systemd is asked for while a model loads

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD_SIGNALS = frozenset({signal.SIGHUP}) if hasattr(signal, "SIGHUP") else frozenset()  # Windows has none
SIGNALS = STOP_SIGNALS | RELOAD_SIGNALS


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the service bears what, in ms; see the service section of the settings."""

    drain_timeout_ms: int
    stall_timeout_ms: int
    store_grace_ms: int


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Service:
    """Turns one engine until told to stop. `run` is called once; `signalled`, `live`, `ready` from any thread.

    Args:
        build: makes the engine; may raise RetryableError and is then called again.
        reload: takes changed settings over on SIGHUP; None = SIGHUP is ignored.
        now_ms: monotonic clock; the engine gets the same.
        wait: sleeps that many seconds, or less once a stop is asked for; None = really.
        exit_now: ends the process at once with a code.
    """

    def __init__(
        self,
        build: Callable[[], Supervised],
        limits: Limits,
        listener: Listener,
        notifier: Notifier,
        now_ms: Callable[[], int] = _monotonic_ms,
        wait: Callable[[float], object] | None = None,
        exit_now: Callable[[int], None] = os._exit,
        reload: Reload | None = None,
    ) -> None:
        self._reload = reload
        self._build, self._limits, self._listener, self._notifier = build, limits, listener, notifier
        self._now_ms, self._exit_now = now_ms, exit_now
        self._stop = Event()
        self._deadline = Timer(limits.drain_timeout_ms / 1_000, self._drain_too_slow)
        self._wait = wait or self._stop.wait
        self._pause = wait or time.sleep  # once a stop is asked for
        self._log = logs.get_logger()
        self._engine: Supervised | None = None
        self._status: EngineStatus | None = None
        self._announced = False
        self._is_over = False
        self._backoff_s = 0.0
        self._failing: tuple[int, str] | None = None  # since when, and why
        self._started_ms = self._progress_ms = self._shown_ms = self._report_ms = self._ping_ms = self._logged_ms = (
            now_ms()
        )

    def run(self) -> ExitCode:
        """Start, turn, stop; return the exit code.

        Raises:
            ConfigError: the settings cannot be served.
        """
        try:
            self._start()
            while not self._stop.is_set() and not self._is_finished():
                self._turn()
            code = self._drain() or self._judge_end()
        except ConfigError:
            raise
        except StreamaeError as error:
            self._log.error("fatal", kind=type(error).__name__, error=str(error), exc_info=error.__cause__)
            code = ExitCode.FAILURE
        except Exception:  # noqa: BLE001 - the supervisor restarts; the log tells why
            self._log.exception("crashed")
            code = ExitCode.FAILURE
        finally:
            self._close()
            self._deadline.cancel()
        self._is_over = True
        self._log.info("stopped", code=int(code))
        return code

    def signalled(self, number: int) -> None:
        """Take a signal: the first that asks to stop starts the drain and its deadline, the second ends all."""
        name = signal.Signals(number).name
        if self._is_over:
            return  # everything is done: a late signal must not turn success into failure
        if number in RELOAD_SIGNALS and self._reload is not None:
            self._reload.ask()
        elif number not in STOP_SIGNALS:
            self._log.info("signal_ignored", signal=name)
        elif self._stop.is_set():
            self._log.warning("stop_forced", signal=name)
            self._exit_now(ExitCode.FAILURE)
        else:
            self._log.info("stopping", signal=name, deadline_ms=self._limits.drain_timeout_ms)
            self._stop.set()
            self._deadline.daemon = True
            self._deadline.start()

    def live(self) -> list[str]:
        """What speaks against being alive: only a loop that stands still, never a service that is away."""
        stalled_ms = self._now_ms() - self._progress_ms
        if self._engine is None or stalled_ms <= self._limits.stall_timeout_ms:
            return []
        return [f"no progress of the loop for {stalled_ms // 1_000} s"]

    def ready(self) -> list[str]:
        """What speaks against being ready, one sentence each."""
        status, now_ms, grace_ms = self._status, self._now_ms(), self._limits.store_grace_ms
        if self._stop.is_set():
            return ["stopping"]
        failing = self._failing
        reasons = [] if failing is None or now_ms - failing[0] <= grace_ms else [f"retrying: {failing[1]}"]
        if status is None:
            return reasons or ["starting"]
        if not status.joined and status.partitions == 0:
            reasons.append("not a member of the consumer group yet")
        if status.halted:
            reasons.append(f"partitions halted: {status.halted}, their state is lost and state.on_loss is halt")
        since_ms = status.store_failing_since_ms
        if since_ms is not None and now_ms - since_ms > grace_ms:
            reasons.append(f"state not saved for {(now_ms - since_ms) // 1_000} s")
        return reasons

    def warnings(self) -> list[str]:
        """What is wrong with the stream, one sentence each: nothing that speaks against being ready."""
        return self._status.warnings if self._status else []

    def status(self) -> dict[str, Any]:
        """Return what `/status` answers: readiness, and what the engine last said of itself."""
        reasons = self.ready()
        return {"ready": not reasons, "reasons": reasons, **(self._status.plain() if self._status else {})}

    def _start(self) -> None:
        while self._engine is None and not self._stop.is_set():
            self._notifier.extend_timeout(START_TIMEOUT_S)
            try:
                self._engine = self._build()
            except RetryableError as error:
                self._back_off(error)
                self._progressed()
        self._failing, self._backoff_s = None, 0.0
        if self._engine is not None:
            self._log.info("started", after_ms=self._now_ms() - self._started_ms)
        self._progressed()

    def _turn(self) -> None:
        """One step, or one failed attempt and a pause: both are progress, a step that hangs is not."""
        assert self._engine is not None
        try:
            if self._reload is not None:
                self._reload.turn(self._engine, self._now_ms())
            self._engine.step(self._now_ms())
        except RetryableError as error:
            self._report()
            self._back_off(error)
        else:
            if self._failing is not None:
                self._log.info("recovered", after_ms=self._now_ms() - self._failing[0])
            self._failing, self._backoff_s = None, 0.0
            self._report()
        self._progressed()

    def _report(self) -> None:
        """Note how the engine is, also while nothing succeeds: gauges that stand still then would hide just that."""
        assert self._engine is not None
        self._status = self._engine.status()
        if self._now_ms() - self._report_ms >= REPORT_INTERVAL_MS:
            self._report_ms = self._now_ms()
            with suppress(RetryableError):
                self._engine.report()
        if self._now_ms() - self._logged_ms >= LOG_INTERVAL_MS:
            self._logged_ms = self._now_ms()
            found = self._status.plain()
            self._log.info("status", **{name: value for name, value in found.items() if name not in AT_LENGTH})

    def _back_off(self, error: RetryableError) -> None:
        """Wait, twice as long each time; always shorter than the watchdog's patience.

        A process that is no member waits no longer than the first time: it joins by polling, and the others wait for it.
        """
        self._listener.retried()
        if self._failing is None:
            self._log.warning("retrying", error=str(error), kind=type(error).__name__)
        since_ms = self._now_ms() if self._failing is None else self._failing[0]
        self._failing = since_ms, f"{type(error).__name__}: {error}"
        longest_s = min(LAST_BACKOFF_S, (self._notifier.watchdog_ms or 60_000) / 4_000)
        is_joining = isinstance(error, MembershipError)
        self._backoff_s = FIRST_BACKOFF_S if is_joining else min(longest_s, max(FIRST_BACKOFF_S, 2 * self._backoff_s))
        self._wait(self._backoff_s)

    def _progressed(self) -> None:
        """Tell everyone who watches the loop that it came round."""
        now_ms = self._progress_ms = self._now_ms()
        self._listener.progressed()
        waited_ms = now_ms - self._started_ms
        if not self._announced and (not self.ready() or waited_ms >= READY_GRACE_MS):
            self._announced = True
            self._notifier.ready()
            self._show_status(now_ms)
        elif now_ms - self._shown_ms >= STATUS_INTERVAL_MS:
            self._show_status(now_ms)
        watchdog_ms = self._notifier.watchdog_ms
        if watchdog_ms is not None and now_ms - self._ping_ms >= watchdog_ms // 2:
            self._ping_ms = now_ms
            self._notifier.watchdog()

    def _show_status(self, now_ms: int) -> None:
        self._shown_ms = now_ms
        if self._failing is not None:
            self._notifier.status(f"retrying: {self._failing[1]}")
        elif (status := self._status) is None:
            self._notifier.status("starting")
        else:
            counts = f"{status.partitions} partitions ({status.replaying} replaying), {status.keys} keys"
            self._notifier.status("; ".join([counts, *self.ready(), *self.warnings()]))

    def _is_finished(self) -> bool:
        return self._status is not None and self._status.finished

    def _drain(self) -> ExitCode:
        """Commit and save what is in hand; for half of the deadline a rebalance or a short outage is waited out."""
        self._notifier.stopping()
        if self._engine is None:
            return ExitCode.OK
        give_up_ms = self._now_ms() + self._limits.drain_timeout_ms // 2
        while True:
            try:
                self._engine.drain(self._now_ms())
            except RetryableError as error:
                if self._now_ms() >= give_up_ms:
                    self._log.error("drain_failed", error=str(error))  # nothing is lost: read again after the restart
                    return ExitCode.FAILURE
            else:
                return ExitCode.OK
            self._pause(FIRST_BACKOFF_S)
            with suppress(RetryableError):
                self._engine.step(self._now_ms())  # follows the group; reads nothing while a commit is outstanding

    def _judge_end(self) -> ExitCode:
        """Return a failure where an input was read to its end without one window scored: it is read wrongly."""
        if self._engine is None:
            return ExitCode.OK
        if self._is_finished():
            with suppress(RetryableError):
                self._engine.report()  # a short input ends before the first one was due
        status = self._engine.status()
        if not status.unscored:
            return ExitCode.OK
        self._log.error("nothing_scored", reason=status.unscored)
        return ExitCode.FAILURE

    def _drain_too_slow(self) -> None:
        self._log.error("drain_deadline_missed")
        self._exit_now(ExitCode.FAILURE)

    def _close(self) -> None:
        """Let go of the engine; what fails now is logged and changes nothing."""
        if self._engine is None:
            return
        try:
            self._engine.close()
        except Exception:  # noqa: BLE001 - the work is done or will be done again
            self._log.exception("close_failed")


def watch_signals(handle: Callable[[int], None]) -> None:
    """Give every signal of `SIGNALS` to `handle`, in a thread of its own, for the rest of the process.

    Python runs signal handlers in the main thread, between two of its instructions: deep in a client or on the
    device that can take long. The number of a signal is written to a socket at once, whatever the main thread
    does, and the thread reads it there. Call from the main thread.
    """
    numbers, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while number := numbers.recv(1):
            if number[0] in SIGNALS:
                handle(number[0])

    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: None)  # installed only so that the number is written
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    Thread(target=watch, name="signals", daemon=True).start()


def check_platform() -> None:
    """Raise ConfigError where a daemon cannot be run: before its bundle and services are looked for."""
    if not RELOAD_SIGNALS:
        raise ConfigError(["streamae run: needs Linux: this platform has no signal SIGHUP to have settings read again"])


def serve(
    loaded: LoadedSettings,
    build: Callable[[Listener], Supervised],
    changes: Changes | None = None,
) -> ExitCode:
    """Run an engine as this process: log, health server, supervisor and signals around it.

    Args:
        loaded: settings of the service, and what is running.
        build: makes the engine.
        changes: where settings are read again on SIGHUP; None = SIGHUP is ignored.

    Call once, from the main thread.

    Raises:
        ConfigError: the settings cannot be served.
        FatalError: the health port cannot be listened on.
    """
    settings = loaded.settings.service
    logs.configure(settings.log_level, settings.log_format)
    telemetry, notifier = Telemetry(), Notifier.from_environment(os.environ)
    service = Service(
        lambda: build(telemetry),
        Limits(settings.drain_timeout_ms, settings.stall_timeout_ms, settings.store_grace_ms),
        telemetry,
        notifier,
        reload=Reload(loaded.settings, changes, telemetry, notifier) if changes else None,
    )
    host, port = settings.http_host, settings.http_port
    try:
        health = HealthServer(
            host, port, service.live, service.ready, telemetry.render, service.status, service.warnings
        )
    except OSError as error:
        raise FatalError(f"cannot listen on {host}:{port} (service.http_host, service.http_port): {error}") from error
    watch_signals(service.signalled)
    health.start()
    changed = {name: source for name, source in loaded.sources.items() if source != "default"}
    logs.get_logger().info("starting", http_port=health.port, pid=os.getpid(), settings=changed)
    for warning in loaded.warnings:
        logs.get_logger().warning("settings_doubt", text=warning)
    try:
        return service.run()
    finally:
        health.close()
