"""What `streamae alert` does: tell people of anomalies until it is stopped, or one of the things beside that.

Must not know how those are done.
"""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module

from streamae.commands.invocation import Invocation
from streamae.errors import FatalError


def beside(options: Namespace) -> str | None:
    """Return the module of what was asked for instead of running, None = it is to run."""
    if options.action is not None:
        return f"alert_{options.action}"
    if options.dry_run:
        return "alert_dry_run"
    return None if options.test is None else "alert_test"


def main(invocation: Invocation) -> int:
    """Do what `streamae alert` was asked for."""
    name = beside(invocation.options)
    if name is not None:
        code: int = import_module(f"streamae.commands.{name}").main(invocation)
        return code
    raise FatalError("alerts are not told yet")
