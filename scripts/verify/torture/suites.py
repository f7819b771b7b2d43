"""T17 and T19: the protocol's model check and the regression tests of the client's hazards, as parts of the plan."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result
from scripts.verify.torture.workers import ROOT

HAZARD_TESTS = (
    "tests/connectors/kafka/test_hazards.py",
    "tests/connectors/kafka/test_unowned.py",
    "tests/connectors/test_source_contract.py::test_a_partition_paused_half_read_goes_on_when_it_is_resumed",
)
LIMIT_S = 3_600.0
LINES_QUOTED = 5


def model_check(context: Context) -> Result:
    """T17: random schedules of the checkpoint protocol as built, and variants that must break."""
    result, output = _run(
        ["-m", "scripts.verify.model_check", "--schedules", str(context.faults), "--seed", str(context.seed)]
    )
    found = re.search(r"([\d,]+) schedules in", output)
    result.figures["schedules"] = int(found[1].replace(",", "")) if found else 0
    result.require(found, "the model check did not say how many schedules it played")
    return result


def hazards(context: Context) -> Result:
    """T19: each hazard of the client shown on a real broker, and stopped by its guard."""
    del context  # the figures are those of the tests themselves
    result, output = _run(["-m", "pytest", "-q", *HAZARD_TESTS])
    found = re.search(r"(\d+) passed", output)
    result.figures["tests"] = int(found[1]) if found else 0
    result.require(found, f"no test of {' '.join(HAZARD_TESTS)} passed")
    result.require("skipped" not in output, "hazard tests were skipped")
    return result


def _run(arguments: list[str]) -> tuple[Result, str]:
    """Run Python with these arguments in the repository; what it printed last is a complaint when it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ | {"REQUIRE_SERVICES": "1"},
    )
    result = Result()
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        result.complaints.append(f"exit code {done.returncode}: {' | '.join(lines[-LINES_QUOTED:])}")
    return result, done.stdout
