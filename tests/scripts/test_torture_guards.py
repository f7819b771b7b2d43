"""What takes a guard out finds it in the product, so that a negative control cannot pass by removing nothing."""

from __future__ import annotations

import argparse
from importlib import resources

import pytest

from scripts.torture import guards
from scripts.torture.holds import Hold, parsed


def script(name: str) -> str:
    """Return a script of the store as it ships."""
    return resources.files("streamae.connectors").joinpath(name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("checkpoint.lua", guards.NO_CAS),
        ("checkpoint.lua", guards.NO_COUNT_AT_CHECKPOINT),
        ("load.lua", guards.NO_COUNT_AT_LOAD),
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
