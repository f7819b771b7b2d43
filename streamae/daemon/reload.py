"""Settings read again while the process runs: SIGHUP asks, the engine's thread does it between two steps.

What can change live is how scores are judged (threshold, episode and alerts sections) and the log level; all else is named
as needing a restart. Settings with any error are refused as a whole and the old ones stay.
This module must not know where settings come from, nor handle signals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from streamae.daemon.notify import Notifier
from streamae.daemon.supervised import Supervised
from streamae.engine.stages import Tuning
from streamae.errors import ConfigError
from streamae.observe import logs
from streamae.observe.listener import Listener
from streamae.settings.tree import LoadedSettings, Settings

LIVE_SECTIONS = frozenset({"threshold", "episode", "alerts"})
LIVE_NAMES = frozenset({"service.log_level"})


@dataclass(frozen=True, slots=True)
class Changes:
    """Where changed settings come from.

    Attributes:
        read: reads all sources anew, as they hold with the running bundle; raises ConfigError with every problem.
        tune: makes of settings what an engine judges by; raises ConfigError where they do not fit its bundle.
    """

    read: Callable[[], LoadedSettings]
    tune: Callable[[Settings], Tuning]


class Reload:
    """Takes changed settings over. `ask` may be called from any thread, `turn` by the engine's only.

    Args:
        running: what the process was started with.
        changes: where settings are read again.
    """

    def __init__(self, running: Settings, changes: Changes, listener: Listener, notifier: Notifier) -> None:
        self.running = running
        self._changes, self._listener, self._notifier = changes, listener, notifier
        self._asked = Event()
        self._accepted: Settings | None = None
        self._log = logs.get_logger()

    def ask(self) -> None:
        """Have the settings read at the next turn."""
        self._asked.set()

    def turn(self, engine: Supervised, now_ms: int) -> None:
        """Read if asked to; take over what was accepted, once that is safe.

        What was decided under the old settings is committed and saved first, and no partition may be replaying,
        for a replay must decide as it was decided before.

        Raises:
            RetryableError: the commit failed; the settings are taken over by a later turn.
        """
        if self._asked.is_set():
            self._asked.clear()
            self._notifier.reloading()
            self._read()
        if self._accepted is None:
            return
        settings, changed = self._accepted, _changed(self.running, self._accepted)
        live = [name for name in changed if _is_live(name)]
        if any(name not in LIVE_NAMES for name in live):
            if engine.status().replaying:
                return
            engine.drain(now_ms)
            running = _with_live(self.running, settings)
            engine.adopt(self._changes.tune(running))
            self.running = running
        self._accepted = None
        self._listener.reloaded("applied")
        self._log.info(
            "settings_reloaded", changed=live, needs_restart=[name for name in changed if not _is_live(name)]
        )
        self._notifier.reloaded()

    def _refuse(self, error: ConfigError) -> None:
        self._listener.reloaded("refused")
        self._log.error("settings_reload_failed", problems=error.problems)

    def _read(self) -> None:
        """Accept settings that are valid and fit the bundle; the log level counts at once, perhaps to see why the rest must wait."""
        try:
            loaded = self._changes.read()
            settings = loaded.settings
            self._refuse_what_needs_a_restart(settings)
        except ConfigError as error:
            self._refuse(error)
            if self._accepted is None:
                self._notifier.reloaded()
            return
        self._accepted = settings
        for warning in loaded.warnings:
            self._log.warning("settings_doubt", text=warning)
        if settings.service.log_level != self.running.service.log_level:
            logs.set_level(settings.service.log_level)

    def _refuse_what_needs_a_restart(self, new: Settings) -> None:
        """Raise ConfigError where a changed section could not go on with what the process knows of its keys."""
        before, after = self._changes.tune(self.running), self._changes.tune(_with_live(self.running, new))
        if before.family != after.family:
            change = f"{self.running.threshold.rule} to {new.threshold.rule} needs a restart"
            raise ConfigError([f"threshold.rule: {change}: it keeps other state of a key, keys will learn again"])
        if after.patience.is_on and not before.patience.is_on:
            problem = "switching it on needs a restart: nobody has followed so far which keys are silent"
            raise ConfigError([f"episode.close_after_ms: {problem}"])


def _changed(old: Settings, new: Settings) -> list[str]:
    """Return the names of all settings that differ; never a value, which may be a secret."""
    return [
        f"{section}.{name}"
        for section in Settings.model_fields
        for name in type(getattr(old, section)).model_fields
        if getattr(getattr(old, section), name) != getattr(getattr(new, section), name)
    ]


def _is_live(name: str) -> bool:
    return name in LIVE_NAMES or name.partition(".")[0] in LIVE_SECTIONS


def _with_live(old: Settings, new: Settings) -> Settings:
    """Return the old settings with what may change live taken from the new ones."""
    service = old.service.model_copy(update={"log_level": new.service.log_level})
    live = {section: getattr(new, section) for section in LIVE_SECTIONS}
    return old.model_copy(update={**live, "service": service})
