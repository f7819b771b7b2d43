"""sd_notify: what is sent, where to, and that nothing ever depends on it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamae.daemon.notify import Notifier


class Receiver:
    """The supervisor's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(5)

    def take(self) -> str:
        """Return the next message."""
        return self.socket.recv(4_096).decode()


@pytest.fixture(params=["path", "abstract"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Receiver, str]]:
    """A listening socket and its address as systemd would write it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@streamae-test-{uuid.uuid4().hex}"
    receiver = Receiver(address)
    yield receiver, address
    receiver.socket.close()


def test_each_message_arrives_as_one_datagram(receiver: tuple[Receiver, str]) -> None:
    """Both kinds of socket address work, and each call sends exactly its message."""
    socket_, address = receiver
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.watchdog()
    notifier.status("3 partitions")
    notifier.extend_timeout(1.5)
    notifier.stopping()
    assert [socket_.take() for _ in range(5)] == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=3 partitions",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1",
    ]


def test_a_reload_is_announced_with_its_time_and_ended(receiver: tuple[Receiver, str]) -> None:
    """systemd wants the monotonic time with RELOADING=1, in one datagram, and READY=1 when it is over."""
    socket_, address = receiver
    notifier = Notifier(address)
    notifier.reloading()
    notifier.reloaded()
    notifier.ready()
    assert socket_.take() == "READY=1", "before the start is over a reload is nobody's business"
    before = time.monotonic_ns() // 1_000
    notifier.reloading()
    notifier.reloaded()
    first, second = socket_.take().splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1_000
    assert socket_.take() == "READY=1"


def test_a_status_cannot_smuggle_in_a_second_message(receiver: tuple[Receiver, str]) -> None:
    """Lines separate messages in the protocol; an error text with a newline stays one line."""
    socket_, address = receiver
    Notifier(address).status("broker\nREADY=1\r\n  gone")
    assert socket_.take() == "STATUS=broker READY=1 gone"


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_supervisor_nothing_happens(address: str | None) -> None:
    """In a container or a terminal all calls are silent."""
    Notifier.from_environment({} if address is None else {"NOTIFY_SOCKET": address}).ready()


def test_a_supervisor_that_went_away_is_no_error(tmp_path: Path) -> None:
    """A missing socket, or one that nobody listens on any more, does not stop the service."""
    Notifier(str(tmp_path / "none")).ready()
    gone = Receiver(str(tmp_path / "gone"))
    gone.socket.close()
    Notifier(str(tmp_path / "gone")).watchdog()


def test_a_supervisor_that_does_not_read_cannot_block_us(tmp_path: Path) -> None:
    """A full queue drops messages after a moment instead of stopping the loop."""
    receiver = Receiver(str(tmp_path / "full"))
    notifier = Notifier(str(tmp_path / "full"))
    for _ in range(15):  # the kernel's queue holds about ten
        notifier.watchdog()
    assert receiver.take() == "WATCHDOG=1"
    receiver.socket.close()


@pytest.mark.parametrize(
    ("env", "watchdog_ms"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_the_watchdog_is_read_from_the_environment(env: dict[str, str], watchdog_ms: int | None) -> None:
    """We ping only when asked to, in this very process, and never trip over a broken value."""
    assert Notifier.from_environment(env).watchdog_ms == watchdog_ms
