"""From settings to how scores are judged: threshold rule, episodes, the operator's rules; also what of it may change live."""

from __future__ import annotations

from streamae.assembly.alert_rules import build_alert_rules
from streamae.core.decision import Decision
from streamae.core.episodes import EpisodeRules
from streamae.core.roster import Patience, Wait
from streamae.core.thresholds import budget
from streamae.core.thresholds.learning import Learning
from streamae.core.thresholds.registry import rule_named
from streamae.core.thresholds.spec import Shared
from streamae.engine.stages import Tuning
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle
from streamae.settings.tree import Settings, fingerprint

TYPICAL_STEPS = 500  # half-life of the statistics, in steps of the training data
FALLBACK_STEP_MS = 1_000


def build_decision(settings: Settings, bundle: Bundle, tuning: Tuning) -> Decision:
    """Build what judges scores, for keys that start as the bundle's did."""
    return Decision(
        settings.limits.max_keys,
        len(bundle.features),
        tuning.rule,
        tuning.min_windows,
        prior=bundle.history,
        is_early=tuning.is_early,
        step_ms=window_ms(settings, bundle),
        alerts=tuning.alerts,
        family=tuning.family,
    )


def build_tuning(settings: Settings, bundle: Bundle) -> Tuning:
    """Build threshold, episode and alert rules; new keys start from the level of the bundle's calibration.

    Raises:
        ConfigError: the rule cannot meet the alert budget, or settings name features that the bundle does not have.
    """
    threshold, episode = with_budget_solved(settings, bundle).threshold, settings.episode
    learning = Learning(
        half_life_ms=threshold.half_life_ms or TYPICAL_STEPS * (bundle.step_ms or FALLBACK_STEP_MS),
        cap_sigma=threshold.cap_sigma,
        smoothing=threshold.smoothing,
        prior_mean=bundle.calibration.score_mean,
        prior_sd=bundle.calibration.score_sd,
    )
    spec = rule_named(threshold.rule)
    return Tuning(
        rule=spec.build(
            threshold.knobs(), Shared(learning, hold=episode.merge_gap_windows, start_windows=threshold.min_windows)
        ),
        family=spec.family,
        min_windows=threshold.min_windows,
        is_early=threshold.provisional,
        episodes=EpisodeRules(
            exit_ratio=episode.exit_ratio,
            min_duration=episode.min_duration_windows,
            merge_gap=episode.merge_gap_windows,
            update_interval_ms=episode.update_interval_ms,
            top_features=settings.output.top_features,
            min_windows=threshold.min_windows,
            out_of=episode.out_of_windows,
        ),
        alerts=build_alert_rules(settings.alerts, bundle.features),
        settings_version=fingerprint(settings),
        patience=build_patience(settings, bundle),
        alert_budget_per_week=settings.threshold.alert_budget_per_week,
    )


def build_patience(settings: Settings, bundle: Bundle) -> Patience:
    """Build what says when silence means something.

    Raises:
        ConfigError: a pause of a whole partition would count as the silence of its keys.
    """
    silence, close_ms, step_ms = settings.silence, settings.episode.close_after_ms, most_step_ms(settings, bundle)
    if close_ms is None:
        close_ms = settings.window.max_gap_ms
    waits = [Wait(each.keys, each.after_ms, each.after_gaps) for each in silence.overrides] if silence.is_on else []
    if silence.after_ms is not None or silence.after_gaps is not None:
        waits.append(Wait("*", silence.after_ms, silence.after_gaps))
    if any(each.after_ms is not None and each.after_ms <= step_ms for each in waits):
        problem = f"silence.after_ms: must be above {step_ms} ms, what one step of the stream may count"
        raise ConfigError([f"{problem} (silence.max_step_ms; unset, the usual step of the training data)"])
    return Patience(tuple(waits), close_ms or None, silence.forget_ms, step_ms, raster_ms=silence.raster_ms)


def most_step_ms(settings: Settings, bundle: Bundle) -> int:
    """Return how much one step of a partition's time may count."""
    return settings.silence.max_step_ms or max(1, round(bundle.step_ms or FALLBACK_STEP_MS))


def with_budget_solved(settings: Settings, bundle: Bundle) -> Settings:
    """Return the settings with the threshold rule's own knobs in the place of an alert budget.

    Raises:
        ConfigError: the rule cannot meet the budget.
    """
    threshold = settings.threshold
    if threshold.alert_budget_per_week is None:
        return settings
    try:
        found = budget.parameters(threshold.rule, threshold.alert_budget_per_week, window_ms(settings, bundle))
    except ValueError as error:
        raise ConfigError([f"threshold.alert_budget_per_week: {error}"]) from None
    solved = threshold.model_copy(update={**found, "alert_budget_per_week": None})
    return settings.model_copy(update={"threshold": solved})


def window_ms(settings: Settings, bundle: Bundle) -> float:
    """Return the event time between two windows of a key that behaves as the training data did."""
    return settings.window.stride * (bundle.step_ms or FALLBACK_STEP_MS)
