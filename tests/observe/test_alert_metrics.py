"""Metrics of `streamae alert`: there from the start, named as rules and docs name them."""

from __future__ import annotations

import re

from streamae.observe.alert_metrics import CLASSES, DROPS, OUTCOMES, AlertMetrics


def value(metrics: AlertMetrics, series: str) -> float:
    """Return the value of one series of the exposition text."""
    found = re.search(rf"^streamae_alerts_{re.escape(series)} (\S+)$", metrics.render()[0].decode(), re.MULTILINE)
    assert found, f"no series {series}"
    return float(found[1])


def test_every_series_is_there_from_the_start() -> None:
    """A rate over a counter that appears with its first count misses just that one."""
    metrics = AlertMetrics(["pager", "chat"])
    for receiver in ("pager", "chat"):
        for outcome in OUTCOMES:
            assert value(metrics, f'deliveries_total{{outcome="{outcome}",receiver="{receiver}"}}') == 0
        for reason in DROPS:
            assert value(metrics, f'dropped_total{{reason="{reason}",receiver="{receiver}"}}') == 0
        for severity in CLASSES:
            assert value(metrics, f'firing{{receiver="{receiver}",severity="{severity}"}}') == 0
        for name in ("dead_letters_total", "lag_seconds", "oldest_undelivered_seconds", "failing"):
            assert value(metrics, f'{name}{{receiver="{receiver}"}}') == 0
    for name in ("stateless", "without_owner", "detectors_silent", "silences"):
        assert value(metrics, name) == 0


def test_what_is_announced_is_shown_in_base_units() -> None:
    """Seconds everywhere; only what was delivered counts as a success."""
    metrics = AlertMetrics(["pager"])
    metrics.sent("pager", "delivered", 3, 1_700_000_000_500)
    metrics.sent("pager", "retried", 2, 1_700_000_009_000)
    metrics.waiting("pager", 90_000, 1_500)
    metrics.firing("pager", {"critical": 4})
    metrics.failing("pager", is_failing=True)
    metrics.dropped("pager", "old", 7)
    metrics.dead_letter("pager")
    metrics.standing(is_stateless=True, without_owner=5, silent=1, silences=2)
    here = 'receiver="pager"'
    assert value(metrics, f'deliveries_total{{outcome="delivered",{here}}}') == 3
    assert value(metrics, f'deliveries_total{{outcome="retried",{here}}}') == 2
    assert value(metrics, f"last_success_timestamp_seconds{{{here}}}") == 1_700_000_000.5
    assert value(metrics, f"lag_seconds{{{here}}}") == 90
    assert value(metrics, f"oldest_undelivered_seconds{{{here}}}") == 1.5
    assert value(metrics, f'firing{{{here},severity="critical"}}') == 4
    assert value(metrics, f'firing{{{here},severity="info"}}') == 0
    assert value(metrics, f"failing{{{here}}}") == 1
    assert value(metrics, f'dropped_total{{reason="old",{here}}}') == 7
    assert value(metrics, f"dead_letters_total{{{here}}}") == 1
    assert [value(metrics, name) for name in ("stateless", "without_owner", "detectors_silent", "silences")] == [
        1,
        5,
        1,
        2,
    ]
