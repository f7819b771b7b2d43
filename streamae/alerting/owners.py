"""Whose key it is: patterns of keys and the labels of who looks after them, from a CSV file.

    pattern,team,service
    press-*,metal,forming
    *,plant,

Must not know: receivers, routes, or what a team is told.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

from streamae.alerting.alert import Labels
from streamae.errors import ConfigError

EXAMPLES = 1_000
MOST_COUNTED = 100_000
MOST_REMEMBERED = 100_000
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
FIXED_LABELS = ("alertname", "detector", "topic", "partition", "key", "cause", "severity")  # never an owner's


class KeysWithoutOwner:
    """Keys that no pattern fits: how many, and the first of them. Any thread may note one."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._others: set[int] = set()

    def note(self, key: str) -> None:
        """Count a key once."""
        if key in self._keys or self.count >= MOST_COUNTED:
            return
        if len(self._keys) < EXAMPLES:
            self._keys[key] = None
        else:
            self._others.add(hash(key))

    @property
    def count(self) -> int:
        """How many there are, at most 100,000."""
        return len(self._keys) + len(self._others)

    @property
    def examples(self) -> list[str]:
        """The first 1,000 of them."""
        return list(self._keys)


class _Stamp(NamedTuple):
    """What tells one state of a file from another."""

    changed_ns: int
    size: int


class _Rule(NamedTuple):
    """One line of the file."""

    pattern: re.Pattern[str]
    labels: Labels


class Owners:
    """Who owns which key. The rules never change; a file that was changed gives new `Owners`.

    Attributes:
        without_owner: keys asked for that no pattern fits.
        problem: why the newest file is not what counts here, "" = it is.
    """

    def __init__(
        self, path: Path | None, default: Labels, rules: tuple[_Rule, ...], stamp: _Stamp | None, problem: str = ""
    ) -> None:
        self._path, self._default, self._rules, self._stamp = path, dict(default), rules, stamp
        self._found: dict[str, Labels | None] = {}
        self.without_owner = KeysWithoutOwner()
        self.problem = problem

    @classmethod
    def read(cls, path: Path | None, default: Labels) -> Owners:
        """Return what a file says; None = no file, so that all keys are the default owner's.

        Raises:
            ConfigError: the file cannot be read, or a line of it is wrong; the line is named.
        """
        if path is None:
            return cls(None, default, (), None)
        stamp = _stamp_of(path)
        try:
            return cls(path, default, tuple(_rules_in(path)), stamp)
        except OSError as error:
            raise ConfigError([f"alerts.owners: cannot be read: {path}: {error.strerror}"]) from None
        except ValueError as error:
            raise ConfigError([f"alerts.owners: {path}: {error}"]) from None

    def labels_of(self, key: str) -> Labels:
        """Return the labels of the first pattern that fits, else those of the default owner."""
        found = self._find(key)
        if found is None:
            if self._path is not None:
                self.without_owner.note(key)
            return self._default
        return found

    def reread_if_changed(self) -> Owners:
        """Return these where the file is as it was, else new ones.

        A new file that is broken or gone changes no owner: the answer has the old ones, with `problem` saying why, once
        for each state of the file.
        """
        if self._path is None or (stamp := _stamp_of(self._path)) == self._stamp:
            return self
        try:
            return Owners.read(self._path, self._default)
        except ConfigError as error:
            kept = Owners(self._path, self._default, self._rules, stamp, str(error))
            kept.without_owner = self.without_owner
            return kept

    def _find(self, key: str) -> Labels | None:
        if key in self._found:
            return self._found[key]
        labels = next((rule.labels for rule in self._rules if rule.pattern.match(key)), None)
        if len(self._found) >= MOST_REMEMBERED:
            self._found = {}
        self._found[key] = labels
        return labels


def _stamp_of(path: Path) -> _Stamp | None:
    """Return the state of a file, None = it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return _Stamp(state.st_mtime_ns, state.st_size)


def _rules_in(path: Path) -> Iterator[_Rule]:
    """Yield the rules of a file; raise ValueError with the line that is wrong."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            _check_header(header)
            yield from (_rule(header, row) for row in rows if any(row))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"line {max(rows.line_num, 1)}: {error}") from None


def _rule(header: list[str], row: list[str]) -> _Rule:
    cells = [cell.strip() for cell in row]
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells, the header has {len(header)}")
    if not cells[0]:
        raise ValueError("there is no pattern")
    labels = {name: cell for name, cell in zip(header[1:], cells[1:], strict=True) if cell}
    return _Rule(re.compile(translate(cells[0])), labels)


def _check_header(header: list[str]) -> None:
    names = header[1:]
    wrong = [name for name in names if not LABEL_NAME.fullmatch(name) or name in FIXED_LABELS]
    if header[:1] != ["pattern"] or not names:
        raise ValueError("the header must be `pattern` and names of labels: pattern,team,service")
    if wrong or len(set(names)) < len(names):
        raise ValueError(f"no names for labels of an owner: {', '.join(map(repr, wrong or names))}")
