"""Spans of time as they are written on a command line: 14d, 6h, 30m. Must not know what they are for."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

_SPAN = re.compile(r"(\d+)([dhm])")
_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000}


def span_ms(text: str) -> int | None:
    """Return milliseconds; None = it is no such span."""
    found = _SPAN.fullmatch(text)
    return None if found is None else int(found[1]) * _UNIT_MS[found[2]]


def duration(text: str) -> int:
    """Read a span above zero, for argparse; milliseconds."""
    found = span_ms(text)
    if not found:
        raise ArgumentTypeError("must be a span of time such as 2h, 30m or 7d")
    return found
