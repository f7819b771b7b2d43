"""The process around couriers: threads that stop cleanly, and what it says of itself."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event, Thread

import pytest

from streamae.alerting.alerter import Alerter
from streamae.alerting.courier import Courier
from streamae.alerting.receiver import Outcome
from streamae.alerting.turner import Turner
from streamae.alerting.watcher import Watcher
from streamae.alerting.world import Report
from streamae.errors import ConfigError, ExitCode, FatalError, RetryableError
from streamae.settings.serving import ServiceSettings
from tests.alerting.couriers import House, Recorder, event
from tests.alerting.test_watcher import Cluster, Follower
from tests.waiting import wait_until

LIMITS = ServiceSettings(drain_timeout_ms=5_000, stall_timeout_ms=60_000, store_grace_ms=60_000)


class Supervisor:
    """Hears what a supervisor would."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def ready(self) -> None:
        self.heard.append("ready")

    def stopping(self) -> None:
        self.heard.append("stopping")

    def watchdog(self) -> None:
        self.heard.append("watchdog")

    def status(self, text: str) -> None:
        self.heard.append(text)


class Running:
    """An alerter over connectors in memory, in a thread of its own."""

    def __init__(self, house: House, limits: ServiceSettings = LIMITS) -> None:
        house.begin()
        self.house, self.supervisor, self.exits = house, Supervisor(), list[int]()
        self.build: dict[str, Callable[[], Courier]] = {
            receiver.name: (lambda courier=courier: courier)  # type: ignore[misc]
            for receiver, courier in zip(house.receivers, house.couriers, strict=True)
        }
        self.limits = limits
        self.code: int | None = None
        self.raised: BaseException | None = None

    def start(self) -> None:
        """Run until it ends."""
        self.alerter = Alerter(self.build, self._watcher, self.limits, self.supervisor, self.exits.append)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        self.alerter.signalled(signal.SIGTERM)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        """Wait until it has ended."""
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.code = self.alerter.run()
        except ConfigError as error:
            self.raised = error

    def _watcher(self, reports: Callable[[], Sequence[Report]]) -> Watcher:
        house = self.house
        return Watcher(house.settings, house.world.owners, Cluster(), Follower(), reports, house.metrics, ["anomalies"])


def test_it_tells_says_that_it_is_ready_and_stops_cleanly() -> None:
    """The life of the process in one piece: exit 0, everything recorded and committed, receivers closed."""
    house = House()
    running = Running(house)
    running.start()
    wait_until(lambda: "ready" in running.supervisor.heard, "READY")
    assert (running.alerter.ready(), running.alerter.live()) == ([], [])
    house.happens(event("e-1"))
    wait_until(lambda: house.receivers[0].told, "the alert")
    wait_until(lambda: running.alerter.status()["receivers"]["pager"]["firing"].get("critical"), "the status")
    running.stop()
    assert running.code == ExitCode.OK
    assert "watchdog" in running.supervisor.heard
    assert running.supervisor.heard[-1] == "stopping"
    assert house.receivers[0].is_closed
    assert set(house.texts["pager"].texts) == {"e-1"}
    assert running.alerter.ready() == ["stopping"]


def test_services_that_are_away_at_the_start_are_waited_for() -> None:
    """Alerting that needs a restart after an outage of Kafka would page nobody until somebody looks."""
    house = House()
    running = Running(house)
    answers = iter([RetryableError("no broker"), RetryableError("no broker")])
    courier = house.couriers[0]

    def build() -> Courier:
        for error in answers:
            raise error
        return courier

    running.build["pager"] = build
    running.start()
    wait_until(lambda: "ready" in running.supervisor.heard, "READY")
    running.stop()
    assert running.code == ExitCode.OK


def test_a_receiver_that_is_not_there_yet_is_named() -> None:
    """Whoever looks at /readyz reads which one, and why."""
    house = House()
    running = Running(house)

    def build() -> Courier:
        raise RetryableError("no broker")

    running.build["pager"] = build
    running.start()
    wait_until(lambda: "no broker" in "".join(running.alerter.ready()), "the reason")
    assert running.alerter.ready()[0].startswith("pager: reads nothing of the output topic yet")
    assert running.alerter.live() == []
    running.stop()


def test_what_speaks_against_being_ready_comes_after_its_grace() -> None:
    """One hiccup of a pager must not take the process out; a minute of it must."""
    house = House()
    running = Running(house, LIMITS.model_copy(update={"store_grace_ms": 10_000}))
    running.start()
    wait_until(lambda: not running.alerter.ready(), "ready")
    running.stop()
    running.alerter._stop = Event()
    courier = house.couriers[0]
    courier.report = replace(courier.report, failing_since_ms=courier.report.at_ms, why="503", is_stateless=True)
    assert running.alerter.ready() == []
    courier.report = replace(courier.report, failing_since_ms=courier.report.at_ms - 11_000)
    (reason,) = running.alerter.ready()
    assert reason.startswith("pager: takes nothing for 1")
    assert "503" in reason
    assert running.alerter.warnings() == ["what was told cannot be kept in Redis: pager"]


@pytest.mark.parametrize(
    ("error", "code"), [(FatalError("fenced"), ExitCode.FAILURE), (ValueError("bug"), ExitCode.FAILURE)]
)
def test_a_thread_that_fails_ends_the_process(error: Exception, code: ExitCode) -> None:
    """The supervisor starts it again; a process without one of its receivers would look well."""
    house = House(Recorder("pager"), Recorder("chat"))
    running = Running(house)

    def build() -> Courier:
        raise error

    running.build["chat"] = build
    running.start()
    running.wait_for_end()
    assert running.code == code
    assert house.receivers[0].is_closed


def test_wrong_settings_found_late_are_told_as_such() -> None:
    """Starting again cannot help: the exit code says so."""
    running = Running(House())

    def build() -> Courier:
        raise ConfigError(["kafka: refused"])

    running.build["pager"] = build
    running.start()
    running.wait_for_end()
    assert isinstance(running.raised, ConfigError)


def test_a_receiver_that_hangs_is_seen_and_does_not_hold_up_the_stop() -> None:
    """Liveness names the thread that stands still; after the deadline the process ends with failure."""
    house = House(Recorder("pager"), Recorder("chat"))
    release = Event()

    def hang(_notice: object) -> Outcome:
        release.wait(30)
        raise FatalError("released")

    house.receivers[0].answer = hang
    running = Running(house, LIMITS.model_copy(update={"drain_timeout_ms": 300, "stall_timeout_ms": 1_200}))
    running.start()
    wait_until(lambda: not running.alerter.ready(), "ready")
    house.happens(event("e-1"))
    wait_until(running.alerter.live, "the stall")
    assert running.alerter.live()[0].startswith("pager stands still")
    assert house.receivers[1].told
    running.stop()
    assert running.code == ExitCode.FAILURE
    release.set()


def test_a_second_signal_ends_it_at_once() -> None:
    """An operator who asks twice is in a hurry; SIGHUP means nothing here."""
    running = Running(House())
    running.start()
    wait_until(lambda: not running.alerter.ready(), "ready")
    running.alerter.signalled(signal.SIGHUP)
    assert running.alerter.ready() == []
    running.alerter.signalled(signal.SIGTERM)
    running.alerter.signalled(signal.SIGTERM)
    running.wait_for_end()
    assert running.exits == [ExitCode.FAILURE]
    running.alerter.signalled(signal.SIGTERM)
    assert running.exits == [ExitCode.FAILURE]


def test_what_fails_at_the_end_changes_nothing() -> None:
    """The work is recorded by then."""

    class Fragile:
        rest_s = 0.01

        def step(self, now_ms: int, wall_ms: int) -> None:
            stop.set()

        def drain(self, now_ms: int) -> None:
            drained.append(now_ms)

        def close(self) -> None:
            raise OSError("gone")

    stop, drained = Event(), list[int]()
    turner = Turner("fragile", Fragile, stop)
    turner.start()
    turner.join(10)
    assert (turner.is_alive, turner.error, len(drained)) == (False, None, 1)
