"""Named points at which a process can be made to die, to prove what a crash there loses.

Unset, which is the rule, every point is a call of an empty function. With `STREAMAE_FAIL_POINT=after_send:3` in the
environment at start the process kills itself, without any clean-up, when it passes `after_send` for the third time.

Must not know: who passes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

VARIABLE = "STREAMAE_FAIL_POINT"
POINTS = (
    "after_poll",
    "before_begin",
    "after_send",
    "after_flush",
    "after_send_offsets",
    "in_commit",  # asked for, not answered
    "after_commit",
    "in_checkpoint",  # carried out, answer not read
    "after_checkpoint",
    "in_revoked",
    "in_assigned",
    "in_shadow_replay",
)
ALERT_POINTS = (  # of `streamae alert`
    "after_alert_send",
    "after_alert_record",
    "before_alert_offsets",
)


def _pass(_name: str) -> None:
    """Do nothing: no point is armed."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def armed(setting: str, die: Callable[[], object] = _die) -> Callable[[str], None]:
    """Return the function that dies at the point and passage named by `setting`, e.g. `after_send:3`.

    Raises:
        ValueError: no such point, or no passage number from 1.
    """
    name, _, text = setting.partition(":")
    if name not in {*POINTS, *ALERT_POINTS} or not text.isdecimal() or int(text) < 1:
        raise ValueError(
            f"{VARIABLE}={setting!r}: must be NAME:PASSAGE, NAME one of {', '.join((*POINTS, *ALERT_POINTS))}"
        )
    remaining = int(text)

    def fail_point(passed: str) -> None:
        nonlocal remaining
        if passed == name:
            remaining -= 1
            if remaining == 0:
                die()

    return fail_point


def _from(environment: Mapping[str, str]) -> Callable[[str], None]:
    return armed(environment[VARIABLE]) if VARIABLE in environment else _pass


fail_point = _from(os.environ)
