"""What people read of the settings: effective values with their sources, the reference table, the JSON schema.

Must not know: where values come from, or what any setting is used for.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import SecretStr

from streamae.settings.section import Section
from streamae.settings.tree import FIELDS, LoadedSettings


class SettingRow(NamedTuple):
    """One line of `streamae config`; secrets are masked."""

    name: str
    value: str
    source: str


def shown(value: Any) -> str:
    """Write a value as the user would: like TOML, secrets masked, unset as a dash."""
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if isinstance(value, Section):
        return shown({name: part for name, part in value if name in value.model_fields_set})
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def describe(loaded: LoadedSettings) -> list[SettingRow]:
    """List every setting with its effective value and where that came from; secrets masked."""
    rows = []
    for name, source in loaded.sources.items():
        section, _, field = name.partition(".")
        rows.append(SettingRow(name, shown(getattr(getattr(loaded.settings, section), field)), source))
    return rows


def settings_table() -> str:
    """Return the Markdown table of docs/settings.md: one line a setting, generated from its description."""
    lines = ["| Setting | Default | Meaning |", "|---|---|---|"]
    for name, field in FIELDS.items():
        default = shown(field.get_default(call_default_factory=True))
        meaning = field.description or ""
        if choices := _choices(field.annotation):
            meaning += " One of " + ", ".join(f"`{choice}`" for choice in choices) + "."
        lines.append(f"| `{name}` | `{default}` | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _choices(annotation: Any) -> tuple[str, ...]:
    """Return the words a setting may take, nothing for free ones."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((get_args(part) for part in get_args(annotation) if get_origin(part) is Literal), ())


def with_table(text: str, name: str, table: str) -> str:
    """Return a document with what stands between the two markers `name:begin` and `name:end` made anew.

    Raises:
        ValueError: a marker is missing.
    """
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, begin, rest = text.partition(first)
    _, end, tail = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document needs the lines {first} and {last}")
    return f"{head}{begin}\n{table}\n{end}{tail}"
