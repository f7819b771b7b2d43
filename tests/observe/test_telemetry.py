"""Metrics: their names and labels are a contract with dashboards and alert rules."""

from __future__ import annotations

import platform
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

import streamae
from streamae.batches import Partition
from streamae.episode_changes import ChangeKind
from streamae.observe.telemetry import (
    CHECKPOINT_OUTCOMES,
    CLOCK_STEPS,
    DROP_REASONS,
    KEY_STATES,
    PARTITION_STATES,
    REBALANCES,
    RECYCLE_REASONS,
    RELOAD_OUTCOMES,
    TRANSACTION_OUTCOMES,
    Telemetry,
)
from streamae.reasons import STARTS, Fruitless, Problem, Reason

ONE, TWO = Partition("sensors", 0), Partition("sensors", 1)
OURS = re.compile(r"streamae_[a-z]+(_[a-z]+)*")
UNITS = (
    "seconds",
    "windows",
    "records",
    "total",
    "info",
    "keys",
    "offset",
    "partitions",
    "problems",
    "ratio",
    "state",
    "successful",
    "unusable",
    "week",
)


class Clock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def series(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read the rendered text back: value by name and sorted labels."""
    text, _ = telemetry.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    """Return one series' value, None where there is none."""
    return series(telemetry).get((f"streamae_{name}", tuple(sorted(labels.items()))))


def exercised() -> Telemetry:
    """Telemetry with every method called."""
    telemetry = Telemetry(Clock())
    telemetry.consumed(ONE, 3, 990_000)
    telemetry.episode_rate(1.5)
    telemetry.alert_budget(2)
    telemetry.replayed(1)
    telemetry.dead_lettered(Reason.NOT_JSON, 1)
    telemetry.dropped(Reason.LATE, 1)
    telemetry.lag({ONE: 5, TWO: 0})
    telemetry.scored(8, 0.01)
    telemetry.stepped(0.02)
    telemetry.episode(ChangeKind.OPENED)
    telemetry.transaction("committed", 0.1)
    telemetry.producer_recycled("late")
    telemetry.checkpoint("ok", 0.1)
    telemetry.nothing_to_save()
    telemetry.keys({"ready": 2})
    telemetry.evicted(1)
    telemetry.silences(2, 1)
    telemetry.split_key()
    telemetry.store_error()
    telemetry.rolled_back()
    telemetry.partition_started("clean")
    telemetry.rebalance("assigned", 2)
    telemetry.retried()
    telemetry.progressed()
    telemetry.bundle("0123abcd", "cpu")
    telemetry.committed({ONE: 7, TWO: None})
    telemetry.partitions({"running": 2})
    telemetry.store_problems({Problem.EVICTS})
    telemetry.unusable({Reason.LATE: 0.625}, Reason.LATE)
    telemetry.unusable_keys({Fruitless.GAP: 3})
    telemetry.step_ratio(2.5)
    telemetry.device_fallback()
    telemetry.reloaded("refused")
    return telemetry


def test_names_follow_the_convention() -> None:
    """Every metric is streamae_<noun>_<unit>, counters end in _total, and each says what it is."""
    text, _ = exercised().render()
    families = [family for family in parse(text.decode()) if not family.name.startswith("process_")]
    assert len(families) >= 24
    for family in families:
        assert OURS.fullmatch(family.name), family.name
        assert family.documentation.endswith("."), family.name
        full = family.samples[0].name if family.type == "counter" else family.name
        assert full.endswith(UNITS), full
        assert (family.type == "counter") == full.endswith("_total"), full


def test_labels_come_from_closed_sets() -> None:
    """No label can grow with the data: a key never becomes a series."""
    allowed = {
        "reason": {*Reason, *Fruitless, *RECYCLE_REASONS, *STARTS},
        "kind": {*ChangeKind, *REBALANCES, *CLOCK_STEPS},
        "outcome": {*TRANSACTION_OUTCOMES, *CHECKPOINT_OUTCOMES, *RELOAD_OUTCOMES},
        "state": {*KEY_STATES, *PARTITION_STATES},
        "problem": set(Problem),
        "topic": {"sensors"},
        "partition": {"0", "1"},
        "version": {"0123abcd", streamae.__version__},
        "device": {"cpu"},
        "python": {platform.python_version()},
    }
    for _, labels in series(exercised()):
        for name, label in labels:
            assert name == "le" or label in allowed[name], (name, label)


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("records_total", {"topic": "sensors", "partition": "0"}, 3),
        ("replayed_records_total", {}, 1),
        ("dead_letters_total", {"reason": "not_json"}, 1),
        ("dropped_records_total", {"reason": "late"}, 1),
        ("consumer_lag_records", {"topic": "sensors", "partition": "0"}, 5),
        ("consumer_lag_seconds", {"topic": "sensors", "partition": "0"}, 10),
        ("committed_offset", {"topic": "sensors", "partition": "0"}, 7),
        ("partition_state", {"state": "running"}, 2),
        ("store_problems", {"problem": "evicts"}, 1),
        ("unusable_records_ratio", {"reason": "late"}, 0.625),
        ("unusable_records_ratio", {"reason": "not_json"}, 0),
        ("stream_unusable", {"reason": "late"}, 1),
        ("stream_unusable", {"reason": "starved"}, 0),
        ("unusable_keys", {"reason": "gap"}, 3),
        ("step_ratio", {}, 2.5),
        ("device_fallbacks_total", {}, 1),
        ("config_reloads_total", {"outcome": "refused"}, 1),
        ("episodes_per_key_week", {}, 1.5),
        ("alert_budget_per_key_week", {}, 2),
        ("config_last_reload_successful", {}, 0),
        ("scores_total", {}, 8),
        ("batch_size_windows_sum", {}, 8),
        ("model_duration_seconds_sum", {}, 0.01),
        ("step_duration_seconds_sum", {}, 0.02),
        ("episodes_total", {"kind": "opened"}, 1),
        ("transactions_total", {"outcome": "committed"}, 1),
        ("transaction_duration_seconds_count", {}, 1),
        ("producer_recycles_total", {"reason": "late"}, 1),
        ("checkpoints_total", {"outcome": "ok"}, 1),
        ("checkpoint_duration_seconds_count", {}, 1),
        ("keys", {"state": "ready"}, 2),
        ("evicted_keys_total", {}, 1),
        ("split_keys_total", {}, 1),
        ("store_errors_total", {}, 1),
        ("rebalanced_partitions_total", {"kind": "assigned"}, 2),
        ("retries_total", {}, 1),
        ("loop_last_progress_timestamp_seconds", {}, 1_000),
        ("bundle_info", {"version": "0123abcd", "device": "cpu"}, 1),
        ("build_info", {"version": streamae.__version__, "python": platform.python_version()}, 1),
    ],
)
def test_each_call_moves_its_series(name: str, labels: dict[str, str], expected: float) -> None:
    """What the engine reports is what a scrape shows."""
    assert value(exercised(), name, **labels) == pytest.approx(expected)


def test_labelled_counters_start_at_zero() -> None:
    """A rate over the first error needs the zero before it."""
    fresh = Telemetry()
    for reason in Reason:
        assert value(fresh, "dead_letters_total", reason=reason) == 0
    for reason in DROP_REASONS:
        assert value(fresh, "dropped_records_total", reason=reason) == 0
    for kind in ChangeKind:
        assert value(fresh, "episodes_total", kind=kind) == 0
    for outcome in TRANSACTION_OUTCOMES:
        assert value(fresh, "transactions_total", outcome=outcome) == 0
    for reason in RECYCLE_REASONS:
        assert value(fresh, "producer_recycles_total", reason=reason) == 0
    for outcome in CHECKPOINT_OUTCOMES:
        assert value(fresh, "checkpoints_total", outcome=outcome) == 0
    for kind in REBALANCES:
        assert value(fresh, "rebalanced_partitions_total", kind=kind) == 0
    for outcome in RELOAD_OUTCOMES:
        assert value(fresh, "config_reloads_total", outcome=outcome) == 0
    for problem in Problem:
        assert value(fresh, "store_problems", problem=problem) == 0
    for state in PARTITION_STATES:
        assert value(fresh, "partition_state", state=state) == 0


def test_lag_of_lost_partitions_disappears() -> None:
    """A partition that went to another process must not keep its last lag here."""
    telemetry = Telemetry()
    telemetry.lag({ONE: 5, TWO: 7})
    telemetry.committed({ONE: 5, TWO: 7})
    telemetry.lag({TWO: 8})
    telemetry.committed({TWO: 8})
    assert value(telemetry, "committed_offset", topic="sensors", partition="0") is None
    assert value(telemetry, "committed_offset", topic="sensors", partition="1") == 8
    assert value(telemetry, "consumer_lag_records", topic="sensors", partition="0") is None
    assert value(telemetry, "consumer_lag_records", topic="sensors", partition="1") == 8


def test_lag_in_seconds_is_the_age_of_what_was_read_last() -> None:
    """It grows while records wait, is zero when none does, and absent before the first record or without its time."""
    clock = Clock()
    telemetry = Telemetry(clock)
    where = {"topic": "sensors", "partition": "0"}
    telemetry.lag({ONE: 3})
    assert value(telemetry, "consumer_lag_seconds", **where) is None
    telemetry.consumed(ONE, 1, 990_000)
    telemetry.consumed(ONE, 1, -1)
    clock.now += 5
    telemetry.lag({ONE: 3})
    assert value(telemetry, "consumer_lag_seconds", **where) == 15
    telemetry.lag({ONE: 0})
    assert value(telemetry, "consumer_lag_seconds", **where) == 0
    telemetry.lag({TWO: 0})
    telemetry.lag({ONE: 1})
    assert value(telemetry, "consumer_lag_seconds", **where) is None


def test_the_last_reload_counts() -> None:
    """Before any reload the settings in force are good; each one moves the gauge."""
    telemetry = Telemetry()
    seen = [value(telemetry, "config_last_reload_successful")]
    for outcome in ("refused", "applied"):
        telemetry.reloaded(outcome)
        seen.append(value(telemetry, "config_last_reload_successful"))
    assert seen == [1, 0, 1]


def test_problems_of_the_store_that_are_gone_are_zero() -> None:
    """An alert on a problem ends with it."""
    telemetry = Telemetry()
    telemetry.store_problems({Problem.EVICTS, Problem.OLD})
    telemetry.store_problems({Problem.OLD})
    assert [value(telemetry, "store_problems", problem=problem) for problem in (Problem.EVICTS, Problem.OLD)] == [0, 1]


def test_states_without_keys_are_zero() -> None:
    """A state that emptied does not keep its last count."""
    telemetry = Telemetry()
    telemetry.keys({"learning": 4})
    telemetry.keys({"ready": 4})
    assert {state: value(telemetry, "keys", state=state) for state in KEY_STATES} == dict.fromkeys(KEY_STATES, 0) | {
        "ready": 4
    }


def test_the_checkpoint_age_grows_until_state_is_saved() -> None:
    """The age rises by itself, also when nobody reports anything, and only success ends it."""
    clock = Clock()
    telemetry = Telemetry(clock)
    clock.now += 10
    assert value(telemetry, "checkpoint_age_seconds") == 10
    for outcome in ("error", "stale", "rolled_back"):
        telemetry.checkpoint(outcome, 0.1)
    assert value(telemetry, "checkpoint_age_seconds") == 10
    telemetry.checkpoint("ok", 0.1)
    assert value(telemetry, "checkpoint_age_seconds") == 0
    clock.now += 3
    telemetry.nothing_to_save()
    assert value(telemetry, "checkpoint_age_seconds") == 0
    clock.now -= 100
    assert value(telemetry, "checkpoint_age_seconds") == 0


def test_only_the_served_bundle_is_shown() -> None:
    """After a reload there is one bundle, not two."""
    telemetry = Telemetry()
    telemetry.bundle("old", "cpu")
    telemetry.bundle("new", "cuda")
    assert value(telemetry, "bundle_info", version="old", device="cpu") is None
    assert value(telemetry, "bundle_info", version="new", device="cuda") == 1


def test_instances_share_nothing() -> None:
    """Two engines in one process, or two tests, count apart."""
    first, second = Telemetry(), Telemetry()
    first.scored(5, 0.1)
    assert value(first, "scores_total") == 5
    assert value(second, "scores_total") == 0


def test_unknown_labels_are_refused() -> None:
    """A misspelt outcome is a bug found in a test, not a new series."""
    telemetry = Telemetry()
    with pytest.raises(ValueError, match="none of"):
        telemetry.transaction("commited", 0.1)
    with pytest.raises(ValueError, match="none of"):
        telemetry.checkpoint("fine", 0.1)
    with pytest.raises(ValueError, match="none of"):
        telemetry.rebalance("stolen", 1)
    with pytest.raises(ValueError, match=r"asleep.*none of"):
        telemetry.keys({"asleep": 1})
    with pytest.raises(ValueError, match=r"lost.*none of"):
        telemetry.partitions({"lost": 1})
    with pytest.raises(ValueError, match="none of"):
        telemetry.reloaded("maybe")
    with pytest.raises(ValueError, match="not a valid Reason"):
        telemetry.dead_lettered("odd", 1)  # type: ignore[arg-type]


def test_no_creation_times_are_exported() -> None:
    """Creation series double the number of counters and nobody reads them."""
    text, content_type = exercised().render()
    assert b"_created" not in text
    assert content_type.startswith("text/plain")


def test_the_process_is_measured_too() -> None:
    """Memory and CPU of the process come with the rest."""
    names = {name for name, _ in series(Telemetry())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= names
