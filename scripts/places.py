"""In how many places an idea stands: `python -m scripts.places [FOLDER]`.

Each row takes one example of an idea (a threshold rule, a setting, a feature that is derived) and counts the files and
lines that name it, in the package, the tests and the documentation of a checkout, this one by default. The fewer, the
less there is to do for the next of its kind, and to forget. Works on any checkout: nothing of it is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
IDEAS = {  # what it is an example of: the pattern that its lines match
    'a threshold rule: "conformal"': r"""["'`]conformal["'`]""",
    "a knob of a rule: block_level": r"\bblock_level\b",
    "a train setting: clip_norm": r"\bclip_norm\b",
    "a train setting: calibration_folds": r"\bcalibration_folds\b",
    "a window setting: max_imputed_share": r"\bmax_imputed_share\b",
    "a Kafka setting: retry_backoff_ms": r"\bretry_backoff_ms\b",
    "a feature encoding: weekday": r"\bweekday\b",
    "a feature encoding: since_previous": r"\b(since_previous|has_interval|INTERVAL)\b|[\"'`]interval[\"'`]",
    "the tree of settings: imports of Settings": r"\bimport\b.*\bSettings\b|^class Settings\b",
    "the tree of settings: the word Settings": r"\bSettings\b",
}
PARTS = {
    "package": ("streamae/**/*.py",),
    "tests": ("tests/**/*.py",),
    "docs": ("docs/*.md", "README.md", "CONTRIBUTING.md"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """Files that name an idea, and lines of them."""

    files: int
    lines: int

    def __str__(self) -> str:
        return f"{self.files} files, {self.lines} lines"


def count(folder: Path, pattern: str, globs: Sequence[str]) -> Places:
    """Count the files below `folder` that have a line with the pattern, and these lines."""
    lines = [number for file in _files(folder, globs) if (number := _lines(file, re.compile(pattern)))]
    return Places(len(lines), sum(lines))


def _files(folder: Path, globs: Sequence[str]) -> Iterator[Path]:
    for glob in globs:
        yield from sorted(folder.glob(glob))


def _lines(file: Path, pattern: re.Pattern[str]) -> int:
    return sum(pattern.search(line) is not None for line in file.read_text(encoding="utf-8").splitlines())


def table(folder: Path) -> str:
    """Return the table of a checkout, for a terminal."""
    rows = [["", *PARTS]]
    for idea, pattern in IDEAS.items():
        rows.append([idea, *(str(count(folder, pattern, globs)) for globs in PARTS.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main(arguments: Sequence[str], out: TextIO | None = None) -> int:
    """Print the table of a folder; 2 where it holds no package."""
    folder = Path(arguments[0]) if arguments else ROOT
    if not (folder / "streamae").is_dir():
        print(f"{folder}: no checkout of streamae", file=sys.stderr)
        return 2
    print(table(folder), file=out or sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
