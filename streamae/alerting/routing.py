"""Which receivers get an alert.

Must not know: what was told before. That an episode stays where it once went is the desk's to remember.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import NamedTuple

from streamae.alerting.alert import Labels, SeverityClass
from streamae.settings.delivery import ReceiverSettings, RouteSettings

# By kind of receiver, what it gets where no routes are set. Only what is critical, of keys that are ready, may page:
# Alertmanager looks at the class by itself, and can know of a key's state only by never hearing of it. Others get all.
SHIPPED: dict[str, dict[str, tuple[str, ...]]] = {
    "pagerduty": {"classes": ("critical",), "states": ("ready",)},
    "alertmanager": {"states": ("ready",)},
}


class _Route(NamedTuple):
    """A route with its patterns compiled."""

    settings: RouteSettings
    labels: tuple[tuple[str, re.Pattern[str]], ...]


def shipped_routes(receivers: Iterable[ReceiverSettings]) -> list[RouteSettings]:
    """Return the routes that hold where none are set, one a receiver."""
    return [RouteSettings.model_validate({"receiver": one.name, **SHIPPED.get(one.kind, {})}) for one in receivers]


class Routing:
    """The routes in their order."""

    def __init__(self, routes: Sequence[RouteSettings], receivers: Sequence[ReceiverSettings]) -> None:
        """Take the routes; where there are none, those that ship."""
        self._routes = [
            _Route(route, tuple((name, re.compile(translate(pattern))) for name, pattern in route.labels.items()))
            for route in (routes or shipped_routes(receivers))
        ]

    def goes_to(
        self,
        labels: Labels,
        severity_class: SeverityClass,
        state: str,
        confidence: float,
        cause: str,
        duration_ms: int,
    ) -> frozenset[str]:
        """Return the names of all receivers that a route leads to, as things are now.

        Args:
            labels: identity of the alert; a label that is missing counts as "".
            severity_class: the highest so far.
            state: of the key.
            confidence: 0 to 1.
            cause: of the episode.
            duration_ms: event time from the first to the newest anomalous window.
        """
        names = set()
        for route, patterns in self._routes:
            if (
                (not route.classes or severity_class.word in route.classes)
                and (not route.states or state in route.states)
                and (not route.causes or cause in route.causes)
                and confidence >= route.min_confidence
                and duration_ms >= route.min_duration_ms
                and all(pattern.match(labels.get(name, "")) for name, pattern in patterns)
            ):
                names.add(route.receiver)
                if not route.goes_on:
                    break
        return frozenset(names)
