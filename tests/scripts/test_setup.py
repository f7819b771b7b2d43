"""The set-up scripts, the Makefile and the CI entry do on a strange machine what the README promises.

A strange machine is a PATH with the basic tools and exactly the fakes a test puts there: nothing is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASIC = ("bash", "env", "uname", "sed", "head", "id", "dirname", "cat", "true", "awk")
CI_TOOLS = ("mktemp", "tee", "grep", "rm")
JAVA_17 = "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2"
JAVA_11 = "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2"
PYTHON_310 = f"exec {sys.executable} -c 'import sys; sys.version_info = (3, 10, 9); exec(sys.argv[1])' \"$2\""
ALL = {
    "java": JAVA_17,
    "mvn": "",
    "redis-server": "",
    "prometheus-alertmanager": "",
    "promtool": "",
    "openssl": "",
    "systemd-analyze": "",
    "faketime": "",
}


def machine(folder: Path, fakes: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment of a machine that has the basic tools, `more`, and `fakes`, each a line of shell."""
    tools = folder / "bin"
    tools.mkdir()
    for name in (*BASIC, *more):
        real = shutil.which(name)
        assert real, name
        (tools / name).symlink_to(real)
    for name, body in fakes.items():
        path = tools / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
    return {"PATH": str(tools), "LOG": str(folder / "log")}


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command from the repository root in `environment` alone, without standard input."""
    return subprocess.run(
        ["bash", *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_complete_machine_is_left_alone(tmp_path: Path) -> None:
    """Where everything is there, nothing is printed and the package manager is not asked."""
    done = run(machine(tmp_path, ALL | {"apt-get": 'echo "$*" >>"$LOG"'}), "scripts/setup_system.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("fakes", [{}, {"apt-get": "", "id": "echo 1000", "sudo": "exit 1"}], ids=["no apt", "no root"])
def test_missing_packages_are_named_in_one_line(tmp_path: Path, fakes: dict[str, str]) -> None:
    """Where we may not install, one line says everything that is to be installed, and make stops."""
    done = run(machine(tmp_path, fakes), "scripts/setup_system.sh")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    packages = ("default-jre-headless", "maven", "redis-server", "prometheus-alertmanager", "prometheus", "systemd")
    assert {*packages, "faketime"} <= set(line.split())


@pytest.mark.parametrize(
    ("java", "madison", "package"),
    [
        (JAVA_11, "echo openjdk-17-jre-headless", "openjdk-17-jre-headless"),
        ("exit 127", "true", "default-jre-headless"),
    ],
    ids=["too old", "none, and no 17 to be had"],
)
def test_only_what_is_missing_is_installed(tmp_path: Path, java: str, madison: str, package: str) -> None:
    """With the right to install, the Java package this Debian has is fetched, and nothing that is there already."""
    fakes = ALL | {"java": java, "apt-cache": madison, "apt-get": 'echo "$*" >>"$LOG"', "id": "echo 0"}
    done = run(machine(tmp_path, fakes), "scripts/setup_system.sh")
    assert done.returncode == 0, done.stderr
    update, install = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert update.startswith("update")
    assert install.split()[-1] == package
    others = {"maven", "redis-server", "prometheus-alertmanager", "prometheus", "openssl", "systemd", "faketime"}
    assert not others & set(install.split())


def test_sudo_is_used_only_without_a_password(tmp_path: Path) -> None:
    """An ordinary user's packages go through sudo, which must never stop to ask."""
    fakes = ALL | {"mvn": "", "id": "echo 1000", "sudo": 'echo "$*" >>"$LOG"', "apt-get": "exit 9"}
    environment = machine(tmp_path, fakes)
    (tmp_path / "bin" / "mvn").unlink()
    done = run(environment, "scripts/setup_system.sh")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert all(call.startswith("-n ") for call in calls)
    assert calls[-1].endswith("maven")


@pytest.mark.parametrize("body", [None, "exit 1", PYTHON_310], ids=["none", "a shim for none", "only an old one"])
def test_missing_python_is_said_plainly(tmp_path: Path, body: str | None) -> None:
    """Without Python 3.11 the one message says what to install or how to name it, and nothing is created."""
    fakes = {} if body is None else {"python3": body, "python3.11": body}
    target = tmp_path / "venv"
    done = run(machine(tmp_path, fakes), "scripts/setup_venv.sh", str(target))
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr
    assert "PYTHON=" in done.stderr
    assert not target.exists()


def test_make_alone_lists_every_target() -> None:
    """The default target explains each target that exists, so the Makefile needs no other manual."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert re.findall(r"^make (\S+) +\S", done.stdout, re.MULTILINE) == targets


def continuous_integration(folder: Path, make: str) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
    """Run the CI entry from elsewhere, with input, and a fake make that writes down how it was called."""
    environment = machine(folder, {"make": '{ echo "$*"; pwd; cat; } >>"$LOG"; ' + make}, CI_TOOLS)
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        cwd=folder,
        env=environment,
        input=b"typed",
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done, (folder / "log").read_text(encoding="utf-8").splitlines()


def test_continuous_integration_runs_make_test_and_what_takes_too_long_for_it(tmp_path: Path) -> None:
    """From anywhere, without input, one after the other; at the end stand the closing lines of every pytest."""
    done, calls = continuous_integration(tmp_path, 'echo "== 12 passed, 1 skipped in 3.25s =="; echo more')
    assert done.returncode == 0, done.stderr
    assert calls == [line for target in ("test", "crash-sweep", "torture-quick") for line in (target, str(ROOT))]
    assert done.stdout.decode().splitlines()[-4:] == ["more", *["== 12 passed, 1 skipped in 3.25s =="] * 3]


@pytest.mark.parametrize("target", ["test", "crash-sweep", "torture-quick"])
def test_continuous_integration_fails_with_the_first_that_fails(tmp_path: Path, target: str) -> None:
    """With its exit status, and with the closing line that says so; nothing is started after it."""
    done, calls = continuous_integration(
        tmp_path, f'[[ $1 != {target} ]] || {{ echo "2 failed, 3 passed in 0.10s (0:00:01)"; echo; exit 7; }}'
    )
    assert done.returncode == 7
    assert calls[-2:] == [target, str(ROOT)]
    assert done.stdout.decode().splitlines()[-1] == "2 failed, 3 passed in 0.10s (0:00:01)"


def test_constraints_are_exact_and_complete() -> None:
    """Every direct dependency has one exact version, and no line depends on a machine or a place to download from."""
    lines = [
        line.split(" #")[0]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[^\s/@;]+", line)] == []
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?[=>]=[\d.]+"', project.partition("[project.scripts]")[0])
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in named} - pinned == {"hatchling"}
    assert len(named) > 20
