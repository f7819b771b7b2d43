"""Derived features in words: what an event says to a person who knows the fields but not what was made of them.

Knows nothing about events, keys or languages other than English.
"""

from __future__ import annotations

import math

from streamae.core.encoding import DAY_MS, FIRST_WEEKDAY, INTERVAL, Encoding

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LARGEST = 100_000.0  # of a unit that is written out
UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
MOST = 87.0  # exp of more is beyond float32


def explain(encoding: Encoding, feature: int, actual: float, expected: float, time_ms: int) -> str:
    """Return a sentence about one feature of one row.

    Args:
        encoding: that made the features.
        feature: its number.
        actual, expected: value and forecast, in the feature's own unit; finite.
        time_ms: event time of the row.

    Example:
        >>> explain(Encoding(("amount",), log_fields=("amount",)), 0, 7.2, 3.0, 0)
        'amount 1,338, expected about 19.1'
    """
    name, source = encoding.features[feature], encoding.sources[feature]
    if source == INTERVAL and encoding.has_interval:
        return f"{_duration(actual)} since the record before, expected about {_duration(expected)}"
    if source in encoding.time_features:
        return _moment(encoding, source, time_ms)
    if source in encoding.fields and name == source:
        return f"{source} {_number(actual)}, expected about {_number(expected)}"
    if source in encoding.log_fields:
        return f"{source} {_number(_unlog(actual))}, expected about {_number(_unlog(expected))}"
    return _category(encoding, feature, actual, expected)


def _category(encoding: Encoding, feature: int, actual: float, expected: float) -> str:
    source = encoding.sources[feature]
    vocabulary = next(found for found in encoding.categories if found.field == source)
    code = feature - encoding.sources.index(source)
    likely = f"expected with {min(max(expected, 0.0), 1.0):.0%}"
    if code >= len(vocabulary.known):
        is_it = "is a value that training did not know" if actual >= 0.5 else "is a value that training knew"
        return f"{source} {is_it}" if actual >= 0.5 else f"{source} {is_it}, an unknown one was {likely}"
    return f"{source} is {'' if actual >= 0.5 else 'not '}{vocabulary.known[code]}, {likely}"


def _moment(encoding: Encoding, source: str, time_ms: int) -> str:
    local = time_ms + encoding.utc_offset_minutes * 60_000
    if source == "weekday":
        return f"on a {WEEKDAYS[(local // DAY_MS + FIRST_WEEKDAY) % 7]}, unusual here"
    minutes = local % DAY_MS // 60_000
    offset = encoding.utc_offset_minutes
    zone = "UTC" if not offset else f"UTC{'+' if offset > 0 else '-'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
    return f"at {minutes // 60:02d}:{minutes % 60:02d} {zone}, unusual here"


def _unlog(value: float) -> float:
    return math.copysign(math.expm1(min(abs(value), MOST)), value)


def _duration(value: float) -> str:
    """Return what log(1 + seconds) stands for; a forecast may lie below zero.

    Example:
        >>> _duration(math.log1p(7_200)), _duration(-0.1)
        ('2.0 h', '0 s')
    """
    seconds = max(_unlog(value), 0.0)
    for size, unit in UNITS:
        if seconds >= size:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < LARGEST else f"{amount:.3g} {unit}"
    return "0 s"


def _number(value: float) -> str:
    """Return a number in three digits or so.

    Example:
        >>> _number(1338.4), _number(-2.5), _number(0.001234)
        ('1,338', '-2.5', '0.00123')
    """
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e12 else f"{value:.3g}"
