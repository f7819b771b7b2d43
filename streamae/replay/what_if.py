"""What other thresholds would have brought: recorded scores are judged again, as a new key would be.

Other levels of the rule that is set, the other rules, and none of the operator's own rules. Must not know how scores
come about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.assembly.tuning import build_decision, build_tuning, window_ms, with_budget_solved
from streamae.batches import Series, Status
from streamae.core.episodes import Episodes
from streamae.core.key_table import NO_SLOT
from streamae.core.thresholds.registry import RULES, rule_named
from streamae.episode_changes import ChangeKind
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle
from streamae.replay.live_scores import LiveRun
from streamae.settings.alerts import AlertSettings
from streamae.settings.tree import Settings

FACTORS = (0.6, 0.8, 1.0, 1.3, 1.7)  # of the level set


@dataclass(frozen=True, slots=True)
class Level:
    """What would come of a threshold rule at a level.

    Attributes:
        rule: its name.
        knob: name of the rule's level.
        value: of that level.
        is_set: both are those in the settings.
        alerts: episodes opened.
        keys: with at least one.
        alarm_share: share of windows in alarm, in [0, 1].
    """

    rule: str
    knob: str
    value: float
    is_set: bool
    alerts: int
    keys: int
    alarm_share: float


@dataclass(frozen=True, slots=True, eq=False)
class WhatIf:
    """Recorded scores, and what they were judged by.

    Attributes:
        settings, bundle: the run was made with.
        series, live: as given to and returned by the engine.
    """

    settings: Settings
    bundle: Bundle
    series: Sequence[Series]
    live: LiveRun

    @property
    def step_ms(self) -> float:
        """Event time between two windows of a key."""
        return window_ms(self.settings, self.bundle)

    def levels(self) -> list[Level]:
        """Judge the scores again, as a new key would be, at several levels of the rule that is set."""
        settings = with_budget_solved(self.settings, self.bundle)
        knob = rule_named(settings.threshold.rule).level
        usual = settings.threshold.knobs()[knob]
        return [
            self._judged(_with_threshold(settings, **{knob: usual * factor}), is_set=factor == 1.0)
            for factor in FACTORS
        ]

    def other_rules(self) -> list[Level]:
        """Judge the scores again by each other rule at the level it has in the settings; one that cannot meet an
        alert budget is left out.
        """
        found = []
        for rule in RULES:
            if rule == self.settings.threshold.rule:
                continue
            try:
                tried = with_budget_solved(_with_threshold(self.settings, rule=rule), self.bundle)
            except ConfigError:
                continue
            found.append(self._judged(tried))
        return found

    def without_alert_rules(self) -> Level | None:
        """Judge the scores again without [alerts]: alerts of what is muted, in maintenance or too small would be sent."""
        if self.settings.alerts == AlertSettings():
            return None
        return self._judged(
            with_budget_solved(self.settings, self.bundle).model_copy(update={"alerts": AlertSettings()})
        )

    def _judged(self, settings: Settings, *, is_set: bool = False) -> Level:
        """Return what the scores bring under other settings of the threshold."""
        bundle, live = self.bundle, self.live
        keys, threshold = max(1, len(live.slots)), settings.threshold
        settings = settings.model_copy(update={"limits": settings.limits.model_copy(update={"max_keys": keys})})
        tuning = build_tuning(settings, bundle)
        decision = build_decision(settings, bundle, tuning)
        merged = Episodes(keys, len(bundle.features), tuning.episodes, bundle.origins)
        for columns in (decision.columns, merged.columns):
            columns.reset(np.arange(keys, dtype=np.int32))  # as the engine does for a key that is new
        for slot, one in zip(live.slots, self.series, strict=True):
            if slot != NO_SLOT:
                decision.key_rules.admit(slot, one.key.encode())
        opened: Counter[int] = Counter()
        windows = alarms = 0
        for batch, scores in zip(live.recording.windows, live.recording.scores, strict=True):
            verdicts = decision.judge(scores, batch)
            changes = merged.advance(verdicts, scores, batch)
            opened.update(change.slot for change in changes if change.kind is ChangeKind.OPENED)
            windows, alarms = windows + len(batch), alarms + int((verdicts.statuses == Status.ANOMALOUS).sum())
        knob = rule_named(threshold.rule).level
        share = alarms / max(windows, 1)
        return Level(threshold.rule, knob, threshold.knobs()[knob], is_set, opened.total(), len(opened), share)


def _with_threshold(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"threshold": settings.threshold.model_copy(update=changes)})
