"""What `streamae alert` does: tell people of anomalies until it is stopped, or one of the things beside that.

Must not know how those are done.
"""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module

from streamae.commands.invocation import Invocation


def module_of(options: Namespace) -> str:
    """Return the module that does what was asked for."""
    if options.action is not None:
        return f"alert_{options.action}"
    if options.dry_run:
        return "alert_dry_run"
    return "alert_run" if options.test is None else "alert_test"


def main(invocation: Invocation) -> int:
    """Do what `streamae alert` was asked for."""
    code: int = import_module(f"streamae.commands.{module_of(invocation.options)}").main(invocation)
    return code
