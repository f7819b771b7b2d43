"""Settings with which people can be told of what the daemon publishes. Must not know what is told, or how."""

from __future__ import annotations

from streamae.commands.invocation import Invocation
from streamae.errors import ConfigError
from streamae.settings.tree import LoadedSettings, with_sources


def load_alerting(invocation: Invocation) -> LoadedSettings:
    """Read the settings.

    Raises:
        ConfigError: see `Invocation.load`; nobody is named, or nothing is published on Kafka.
    """
    loaded = invocation.load(awaits_bundle=True)
    file = invocation.options.config_file
    problems = []
    if not loaded.settings.alerts.receivers:
        where = "a settings file, and name it with --config" if file is None else str(file)
        problems.append(f"alerts.receivers: nobody would be told: write a table [[alerts.receivers]] into {where}")
    if loaded.settings.output.sink != "kafka":
        problems.append("output.sink: alerts are read from the topic of events: it must be kafka")
    if problems:
        raise ConfigError(with_sources(problems, loaded.sources))
    return loaded
