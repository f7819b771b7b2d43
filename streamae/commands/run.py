"""`streamae run`: the daemon of these settings, in this process, until it is told to stop."""

from __future__ import annotations

from functools import cache

from streamae.assembly.build import Parts, build_engine
from streamae.assembly.tuning import build_tuning
from streamae.commands.invocation import Invocation
from streamae.daemon.reload import Changes
from streamae.daemon.service import serve
from streamae.model.bundle import load_bundle


def main(invocation: Invocation) -> int:
    """Run the daemon; its settings are read again on SIGHUP.

    Raises:
        ConfigError: the settings cannot be served.
        FatalError: the health port cannot be listened on.
    """
    loaded = invocation.load()
    settings = loaded.settings
    bundle = cache(lambda: load_bundle(settings.model.bundle))  # read when the engine is built, kept for later settings
    return serve(
        loaded,
        lambda listener: build_engine(settings, listener, Parts(bundle=bundle())),
        Changes(invocation.load, lambda changed: build_tuning(changed, bundle())),
    )
