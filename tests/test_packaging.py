"""What is handed on: the metadata is whole, the wheel holds the whole package, the source archive its documentation."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS: dict[str, dict[str, list[str]]] = PROJECT["tool"]["hatch"]["build"]["targets"]
PACKAGE = ROOT / "streamae"
FILES = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_the_metadata_says_what_an_index_shows() -> None:
    """Who, under which licence, for whom, on which Python: the lowest one that is required is among those that are named."""
    project = PROJECT["project"]
    assert {"authors", "classifiers", "description", "keywords", "license", "readme"} <= project.keys()
    named = {found[1] for one in project["classifiers"] if (found := re.fullmatch(r".* :: Python :: (3\.\d+)", one))}
    lowest = min(named, key=lambda version: int(version.partition(".")[2]))
    assert project["requires-python"] == f">={lowest}"
    assert project["classifiers"] == sorted(project["classifiers"])


def test_the_wheel_holds_everything_of_the_package() -> None:
    """Scripts of the store, templates, schemas, the mark of types: nothing is left out, nor ignored as a build's output."""
    assert TARGETS["wheel"] == {"packages": ["streamae"]}
    assert {path.suffix for path in FILES} == {".py", ".lua", ".html", ".json", ".typed"}
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    parts = {part for path in FILES for part in path.relative_to(PACKAGE).parts}
    assert [part for part in parts for pattern in ignored if fnmatchcase(part, pattern.removeprefix("**/"))] == []


def test_the_source_archive_holds_what_readers_and_builders_need() -> None:
    """Everything that stands at the top of the repository, documentation too, and what its tests run."""
    include = TARGETS["sdist"]["include"]
    needed = ["streamae", "tests", "scripts", "deploy", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
    needed += [".ci", "Makefile", "constraints.txt"]
    for name in needed:
        assert (ROOT / name).exists()
        assert any(fnmatchcase(f"/{name}", pattern) for pattern in include), name
