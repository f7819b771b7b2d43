"""Settings read again: all or nothing, what is live counts at once, what is not is named, and a replay never mixes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from streamae.assembly.tuning import build_tuning
from streamae.core.thresholds.rolling import SigmaLimit
from streamae.daemon.notify import Notifier
from streamae.daemon.reload import Changes, Reload
from streamae.engine.stages import Tuning
from streamae.engine.status import EngineStatus
from streamae.errors import ConfigError, RetryableError
from streamae.observe import logs
from streamae.observe.telemetry import Telemetry
from streamae.settings.tree import LoadedSettings, Settings, fingerprint
from tests.engines import Rig, broker_with, settings, stream, tiny_bundle


def tune(of: Settings) -> Tuning:
    """What an engine on the bundle of `tests.engines` judges by."""
    return build_tuning(of, tiny_bundle())


class Supervisor(Notifier):
    """Remembers what systemd would hear."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def _send(self, message: str) -> None:
        self.heard.append(message.splitlines()[0])


class Engine:
    """Remembers what it was told to do, in order."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.replaying = 0
        self.failures = 0

    def drain(self, now_ms: int) -> None:
        if self.failures:
            self.failures -= 1
            raise RetryableError("no broker")
        self.calls.append(("drain", now_ms))

    def adopt(self, tuning: Tuning) -> None:
        self.calls.append(tuning)

    def status(self) -> EngineStatus:
        return EngineStatus(replaying=self.replaying)


class Desk:
    """One reload with everything around it; `written` is what the next reading finds."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        logs.configure("info", "json", self.log)
        self.running = settings()
        self.written: Settings | ConfigError = self.running
        self.warnings: tuple[str, ...] = ()
        self.readings = 0
        self.telemetry, self.supervisor, self.engine = Telemetry(), Supervisor(), Engine()
        self.supervisor.ready()
        self.supervisor.heard.clear()
        self.reload = Reload(self.running, Changes(self.read, tune), self.telemetry, self.supervisor)

    def read(self) -> LoadedSettings:
        """Return what is written."""
        self.readings += 1
        if isinstance(self.written, ConfigError):
            raise self.written
        return LoadedSettings(self.written, {}, self.warnings)

    def hang_up(self, written: Settings | ConfigError) -> None:
        """Write settings, ask, and take one turn."""
        self.written = written
        self.reload.ask()
        self.reload.turn(self.engine, 70)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines with that name."""
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]

    def outcomes(self) -> list[float]:
        """Return the counts of applied and refused reloads, and whether the last one was good."""
        text = self.telemetry.render()[0].decode().splitlines()
        names = [f'config_reloads_total{{outcome="{outcome}"}}' for outcome in ("applied", "refused")]
        return [
            float(next(line for line in text if line.startswith(f"streamae_{name} ")).split()[-1])
            for name in (*names, "config_last_reload_successful")
        ]


@pytest.fixture
def desk() -> Desk:
    """A running process, as far as a reload sees it."""
    return Desk()


def test_without_being_asked_nothing_is_read(desk: Desk) -> None:
    """A file that changes on disk changes nothing by itself."""
    desk.written = settings(threshold={"k": 5})
    desk.reload.turn(desk.engine, 70)
    assert (desk.readings, desk.engine.calls, desk.supervisor.heard) == (0, [], [])


def test_thresholds_and_episodes_are_taken_over(desk: Desk) -> None:
    """After a commit and a checkpoint under the old ones; the supervisor hears begin and end, the log what changed."""
    written = settings(threshold={"k": 5}, episode={"merge_gap_windows": 7})
    desk.hang_up(written)
    assert desk.engine.calls == [("drain", 70), tune(written)]
    assert desk.supervisor.heard == ["RELOADING=1", "READY=1"]
    (line,) = desk.lines("settings_reloaded")
    assert line["changed"] == ["threshold.k", "episode.merge_gap_windows"]
    assert line["needs_restart"] == []
    assert desk.outcomes() == [1, 0, 1]


def test_invalid_settings_change_nothing(desk: Desk) -> None:
    """Every problem is logged, the old settings stay, and the next valid ones count."""
    desk.hang_up(ConfigError(["threshold.k: must be positive (file:a)", "kafka.grup: unknown setting (file:a)"]))
    assert desk.engine.calls == []
    assert desk.reload.running == desk.running
    (line,) = desk.lines("settings_reload_failed")
    assert line["problems"] == ["threshold.k: must be positive (file:a)", "kafka.grup: unknown setting (file:a)"]
    assert desk.outcomes() == [0, 1, 0]
    assert desk.supervisor.heard == ["RELOADING=1", "READY=1"]
    desk.hang_up(settings(threshold={"k": 5}))
    assert desk.reload.running.threshold.k == 5
    assert desk.outcomes() == [1, 1, 1]


def test_what_differs_from_the_bundle_is_told_again(desk: Desk) -> None:
    """A stride that the model was not trained with is a line in the log of the daemon too."""
    desk.warnings = ("window.stride: 2, but the bundle was trained with 1 (file:a)",)
    desk.hang_up(desk.running)
    (line,) = desk.lines("settings_doubt")
    assert (line["level"], line["text"]) == ("warning", *desk.warnings)


def test_a_rule_of_another_family_is_refused(desk: Desk) -> None:
    """What keys have learnt means nothing to it: the operator is told to restart, and all else stays as it was."""
    desk.hang_up(settings(threshold={"rule": "block_maxima"}, episode={"merge_gap_windows": 7}))
    assert desk.engine.calls == []
    (line,) = desk.lines("settings_reload_failed")
    assert "sigma to block_maxima needs a restart" in line["problems"][0]
    desk.hang_up(settings(threshold={"rule": "quantile"}))
    assert desk.reload.running.threshold.rule == "quantile"
    assert desk.outcomes() == [1, 1, 1]


def test_closing_the_episodes_of_silent_keys_is_not_switched_on(rig: Rig) -> None:
    """It would be said to be applied, and no episode would ever be closed; switched off it is at once."""
    off, on = settings(episode={"close_after_ms": 0}), settings(episode={"close_after_ms": 60_000})
    for running, new, taken in ((off, on, off), (on, off, off)):
        loaded = LoadedSettings(new, {})
        reload = Reload(running, Changes(lambda loaded=loaded: loaded, tune), rig.telemetry, Notifier())
        reload.ask()
        reload.turn(rig.engine, rig.now_ms)
        assert reload.running == taken


def test_what_needs_a_restart_is_named_and_not_taken_over(desk: Desk) -> None:
    """Half of a change is no change: names are listed each time until the restart, never a value, and never a secret."""
    written = settings(
        kafka={"group_id": "other", "sasl_password": "hush"},
        threshold={"k": 5},
        service={"log_level": "debug", "http_port": 1},
    )
    desk.hang_up(written)
    desk.hang_up(written)
    first, second = desk.lines("settings_reloaded")
    assert first["changed"] == ["threshold.k", "service.log_level"]
    assert second["changed"] == []
    for line in (first, second):
        assert line["needs_restart"] == ["kafka.group_id", "kafka.sasl_password", "service.http_port"]
    assert "hush" not in desk.log.getvalue()
    (_, adopted) = desk.engine.calls
    assert adopted == tune(written)
    assert desk.reload.running.kafka == desk.running.kafka
    assert desk.reload.running.service.http_port == desk.running.service.http_port
    assert fingerprint(desk.reload.running) == fingerprint(written) != fingerprint(desk.running)


def test_settings_that_decide_nothing_need_no_commit(desk: Desk) -> None:
    """The log level changes at once, also while Kafka is away."""
    desk.engine.failures = 1
    desk.hang_up(settings(service={"log_level": "error"}))
    assert desk.engine.calls == []
    logs.get_logger().warning("not_heard")
    desk.hang_up(settings(service={"log_level": "debug"}))
    logs.get_logger().debug("heard")
    assert desk.lines("not_heard") == []
    assert len(desk.lines("heard")) == 1
    assert desk.outcomes() == [2, 0, 1]


def test_a_commit_that_fails_delays_the_change(desk: Desk) -> None:
    """What was decided under the old rules must be out first; one request is enough, and the file is read once."""
    desk.engine.failures = 1
    with pytest.raises(RetryableError):
        desk.hang_up(settings(threshold={"k": 5}))
    assert desk.reload.running.threshold.k == desk.running.threshold.k
    assert desk.supervisor.heard == ["RELOADING=1"]
    desk.reload.turn(desk.engine, 90)
    assert [call[0] for call in desk.engine.calls[:1]] == ["drain"]
    assert desk.reload.running.threshold.k == 5
    assert desk.readings == 1
    assert desk.supervisor.heard == ["RELOADING=1", "READY=1"]


def test_a_replay_ends_before_the_change(desk: Desk) -> None:
    """Replayed records were decided under the old rules, and what is rebuilt must come out the same."""
    desk.engine.replaying = 1
    desk.hang_up(settings(threshold={"k": 5}))
    assert desk.engine.calls == []
    desk.engine.replaying = 0
    desk.reload.turn(desk.engine, 90)
    assert desk.reload.running.threshold.k == 5


def test_the_newest_valid_settings_win_while_a_change_waits(desk: Desk) -> None:
    """A second request replaces the first; an invalid one in between does not cancel it."""
    desk.engine.replaying = 1
    desk.hang_up(settings(threshold={"k": 5}))
    desk.hang_up(ConfigError(["threshold.k: no"]))
    desk.hang_up(settings(threshold={"k": 6}))
    desk.hang_up(ConfigError(["threshold.k: no"]))
    desk.engine.replaying = 0
    desk.reload.turn(desk.engine, 90)
    assert desk.reload.running.threshold.k == 6
    assert desk.outcomes() == [1, 2, 1]


def test_a_reload_before_readiness_does_not_announce_it() -> None:
    """READY=1 for the reload would tell systemd that the start is over."""
    desk = Desk()
    supervisor = Supervisor()
    Reload(desk.running, Changes(desk.read, tune), desk.telemetry, supervisor)
    supervisor.reloading()
    supervisor.reloaded()
    assert supervisor.heard == []


@pytest.fixture
def rig() -> Rig:
    """A whole engine in the middle of a stream in which one key has an episode open."""
    spikes = [(1, row) for row in range(50, 110)]
    rig = Rig(broker_with(stream(3, 120, spikes=spikes), partitions=1), max_poll_records=30)
    rig.step(7)
    assert len(rig.events()) == 1
    return rig


def test_the_engine_judges_by_the_new_settings(rig: Rig) -> None:
    """A threshold out of reach closes the open episode, by the new number of quiet windows, in the new version."""
    loaded = LoadedSettings(settings(threshold={"rule": "static", "value": 1e9}, episode={"merge_gap_windows": 1}), {})
    reload = Reload(rig.settings, Changes(lambda: loaded, tune), rig.telemetry, Notifier())
    reload.ask()
    before = rig.engine.partitions.items()[0][1].position
    reload.turn(rig.engine, rig.now_ms)
    assert rig.store.manifest(rig.engine.partitions.items()[0][0]).offset == before  # type: ignore[union-attr]
    rig.run_dry()
    opened, closed = (json.loads(record.value or b"") for record in rig.events())
    assert (opened["kind"], closed["kind"]) == ("opened", "closed")
    assert opened["episode_id"] == closed["episode_id"]
    assert closed["source"]["offset"] < before + 3 * 3
    assert opened["settings_version"] == fingerprint(rig.settings)
    assert closed["settings_version"] == fingerprint(reload.running) != opened["settings_version"]
    assert closed["threshold"] == 1e9


def test_what_keys_have_learnt_stays(rig: Rig) -> None:
    """A new threshold is no new warm-up: statistics and windows go on where they were."""
    slots = rig.engine.states.table.resident()
    counts = rig.engine.stages.decision.columns["count"][slots].copy()
    rig.engine.adopt(tune(settings(threshold={"k": 3})))
    assert (rig.engine.stages.decision.columns["count"][slots] == counts).all()
    assert rig.engine.stages.decision.rule.limit == SigmaLimit(3.0)


def test_an_alert_budget_sets_the_rule(rig: Rig) -> None:
    """The budget wins over k; one that the rule cannot keep is a settings error with the reason."""
    rig.engine.adopt(tune(settings(threshold={"k": 3, "alert_budget_per_week": 600})))
    assert rig.engine.stages.decision.rule.limit.k == pytest.approx(6.0, abs=1.0)  # 600 of 604,800 windows
    with pytest.raises(ConfigError, match=r"alert_budget_per_week: .*ask for less"):
        tune(settings(threshold={"alert_budget_per_week": 1e6}))


def test_settings_that_do_not_fit_the_bundle_are_refused(rig: Rig) -> None:
    """Found out when they are taken over: the process goes on under the old ones."""
    loaded = LoadedSettings(settings(threshold={"alert_budget_per_week": 1e6}), {})
    reload = Reload(rig.settings, Changes(lambda: loaded, tune), rig.telemetry, Notifier())
    before = rig.engine.stages.decision.rule
    reload.ask()
    reload.turn(rig.engine, rig.now_ms)
    assert reload.running == rig.settings
    assert rig.engine.stages.decision.rule is before
