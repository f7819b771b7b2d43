"""From the severity of an episode to the class that people are woken by.

Must not know: routes, or which class was reached before.
"""

from __future__ import annotations

from streamae.alerting.alert import SeverityClass


def class_of(severity: float, warning_from: float, critical_from: float) -> SeverityClass:
    """Return the class of a severity (0 to 100); a bound belongs to the class above it.

    Example:
        >>> class_of(49.9, 50, 90).word, class_of(50, 50, 90).word, class_of(90, 50, 90).word
        ('info', 'warning', 'critical')
    """
    if severity >= critical_from:
        return SeverityClass.CRITICAL
    return SeverityClass.WARNING if severity >= warning_from else SeverityClass.INFO
