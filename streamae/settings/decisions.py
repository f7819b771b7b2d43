"""The settings of decisions: when a score is anomalous, and when anomalous windows are an episode.

Which threshold rules there are and which numbers they take, they say themselves
(`streamae/core/thresholds/registry.py`). Must not know: other sections.
"""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from streamae.core.thresholds import budget
from streamae.core.thresholds.registry import DEFAULT_RULE, KNOBS, RULES
from streamae.settings.section import Millis, Positive, Section


def _sentence() -> str:
    """Return what the rules are in one sentence, each phrase once."""
    text = "; ".join(dict.fromkeys(spec.words.phrase for spec in RULES.values()))
    return f"{text[0].upper()}{text[1:]}."


def _rule_fields() -> dict[str, Any]:
    """Return type and field of the choice between the rules and of each knob, by name."""
    fields: dict[str, Any] = {"rule": (getitem(Literal, tuple(RULES)), Field(DEFAULT_RULE, description=_sentence()))}
    for name, knob in KNOBS.items():
        field: Any = Field(knob.default, gt=knob.gt, ge=knob.ge, lt=knob.lt, le=knob.le, description=knob.description)
        fields[name] = (float, field)
    return fields


if TYPE_CHECKING:  # a type checker cannot know the knobs: they are read by name, with `knobs`

    class _RuleSettings(Section):
        rule: str = ""
else:
    _RuleSettings = create_model("_RuleSettings", __base__=Section, **_rule_fields())


class ThresholdSettings(_RuleSettings):
    """When a score is anomalous."""

    half_life_ms: Millis | None = Field(
        None,
        description="Event time after which old scores count half; unset = 500 typical steps of the training data.",
    )
    cap_sigma: float = Field(3.0, gt=0, description="Learning never moves by more than this many sigma at once.")
    smoothing: float = Field(0.3, gt=0, le=1, description="Weight of the newest score in the smoothed score.")
    alert_budget_per_week: float | None = Field(
        None, gt=0, description="False episodes a key and week to aim at; sets the rule's own parameter instead."
    )
    min_windows: Positive = Field(64, description="Scores a key must have learnt to be ready.")
    provisional: bool = Field(
        True, description="Keys may alert before, judged by the training scores of the bundle; false: they are mute."
    )

    def knobs(self) -> dict[str, float]:
        """Return the numbers that the rules take, by name."""
        return {name: getattr(self, name) for name in KNOBS}

    def conflicts(self) -> list[str]:
        """Return what no single field can see, one line each."""
        reason = None if self.alert_budget_per_week is None else budget.refusal(self.rule)
        return [] if reason is None else [f"threshold.alert_budget_per_week: {reason}"]


class EpisodeSettings(Section):
    """How verdicts become episodes."""

    exit_ratio: float = Field(
        0.7, gt=0, le=1, description="An episode goes on while score > mean + exit_ratio * (threshold - mean)."
    )
    min_duration_windows: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Anomalous windows needed to open an episode."
    )
    out_of_windows: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Of how many of the newest windows that many must be anomalous; 0 = in a row."
    )
    merge_gap_windows: Annotated[int, Field(ge=0)] = Field(
        64, description="Quiet windows after which an episode closes; a relapse before that is the same episode."
    )
    update_interval_ms: Millis = Field(300_000, description="Event time between two updates of an open episode.")
    close_after_ms: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Time of its partition's stream after which an episode of a key that says nothing more is closed; 0 ="
        " never, unset = `window.max_gap_ms`.",
    )
