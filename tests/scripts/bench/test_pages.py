"""Whom the demo would page: what the table counts is what receivers would be told."""

from __future__ import annotations

from scripts.bench.pages import PAGER, TICKETS, tell
from streamae.alerting.alert import SeverityClass
from tests.alerting.changes import record


def test_only_critical_alerts_of_ready_keys_page() -> None:
    """Warnings and keys that are not known well become tickets; an update may make a page of one."""
    told = tell(
        [
            record("opened", 0, "warning", offset=0, key="a"),
            record("opened", 0, "critical", offset=1, key="b", severity=95.0),
            record("opened", 0, "provisional", offset=2, key="c", severity=95.0, state="provisional"),
            record("opened", 0, "rises", offset=3, key="d"),
            record("updated", 1, "rises", offset=4, key="d", severity=95.0),
            record("closed", 2, "rises", offset=5, key="d", severity=95.0),
        ]
    )
    assert told.by_receiver[PAGER] == {"critical", "rises"}
    assert told.by_receiver[TICKETS] == {"warning", "critical", "provisional", "rises"}
    assert told.ended == {PAGER: {"rises"}, TICKETS: {"rises"}}
    assert told.classes["rises"] is SeverityClass.CRITICAL
    assert told.states["provisional"] == "provisional"
