"""What takes a guard out finds it in the product, so that a negative control cannot pass by removing nothing."""

from __future__ import annotations

import argparse
import signal
from importlib import resources

import pytest

from scripts.verify.torture import guards
from scripts.verify.torture.holds import PLACES, Hold, arming_signal, install, parsed
from tests.engines import Rig, broker_with, stream


def script(name: str) -> str:
    """Return a script of the store as it ships."""
    return resources.files("streamae.connectors").joinpath(name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("rules.lua", guards.NO_CAS),
        ("checkpoint.lua", guards.NO_COUNT_AT_CHECKPOINT),
        ("switch.lua", guards.NO_COUNT_AT_CHECKPOINT),
        ("load.lua", guards.NO_COUNT_AT_LOAD),
        ("manifest.lua", guards.NO_COUNT_AT_START),
    ],
)
def test_every_guard_of_the_scripts_is_found(name: str, edits: guards.Edits) -> None:
    """Each check that a control removes is in the script that ships, and is gone from the edited one."""
    shipped = script(name)
    without = guards.edited(shipped, edits)
    assert without != shipped
    for edit in edits:
        with pytest.raises(guards.GuardNotFoundError):
            guards.edited(without, [edit])


def test_a_guard_that_moved_is_an_error() -> None:
    """A control that removes nothing would prove nothing."""
    with pytest.raises(guards.GuardNotFoundError, match="no such line"):
        guards.edited("return 1", [("no such line", "")])


def test_every_hold_finds_its_method_in_the_engine() -> None:
    """A stall that is due at the first passage of each place is met by a real engine: none has moved away."""
    rig = Rig(broker_with(stream()))
    holds = [Hold(place, 1, 0.0, is_stall=True) for place in PLACES]
    parts = {place: PLACES[place].holder(rig.engine) for place in PLACES}
    before = {place: getattr(parts[place], PLACES[place].method) for place in PLACES}
    handlers = [signal.getsignal(arming_signal(number)) for number in range(len(holds))]
    try:
        install(rig.engine, holds)
        assert all(getattr(parts[place], PLACES[place].method) != before[place] for place in PLACES)
        rig.run_dry()
    finally:
        for number, handler in enumerate(handlers):
            signal.signal(arming_signal(number), handler)
    assert rig.state()


def test_holds_are_read_from_the_command_line() -> None:
    """Place, passage, pause and mode; anything else is refused before a worker starts."""
    assert parsed("before_transaction:0:3") == Hold("before_transaction", 0, 3.0, is_stall=False)
    assert parsed("before_checkpoint:8:1.5:stall") == Hold("before_checkpoint", 8, 1.5, is_stall=True)
    for wrong in (
        "nowhere:1:0",
        "before_load",
        "before_load:x:0",
        "before_load:1:0:slow",
        "before_load:1:0:stall:more",
    ):
        with pytest.raises(argparse.ArgumentTypeError):
            parsed(wrong)
