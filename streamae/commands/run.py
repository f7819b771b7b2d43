"""`streamae run`: the daemon of these settings, in this process, until it is told to stop."""

from __future__ import annotations

from functools import partial

from streamae.assembly.build import Parts, build_engine
from streamae.assembly.tuning import build_tuning
from streamae.commands.invocation import Invocation
from streamae.daemon.reload import Changes
from streamae.daemon.service import check_platform, serve


def main(invocation: Invocation) -> int:
    """Run the daemon; its settings are read again on SIGHUP.

    Raises:
        ConfigError: the settings cannot be served, or not on this platform.
        BundleError: the bundle cannot be used.
        FatalError: the health port cannot be listened on.
    """
    check_platform()
    bundle = invocation.bundle()
    read = partial(invocation.load_with, bundle)
    loaded = read()
    return serve(
        loaded,
        lambda listener: build_engine(loaded.settings, listener, Parts(bundle=bundle)),
        Changes(read, lambda changed: build_tuning(changed, bundle)),
    )
