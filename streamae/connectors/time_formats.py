"""Times as text of a stated form, in the letters of `strptime`, a column at a time.

`strptime` reads each date and each time of day once; the texts are only taken apart, by a pattern made of the form.
Must not know zones, records, or times in any other form.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial

import numpy as np

from streamae.batches import Ints

UNREADABLE = np.iinfo(np.int64).min  # stands where no time could be read
LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a clock's own, wherever it stands
MILLISECOND = timedelta(milliseconds=1)

_NUMBER, _NAME = r"\d{1,2}", r"[^\W\d_]+\.?"
_DATE = dict.fromkeys("dmyUW", _NUMBER) | dict.fromkeys("aAbB", _NAME) | {"Y": r"\d{4}", "j": r"\d{1,3}"}
_CLOCK = dict.fromkeys("HIM", _NUMBER) | {"p": _NAME} | dict.fromkeys("zZ", r"Z|UTC|GMT|[+-]\d\d(?::?\d\d)?")
_SECOND = {"S": r"[0-5]?\d", "f": r"\d+"}  # all different: not worth remembering
_LETTERS = _DATE | _CLOCK | _SECOND
_FIRST = 2  # number of the first group of a pattern that holds anything
_KEPT = 131_072  # different dates, and times of day, to the minute, that are remembered
_SAMPLE = datetime(2025, 12, 31, 13, 34, 56, tzinfo=UTC)


class TimeFormat:
    """How times are written.

    Attributes:
        has_date: texts name the day; else they are times of day, and what is read is ms since midnight.
        has_zone: texts name their zone, and what is read is UTC; else it is what some clock shows.

    Example:
        >>> TimeFormat("%d/%m/%Y %H.%M").read(["03/03/2025 18.30", "2025-03-03"]).tolist()
        [1741026600000, -9223372036854775808]
    """

    def __init__(self, form: str) -> None:
        """Take the form apart.

        Raises:
            ValueError: with a letter that is none, without a year, or of nothing at all; the message says which.
        """
        pieces = re.findall(r"%.|\s+|[^%\s]+|%$", form)
        asked = [piece[1:] for piece in pieces if piece[0] == "%" and piece != "%%"]
        if unknown := [letter for letter in asked if letter not in _LETTERS]:
            raise ValueError(f"%{unknown[0]} is no letter of it; there are %{' %'.join(sorted(_LETTERS))}")
        self.has_date, self.has_zone = bool(_DATE.keys() & set(asked)), bool({"z", "Z"}.intersection(asked))
        if not asked or (self.has_date and not {"Y", "y"}.intersection(asked)):
            raise ValueError("it needs a date with a year, or a time of day")
        self._pattern = re.compile(rf"()\s*{''.join(map(_pattern, pieces))}\s*", re.IGNORECASE)
        self._date_groups, date_form = _part(asked, _DATE)
        self._clock_groups, clock_form = _part(asked, _CLOCK)
        self._second, self._fraction = (asked.index(of) + _FIRST if of in asked else 0 for of in _SECOND)
        self._date = lru_cache(_KEPT)(partial(_date_ms, form=date_form))
        self._clock = lru_cache(_KEPT)(partial(_clock_ms, form=clock_form))
        if self.read([_SAMPLE.strftime(form)])[0] == UNREADABLE:
            raise ValueError("it contradicts itself: a time written in this way cannot be read again")

    def read(self, texts: Sequence[str]) -> Ints:
        """Return (N,) int64 ms since the epoch of the clock that is meant: UTC's, or one of an unnamed place.

        `UNREADABLE` where a text is written otherwise. Parts of a millisecond are cut.
        """
        times = [UNREADABLE] * len(texts)
        date, clock, second, fraction = self._date, self._clock, self._second, self._fraction
        date_groups, clock_groups = self._date_groups, self._clock_groups
        for i, found in enumerate(map(self._pattern.fullmatch, texts)):
            if found is not None:
                day_ms, time_ms = date(found.group(*date_groups)), clock(found.group(*clock_groups))
                if day_ms is not None and time_ms is not None:
                    times[i] = day_ms + time_ms
                    if second:
                        times[i] += int(found[second]) * 1_000
                    if fraction:
                        times[i] += int((found[fraction] + "00")[:3])
        return np.array(times, np.int64)


@cache
def time_format(form: str) -> TimeFormat:
    """Return the form, made once.

    Raises:
        ValueError: as for `TimeFormat`.
    """
    return TimeFormat(form)


def _part(asked: Sequence[str], letters: Collection[str]) -> tuple[list[int], str]:
    """Return the groups of the pattern that belong to a date or to a time of day, and the form of just these.

    Two groups of nothing come first: of one group, or of none, a match would not give a tuple.
    """
    of = [(number, letter) for number, letter in enumerate(asked, _FIRST) if letter in letters]
    return [1, 1, *(number for number, _ in of)], " ".join(f"%{letter.replace('Z', 'z')}" for _, letter in of)


def _date_ms(parts: tuple[str, ...], form: str) -> int | None:
    """Return ms since 1970-01-01T00:00 of the parts of a date; None where they are none."""
    moment = _moment(parts, form)
    return None if moment is None else (moment - LOCAL_EPOCH) // MILLISECOND if form else 0


def _clock_ms(parts: tuple[str, ...], form: str) -> int | None:
    """Return ms since midnight of the minute, in UTC or, without a zone, on its clock; None where the parts are none."""
    moment = _moment(list(map(_zone, parts)), form)
    if moment is None:
        return None
    shown = moment.replace(tzinfo=None)
    midnight = shown.replace(hour=0, minute=0)
    return (shown - midnight - (moment.utcoffset() or timedelta())) // MILLISECOND


def _moment(parts: Sequence[str], form: str) -> datetime | None:
    try:
        return datetime.strptime(" ".join(parts).lstrip(), form)  # noqa: DTZ007
    except (ValueError, re.error):
        return None


def _zone(part: str) -> str:
    """Return the part of a time as `strptime` reads it: zones by name as Z, those of hours alone with minutes."""
    if part.upper() in {"Z", "UTC", "GMT"}:
        return "Z"
    return f"{part}00" if len(part) == 3 and part[0] in "+-" else part


def _pattern(piece: str) -> str:
    if piece == "%%":
        return "%"
    if piece[0] == "%":
        return f"({_LETTERS[piece[1:]]})"
    return r"\s+" if piece.isspace() else re.escape(piece)
