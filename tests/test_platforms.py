"""Platforms that lack what Linux has: everything can be imported, and only `run` is refused, in words."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from streamae.errors import ExitCode

ROOT = Path(__file__).resolve().parents[1]
LACKING = """
import importlib, json, os, pkgutil, signal, socket, sys
del signal.SIGHUP, socket.AF_UNIX, os.sched_getaffinity
sys.modules["fcntl"] = None  # an import of it fails
import streamae
for module in pkgutil.walk_packages(streamae.__path__, "streamae."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from streamae.cli import main
commands, codes = json.loads(sys.argv[1]), sys.stdout
sys.stdout = open(os.devnull, "w")
print(*map(main, commands), file=codes)
"""


@pytest.mark.slow
def test_everything_but_the_daemon_works_where_there_is_no_linux(tmp_path: Path) -> None:
    """All modules can be imported, settings, schema and training work; `run` says why it ends, for no restart to try."""
    data, bundle = tmp_path / "data.csv", tmp_path / "bundle"
    rows = (f"{1_700_000_000 + 60 * row},{math.sin(row / 9.0) + row % 7 / 50}" for row in range(300))
    data.write_text("\n".join(("timestamp,value", *rows)), encoding="utf-8")
    train = ["train", str(data), "--bundle", str(bundle), "--train.max_steps", "4"]
    commands = [["config"], ["schema"], train, ["run", "--service.http_port", "0"]]
    command = [sys.executable, "-c", LACKING, json.dumps(commands)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.split() == [str(code.value) for code in (*[ExitCode.OK] * 3, ExitCode.SETTINGS)], found.stderr
    assert (bundle / "bundle.json").is_file()
    *_, said = found.stderr.splitlines()
    assert said == "streamae run: needs Linux: this platform has no signal SIGHUP to have settings read again"
