"""The settings of decisions: when a score is anomalous, and when anomalous windows are an episode.

Must not know: other sections.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamae.settings.section import Millis, Positive, Section


class ThresholdSettings(Section):
    """When a score is anomalous."""

    rule: Literal["sigma", "static", "quantile", "block_maxima", "mad", "pot", "dspot", "conformal"] = Field(
        "block_maxima",
        description="Mean + k sigma; fixed; running quantile; evidence against the usual worst of 80 windows; median +"
        " k MAD; Pareto tail, or the same off a moving level; rank among the newest 256 scores.",
    )
    block_level: float = Field(3.0, gt=0, description="block_maxima: 2.4 sensitive, 3.0 usual, 3.8 quiet.")
    k: float = Field(8.0, gt=0, description="sigma, mad: (robust) standard deviations above the key's usual score.")
    value: float = Field(
        10.0, gt=0, description="static: the threshold itself (a quiet key scores about 2, or 1 without memory)."
    )
    quantile: float = Field(0.999, gt=0.5, lt=1, description="quantile: tail of the key's own scores.")
    margin: float = Field(1.5, ge=1, description="quantile, conformal: factor above the quantile, or that rank.")
    probability: float = Field(5e-4, gt=0, le=0.02, description="pot, dspot, conformal: quiet windows above it.")
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
