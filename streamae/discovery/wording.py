"""Numbers, times and spans as people write them. Must not know: what they are of."""

from __future__ import annotations

from datetime import UTC, datetime

UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_SPANS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number(value: float) -> str:
    """Return a number without digits that nobody measured.

    Example:
        >>> number(50.1), number(2412000006.0), number(-200.0), number(0.0050772680)
        ('50.1', '2412000006', '-200', '0.005077268')
    """
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.10g}"


def rough(value: float) -> str:
    """Return a computed figure in three digits.

    Example:
        >>> rough(12.3456), rough(2.0)
        ('12.3', '2')
    """
    return f"{value:.3g}"


def span(millis: int) -> str:
    """Return a length of time in its largest whole unit, or roughly.

    Example:
        >>> span(30_000), span(3_600_000), span(90_000), span(28_800_000), span(1_234_567)
        ('30 s', '1 h', '90 s', '8 h', '20.6 min')
    """
    for size, unit in _SPANS:
        if millis >= size and (millis % size == 0 or millis >= 10 * size):
            return f"{rough(millis / size)} {unit}"
    return f"{millis} ms"


def instant(millis: int) -> str:
    """Return milliseconds since the epoch as a time in UTC.

    Example:
        >>> instant(1_740_960_000_370), instant(1_740_960_000_000)
        ('2025-03-03 00:00:00.370Z', '2025-03-03 00:00:00Z')
    """
    seconds, rest = divmod(millis, 1_000)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{millis} ms"
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"
