"""How the rows of a bundle were made, and what that means for whoever serves it.

The *meaning* of rows (what a feature is, what a row is) binds everywhere. The *mechanics* (where in a record things
stand, and how they are written) are a default where records of the same kind are read: where a CSV file has its time
says nothing of a topic. What lies between, like the stride, is a default everywhere, and a difference is told.
Must not know: what a bundle is, or what any setting is used for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from streamae.errors import BundleError, ConfigError
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings
from streamae.settings.documents import shown
from streamae.settings.file_kinds import KINDS, Kind
from streamae.settings.section import Section
from streamae.settings.tree import LoadedSettings, Settings, with_sources

Source = Literal["files:csv", "files:parquet", "files:json_lines", "kafka"]

SECTIONS: dict[str, type[Section]] = {"input": InputSettings, "window": WindowSettings, "features": FeatureSettings}
MEANING = (
    "window.grid_ms",
    "window.grid_merge",
    "window.missing",
    "window.missing_overrides",
    "window.missing_constant",
    "window.hold_ms",
    "input.missing_values",
    "features.log_fields",
    "features.category_cap",
    "features.hash_buckets",
    "features.time_features",
    "features.utc_offset_minutes",
    "features.time_zone",
    "features.rate_fields",
    "features.since_previous",
    "features.scaling",
)
# Where each field that leads a line is set otherwise than in training, the rest of its line says nothing any more.
TIED = {
    "input.time_field": ("date_field", "time_unit", "time_format", "time_zone", "time_origin"),
    "input.layout": ("value_fields", "name_field", "value_field"),
}
MECHANICS = (
    *(name for leader, tied in TIED.items() for name in (leader, *(f"input.{other}" for other in tied))),
    "input.key_field",
    "input.numbers",
    "input.decimal_mark",
    "input.thousands_mark",
    "input.only",
    "input.unknown_features",
    "input.id_field",
    "input.label_field",
    "features.category_fields",  # paths; which categories there are is in the bundle itself
)
KEY = "input.key_field"
DEFAULTS = ("window.stride", "window.max_gap_ms", "window.equal_time", "input.bad_value")
_OF_FILES: dict[Kind, Source] = {"csv": "files:csv", "parquet": "files:parquet", "json_lines": "files:json_lines"}
PARTS = {"meaning": MEANING, "mechanics": MECHANICS, "defaults": DEFAULTS}


@dataclass(frozen=True, slots=True)
class Contract:
    """How the rows of a bundle were made, by name of the setting as plain JSON.

    Attributes:
        meaning: what holds wherever the bundle is used.
        mechanics: how the records of training were read.
        defaults: what else was set, and may be set otherwise.
        source: kind of the records of training.
    """

    meaning: Mapping[str, Any]
    mechanics: Mapping[str, Any]
    defaults: Mapping[str, Any]
    source: Source

    def plain(self) -> dict[str, Any]:
        """Return what `read_contract` reads."""
        return asdict(self)


def contract_of(reading: InputSettings, window: WindowSettings, features: FeatureSettings, source: Source) -> Contract:
    """Return how rows are made under these settings, from records of this kind."""
    sections: dict[str, Section] = {"input": reading, "window": window, "features": features}
    plain = {
        f"{section}.{name}": value
        for section, its in sections.items()
        for name, value in its.model_dump(mode="json").items()
    }
    meaning, mechanics, defaults = ({name: plain[name] for name in names} for names in PARTS.values())
    return Contract(meaning, mechanics, defaults, source)


def learnt_reading(reading: InputSettings) -> InputSettings:
    """Return how records are read in training: one bad value costs no record, unless that was asked for."""
    if "bad_value" in reading.model_fields_set:
        return reading
    return reading.model_copy(update={"bad_value": "missing"})


def read_contract(content: Mapping[str, Any] | None) -> Contract | None:
    """Return the contract that a bundle carries, and check it; None = a bundle of before there were any.

    Args:
        content: plain JSON from anyone.

    Raises:
        BundleError: it names what no contract may set, or values that no setting takes.
    """
    if content is None:
        return None
    source = content.get("source")
    if not isinstance(source, str) or source not in get_args(Source):
        raise BundleError("contract.source is none that this program knows: train again")
    for part, names in PARTS.items():
        found = content.get(part)
        if not isinstance(found, dict):
            raise BundleError(f"contract.{part} is missing or not an object")
        if unknown := sorted(found.keys() - set(names)):
            raise BundleError(f"contract.{part}: {unknown[0]} is none that this program knows: train again")
    contract = Contract(content["meaning"], content["mechanics"], content["defaults"], source)  # type: ignore[arg-type]
    _values(contract)
    return contract


def source_of(data: Iterable[Path | str]) -> Source:
    """Return the kind of records in files and folders, by the end of the first name that tells, or in a topic."""
    for place in map(Path, data):
        if str(place).startswith("kafka:"):
            return "kafka"
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if (end := Path(file.name.lower().removesuffix(".gz")).suffix) in KINDS:
                return _OF_FILES[KINDS[end]]
    return "files:csv"


def source_of_input(reading: InputSettings) -> Source:
    """Return the kind of records that `run` reads."""
    return "kafka" if reading.source == "kafka" else source_of(reading.files)


def with_contract(loaded: LoadedSettings, contract: Contract | None, source: Source) -> LoadedSettings:
    """Return the settings as they hold with a bundle: what nobody set is as it was in training.

    Args:
        loaded: as given by people; may await a bundle (`load_settings`).
        contract: of the bundle; None = it has none, and nothing is added.
        source: kind of the records that are read now.

    Raises:
        ConfigError: the meaning of rows is set otherwise than the model has learnt it, or settings do not fit together;
            one line each.
        BundleError: the contract holds values that no setting takes.
    """
    learnt = {} if contract is None else _values(contract)
    given = {name for name, source_of_it in loaded.sources.items() if source_of_it != "default"}
    now = _sections(loaded.settings)
    differing = {
        name: f"{name}: {shown(_of(now, name))}, but the bundle was trained with {shown(value)}"
        for name, value in learnt.items()
        if name in given and not _is_same(_of(now, name), value)
    }
    if contradictions := [
        f"{text}: leave the setting out, or train again ({loaded.sources[name]})"
        for name, text in differing.items()
        if name in MEANING
    ]:
        raise ConfigError(contradictions)
    silent = set() if contract and _format(contract.source) == _format(source) else set(MECHANICS)
    silent |= {f"input.{name}" for leader, tied in TIED.items() if leader in differing for name in tied}
    implied = {name: value for name, value in learnt.items() if name not in given | silent}
    sources = loaded.sources | dict.fromkeys(implied, "bundle")
    told = [text for name, text in differing.items() if name in DEFAULTS]
    if source != "kafka" and KEY in silent and learnt.get(KEY) is not None and KEY not in given:
        told.append(f"{KEY}: unset, so a file is one key, but the bundle was trained with {shown(learnt[KEY])}")
    warnings = with_sources(told, sources)
    return LoadedSettings(_changed(loaded.settings, implied, sources), sources, (*loaded.warnings, *warnings))


def _changed(settings: Settings, implied: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    """Return the tree with other values in it, which then must fit together."""
    sections = _sections(settings)
    for name, value in implied.items():
        section, _, field = name.partition(".")
        sections[section] = sections[section].model_copy(update={field: value})
    try:
        return Settings.model_validate(sections)
    except ValidationError as error:
        (problem,) = error.errors()  # each section is valid: only together they may not be
        lines = problem["msg"].removeprefix("Value error, ").splitlines()
        raise ConfigError(with_sources(lines, sources)) from None


def _values(contract: Contract) -> dict[str, Any]:
    """Return the values of all settings that a contract names, as the settings hold them.

    Raises:
        BundleError: one is no value of its setting.
    """
    plain = {**contract.meaning, **contract.mechanics, **contract.defaults}
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in plain.items():
        section, _, field = name.partition(".")
        tables[section][field] = value
    try:
        read = {section: kind.model_validate(tables[section]) for section, kind in SECTIONS.items()}
    except ValidationError as error:
        problem = error.errors()[0]
        raise BundleError(f"contract: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    return {name: _of(read, name) for name in plain}


def _sections(settings: Settings) -> dict[str, Section]:
    return {name: getattr(settings, name) for name in Settings.model_fields}


def _of(sections: Mapping[str, Section], name: str) -> Any:
    section, _, field = name.partition(".")
    return getattr(sections[section], field)


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same; the order of names or texts means nothing."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return sorted(one) == sorted(other)
    return bool(one == other)


def _format(source: Source) -> str:
    """Return what decides how a record is written: JSON is the same in files and in topics."""
    return "json" if source in {"files:json_lines", "kafka"} else source
