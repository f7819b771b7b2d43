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
from functools import partial
from typing import Any, NamedTuple

from streamae.engine.engine import Engine


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
        place = PLACES[hold.place]
        gate = _Gate(hold, partial(place.counts, engine))
        signal.signal(arming_signal(number), gate.arm)
        holder = place.holder(engine)
        setattr(holder, place.method, gate.before(getattr(holder, place.method)))


class _Gate:
    """Counts passages and stops at the right one."""

    def __init__(self, hold: Hold, counts: Callable[[], object]) -> None:
        self._hold, self._counts = hold, counts
        self._passed, self._is_armed = 0, False

    def arm(self, *_: object) -> None:
        self._is_armed = True

    def before(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def stopping(*arguments: Any, **named: Any) -> Any:
            counts = bool(self._counts())
            self._passed += counts
            if counts and (self._is_armed or self._passed == self._hold.passage):
                self._is_armed = False
                if not self._hold.is_stall:
                    os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(self._hold.pause_s)
            return method(*arguments, **named)

        return stopping


class Place(NamedTuple):
    """A method of a part of the engine, called by its main thread; `counts` tells which calls are passages."""

    holder: Callable[[Engine], Any]
    method: str
    counts: Callable[[Engine], object] = lambda _: True


PLACES: dict[str, Place] = {
    "before_poll": Place(lambda engine: engine.source, "poll"),
    "before_transaction": Place(
        lambda engine: engine.publisher,
        "start",  # before membership is looked at
        lambda engine: engine.outbox.waiting and engine.partitions.finished(),
    ),
    "before_checkpoint": Place(lambda engine: engine.states.store, "checkpoint"),
    "before_load": Place(lambda engine: engine.states.store, "load"),
}
