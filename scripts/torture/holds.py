"""Stops a worker at a critical place, as a scheduler or a long pause of the machine could.

A hold is `PLACE:PASSAGE:PAUSE_S[:stall]`: at that passage (from 1; 0 = the next one after a signal, see `arming_signal`)
the process sends itself SIGSTOP, and whoever started it decides when it goes on; after that its main thread waits
`PAUSE_S`, so that its background threads learn first what has happened meanwhile. With `stall` there is no SIGSTOP: only
the main thread stands still, while the client goes on to tell the group that all is well.

Must not know: what happens to the others during the hold.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from streamae.runtime.engine import Engine


class Hold(NamedTuple):
    """Where to stop, at which passage, how long to wait after that, and whether only the main thread stops."""

    place: str
    passage: int
    pause_s: float
    is_stall: bool


def parsed(text: str) -> Hold:
    """Read a hold.

    Raises:
        ArgumentTypeError: it is something else.
    """
    place, passage, pause_s, mode, *rest = [*text.split(":"), "", "", ""]
    if place not in PLACES or not passage.isdecimal() or mode not in {"", "stall"} or any(rest):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PLACE:PASSAGE:PAUSE_S[:stall], PLACE one of {sorted(PLACES)}"
        )
    return Hold(place, int(passage), float(pause_s or 0), mode == "stall")


def arming_signal(number: int) -> int:
    """Return the signal that arms the hold of this number, in the order they were given."""
    return signal.SIGRTMIN + number


def install(engine: Engine, holds: Sequence[Hold]) -> None:
    """Make the engine stop there. Call from the main thread."""
    for number, hold in enumerate(holds):
        holder, name = PLACES[hold.place](engine)
        gate = _Gate(hold)
        signal.signal(arming_signal(number), gate.arm)
        setattr(holder, name, gate.before(getattr(holder, name)))


class _Gate:
    """Counts passages and stops at the right one."""

    def __init__(self, hold: Hold) -> None:
        self._hold, self._passed, self._is_armed = hold, 0, False

    def arm(self, *_: object) -> None:
        self._is_armed = True

    def before(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def stopping(*arguments: Any, **named: Any) -> Any:
            self._passed += 1
            if self._is_armed or self._passed == self._hold.passage:
                self._is_armed = False
                if not self._hold.is_stall:
                    os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(self._hold.pause_s)
            return method(*arguments, **named)

        return stopping


# The method before which to stop, found in an engine.
PLACES: dict[str, Callable[[Engine], tuple[Any, str]]] = {
    "before_transaction": lambda engine: (engine.sink, "transaction"),
    "before_checkpoint": lambda engine: (engine.states.store, "checkpoint"),
    "before_load": lambda engine: (engine.states.store, "load"),
}
