"""Who gets what: everything that a route sets must fit, and what ships pages only what is worth waking for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamae.alerting.alert import SeverityClass
from streamae.alerting.routing import Routing
from streamae.settings.delivery import ReceiverSettings, RouteSettings

RECEIVERS = (
    ReceiverSettings(name="pager", kind="pagerduty", routing_key_file=Path("key")),
    ReceiverSettings(name="am", kind="alertmanager", urls=("http://127.0.0.1:9093",)),
    ReceiverSettings(name="chat", kind="apprise", urls_file=Path("urls")),
)
LABELS = {"detector": "streamae", "key": "press-7", "team": "metal"}


def goes_to(*routes: RouteSettings, **given: Any) -> frozenset[str]:
    """Return who gets a warning of a ready key, unless told otherwise."""
    case: dict[str, Any] = {
        "labels": LABELS,
        "severity_class": SeverityClass.WARNING,
        "state": "ready",
        "confidence": 0.5,
        "cause": "anomaly",
        "duration_ms": 60_000,
    }
    return Routing(routes, RECEIVERS).goes_to(**(case | given))


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"labels": {"key": "press-*", "team": "metal"}}, True),
        ({"labels": {"key": "press-*", "team": "plant"}}, False),
        ({"labels": {"key": "ress-7"}}, False),
        ({"labels": {"none": "*"}}, True),
        ({"labels": {"none": "?*"}}, False),
        ({"classes": ("warning", "critical")}, True),
        ({"classes": ("critical",)}, False),
        ({"states": ("ready",)}, True),
        ({"states": ("provisional",)}, False),
        ({"causes": ("anomaly", "silence")}, True),
        ({"causes": ("silence",)}, False),
        ({"min_confidence": 0.5}, True),
        ({"min_confidence": 0.51}, False),
        ({"min_duration_ms": 60_000}, True),
        ({"min_duration_ms": 60_001}, False),
    ],
)
def test_everything_that_is_set_must_fit(fields: dict[str, Any], fits: bool) -> None:
    """Labels by pattern, class, state, cause, confidence and duration, each by itself."""
    assert goes_to(RouteSettings(receiver="am", **fields)) == ({"am"} if fits else set())


def test_all_routes_that_fit_count_until_one_is_the_last() -> None:
    """A route that does not go on ends the list, but only where it fits."""
    first = RouteSettings(receiver="pager", classes=("critical",), goes_on=False)
    assert goes_to(first, RouteSettings(receiver="am"), RouteSettings(receiver="chat")) == {"am", "chat"}
    assert goes_to(first, RouteSettings(receiver="am"), severity_class=SeverityClass.CRITICAL) == {"pager"}


@pytest.mark.parametrize(
    ("severity_class", "state", "names"),
    [
        (SeverityClass.CRITICAL, "ready", {"pager", "am", "chat"}),
        (SeverityClass.CRITICAL, "provisional", {"chat"}),
        (SeverityClass.WARNING, "ready", {"am", "chat"}),
        (SeverityClass.INFO, "ready", {"am", "chat"}),
        (SeverityClass.INFO, "starved", {"chat"}),
    ],
)
def test_what_ships_pages_only_critical_of_ready_keys(
    severity_class: SeverityClass, state: str, names: set[str]
) -> None:
    """Without routes of its own nobody is woken by a warning, or by a key that is hardly known.

    Alertmanager pages by the class, by itself, and cannot ask for the state: it never hears of other keys.
    """
    assert goes_to(severity_class=severity_class, state=state) == names


def test_own_routes_replace_those_that_ship() -> None:
    """Who writes one route knows what he wants: no other one is added."""
    assert goes_to(RouteSettings(receiver="chat"), severity_class=SeverityClass.CRITICAL) == {"chat"}


@pytest.mark.parametrize(
    ("severity", "expected"), [(0, "info"), (49.99, "info"), (50, "warning"), (89.99, "warning"), (90, "critical")]
)
def test_a_bound_belongs_to_the_class_above(severity: float, expected: str) -> None:
    """The classes of the shipped bounds."""
    assert SeverityClass.of(severity, 50.0, 90.0).word == expected
