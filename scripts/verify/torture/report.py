"""Results of the tests: one JSON file that a later run can resume from, and one table for people.

Must not know: what a test does.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Figure = int | float | str


@dataclass
class Result:
    """What one test found. It passes when nobody complained and nothing is in doubt.

    Attributes:
        figures: measured numbers by name, in order of importance; names say their unit.
        complaints: what is wrong, one sentence each.
        doubts: faults that met nothing, one sentence each: what they were to show is not shown.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        """Whether nothing is wrong and everything was put to the test."""
        return not self.complaints and not self.doubts

    @property
    def is_unproven(self) -> bool:
        """Whether nothing is wrong, but not everything was put to the test."""
        return not self.complaints and bool(self.doubts)

    def require(self, condition: object, otherwise: str) -> None:
        """Complain when something that must hold, or a fault that must have been done, was not."""
        if not condition:
            self.complaints.append(otherwise)

    def expect(self, condition: object, otherwise: str) -> None:
        """Doubt the result when a fault was done and, by chance, met nothing that it could have harmed."""
        if not condition:
            self.doubts.append(otherwise)

    def take_findings(self, part: Result, name: str) -> None:
        """Take over what is wrong or in doubt in a part of the test, under the name of the part."""
        self.complaints += [f"{name}: {finding}" for finding in part.complaints]
        self.doubts += [f"{name}: {finding}" for finding in part.doubts]


@dataclass(frozen=True)
class Entry:
    """One line of the report.

    Attributes:
        id, title: of the test.
        faults: how many were asked for.
        seed: everything random of the test follows from it.
        commit: of the code under test; a leading part of its hash, with "+" when files were changed.
        seconds: how long it took.
        verdict: passed, failed, unproven (nothing wrong, but a fault met nothing, twice), caught (a negative control
            that was found out) or missed (one that was not).
        figures: see `Result`.
        complaints: of the result, then its doubts.
    """

    id: str
    title: str
    faults: int
    seed: int
    commit: str
    seconds: float
    verdict: str
    figures: dict[str, Figure]
    complaints: list[str]

    @property
    def is_good(self) -> bool:
        """Whether the run may go green with it."""
        return self.verdict in {"passed", "caught"}

    def line(self) -> str:
        """Return the entry as one line of text."""
        figures = ", ".join(f"{name} {_shown(value)}" for name, value in self.figures.items())
        return f"{self.id:<4} {self.verdict:<7} {self.seconds:>6.0f} s  {self.title} ({self.faults}): {figures}"


class Report:
    """All entries of one run, kept in a file after each test.

    Args:
        path: JSON file; what it held is only kept for tests that are resumed.
        hardware: one line about the machine.
    """

    def __init__(self, path: Path, hardware: str) -> None:
        self.path, self.hardware = path, hardware
        self.entries: list[Entry] = []
        self._former = _read(path)

    def former(self, test: str, faults: int, seed: int, commit: str) -> Entry | None:
        """Return the good entry of an earlier run of the same test with the same figures on the same code."""
        for entry in self._former:
            if (entry.id, entry.faults, entry.seed, entry.commit) == (test, faults, seed, commit) and entry.is_good:
                return None if commit.endswith("+") else entry
        return None

    def add(self, entry: Entry) -> None:
        """Take an entry in and write the file."""
        self.entries.append(entry)
        done = {each.id for each in self.entries}
        kept = [each for each in self._former if each.id not in done]
        content = {"hardware": self.hardware, "tests": [asdict(each) for each in (*self.entries, *kept)]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        scratch.replace(self.path)

    def table(self) -> str:
        """Return the readable end of a run."""
        bad = [entry for entry in self.entries if not entry.is_good]
        lines = [self.hardware, *(entry.line() for entry in self.entries)]
        lines += [f"     {entry.id}: {complaint}" for entry in bad for complaint in entry.complaints]
        seconds = sum(entry.seconds for entry in self.entries)
        lines.append(f"{len(self.entries) - len(bad)} of {len(self.entries)} good, {seconds / 60:.1f} minutes")
        return "\n".join(lines)


def hardware() -> str:
    """Name the machine in one line."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at start"
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed; NaN of none."""
    if not values:
        return float("nan")
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def _read(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["tests"]
        return [Entry(**each) for each in found]
    except (ValueError, KeyError, TypeError):  # of another format: nothing to resume from
        return []


def _shown(value: Figure) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
