"""Build the settings tree from defaults, a TOML file, environment variables and command-line flags.

Later wins, in that order, and every value remembers where it came from. Every problem of every source is
reported at once, without ever showing a secret.
This module must not know what any setting is used for.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from streamae.errors import ConfigError
from streamae.fail_points import VARIABLE as FAIL_POINT
from streamae.settings.tree import AWAITS_BUNDLE, FIELDS, SETTING_NAMES, LoadedSettings, Settings, with_sources

PREFIX = "STREAMAE_"
# Kubernetes gives every pod such variables for each Service of its namespace, also for one called `streamae`.
_SERVICE_LINK = re.compile(r"STREAMAE_(?!.*__)(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")


class _Tree(Settings, BaseSettings):
    """The tree in the type that pydantic-settings' sources ask for; never instantiated."""

    model_config = SettingsConfigDict(extra="forbid")


class _TextSource(EnvSettingsSource):
    """Values given as text, by `section__field`; lists may be comma-separated, and empty text means unset."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__(_Tree, env_nested_delimiter="__")
        self.env_vars = texts  # not those of the process: both environment and flags are arguments here

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: str) -> Any:  # noqa: ARG002 - theirs
        """Read a list or table; text that is neither stays text, which validation then names as the wrong type."""
        if value.lstrip().startswith(("[", "{")):
            try:
                return json.loads(value)
            except ValueError:
                return value
        if tuple in _kinds(field):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    def __call__(self) -> dict[str, Any]:
        return {
            section: {name: _unset(section, name) if value == "" else value for name, value in values.items()}
            for section, values in super().__call__().items()
        }


def _unset(section: str, name: str) -> Any:
    """Return what empty text stands for: no entries, None, or, where neither exists, itself."""
    kinds = _kinds(FIELDS[f"{section}.{name}"])
    if tuple in kinds:
        return ()
    if dict in kinds:
        return {}
    return None if type(None) in kinds else ""


def _kinds(field: FieldInfo) -> set[Any]:
    """Return the types a setting may have, without what they hold; for a list or table that is `tuple` or `dict`."""
    plain = get_origin(field.annotation) in {tuple, dict, Literal}
    parts = (field.annotation,) if plain else get_args(field.annotation) or (field.annotation,)
    bare = (get_args(part)[0] if get_origin(part) is Annotated else part for part in parts)
    return {get_origin(part) or part for part in bare}


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting must not be shown."""
    return SecretStr in {field.annotation, *get_args(field.annotation)}


class _Draft:
    """Values, their sources and all problems found so far; one per call of `load_settings`."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self.sources = dict.fromkeys(SETTING_NAMES, "default")
        self.problems: list[str] = []
        self.refused: set[str] = set()

    def add(self, name: str, value: Any, source: str) -> None:
        """Set `section.field`, over what an earlier source said."""
        if name not in FIELDS:
            self.refuse(name, _unknown(name, SETTING_NAMES), source)
            return
        section, _, field = name.partition(".")
        self.values.setdefault(section, {})[field] = value
        self.sources[name] = source

    def refuse(self, name: str, what: str, source: str | None = None) -> None:
        """Note a problem and take the value out, so that the remaining ones can still be checked."""
        self.problems.append(f"{name}: {what} ({source or self.sources[name]})")
        self.refused.add(name)
        section, _, field = name.partition(".")
        self.values.get(section, {}).pop(field, None)

    def add_file(self, path: Path) -> None:
        """Add a TOML file; one table a section."""
        source = f"file:{path}"
        if not path.is_file():
            self.problems.append(f"--config: no such file ({source})")
            return
        try:
            tables = TomlConfigSettingsSource(_Tree, path)()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.problems.append(f"--config: not valid TOML: {error} ({source})")
            return
        except OSError as error:
            self.problems.append(f"--config: cannot be read: {error.strerror} ({source})")
            return
        for section, table in tables.items():
            if section not in Settings.model_fields:
                self.refuse(section, _unknown(section, Settings.model_fields), source)
            elif not isinstance(table, dict):
                self.refuse(section, f"must be a table: [{section}]", source)
            else:
                for name, value in table.items():
                    self.add(f"{section}.{name}", value, source)

    def add_texts(self, texts: Mapping[str, tuple[str, str]]) -> None:
        """Add text values: by `section.field`, the text and its source."""
        known = {name.replace(".", "__"): text for name, (text, _) in texts.items() if name in FIELDS}
        parsed = _TextSource(known)()
        for name, (text, source) in texts.items():
            section, _, field = name.partition(".")
            self.add(name, parsed.get(section, {}).get(field, text), source)

    def read_secrets(self) -> None:
        """Read each `*_file` that stands beside a secret into the secret itself."""
        for name in (name for name, field in FIELDS.items() if is_secret(field)):
            section, _, field = name.partition(".")
            values = self.values.get(section, {})
            path = values.get(f"{field}_file")
            if not path or not isinstance(path, str | Path):
                continue
            if values.get(field) is not None:
                self.refuse(name, f"given twice, here and as {name}_file ({self.sources[f'{name}_file']}): use one")
                continue
            try:
                text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                self.refuse(f"{name}_file", f"cannot be read: {path}: {reason}")
                continue
            if text:
                self.add(name, text, f"secret file {path}")
            else:
                self.refuse(f"{name}_file", f"is empty: {path}")

    def validate(self, context: dict[str, str] | None) -> Settings | None:
        """Return the tree; None after noting everything that is wrong with it."""
        try:
            return Settings.model_validate(self.values, context=context)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
        for problem in wrong:
            name = ".".join(str(part) for part in problem["loc"][:2])
            what = problem["msg"].removeprefix("Value error, ")
            if not name:
                self._note_conflicts(what.splitlines())
            else:
                below = "".join(f"[{part}]" for part in problem["loc"][2:])
                self.refuse(name, f"{below} {what}".strip())
        if all(problem["loc"] for problem in wrong):
            self.validate(context)  # without the wrong ones: do the others fit together?
        return None

    def _note_conflicts(self, lines: Iterable[str]) -> None:
        for line in lines:
            if not any(re.search(rf"\b{re.escape(name)}\b", line) for name in self.refused):
                self.problems += with_sources([line], self.sources)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return "unknown setting" + (f", did you mean {near[0]}?" if near else "")


def _environment(env: Mapping[str, str], draft: _Draft) -> dict[str, tuple[str, str]]:
    """Pick our variables; names are as upper- or lower-case as the user likes after the prefix."""
    texts: dict[str, tuple[str, str]] = {}
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or variable == FAIL_POINT or _SERVICE_LINK.fullmatch(variable):
            continue
        section, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if len(rest) == 1:
            texts[f"{section}.{rest[0]}"] = (text, f"env:{variable}")
        else:
            draft.problems.append(f"{variable}: not of the form {PREFIX}SECTION__FIELD (env:{variable})")
    return texts


def load_settings(
    config_file: Path | None, env: Mapping[str, str], flags: Mapping[str, str], *, awaits_bundle: bool = False
) -> LoadedSettings:
    """Merge all sources into one valid tree.

    Args:
        config_file: TOML file with one table a section; None = no file.
        env: the process environment; only `STREAMAE_SECTION__FIELD` is looked at.
        flags: by `section.field`, the text given on the command line.
        awaits_bundle: `with_contract` comes next; until then what a bundle may say need not be there.

    Raises:
        ConfigError: with every problem of every source, `section.field: what is wrong (source)`.
    """
    draft = _Draft()
    if config_file is not None:
        draft.add_file(config_file)
    draft.add_texts(_environment(env, draft))
    draft.add_texts({name: (text, f"flag:--{name}") for name, text in flags.items()})
    draft.read_secrets()
    settings = draft.validate(AWAITS_BUNDLE if awaits_bundle else None)
    if settings is None or draft.problems:
        raise ConfigError(draft.problems)
    return LoadedSettings(settings, draft.sources)
