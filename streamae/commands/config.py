"""`streamae config`: every setting with its effective value and where that came from, or the schema of the file."""

from __future__ import annotations

import json

from streamae.commands.invocation import Invocation
from streamae.errors import ExitCode
from streamae.settings.documents import describe
from streamae.settings.tree import LoadedSettings, settings_schema


def main(invocation: Invocation) -> int:
    """Do what `streamae config` was asked for."""
    if invocation.options.schema:
        print(json.dumps(settings_schema(), indent=2))
        return ExitCode.OK
    rows = describe(_load(invocation))
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        print(f"{row.name:{names}}  {row.value:{values}}  {row.source}")
    return ExitCode.OK


def _load(invocation: Invocation) -> LoadedSettings:
    """Read the settings, with what the bundle of `run` says if it is there."""
    from streamae.model.bundle import DESCRIPTION_FILE

    directory = invocation.load(awaits_bundle=True).settings.model.bundle
    is_there = (directory / DESCRIPTION_FILE).exists()
    return invocation.load_with(invocation.bundle()) if is_there else invocation.load()
