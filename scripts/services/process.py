"""One service as a child process with a folder of its own: start, wait until it answers, pause, stop, kill.

Must not know: what the service is.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.05
LOG_TAIL_LINES = 20
SERVICE_PORTS = range(12_000, 32_000)


class ServiceUnavailableError(RuntimeError):
    """A service cannot be started on this machine; the message says what is missing or what it logged."""


def require(program: str, remedy: str) -> str:
    """Return the path of `program`.

    Raises:
        ServiceUnavailableError: it is not installed; the message ends with `remedy`.
    """
    path = shutil.which(program)
    if path is None:
        raise ServiceUnavailableError(f"{program} is not installed: {remedy}")
    return path


def free_port() -> int:
    """Return a loopback TCP port nobody listens on at this moment.

    It lies below the ports that the system gives to outgoing connections: a client that keeps trying while the
    service is down would get the very port one day, meet itself there, and the service could not come back.
    """
    while True:
        port = random.choice(SERVICE_PORTS)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a loopback TCP port at this moment."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ask(port: int, request: bytes, timeout_s: float = 1.0) -> bytes:
    """Return the first bytes a loopback port answers to `request`; empty if it does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(request)
            return connection.recv(64)
    except OSError:
        return b""


class ServiceProcess:
    """A child process with a log file. It is killed when this process dies, however that happens."""

    def __init__(self, log_path: Path) -> None:
        self.log_path = log_path
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while not running."""
        return None if self._child is None or self._child.poll() is not None else self._child.pid

    def is_running(self) -> bool:
        """Whether the child was started and has not ended (a paused child is running)."""
        return self.pid is not None

    def start(self, command: Sequence[str], is_ready: Callable[[], bool]) -> None:
        """Start the child and wait until it answers; see `launch` and `await_ready`."""
        self.launch(command)
        self.await_ready(is_ready)

    def launch(self, command: Sequence[str]) -> None:
        """Start the child, unless it runs, and do not wait. It ends with the thread that called."""
        if self.is_running():
            return
        guard = shutil.which("setpriv")  # ends the child with us even when we are killed; part of util-linux
        prefix = [guard, "--pdeathsig", "KILL"] if guard else []
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [*prefix, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def await_ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait until the child answers.

        Raises:
            ServiceUnavailableError: it ended, or did not answer in time; it is killed and its log is quoted.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                raise ServiceUnavailableError(f"{self.log_path.stem} did not start:\n{self._log_tail()}")
            time.sleep(POLL_INTERVAL_S)

    def stop(self) -> None:
        """Ask the child to end and wait; kill it when it does not. Idempotent."""
        if self._child is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the child at once, without a chance to write anything. Idempotent."""
        if self._child is not None:
            self._signal(signal.SIGKILL)
            self._child.wait(STOP_TIMEOUT_S)

    def pause(self) -> None:
        """Freeze the child: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen child go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


class Service(ABC):
    """A service with its own folder, as a context manager; ports and data survive `stop`, `kill` and `start`.

    Args:
        name: of the folder and the log file.
    """

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"streamae-{name}-"))
        self.process = ServiceProcess(self.folder / f"{name}.log")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    @abstractmethod
    def start(self) -> None:
        """Start the service, or start it again on the same data; wait until it answers.

        Raises:
            ServiceUnavailableError: something it needs is missing, or it did not come up.
        """

    def stop(self) -> None:
        """Shut the service down in order. Idempotent."""
        self.process.stop()

    def kill(self) -> None:
        """End the service as a power cut would. Idempotent."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the service: connections stay open, nothing is answered."""
        self.process.pause()

    def resume(self) -> None:
        """Let a frozen service go on."""
        self.process.resume()

    def close(self) -> None:
        """End the service and delete its folder."""
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
