"""`streamae run`: the daemon of these settings, in this process, until it is told to stop."""

from __future__ import annotations

from streamae.assembly.build import build_engine
from streamae.commands.invocation import Invocation
from streamae.daemon.service import serve


def main(invocation: Invocation) -> int:
    """Run the daemon; its settings are read again on SIGHUP.

    Raises:
        ConfigError: the settings cannot be served.
        FatalError: the health port cannot be listened on.
    """
    loaded = invocation.load()
    return serve(loaded, lambda telemetry: build_engine(loaded.settings, telemetry), invocation.load)
