"""`streamae schema`: the JSON Schema of anomaly events."""

from __future__ import annotations

import json

from streamae.commands.invocation import Invocation
from streamae.connectors.events import schema
from streamae.errors import ExitCode


def main(_: Invocation) -> int:
    """Print the schema."""
    print(json.dumps(schema(), indent=2))
    return ExitCode.OK
