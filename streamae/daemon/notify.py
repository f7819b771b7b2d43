"""Tell systemd how the service is doing: one datagram a message to the socket it names.

Outside systemd every call does nothing. This module must not know what the service does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

SOCKET_VARIABLE = "NOTIFY_SOCKET"
PATIENCE_S = 0.1  # for room in the supervisor's queue; then the message is dropped


class Notifier:
    """Sends sd_notify messages; a lost one is never an error.

    Attributes:
        watchdog_ms: a ping is expected at least every so many milliseconds; None when nobody watches.
    """

    def __init__(self, address: str | None = None, watchdog_ms: int | None = None) -> None:
        self._address = address
        self._is_ready = False
        self.watchdog_ms = watchdog_ms

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Notifier:
        """Read what systemd passed to this process; a broken value counts as absent."""
        watched = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = env.get("WATCHDOG_USEC", "")
        watchdog_ms = int(usec) // 1_000 if watched and usec.isascii() and usec.isdigit() else 0
        return cls(env.get(SOCKET_VARIABLE) or None, watchdog_ms or None)

    def ready(self) -> None:
        """Start-up is over."""
        self._is_ready = True
        self._send("READY=1")

    def reloading(self) -> None:
        """The settings are being read again. Says nothing before the start-up is over, which `reloaded` would end."""
        if self._is_ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def reloaded(self) -> None:
        """The settings now in force are the last word on it."""
        if self._is_ready:
            self._send("READY=1")

    def stopping(self) -> None:
        """A clean stop has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """The loop is alive."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def extend_timeout(self, seconds: float) -> None:
        """Ask for that much more time to start or stop, from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        # a leading @ names an abstract socket, whose real first byte is zero
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
            datagram.settimeout(PATIENCE_S)
            datagram.sendto(message.encode(), address)
