"""`python -m scripts.verify.guards [--only H5,H9]`: take each guard away and see a test go red. Needs the services, minutes.

First all tests run on the sources as they are: who fails there proves nothing. Exit code 1 when a guard can go without
a test noticing, or when its text is no longer there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.verify.guards.table import GUARDS, Guard, problems

ROOT = Path(__file__).resolve().parents[3]
COPIED = ("streamae", "scripts", "tests", "pyproject.toml")
FAILED = re.compile(r"^FAILED (\S+)(?: - (.*))?$", re.MULTILINE)
NOBODY = f"\n{'':16}NOBODY NOTICED"
TIMEOUT_S = 600.0
TESTS_FAILED = 1  # pytest's exit code; others mean that no test has judged


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the tests of one guard ended without it.

    Attributes:
        red: tests that failed, and how; none = the guard can go, or nothing was tested.
        output: of the test run, for the reader of a survivor.
    """

    guard: Guard
    red: tuple[tuple[str, str], ...]
    output: str
    seconds: float

    def row(self) -> str:
        """Return a line of the table."""
        noticed = "".join(f"\n{'':16}{test.rpartition('::')[2]}: {how[:110]}" for test, how in self.red)
        took = f"{self.seconds:.0f} s"
        return f"{self.guard.name:16}{Path(self.guard.path).name:20}{self.guard.what:56}{took:>8}{noticed or NOBODY}"


@contextmanager
def copied_sources(root: Path = ROOT) -> Iterator[Path]:
    """Copy what tests need into a folder of its own; what was fetched from elsewhere is shared."""
    with tempfile.TemporaryDirectory(prefix="streamae-guards-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(root / name, copy / name)
        shared = root / ".cache"
        shared.mkdir(exist_ok=True)  # a checkout that has never started a service has none
        (copy / ".cache").symlink_to(shared)
        yield copy


def run_tests(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests on the sources below `folder`."""
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=short", "-p", "no:cacheprovider", *tests]
    wide = os.environ | {"COLUMNS": "300"}  # or the summary leaves out how a test failed
    return subprocess.run(command, cwd=folder, env=wide, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)


def judge(folder: Path, guard: Guard) -> Verdict:
    """Run the tests of a guard without it; the sources are as before afterwards."""
    path = folder / guard.path
    original = path.read_text(encoding="utf-8")
    started_s = time.monotonic()
    path.write_text(guard.removed_from(original), encoding="utf-8")
    try:
        done = run_tests(folder, guard.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    red = tuple(FAILED.findall(done.stdout)) if done.returncode == TESTS_FAILED else ()
    return Verdict(guard, red, done.stdout + done.stderr, time.monotonic() - started_s)


def main(arguments: list[str] | None = None) -> int:
    """Print one line a guard; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.verify.guards", description=__doc__)
    parser.add_argument("--only", help="names, comma-separated: H1 to H15, or as in the table")
    chosen = parser.parse_args(arguments).only
    guards = tuple(guard for guard in GUARDS if chosen is None or guard.name in chosen.split(","))
    if found := problems(ROOT, guards):
        print("\n".join(found))
        return 1
    survivors = []
    with copied_sources() as folder:
        plain = run_tests(folder, sorted({test for guard in guards for test in guard.tests}))
        if plain.returncode != 0:
            print(f"{plain.stdout}{plain.stderr}\nthe tests fail with all guards in place")
            return 1
        print(f"{'guard':16}{'file':20}{'removed':56}{'took':>8}\n{'':16}test that went red: how")
        for guard in guards:
            verdict = judge(folder, guard)
            print(verdict.row(), flush=True)
            survivors += [] if verdict.red else [verdict]
    for verdict in survivors:
        print(f"\n{verdict.guard.name} ({verdict.guard.what}):\n{verdict.output[-3_000:]}")
    print(f"{len(guards) - len(survivors)} of {len(guards)} guards are watched")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
