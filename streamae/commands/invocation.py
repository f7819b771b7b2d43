"""What a command is called with. Must not know any command."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that `--help` does not wait for it
    from streamae.settings.tree import LoadedSettings


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the user typed.

    Attributes:
        options: parsed arguments.
        flags: settings given as `--section.field VALUE`, by name.
    """

    options: argparse.Namespace
    flags: dict[str, str]

    def load(self) -> LoadedSettings:
        """Read the settings from `--config`, the environment and the flags.

        Raises:
            ConfigError: with every problem of every source.
        """
        from streamae.settings.sources import load_settings

        return load_settings(self.options.config_file, os.environ, self.flags)
