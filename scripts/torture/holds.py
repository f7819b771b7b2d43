"""Stops a worker at a critical place, as a scheduler or a long pause of the machine could: it sends itself SIGSTOP.

Whoever started it decides when it goes on (SIGCONT); after that it may wait a little, so that its background threads
learn first what has happened meanwhile. Must not know: what happens to the others during the hold.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from streamae.runtime.engine import Engine


class Hold(NamedTuple):
    """Where to stop, at which passage (from 1), and how long to wait after going on."""

    place: str
    passage: int
    pause_s: float


def parsed(text: str) -> Hold:
    """Read `PLACE:PASSAGE[:PAUSE_S]`.

    Raises:
        ArgumentTypeError: it is something else.
    """
    place, _, rest = text.partition(":")
    passage, _, pause = rest.partition(":")
    if place not in PLACES or not passage.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not PLACE:PASSAGE[:PAUSE_S] with PLACE of {sorted(PLACES)}")
    return Hold(place, int(passage), float(pause or 0))


def install(engine: Engine, hold: Hold) -> None:
    """Make the engine stop there."""
    holder, name = PLACES[hold.place](engine)
    setattr(holder, name, _stopping(getattr(holder, name), hold))


def _stopping(method: Callable[..., Any], hold: Hold) -> Callable[..., Any]:
    passed = 0

    def stopping(*arguments: Any, **named: Any) -> Any:
        nonlocal passed
        passed += 1
        if passed == hold.passage:
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(hold.pause_s)
        return method(*arguments, **named)

    return stopping


# The method before which to stop, found in an engine.
PLACES: dict[str, Callable[[Engine], tuple[Any, str]]] = {
    "before_transaction": lambda engine: (engine.sink, "transaction"),
    "before_checkpoint": lambda engine: (engine.states.store, "checkpoint"),
    "before_load": lambda engine: (engine.states.store, "load"),
}
