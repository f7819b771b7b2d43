"""The process that tells people: a thread a receiver, one for what concerns all, and how they are.

    run()   threads on -> told to stop -> each finishes its turn, records, commits -> exit code

One receiver that hangs holds up no other thread. First SIGTERM or SIGINT: as above, exit 0. Second one, or the
deadline: exit 1, which loses nothing, since what is not recorded is read again.

Must not know: receivers, Kafka or Redis, or how its health is asked for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, Protocol

from streamae.alerting.courier import Courier
from streamae.alerting.turner import Turner, monotonic_ms
from streamae.alerting.watcher import Watcher
from streamae.alerting.world import Report
from streamae.errors import ConfigError, ExitCode
from streamae.observe.logs import get_logger
from streamae.settings.serving import ServiceSettings

BEAT_S = 1.0
READY_GRACE_MS = 30_000  # READY=1 is said this long after the start even where a group is not joined
SHOW_INTERVAL_MS = 10_000
STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
WATCHER = "watcher"
SHOWN_KEYS = 100


class Supervisor(Protocol):
    """Who started the process, such as systemd. A lost message is no error."""

    def ready(self) -> None:
        """The start is over."""
        ...

    def stopping(self) -> None:
        """A clean stop has begun."""
        ...

    def watchdog(self) -> None:
        """All threads come round."""
        ...

    def status(self, text: str) -> None:
        """Show one line."""
        ...


class Alerter:
    """Runs couriers and watcher. `run` is called once; everything else from any thread.

    Args:
        build: by receiver, what makes its courier; may raise RetryableError and is then called again.
        make_watcher: makes what concerns all, given what returns the reports of the couriers.
        limits: of the service: how long what is borne.
        supervisor: hears how it goes.
        exit_now: ends the process at once with a code.
    """

    def __init__(
        self,
        build: Mapping[str, Callable[[], Courier]],
        make_watcher: Callable[[Callable[[], Sequence[Report]]], Watcher],
        limits: ServiceSettings,
        supervisor: Supervisor,
        exit_now: Callable[[int], None] = os._exit,
    ) -> None:
        self._limits, self._supervisor, self._exit_now = limits, supervisor, exit_now
        self._stop = Event()
        self._couriers: dict[str, Courier] = {}
        self.watcher = make_watcher(self.reports)
        self._turners = {name: Turner(name, self._kept(name, make), self._stop) for name, make in build.items()}
        self._turners[WATCHER] = Turner(WATCHER, lambda: self.watcher, self._stop)
        self._started_ms = self._shown_ms = monotonic_ms()
        self._is_announced = self._is_over = False

    def run(self) -> ExitCode:
        """Start, wait until told to stop, stop; return the exit code.

        Raises:
            ConfigError: the settings cannot be served.
        """
        for turner in self._turners.values():
            turner.start()
        while not self._stop.wait(BEAT_S):
            self._tell_supervisor()
        self._supervisor.stopping()
        deadline_ms = monotonic_ms() + self._limits.drain_timeout_ms
        for turner in self._turners.values():
            turner.join((deadline_ms - monotonic_ms()) / 1_000)
        code = self._judge()
        self._is_over = True
        get_logger().info("stopped", code=int(code))
        return code

    def signalled(self, number: int) -> None:
        """Take a signal: the first that asks to stop does so cleanly, the second at once."""
        name = signal.Signals(number).name
        if self._is_over:
            return
        if number not in STOPS:
            get_logger().info("signal_ignored", signal=name)
        elif self._stop.is_set():
            get_logger().warning("stop_forced", signal=name)
            self._exit_now(ExitCode.FAILURE)
        else:
            get_logger().info("stopping", signal=name, deadline_ms=self._limits.drain_timeout_ms)
            self._stop.set()

    def reports(self) -> Sequence[Report]:
        """Return the newest report of each courier; of one that is not built yet an empty one."""
        names = (name for name in self._turners if name != WATCHER)
        return [courier.report if (courier := self._couriers.get(name)) else Report(name) for name in names]

    def live(self) -> list[str]:
        """What speaks against being alive: a thread that stands still, never a service that is away."""
        now_ms, patience_ms = monotonic_ms(), self._limits.stall_timeout_ms
        stalled = {name: now_ms - turner.progress_ms for name, turner in self._turners.items()}
        return [f"{name} stands still for {ms // 1_000} s" for name, ms in stalled.items() if ms > patience_ms]

    def ready(self) -> list[str]:
        """What speaks against being ready, one sentence each."""
        if self._stop.is_set():
            return ["stopping"]
        now_ms, reasons = monotonic_ms(), []
        for report in self.reports():
            trouble = self._turners[report.receiver].trouble or report.why
            because = f": {trouble}" if trouble else ""
            if report.partitions == 0:
                reasons.append(f"{report.receiver}: reads nothing of the output topic yet{because}")
            since_ms = report.failing_since_ms
            if since_ms is not None and now_ms - since_ms > self._limits.store_grace_ms:
                reasons.append(f"{report.receiver}: takes nothing for {(now_ms - since_ms) // 1_000} s{because}")
        return reasons

    def warnings(self) -> list[str]:
        """What else is wrong, one sentence each."""
        stateless = [report.receiver for report in self.reports() if report.is_stateless]
        forgetful = [f"what was told cannot be kept in Redis: {', '.join(stateless)}"] if stateless else []
        return [*self.watcher.problems, *forgetful]

    def status(self) -> dict[str, Any]:
        """Return what `/status` answers."""
        world, now_ms, reasons = self.watcher.world, monotonic_ms(), self.ready()
        return {
            "ready": not reasons,
            "reasons": reasons,
            "receivers": {report.receiver: _shown(report, now_ms) for report in self.reports()},
            "detectors": {
                "alive": sorted(world.standing.alive),
                "silent_since_ms": dict(world.standing.silent),
                "unseen": sorted(world.standing.unseen),
            },
            "keys_without_owner": world.owners.without_owner.examples[:SHOWN_KEYS],
            "can_deliver": world.is_well,
        }

    def _kept(self, name: str, make: Callable[[], Courier]) -> Callable[[], Courier]:
        def build() -> Courier:
            self._couriers[name] = courier = make()
            return courier

        return build

    def _tell_supervisor(self) -> None:
        now_ms, reasons = monotonic_ms(), self.ready()
        if not self._is_announced and (not reasons or now_ms - self._started_ms >= READY_GRACE_MS):
            self._is_announced = True
            self._supervisor.ready()
        if not self.live():
            self._supervisor.watchdog()
        if now_ms - self._shown_ms >= SHOW_INTERVAL_MS:
            self._shown_ms = now_ms
            firing = sum(sum(report.firing.values()) for report in self.reports())
            self._supervisor.status("; ".join([f"{firing} alerts open", *reasons, *self.warnings()]))

    def _judge(self) -> ExitCode:
        late = [name for name, turner in self._turners.items() if turner.is_alive]
        if late:
            get_logger().error("drain_deadline_missed", threads=late)
        errors = [turner.error for turner in self._turners.values() if turner.error is not None]
        for error in errors:
            if isinstance(error, ConfigError):
                raise error
        return ExitCode.FAILURE if late or errors else ExitCode.OK


def _shown(report: Report, now_ms: int) -> dict[str, Any]:
    failing_ms = None if report.failing_since_ms is None else now_ms - report.failing_since_ms
    return {
        "partitions": report.partitions,
        "caught_up": report.is_caught_up,
        "lag_ms": report.lag_ms,
        "waiting": report.waiting,
        "oldest_waiting_ms": report.oldest_ms,
        "failing_for_ms": failing_ms,
        "why": report.why,
        "firing": dict(report.firing),
        "stateless": report.is_stateless,
        "refused": report.refusals.count,
    }
