"""How times are written in text, told from examples: as ISO 8601, or which letters of strptime say it.

Must not know: columns, or which of several ways is the right one where all read every example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

NEARLY_ALL = 0.98  # share of cells that must be times
Part = Literal["instant", "date", "clock"]

DATES = (
    *("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%Y", "%d/%b/%Y", "%d-%b-%y", "%Y%m%d"),
)
WORDY_DATES = ("%d %b %Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
CLOCKS = (
    "%H:%M:%S",
    "%H:%M",
    "%H.%M.%S",
    "%H.%M",
    "%H:%M:%S.%f",
    "%H:%M:%S,%f",
    "%I:%M:%S %p",
    "%I:%M %p",
    "%H%M%S",
    "%H%M",
)
ZONE = re.compile(r"\s?([+-]\d\d:?\d\d|Z)$")
_JOINT = re.compile(r"T|[,:_-]? ?", re.IGNORECASE)
_WIDTHS = {"%Y%m%d": 8, "%H%M%S": 6, "%H%M": 4}  # nothing between the parts: each has its full width
_LETTERS = {
    **dict.fromkeys(("%d", "%m", "%H", "%M", "%S", "%I"), r"\d{1,2}"),
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%b": r"[A-Za-z]{3}",
    "%B": r"[A-Za-z]{3,9}",
    "%f": r"\d{1,6}",
    "%p": r"[AaPp][Mm]",
}


def _pattern(form: str) -> re.Pattern[str]:
    if form in _WIDTHS:
        return re.compile(rf"\d{{{_WIDTHS[form]}}}", re.ASCII)
    pieces = re.split(r"(%\w)", form)
    return re.compile("".join(_LETTERS.get(piece, re.escape(piece)) for piece in pieces), re.ASCII)


_DATE_PATTERNS = {form: _pattern(form) for form in (*DATES, *WORDY_DATES)}
_CLOCK_PATTERNS = {form: _pattern(form) for form in CLOCKS}


def spellings(examples: Sequence[str]) -> tuple[Part, tuple[str, ...]] | None:
    """Return what the examples tell and every format that reads all of them, or nearly all; None where none does.

    Args:
        examples: some texts of one column.

    Example:
        >>> spellings(["03/04/2025 10.30", "31/04/2025 10.31"]) is None
        True
        >>> spellings(["03/04/2025 10.30", "30/04/2025 10.31"])
        ('instant', ('%d/%m/%Y %H.%M',))
        >>> spellings(["00:00:10", "00:00:20"])
        ('clock', ('%H:%M:%S',))
    """
    texts = [text.strip() for text in examples]
    if not texts:
        return None
    candidates = _candidates(texts[0])
    for least in (len(texts), NEARLY_ALL * len(texts)):
        for part, forms in candidates.items():
            fitting = tuple(form for form in forms if sum(_reads(text, form) for text in texts) >= least)
            if fitting:
                return part, fitting
    return None


def _candidates(text: str) -> dict[Part, list[str]]:
    """Return the formats that one text may be written in, by what it would then tell."""
    found: dict[Part, list[str]] = {"instant": [], "date": [], "clock": []}
    found["clock"] = [form for form, pattern in _CLOCK_PATTERNS.items() if pattern.fullmatch(text)]
    for date, pattern in _DATE_PATTERNS.items():
        match = pattern.match(text)
        if match is None:
            continue
        rest = text[match.end() :]
        if not rest:
            found["date"].append(date)
        found["instant"] += [date + clock for clock in _clocks(rest)]
    return found


def _clocks(rest: str) -> Iterator[str]:
    """Yield the formats of what follows a date, with what joins them and a zone."""
    zone = ZONE.search(rest)
    joint = _JOINT.match(rest)
    if zone is not None:
        rest = rest[: zone.start()]
    if joint is None or len(rest) <= joint.end():
        return
    ending = "" if zone is None else "%z" if zone.group().startswith(zone.group(1)) else " %z"
    for clock, pattern in _CLOCK_PATTERNS.items():
        if pattern.fullmatch(rest[joint.end() :]):
            yield joint.group() + clock + ending


def _reads(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True
