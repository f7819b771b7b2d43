"""The settings tree: every knob of streamae with its default, unit, bounds and meaning.

One frozen tree is built from a TOML file, `STREAMAE_SECTION__FIELD` variables and command-line flags
(later wins; see `settings/sources.py`). The table of docs/settings.md is generated from these descriptions.
Core code never sees this module: it takes plain numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from streamae.settings.alerts import AlertSettings
from streamae.settings.connections import KafkaSettings, OutputSettings, StateSettings
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings
from streamae.settings.decisions import EpisodeSettings, ThresholdSettings
from streamae.settings.delivery import DeliverySettings
from streamae.settings.section import Section
from streamae.settings.serving import LimitSettings, ModelSettings, ServiceSettings
from streamae.settings.silence import SilenceSettings
from streamae.settings.training import TrainSettings

# Of the input section, what can change a decision: how fields are read, not where records come from.
DECISION_INPUT_FIELDS = (
    "layout",
    "key_field",
    "time_field",
    "time_unit",
    "value_fields",
    "name_field",
    "value_field",
    "unknown_features",
    "max_future_ms",
    "min_time_ms",
    "date_field",
    "time_format",
    "time_zone",
    "time_origin",
    "only",
    "numbers",
    "decimal_mark",
    "thousands_mark",
    "missing_values",
    "bad_value",
)
# Settings that came later: at their default they mean what was so before, or what a release changed for everybody, and so
# the fingerprint is as before.
NEWER = {
    "input": frozenset(DECISION_INPUT_FIELDS[DECISION_INPUT_FIELDS.index("date_field") :]),
    "window": frozenset({"hold_ms", "lateness_ms", "lateness_rows", "max_jump_ms", "equal_time"}),
}

# Validation with this context: a bundle is still to say what nobody set, such as the grid that a layout needs.
AWAITS_BUNDLE = {"awaits": "bundle"}
LEFT_TO_BUNDLE = "input.layout: long needs window.grid_ms"


class Settings(Section):
    """All settings."""

    kafka: KafkaSettings = KafkaSettings()
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()
    window: WindowSettings = WindowSettings()
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    episode: EpisodeSettings = EpisodeSettings()
    alerts: AlertSettings = AlertSettings()
    silence: SilenceSettings = SilenceSettings()
    state: StateSettings = StateSettings()
    limits: LimitSettings = LimitSettings()
    service: ServiceSettings = ServiceSettings()
    train: TrainSettings = TrainSettings()

    def conflicts(self) -> list[str]:
        """Return what no single field can see, one line each: `section.field: what is wrong`."""
        window, features = self.window, self.features
        categories = set(features.category_fields)
        policies = {window.missing, *window.missing_overrides.values()}
        checks = [
            (
                self.input.layout == "long" and window.grid_ms is None,
                f"{LEFT_TO_BUNDLE}: the metrics of one time bucket form a row",
            ),
            (
                self.input.layout == "long" and (bool(categories) or features.since_previous),
                "features.category_fields: these, and since_previous, need input.layout = wide: a record is no row",
            ),
            (
                bool(categories & {*self.input.value_fields, *self.input.value_paths, *features.log_fields}),
                "features.category_fields: must not name fields of input.value_fields or features.log_fields",
            ),
            (
                window.grid_ms is not None and "reject" in policies,
                "window.missing: reject cannot be used with window.grid_ms: use previous, hold or constant",
            ),
            (
                window.grid_ms is not None and window.equal_time != "keep",
                "window.equal_time: cannot be used with window.grid_ms, which merges records of one time: leave it out",
            ),
            (
                self.input.bootstrap_records > 0 and self.input.start == "earliest",
                "input.bootstrap_records: needs input.start = latest: before the earliest record there is none",
            ),
            (self.input.source == "files" and not self.input.files, "input.files: needed when input.source = files"),
            (
                self.output.latent and self.output.scores_topic is None,
                "output.latent: needs output.scores_topic, whose messages carry the code",
            ),
            (
                features.time_zone is not None and features.utc_offset_minutes != 0,
                "features.time_zone: with features.utc_offset_minutes there are two clocks: one is needed",
            ),
            (
                0 < self.episode.out_of_windows < self.episode.min_duration_windows,
                "episode.out_of_windows: must not be below episode.min_duration_windows; 0 = in a row",
            ),
        ]
        return [
            *(line for is_wrong, line in checks if is_wrong),
            *self.kafka.conflicts(),
            *self.alerts.delivery_conflicts(),
            *self.threshold.conflicts(),
            *self.silence.conflicts(),
            *self.train.conflicts(),
        ]

    @model_validator(mode="after")
    def _fields_fit_together(self, info: ValidationInfo) -> Self:
        conflicts = self.conflicts()
        if info.context == AWAITS_BUNDLE:
            conflicts = [line for line in conflicts if not line.startswith(LEFT_TO_BUNDLE)]
        if conflicts:
            raise ValueError("\n".join(conflicts))
        return self


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield section, name and definition of every setting, in order."""
    for section, holder in Settings.model_fields.items():
        kind = holder.annotation
        if isinstance(kind, type) and issubclass(kind, Section):  # always: the tree has two levels
            for name, field in kind.model_fields.items():
                yield section, name, field


FIELDS: dict[str, FieldInfo] = {f"{section}.{name}": field for section, name, field in _fields()}
SETTING_NAMES = tuple(FIELDS)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Valid settings and the origin of each.

    Attributes:
        settings: the tree; secrets given as files are already read into their plain field.
        sources: by `section.field`: `default`, `bundle`, `file:PATH`, `env:NAME`, `flag:--section.field` or `secret
            file PATH`.
        warnings: what is valid and yet worth a word, one line each.
    """

    settings: Settings
    sources: dict[str, str]
    warnings: tuple[str, ...] = ()


def with_sources(lines: Iterable[str], sources: Mapping[str, str]) -> list[str]:
    """Return lines of the form `section.field: what is wrong`, each with the source of its setting."""
    return [f"{line} ({sources[line.partition(': ')[0]]})" for line in lines]


def fingerprint(settings: Settings) -> str:
    """Return 12 hex digits that change whenever a setting that can change a decision does.

    Those are the window, threshold, episode, alerts and silence sections and how input fields are read; not where
    records come from, how fast they are processed or where results go.
    """
    sections = dict.fromkeys(("window", "threshold", "episode", "alerts", "silence"), True)
    parts = settings.model_dump(mode="json", include={**sections, "input": set(DECISION_INPUT_FIELDS)})
    implied = Settings().model_dump(mode="json", include={section: set(names) for section, names in NEWER.items()})
    for section, values in implied.items():
        for name in (name for name, value in values.items() if parts[section][name] == value):
            del parts[section][name]
    if settings.silence == SilenceSettings():
        del parts["silence"]
    for name in DeliverySettings.model_fields:
        del parts["alerts"][name]
    for stretch in parts["alerts"]["maintenance"]:
        if stretch["time_zone"] is None:
            del stretch["time_zone"]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the settings file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
