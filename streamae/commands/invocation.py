"""What a command is called with. Must not know any command."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that `--help` does not wait for it
    from pathlib import Path

    from streamae.model.bundle import Bundle
    from streamae.settings.contract import Source
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

    def load(self, *, awaits_bundle: bool = False) -> LoadedSettings:
        """Read the settings from `--config`, the environment and the flags.

        Args:
            awaits_bundle: read what can be known before a bundle is; `load_with` comes next.

        Raises:
            ConfigError: with every problem of every source.
        """
        from streamae.settings.sources import load_settings

        return load_settings(self.options.config_file, os.environ, self.flags, awaits_bundle=awaits_bundle)

    def bundle(self, directory: Path | None = None) -> Bundle:
        """Load a bundle once the settings are known to be readable; None = the one that they name.

        Raises:
            ConfigError: see `load`.
            BundleError: the bundle cannot be used.
        """
        from streamae.model.bundle import load_bundle

        named = self.load(awaits_bundle=True).settings.model.bundle
        return load_bundle(directory or named)

    def load_with(self, bundle: Bundle, source: Source | None = None) -> LoadedSettings:
        """Read the settings as they hold with a bundle; where they differ from it is told on standard error.

        Args:
            bundle: whose contract counts.
            source: kind of the records that are read; None = of those that `run` reads.

        Raises:
            ConfigError: see `load`; or settings contradict the bundle.
            BundleError: its contract cannot be used.
        """
        from streamae.settings.contract import read_contract, source_of_input, with_contract

        loaded = self.load(awaits_bundle=True)
        source = source or source_of_input(loaded.settings.input)
        loaded = with_contract(loaded, read_contract(bundle.contract), source)
        for warning in loaded.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return loaded
