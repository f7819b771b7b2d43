"""The one place where tests wait for real time: until something outside this process (a service, a child) is so far."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60.0, interval_s: float = 0.02) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        AssertionError: still false after `timeout_s`; the message names `what`.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting for {what} after {timeout_s:g} s")
        time.sleep(interval_s)
