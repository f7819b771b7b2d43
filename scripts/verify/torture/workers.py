"""Worker processes from the outside: started, killed, frozen, and read through their logs and health ports.

Must not know: what flows through them.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.verify.torture.holds import arming_signal

ROOT = Path(__file__).resolve().parents[3]
STOP_TIMEOUT_S = 40.0

Sections = dict[str, dict[str, Any]]


class TimedOutError(RuntimeError):
    """Something did not happen in time; the message says what."""


def wait_until(condition: Callable[[], object], what: str, timeout_s: float, interval_s: float = 0.05) -> float:
    """Return the seconds until `condition()` was true.

    Raises:
        TimedOutError: still false after `timeout_s`.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise TimedOutError(f"still waiting for {what} after {timeout_s:g} s")
        time.sleep(interval_s)
    return time.monotonic() - started


def write_settings(path: Path, sections: Sections) -> Path:
    """Write `sections` as TOML; values are text, numbers, lists, tables, or None (left out)."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


class Worker:
    """One worker process. It dies with this process, however that happens.

    Args:
        name: of its files in `folder`: settings, log.
        sections: settings.
        arguments: for the program, e.g. `--without cas`.
        env: added to this process's environment.
    """

    program: Sequence[str] = ("-m", "scripts.verify.torture.worker")

    def __init__(
        self,
        name: str,
        folder: Path,
        sections: Sections,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.sections = name, sections
        self.log = folder / f"{name}.log"
        self.settings_file = write_settings(folder / f"{name}.toml", sections)
        guard = shutil.which("setpriv")
        command = [
            *([guard, "--pdeathsig", "KILL"] if guard else []),
            sys.executable,
            *self.program,
        ]
        command += ["--config", str(self.settings_file), *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=os.environ | dict(env or {})
            )
        self.started_s = time.monotonic()
        self.is_doomed = False  # its end is our doing; any other end is a finding

    @property
    def pid(self) -> int:
        """Process id, also after the end."""
        return self.process.pid

    def is_alive(self) -> bool:
        """Whether the process has not ended; a frozen one is alive."""
        return self.process.poll() is None

    def is_frozen(self) -> bool:
        """Whether the process is stopped by a signal."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "Tt"
        except OSError:
            return False

    def state(self) -> str:
        """Say in a few words how the process is, and make it write the stacks of its threads into its log."""
        if not self.is_alive():
            return f"{self.name} has ended"
        is_frozen, last = self.is_frozen(), self.lines()[-1:]
        self.process.send_signal(signal.SIGUSR1)
        return f"{self.name}{' (stopped)' if is_frozen else ''} owns {sorted(self.owned())}, last line {last}"

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.is_doomed = True
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """Stop the process where it stands (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask for an orderly end (SIGTERM), which a process can give only when it has begun to listen for signals.

        Raises:
            TimedOutError: it does not come so far.
        """
        self.is_doomed = True
        wait_until(lambda: not self.is_alive() or self.logged("starting"), f"{self.name} to start", STOP_TIMEOUT_S)
        self.process.send_signal(signal.SIGTERM)

    def arm(self, number: int) -> None:
        """Arm the hold of this number among its `--hold` arguments."""
        self.process.send_signal(arming_signal(number))

    def reload(self) -> None:
        """Ask to read the settings file again (SIGHUP)."""
        self.process.send_signal(signal.SIGHUP)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end; return the exit code, negative for a signal.

        Raises:
            TimedOutError: it goes on.
        """
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimedOutError(f"{self.name} has not ended after {timeout_s:g} s; its log: {self.log}") from error

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far; what is not JSON (a traceback) as text under `event`."""
        found: list[dict[str, Any]] = []
        for text in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            found.append(line if isinstance(line, dict) and "event" in line else {"event": text})
        return found

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of this event with these fields."""
        return [
            line
            for line in self.lines()
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def owned(self) -> set[str]:
        """Return the partitions the worker owns by its own word, as `topic-index`."""
        owned: set[str] = set()
        for line in self.logged("rebalanced"):
            owned = (owned - set(line["revoked"])) | set(line["assigned"])
        return owned

    def get(self, path: str) -> str:
        """Ask the health server; empty when it does not answer."""
        starting = self.logged("starting")
        if not starting or not self.is_alive():
            return ""
        connection = http.client.HTTPConnection("127.0.0.1", starting[0]["http_port"], timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the labels not given; `name` without `streamae_`; NaN when unknown."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            float(text.rpartition(" ")[2])
            for text in self.get("/metrics").splitlines()
            if text.startswith((f"streamae_{name} ", f"streamae_{name}{{")) and all(each in text for each in wanted)
        ]
        return sum(found) if found else float("nan")

    def rss_bytes(self) -> int:
        """Return the resident memory; 0 after the end."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Return the CPU time of all its threads so far; 0 after the end."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_bytes(self) -> int:
        """Return the most resident memory it ever needed, as the kernel kept it: no short peak is missed.

        Raises:
            RuntimeError: it has ended, or this kernel keeps no such figure.
        """
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
            return int(status.partition("VmHWM:")[2].split()[0]) * 1024
        except (OSError, IndexError) as error:
            raise RuntimeError(f"the peak memory of process {self.pid} is unknown") from error


class Workers:
    """The workers of one trial: a fixed number of slots, each with the processes that filled it one after the other.

    Args:
        sections_of: settings of the worker in a slot.
        folder: for settings and logs.
        arguments, env: of every worker.
    """

    def __init__(
        self,
        sections_of: Callable[[int], Sections],
        folder: Path,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._sections_of, self._folder = sections_of, folder
        self._arguments, self._env = tuple(arguments), dict(env or {})
        self.env_of: dict[int, dict[str, str]] = {}  # added for the worker of a slot
        self.current: dict[int, Worker] = {}
        self.all: list[Worker] = []

    def __getitem__(self, slot: int) -> Worker:
        """Return the newest process of a slot."""
        return self.current[slot]

    def __iter__(self) -> Iterator[Worker]:
        """Go through the newest process of each slot."""
        return iter(list(self.current.values()))

    def start(self, slot: int, arguments: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Worker:
        """Start a process in a slot; a former one there must have ended or is left to itself."""
        number = sum(worker.name.startswith(f"worker-{slot}-") for worker in self.all)
        worker = Worker(
            f"worker-{slot}-{number}",
            self._folder,
            self._sections_of(slot),
            (*self._arguments, *arguments),
            self._env | self.env_of.get(slot, {}) | dict(env or {}),
        )
        self.current[slot] = worker
        self.all.append(worker)
        return worker

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of an event over all processes there ever were."""
        return [line for worker in self.all for line in worker.logged(event, **fields)]

    def unexpected_ends(self) -> list[str]:
        """Return a sentence for each process that ended without our doing, with the end of its log."""
        return [
            f"{worker.name} ended by itself with {worker.process.poll()}: {worker.lines()[-2:]}"
            for worker in self.all
            if not worker.is_alive() and not worker.is_doomed
        ]

    def stop(self) -> list[int]:
        """Thaw and terminate all that live, together; return their exit codes.

        Raises:
            TimedOutError: one goes on.
        """
        living = [worker for worker in self.all if worker.is_alive()]
        for worker in living:
            worker.thaw()
            worker.terminate()
        return [worker.wait() for worker in living]

    def end(self) -> None:
        """Kill all that live."""
        for worker in self.all:
            if worker.is_alive():
                worker.kill()
