"""From settings to a running engine: the one place where everything is put together.

Edges, model and observer can be handed in, which is how the demo, the backtest and the tests run the same engine
on embedded connectors.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamae.assembly import connectors
from streamae.assembly.devices import build_runner
from streamae.assembly.tuning import build_decision, build_patience, build_tuning, window_ms
from streamae.connectors.events import EventWriter
from streamae.connectors.protocols import Sink, Source, StateStore
from streamae.connectors.window_scores import ScoreWriter
from streamae.core.alert_rate import AlertRate
from streamae.core.batching import MicroBatcher
from streamae.core.clock_guard import ClockGuard
from streamae.core.encoding import Encoder
from streamae.core.episodes import Episodes
from streamae.core.grid import RowGrid, longest_gap_ms
from streamae.core.key_table import KeyTable
from streamae.core.last_windows import LastWindows
from streamae.core.lateness import Lateness
from streamae.core.layouts import former_layout_of
from streamae.core.rates import Rates
from streamae.core.roster import Patience
from streamae.core.windowing import KeyWindows
from streamae.engine.checkpoint import Checkpointer
from streamae.engine.engine import Engine, Persistence
from streamae.engine.key_states import KeyStates
from streamae.engine.partition_clocks import PartitionClocks
from streamae.engine.partitions import Partitions, RecoveryPolicy
from streamae.engine.publisher import Publisher, RunInBackground
from streamae.engine.recovery import Recovery
from streamae.engine.silence_watch import SilenceWatch
from streamae.engine.stages import EngineOptions, Observer, Stages, WindowModel
from streamae.engine.store_watch import StoreWatch
from streamae.engine.stream_watch import StreamWatch, Trained
from streamae.engine.unlisted import UnlistedEpisodes
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle, load_bundle
from streamae.observe.listener import SILENT, Listener
from streamae.observe.logs import get_logger
from streamae.reasons import Reason
from streamae.settings.data import WindowSettings
from streamae.settings.tree import Settings
from streamae.training.missing_values import MissingValues


@dataclass(frozen=True, slots=True)
class Parts:
    """What a caller may bring along instead of having it built from settings; None = build it."""

    source: Source | None = None
    sink: Sink | None = None
    store: StateStore | None = None
    bundle: Bundle | None = None
    runner: WindowModel | None = None
    observer: Observer | None = None
    run_in_background: RunInBackground | None = None


def build_engine(settings: Settings, listener: Listener = SILENT, parts: Parts | None = None) -> Engine:
    """Build the engine that `settings` describe.

    Args:
        settings: validated settings.
        listener: is told what the engine does.
        parts: ready-made edges, model or observer.

    Raises:
        BundleError: the model cannot be used with these settings.
        ConfigError: settings do not fit the bundle, or the file of a bootstrap does not fit them.
        RetryableError: a service does not answer.
    """
    parts = parts or Parts()
    bundle = parts.bundle or load_bundle(settings.model.bundle)
    stages = build_stages(settings, bundle, parts.runner or _runner(settings, bundle, listener))
    state = state_fingerprint(settings, bundle)
    former = state_fingerprint(settings, bundle, former_layout_of(stages.state)[1])
    store = parts.store or connectors.build_store(settings.state, settings.kafka.group_id)
    patience = build_patience(settings, bundle)
    has_clocks = stages.clocks is not None or patience.is_on
    table, partitions = _key_table(settings, stages), Partitions(keeps_state=has_clocks)
    watched = _silence_watch(patience, table, stages) if patience.is_on else None
    watch = StreamWatch(table, partitions, stages.windows, Trained(bundle.inputs, bundle.step_ms))
    learnt = connectors.read_learnt_keys(settings.state.bootstrap_file, state, former)
    states = KeyStates(table, stages.state, store, learnt, watch.columns, learnt.layout if learnt else "")
    store_watch = StoreWatch(store)
    store_watch.attach(listener)
    store_watch()
    source = parts.source or connectors.build_source(settings.input, settings.kafka, settings.output)
    sink = parts.sink or connectors.build_sink(settings.output, settings.kafka, listener.producer_recycled)
    recovery = Recovery(source, states.store, state, recovery_policy(settings), former)
    recovery.unlisted = UnlistedEpisodes(store, states.forms, stages.episodes.columns)
    checkpointer = Checkpointer(
        states,
        partitions,
        state,
        interval_ms=settings.state.checkpoint_interval_ms,
        max_dirty_keys=settings.state.checkpoint_max_dirty_keys,
    )
    engine = Engine(
        source,
        stages,
        Persistence(
            states,
            partitions,
            recovery,
            checkpointer,
            PartitionClocks(partitions, stages.clocks, patience.step_ms if watched else 0) if has_clocks else None,
            watched,
        ),
        Publisher(sink, source, partitions, recovery, settings.output.dead_letter_topic, parts.run_in_background),
        engine_options(settings),
        watch,
        observer=parts.observer,
        on_report=store_watch,
    )
    _tell(listener, engine, bundle, settings)
    get_logger().info("engine_built", bundle=bundle.version, features=len(bundle.features), state=state)
    return engine


def _tell(listener: Listener, engine: Engine, bundle: Bundle, settings: Settings) -> None:
    engine.attach(listener)
    listener.bundle(bundle.version, getattr(engine.stages.runner, "device_name", "none"))
    listener.alert_budget(settings.threshold.alert_budget_per_week)


def _runner(settings: Settings, bundle: Bundle, listener: Listener) -> WindowModel:
    return build_runner(bundle, settings.model, listener, stride=settings.window.stride, latent=settings.output.latent)


def _key_table(settings: Settings, stages: Stages) -> KeyTable:
    limits, is_held, is_on = settings.limits, stages.episodes.is_open, settings.silence.is_on
    admit = stages.decision.key_rules.admit
    return KeyTable(limits.max_keys, limits.key_idle_ms, is_held, admit, keeps_evicted=is_on)


def _silence_watch(patience: Patience, table: KeyTable, stages: Stages) -> SilenceWatch:
    watch = SilenceWatch(patience, table, stages.episodes, stages.decision.key_rules)
    table.on_moved_in, table.on_left = watch.moved_in, watch.moved_out
    return watch


def build_stages(settings: Settings, bundle: Bundle, runner: WindowModel) -> Stages:
    """Build the stages of the data for a bundle that runs on `runner`."""
    capacity, features, window = settings.limits.max_keys, len(bundle.features), settings.window
    _refuse_other_scaling(settings, bundle)
    tuning = build_tuning(settings, bundle)
    size = bundle.architecture.window_size
    max_gap_ms = longest_gap_ms(window.max_gap_ms, window.grid_ms, size, holds=window.holds)
    model, counters = settings.model, bundle.encoding.counters if bundle.encoding else ()
    origins, is_exact = bundle.row_origins, bundle.exact_rows
    return Stages(
        reading=connectors.build_codec(settings.input, window, settings.features, bundle),
        clocks=ClockGuard(capacity, window.max_jump_ms) if window.max_jump_ms else None,
        encoder=Encoder(capacity, bundle.encoding, is_exact) if bundle.encoding else None,
        grid=RowGrid(
            capacity,
            features,
            grid_ms=window.grid_ms,
            merge=window.grid_merge,
            max_gap_ms=max_gap_ms,
            most_empty=size - 1,
            is_exact=is_exact,
            keeps_equal=window.equal_time == "keep",
        ),
        rates=Rates(capacity, counters, max_gap_ms=max_gap_ms) if counters else None,
        lateness=_lateness(window, capacity, bundle),
        windows=KeyWindows(
            capacity,
            size,
            features,
            stride=window.stride,
            max_gap_ms=max_gap_ms,
            missing=MissingValues.of(window, bundle.features, bundle.encoding).filled_in(bundle.scaling.means),
            max_imputed_share=window.max_imputed_share,
            levels=bundle.levels,
            origins=origins,
        ),
        batcher=MicroBatcher(model.max_batch_size, model.max_wait_ms),
        runner=runner,
        calibration=bundle.calibration,
        decision=build_decision(settings, bundle, tuning),
        episodes=Episodes(capacity, features, tuning.episodes, bundle.origins),
        events=EventWriter(
            settings.output.topic,
            settings.output.source_uri,
            bundle.features,
            top_features=settings.output.top_features,
            bundle_version=bundle.version,
            settings_version=tuning.settings_version,
            detector=settings.kafka.group_id,
            explain=bundle.encoding.explain if bundle.encoding else None,
        ),
        rate=AlertRate(window_ms(settings, bundle)),
        last=LastWindows(capacity) if tuning.patience.is_on else None,
        scores=ScoreWriter(settings.output.scores_topic) if settings.output.scores_topic else None,
    )


def _lateness(window: WindowSettings, capacity: int, bundle: Bundle) -> Lateness | None:
    """Return what lets a key's rows wait, None where records are taken as they come."""
    if not window.lateness_ms:
        return None
    is_exact = np.broadcast_to(bundle.exact_rows, len(bundle.features))
    return Lateness(
        capacity,
        bundle.encoding.exact_inputs(is_exact) if bundle.encoding else is_exact,
        lateness_ms=window.lateness_ms,
        most_rows=window.lateness_rows,
        keeps_equal=window.equal_time == "keep" if window.grid_ms is None else None,
    )


def _refuse_other_scaling(settings: Settings, bundle: Bundle) -> None:
    """Raise ConfigError where the settings ask for a scaling that the bundle was not trained with."""
    asked = settings.features.scaling
    if "scaling" in settings.features.model_fields_set and asked != bundle.scaled_by:
        problem = (
            f"features.scaling: {asked}, but the bundle was trained with {bundle.scaled_by}: train again, or leave"
        )
        raise ConfigError([f"{problem} the setting out: it is then that of the bundle"])


def recovery_policy(settings: Settings) -> RecoveryPolicy:
    """Pick out of the settings what to do where offsets or state are missing."""
    return RecoveryPolicy(
        first=settings.input.start,
        on_lost_offsets=settings.input.on_lost_offsets,
        on_loss=settings.state.on_loss,
        rebuild_max_records=settings.state.rebuild_max_records,
        bootstrap_records=settings.input.bootstrap_records,
    )


def engine_options(settings: Settings) -> EngineOptions:
    """Pick out of the settings what the engine does at its own discretion."""
    window = settings.window
    policies = {
        Reason.LATE: window.late,
        Reason.DUPLICATE: window.duplicate,
        Reason.EQUAL_TIME: window.equal_time,
    }
    dropped = {reason for reason, policy in policies.items() if policy == "drop"}
    return EngineOptions(
        poll_timeout_ms=settings.input.poll_timeout_ms,
        commit_interval_ms=settings.output.commit_interval_ms,
        step_budget_s=settings.model.step_budget_ms / 1_000,
        dead_letter_topic=settings.output.dead_letter_topic,
        dropped=frozenset(dropped),
    )


def state_fingerprint(settings: Settings, bundle: Bundle, former_layout: str | None = None) -> str:
    """Digest of all that stored key state means: the model, and how rows and windows are made.

    Threshold and episode settings are left out on purpose: changing them must not make keys learn again. So is how
    records are written (paths, marks of numbers, formats of times): files that a bootstrap has read may say the same in
    other letters. What came later enters only where it is used, so that state of before stays valid. What is packed of a
    key, and in which order, is written down beside the digest; see `core.layouts`.

    Args:
        settings, bundle: how rows and windows are made, and the model.
        former_layout: in the words of the release before: its digest is wanted, of which that was a part.
    """
    window = settings.window
    facts: list[Any] = [
        former_layout,
        bundle.version,
        window.stride,
        window.grid_ms,
        window.grid_merge,
        window.missing,
        sorted(window.missing_overrides.items()),
        window.missing_constant,
    ]
    newer = {"hold_ms": window.hold_ms, "missing_values": sorted(settings.input.missing_values)}
    if used := {name: value for name, value in newer.items() if value}:
        facts.append(used)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
