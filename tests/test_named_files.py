"""Files that are named in strings: a list of names must not outlive the files it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("streamae", "scripts", "tests", "docs", "deploy")
NAMED = re.compile(rf"((?:{'|'.join(ROOMS)})(?:/[\w.-]+)+)(?:::\w+)?")


def named(text: str) -> set[str]:
    """Return each string of a module that is a path from the root of the repository, or a test in that file."""
    strings = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return {match[1] for value in strings if isinstance(value, str) and (match := NAMED.fullmatch(value))}


def test_files_named_in_strings_exist() -> None:
    """A file that is moved or renamed drops out of no list in silence."""
    modules = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    found = {path: named(path.read_text(encoding="utf-8")) for path in modules}
    assert sum(map(len, found.values())) > 20
    assert {(path.name, name) for path, names in found.items() for name in names if not (ROOT / name).exists()} == set()


def test_names_are_told_from_other_strings() -> None:
    """Of files and tests, in any list; a command with arguments or a topic is none."""
    folder = "tests"
    text = f"A = ('{folder}/gone.py', ['{folder}/a/b.lua::test_c', 'python tests/x.py', 'sensors', 'tests'])"
    assert named(text) == {f"{folder}/gone.py", f"{folder}/a/b.lua"}
