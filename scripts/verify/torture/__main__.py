"""`python -m scripts.verify.torture [--smoke | --quick | --full]`: run the plan, write one JSON and one table; 1 if anything failed.

Progress goes to standard error, one line a test to standard output. `--resume` skips tests that passed before with the
same figures and seed on the same commit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from scripts.verify.torture.context import Context, Shared, Size
from scripts.verify.torture.plan import PLAN, Test
from scripts.verify.torture.report import Entry, Report, Result, hardware
from scripts.verify.torture.workers import ROOT

SECOND_CHANCE = 1_000_000  # is added to the seed of a run that is repeated: no seed that anybody gives by hand


def commit() -> str:
    """Return the commit under test, with "+" when tracked files differ from it; empty outside a checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def run(test: Test, context: Context) -> Result:
    """Run one test; whatever goes wrong is a complaint of its result."""
    try:
        return test.run(context)
    except Exception as error:  # noqa: BLE001 - one broken test must not end the others
        traceback.print_exc()
        return Result({}, [f"{type(error).__name__}: {error}"])


def verdict_of(test: Test, result: Result) -> str:
    """Return the word for a result."""
    if test.is_control:
        return "caught" if result.is_passed else "missed"
    return "passed" if result.is_passed else "unproven" if result.is_unproven else "failed"


@dataclass(frozen=True)
class Session:
    """One run of the plan.

    Attributes:
        report: where results go.
        shared: services of all tests.
        size: which figures count.
        seed: of everything random.
        resumes: whether tests that passed before on the same commit are skipped.
        jobs: how many tests run side by side.
        faults: in place of the plan's figures.
    """

    report: Report
    shared: Shared
    size: Size = "quick"
    seed: int = 0
    resumes: bool = False
    jobs: int = 1
    faults: int | None = None

    def play(self, tests: Sequence[Test]) -> None:
        """Run the tests that are part of this session; one line each as soon as it is known."""
        code, lock = commit(), Lock()

        def add(test: Test) -> None:
            entry = self._entry(test, code)
            with lock:
                self.report.add(entry)
                print(entry.line(), *(f"     {each}" for each in entry.complaints), sep="\n", flush=True)

        chosen = [test for test in tests if self._faults(test) is not None]
        if self.jobs == 1:
            for test in chosen:
                add(test)
        else:
            with ThreadPoolExecutor(self.jobs) as pool:
                list(pool.map(add, chosen))

    def _faults(self, test: Test) -> int | None:
        return test.faults(self.size) if self.faults is None else self.faults

    def _entry(self, test: Test, code: str) -> Entry:
        faults = self._faults(test) or 0
        former = self.report.former(test.id, faults, self.seed, code) if self.resumes else None
        if former is not None:
            return former
        started = time.monotonic()
        seeds = (self.seed, self.seed + SECOND_CHANCE)
        for seed in seeds:  # complaints are final; a run that shows too little is repeated once, at other moments
            result = run(test, Context(test.id, faults, seed, size=self.size, shared=self.shared))
            if seed != self.seed:
                result.figures["second_seed"] = seed
            if not result.is_unproven:
                break
            print(
                f"{test.id} with seed {seed} shows too little: {'; '.join(result.doubts)}", file=sys.stderr, flush=True
            )
        seconds, verdict = round(time.monotonic() - started, 1), verdict_of(test, result)
        findings = result.complaints + result.doubts
        return Entry(test.id, test.title, faults, self.seed, code, seconds, verdict, result.figures, findings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when all tests passed and all controls were caught."""
    parser = argparse.ArgumentParser(prog="python -m scripts.verify.torture", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="a few faults and all controls: about 4 minutes on 2 cores")
    size.add_argument("--quick", action="store_true", help="the short figures: about 15 minutes on 2 cores")
    size.add_argument("--full", action="store_true", help="the full figures: about 3 hours (default)")
    parser.add_argument("--tests", default="", help="only these, e.g. T1,T6,N2")
    parser.add_argument("--faults", type=int, help="so many of the tests that --tests names, in place of the plan's")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/torture"), help="for report and logs (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="skip what passed before on this commit")
    parser.add_argument(
        "--jobs", type=int, default=1, help="tests side by side: most of them mostly wait (%(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="print the plan and end")
    chosen = parser.parse_args(arguments)
    wanted = [name.strip() for name in chosen.tests.split(",") if name.strip()]
    unknown = set(wanted) - {test.id for test in PLAN}
    if unknown:
        parser.error(f"no such test: {', '.join(sorted(unknown))}; there are {', '.join(test.id for test in PLAN)}")
    if chosen.faults is not None and (not wanted or chosen.faults < 1):
        parser.error("--faults is at least 1, and goes together with --tests")
    tests = [test for test in PLAN if test.id in wanted or not wanted]
    if chosen.list:
        print(f"{'':<4} {'full':>9} {'quick':>7} {'smoke':>5}")
        for test in tests:
            full, quick, smoke = ("-" if n is None else f"{n:,}" for n in (test.full, test.quick, test.smoke))
            print(f"{test.id:<4} {full:>9} {quick:>7} {smoke:>5}  {test.title}")
        return 0
    figures: Size = "smoke" if chosen.smoke else "quick" if chosen.quick else "full"
    report = Report(chosen.out / "torture.json", f"{hardware()}, seed {chosen.seed}")
    with Shared(chosen.out.resolve()) as shared:
        Session(report, shared, figures, chosen.seed, chosen.resume, chosen.jobs, chosen.faults).play(tests)
    print(f"\n{report.table()}")
    return 0 if all(entry.is_good for entry in report.entries) else 1


if __name__ == "__main__":
    sys.exit(main())
