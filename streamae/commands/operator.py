"""Who gives an order, and how what others have typed is shown. Must not know any order."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from secrets import token_hex


def who(said: str | None) -> str:
    """Return who is said to give an order, else user and host."""
    if said is not None:
        return said
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user in this container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def new_id() -> str:
    """Return a name for an order, short enough to be typed."""
    return token_hex(4)


def shown(text: str) -> str:
    """Return text as a terminal may show it: what it would obey is escaped."""
    return text if text.isprintable() else ascii(text)


def shown_labels(labels: Mapping[str, str]) -> str:
    """Return patterns by label in one word each: `key=rack-7-* team=core`."""
    return " ".join(f"{shown(name)}={shown(pattern)}" for name, pattern in sorted(labels.items()))
