"""A proposal as a settings file: what was decided, each with its reason, and doubts as lines to switch on.

Must not know: how anything was found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from streamae.discovery.doubts import Doubt
from streamae.discovery.proposal import Decision, Proposal, added

SECTIONS = ("input", "window", "features")
ADDED_TO = frozenset({"input.missing_values", "window.missing_overrides"})  # an answer does not replace others
SILENCE = (  # nothing in the data says whether somebody waits for its keys
    "# With this line a key that says nothing for so many of its own usual gaps is an event of its own.",
    "# after_gaps = 10.0",
)
LONGEST = 110  # characters of a line with a value and its reason


def settings_text(proposal: Proposal, others: Mapping[str, Any], source: str) -> str:
    """Return the text of a settings file (TOML).

    Args:
        proposal: what was decided.
        others: what the user set in other sections, by name; without secrets.
        source: what was looked at, for the first line.
    """
    decisions = dict(proposal.settings)
    decisions |= {name: Decision(value, "as you said", is_given=True) for name, value in others.items()}
    lines = [
        f"# How {_plain(source)} is read, as `streamae inspect` proposes it. `streamae config` shows all settings."
    ]
    sections = dict.fromkeys([*SECTIONS, *(name.partition(".")[0] for name in decisions)])
    for section in sections:
        of_section = [line for name, decision in decisions.items() for line in _setting(section, name, decision)]
        waiting = [
            line
            for doubt in proposal.doubts
            if not doubt.is_taken and doubt.setting.partition(".")[0] == section
            for line in _waiting(doubt, decisions.get(doubt.setting))
        ]
        if of_section or waiting:
            lines += ["", f"[{section}]", *of_section, *waiting]
    if proposal.scene.key.count > 1 and not any(name.startswith("silence.") for name in decisions):
        lines += ["", "[silence]", *SILENCE]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """Return a value as TOML writes it.

    Example:
        >>> print(toml((1, "a")), toml({"b c": True}), toml(0.5))
        [1, "a"] {"b c" = true} 0.5
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | PurePath):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(name))} = {toml(of)}" for name, of in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)


def _setting(section: str, name: str, decision: Decision) -> list[str]:
    """Return the lines of one setting, if it belongs to the section."""
    of, _, field = name.partition(".")
    if of != section or decision.value is None:
        return []
    line, why = f"{field} = {toml(decision.value)}", _plain(decision.why)
    if not why:
        return [line]
    return [f"{line}  # {why}"] if len(line) + len(why) < LONGEST else [f"# {why}", line]


def _waiting(doubt: Doubt, decided: Decision | None) -> list[str]:
    """Return a doubt as comments, the last one the setting that would say yes: with what is decided already, if any."""
    name, text, answer = doubt.setting.partition(".")[2], doubt.text, doubt.answer
    if doubt.field:
        text = f"{doubt.field}: {text}"
    is_there = decided is not None and decided.value not in (None, (), {})
    if is_there and answer is None:  # a second line of this name would only seem to wait for an answer
        return [f"# {_plain(text)}"]
    if decided is not None and is_there:
        text = f"{text}. In place of the line above:" if text[-1].isalnum() else f"{text} In place of the line above:"
        answer = added(decided.value, answer) if doubt.setting in ADDED_TO else answer
    return [f"# {_plain(text)}", f"# {name} = {'...' if answer is None else toml(answer)}"]


def _plain(text: str) -> str:
    """Return a text that stays on its line of comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
