"""Metrics of one process: counters, gauges and histograms in a registry of its own.

It hears what engine and service announce (`listener.py`); the health server calls `render`. Names are
`streamae_<noun>_<unit>[_total]` in base units, labels come from closed sets and never hold a key.
This module must not know who calls it, nor how metrics are served.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from streamae import __version__
from streamae.batches import KeyState, Partition
from streamae.episode_changes import ChangeKind
from streamae.observe.listener import Listener
from streamae.reasons import REMEDIES, STARTS, Fruitless, Problem, Reason

TRANSACTION_OUTCOMES = ("committed", "aborted", "fenced", "unknown")
RECYCLE_REASONS = ("aborted", "late", "unknown", "connection")
CHECKPOINT_OUTCOMES = ("ok", "stale", "rolled_back", "error")
REBALANCES = ("assigned", "revoked")
KEY_STATES = tuple(state.name.lower() for state in KeyState)
PARTITION_STATES = ("loading", "replaying", "running", "paused", "halted")
RELOAD_OUTCOMES = ("applied", "refused")
CLOCK_STEPS = ("confirmed", "back")
DROP_REASONS = (Reason.LATE, Reason.DUPLICATE, Reason.EQUAL_TIME)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_SIZES = (1, 4, 16, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384)


class Telemetry(Listener):
    """All metrics of one engine. Any thread may call; values start at zero with the process.

    Args:
        clock: seconds since the epoch, for the metrics that are points in time or ages.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per counter that nobody reads
        self._clock = clock
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._flow_metrics()
        self._state_metrics()
        self._process_metrics()

    def _flow_metrics(self) -> None:
        by_partition = ["topic", "partition"]
        self._records = self._counter("records_total", "Records read, silent replay included.", by_partition)
        self._replayed = self._counter("replayed_records_total", "Records replayed silently to rebuild state.")
        self._dead_letters = self._counter("dead_letters_total", "Records sent to the dead-letter topic.", ["reason"])
        self._drops = self._counter("dropped_records_total", "Records dropped by policy.", ["reason"])
        self._clock_steps = self._counter(
            "clock_steps_total",
            "Records with which the clock of a key went far: ahead and confirmed, or back.",
            ["kind"],
        )
        self._unusable = self._gauge(
            "unusable_records_ratio", "Share of recent live records that came to nothing.", ["reason"]
        )
        self._trouble = self._gauge(
            "stream_unusable", "Whether half of the stream comes to nothing, by the commonest reason.", ["reason"]
        )
        self._unusable_keys = self._gauge(
            "unusable_keys", "Keys of which half or more comes to nothing, by the commonest reason.", ["reason"]
        )
        self._step_ratio = self._gauge("step_ratio", "Usual time between two live rows of a key, by that of training.")
        self._step_ratio.set(float("nan"))
        self._lag = self._gauge("consumer_lag_records", "Records not read yet.", by_partition)
        self._lag_seconds = self._gauge(
            "consumer_lag_seconds", "Age of the newest record read, 0 where none is waiting.", by_partition
        )
        self._newest_ms: dict[Partition, int] = {}
        self._committed = self._gauge("committed_offset", "Next offset to read according to the group.", by_partition)
        self._scores = self._counter("scores_total", "Windows scored.")
        self._batch_sizes = self._histogram("batch_size_windows", "Windows of a micro-batch.", _BATCH_SIZES)
        self._model_seconds = self._histogram("model_duration_seconds", "Model time of a micro-batch.")
        self._step_seconds = self._histogram("step_duration_seconds", "Time of one engine step.")
        self._episodes = self._counter("episodes_total", "Episode events published.", ["kind"])
        self._episode_rate = self._gauge(
            "episodes_per_key_week", "Episodes opened a key and week, over the last week of event time."
        )
        self._alert_budget = self._gauge("alert_budget_per_key_week", "Episodes to aim at; NaN = no budget is set.")
        self._transactions = self._counter("transactions_total", "Output transactions.", ["outcome"])
        self._transaction_seconds = self._histogram("transaction_duration_seconds", "Time of one output transaction.")
        _start(self._dead_letters, Reason)
        _start(self._drops, DROP_REASONS)
        _start(self._clock_steps, CLOCK_STEPS)
        for metric in (self._unusable, self._trouble, self._unusable_keys):
            _start(metric, tuple(REMEDIES))
        _start(self._episodes, ChangeKind)
        self._recycles = self._counter("producer_recycles_total", "Producers replaced.", ["reason"])
        _start(self._transactions, TRANSACTION_OUTCOMES)
        _start(self._recycles, RECYCLE_REASONS)

    def _state_metrics(self) -> None:
        self._checkpoints = self._counter("checkpoints_total", "Attempts to save state.", ["outcome"])
        self._checkpoint_seconds = self._histogram("checkpoint_duration_seconds", "Time of one checkpoint.")
        self._saved_at = self._clock()
        self._gauge(
            "checkpoint_age_seconds", "Time since the stored state was last known to be up to date."
        ).set_function(lambda: max(0.0, self._clock() - self._saved_at))
        self._keys = self._gauge("keys", "Keys with state in memory.", ["state"])
        self._silences = self._gauge("silent_keys", "Keys whose silence is open.")
        self._blind = self._gauge(
            "blind_partitions", "Partitions with fewer than three keys that speak, where silence cannot be told."
        )
        self._evictions = self._counter("evicted_keys_total", "Idle keys given up at the cap.")
        self._corrupt = self._counter("corrupt_states_total", "Keys that began anew: stored state could not be read.")
        self._bootstrapped = self._counter("bootstrapped_keys_total", "New keys that began with state.bootstrap_file.")
        self._split_keys = self._counter("split_keys_total", "Keys seen in more than one partition.")
        self._store_errors = self._counter("store_errors_total", "Failed calls to the state store.")
        self._store_problems = self._gauge("store_problems", "What the state store's own report says.", ["problem"])
        self._rollbacks = self._counter("state_store_rollbacks_total", "Times the store had lost state relied on.")
        self._starts = self._counter("partition_starts_total", "Partitions taken over, by what was found.", ["reason"])
        self._rebalances = self._counter("rebalanced_partitions_total", "Partitions gained and lost.", ["kind"])
        self._partitions = self._gauge("partition_state", "Partitions assigned to this process.", ["state"])
        _start(self._checkpoints, CHECKPOINT_OUTCOMES)
        _start(self._starts, tuple(STARTS))
        _start(self._rebalances, REBALANCES)
        _start(self._keys, KEY_STATES)
        _start(self._store_problems, Problem)
        _start(self._partitions, PARTITION_STATES)

    def _process_metrics(self) -> None:
        self._retries = self._counter("retries_total", "Steps that failed in a way that may pass.")
        self._progress = self._gauge("loop_last_progress_timestamp_seconds", "When the loop last completed a turn.")
        self._bundle = self._gauge("bundle_info", "The served bundle.", ["version", "device"])
        self._fallbacks = self._counter("device_fallbacks_total", "Failed devices that the CPU took over from.")
        self._reloads = self._counter(
            "config_reloads_total", "Times the settings were read again on SIGHUP.", ["outcome"]
        )
        self._reload = self._gauge("config_last_reload_successful", "Whether the settings last read were valid.")
        self._reload.set(1)
        _start(self._reloads, RELOAD_OUTCOMES)
        build = self._gauge("build_info", "The running program.", ["version", "python"])
        build.labels(__version__, platform.python_version()).set(1)

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"streamae_{name}", text, labels or [], registry=self._registry)

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"streamae_{name}", text, labels or [], registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"streamae_{name}", text, buckets=buckets, registry=self._registry)

    def consumed(self, partition: Partition, records: int, newest_ms: int) -> None:
        """Count records read from a partition, the last of which has this Kafka timestamp (ms since the epoch)."""
        self._records.labels(partition.topic, str(partition.index)).inc(records)
        if newest_ms > 0:  # Kafka's -1 stands for none
            self._newest_ms[partition] = newest_ms

    def replayed(self, records: int) -> None:
        """Count records replayed with outputs suppressed."""
        self._replayed.inc(records)

    def dead_lettered(self, reason: Reason, records: int) -> None:
        """Count records sent to the dead-letter topic."""
        self._dead_letters.labels(Reason(reason)).inc(records)

    def dropped(self, reason: Reason, records: int) -> None:
        """Count records that are dropped by policy: late, repeated, or of one time with another."""
        self._drops.labels(Reason(reason)).inc(records)

    def clock_steps(self, kind: str, records: int = 1) -> None:
        """Count records that moved the clock of their key far."""
        self._clock_steps.labels(kind).inc(records)

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """Replace the lag of all partitions, in records and in time: those no longer owned disappear."""
        self._lag.clear()
        self._lag_seconds.clear()
        self._newest_ms = {partition: newest for partition, newest in self._newest_ms.items() if partition in lags}
        for partition, records in lags.items():
            labels = partition.topic, str(partition.index)
            self._lag.labels(*labels).set(records)
            if partition in self._newest_ms:
                age_s = max(0.0, self._clock() - self._newest_ms[partition] / 1_000)
                self._lag_seconds.labels(*labels).set(age_s if records else 0.0)

    def committed(self, offsets: Mapping[Partition, int | None]) -> None:
        """Replace the committed offset of all partitions; None = never committed."""
        self._committed.clear()
        for partition, offset in offsets.items():
            if offset is not None:
                self._committed.labels(partition.topic, str(partition.index)).set(offset)

    def partitions(self, by_state: Mapping[str, int]) -> None:
        """Set the number of partitions; the states are those of `PARTITION_STATES`."""
        _set_all(self._partitions, by_state, PARTITION_STATES)

    def scored(self, windows: int, seconds: float) -> None:
        """Count one micro-batch and the model time it took."""
        self._scores.inc(windows)
        self._batch_sizes.observe(windows)
        self._model_seconds.observe(seconds)

    def stepped(self, seconds: float) -> None:
        """Observe one engine step."""
        self._step_seconds.observe(seconds)

    def episode(self, kind: ChangeKind, events: int = 1) -> None:
        """Count published episode events."""
        self._episodes.labels(ChangeKind(kind)).inc(events)

    def episode_rate(self, per_key_week: float) -> None:
        """Set how many episodes open a key and week."""
        self._episode_rate.set(per_key_week)

    def alert_budget(self, per_key_week: float | None) -> None:
        """Set how many may; None = no budget is set."""
        self._alert_budget.set(float("nan") if per_key_week is None else per_key_week)

    def transaction(self, outcome: str, seconds: float) -> None:
        """Observe one output transaction; `outcome` is one of `TRANSACTION_OUTCOMES`."""
        self._transactions.labels(_known(outcome, TRANSACTION_OUTCOMES)).inc()
        self._transaction_seconds.observe(seconds)

    def producer_recycled(self, reason: str) -> None:
        """Count a producer that is not used again; `reason` is one of `RECYCLE_REASONS`."""
        self._recycles.labels(_known(reason, RECYCLE_REASONS)).inc()

    def checkpoint(self, outcome: str, seconds: float) -> None:
        """Observe one attempt to save state; `outcome` is one of `CHECKPOINT_OUTCOMES`, `ok` ends the age."""
        self._checkpoints.labels(_known(outcome, CHECKPOINT_OUTCOMES)).inc()
        self._checkpoint_seconds.observe(seconds)
        if outcome == "ok":
            self._saved_at = self._clock()

    def nothing_to_save(self) -> None:
        """End the checkpoint age without a checkpoint: the stored state is up to date."""
        self._saved_at = self._clock()

    def keys(self, by_state: Mapping[str, int]) -> None:
        """Set the keys in memory; the states are those of `KEY_STATES`."""
        _set_all(self._keys, by_state, KEY_STATES)

    def silences(self, open_now: int, blind_partitions: int) -> None:
        """Set how many keys are silent, and in how many partitions nobody could tell."""
        self._silences.set(open_now)
        self._blind.set(blind_partitions)

    def evicted(self, keys: int) -> None:
        """Count idle keys given up at the cap."""
        self._evictions.inc(keys)

    def bootstrapped(self, keys: int) -> None:
        """Count new keys that began with what a bootstrap had learnt."""
        self._bootstrapped.inc(keys)

    def corrupt_states(self, keys: int) -> None:
        """Count keys that began anew, because what was stored of them could not be read."""
        self._corrupt.inc(keys)

    def split_key(self, keys: int = 1) -> None:
        """Count keys found in a second partition."""
        self._split_keys.inc(keys)

    def unusable(self, shares: Mapping[Reason | Fruitless, float], trouble: Reason | Fruitless | None) -> None:
        """Set the share of recent records that came to nothing, and whether, and mostly why, that is trouble."""
        for reason in REMEDIES:
            self._unusable.labels(reason).set(shares.get(reason, 0.0))
            self._trouble.labels(reason).set(reason is trouble)

    def unusable_keys(self, by_reason: Mapping[Reason | Fruitless, int]) -> None:
        """Set how many keys are in trouble, by reason."""
        for reason in REMEDIES:
            self._unusable_keys.labels(reason).set(by_reason.get(reason, 0))

    def step_ratio(self, ratio: float) -> None:
        """Set the live step as a multiple of the trained one."""
        self._step_ratio.set(ratio)

    def store_error(self) -> None:
        """Count one failed call to the state store."""
        self._store_errors.inc()

    def store_problems(self, found: Collection[Problem]) -> None:
        """Set which problems the state store has now."""
        for problem in Problem:
            self._store_problems.labels(problem).set(problem in found)

    def rolled_back(self) -> None:
        """Count one loss of stored state that was noticed."""
        self._rollbacks.inc()

    def partition_started(self, reason: str) -> None:
        """Count one partition taken over; `reason` is one of `reasons.STARTS`."""
        self._starts.labels(_known(reason, tuple(STARTS))).inc()

    def rebalance(self, kind: str, partitions: int) -> None:
        """Count partitions gained or lost; `kind` is one of `REBALANCES`."""
        self._rebalances.labels(_known(kind, REBALANCES)).inc(partitions)

    def retried(self) -> None:
        """Count one step that is going to be tried again."""
        self._retries.inc()

    def progressed(self) -> None:
        """Note that the loop completed a turn."""
        self._progress.set(self._clock())

    def bundle(self, version: str, device: str) -> None:
        """Tell which bundle is served, and where; replaces the previous one."""
        self._bundle.clear()
        self._bundle.labels(version, device).set(1)

    def device_fallback(self) -> None:
        """Count one failed device that the CPU took over from."""
        self._fallbacks.inc()

    def reloaded(self, outcome: str) -> None:
        """Count settings read again; `outcome` is one of `RELOAD_OUTCOMES`."""
        self._reloads.labels(_known(outcome, RELOAD_OUTCOMES)).inc()
        self._reload.set(outcome == "applied")

    def render(self) -> tuple[bytes, str]:
        """Return all metrics in the text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def _start(metric: Counter | Gauge, labels: tuple[str, ...] | type[Reason | ChangeKind | Problem]) -> None:
    """Show a series for each label from the start: a rate needs a zero to rise from."""
    for label in labels:
        metric.labels(str(label))


def _set_all(metric: Gauge, values: Mapping[str, int], labels: tuple[str, ...]) -> None:
    """Set a gauge for each of its labels, 0 where there is no value.

    Raises:
        ValueError: a value for another label.
    """
    if unknown := set(values) - set(labels):
        raise ValueError(f"{sorted(unknown)} are none of {labels}")
    for label in labels:
        metric.labels(label).set(values.get(label, 0))


def _known(label: str, labels: tuple[str, ...]) -> str:
    """Keep label sets closed.

    Raises:
        ValueError: `label` is not one of them.
    """
    if label not in labels:
        raise ValueError(f"{label!r} is none of {labels}")
    return label
