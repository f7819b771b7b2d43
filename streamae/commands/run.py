"""`streamae run`: the daemon of these settings, in this process, until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable

from streamae.assembly.build import build_engine
from streamae.daemon.service import serve
from streamae.errors import ExitCode
from streamae.settings.tree import LoadedSettings


def run(loaded: LoadedSettings, reread: Callable[[], LoadedSettings]) -> ExitCode:
    """Run the daemon; `reread` reads the settings again, on SIGHUP.

    Raises:
        ConfigError: the settings cannot be served.
        FatalError: the health port cannot be listened on.
    """
    return serve(loaded, lambda telemetry: build_engine(loaded.settings, telemetry), reread)
