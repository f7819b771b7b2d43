"""The address behind an alert."""

from __future__ import annotations

import pytest

from streamae.alerting.change import read_change
from streamae.alerting.links import link_from
from streamae.batches import Record
from streamae.errors import ConfigError
from tests.alerting.stored_events import CHANGES, message


def link(template: str | None, **labels: str) -> str:
    """Return the link of one stored event."""
    found = message(*CHANGES["opened"])
    raw = Record("anomalies", 0, 1, 1_700_000_000_000, found.key, found.value, list(found.headers))
    return link_from(template)(read_change(raw), labels)


def test_no_template_leads_nowhere() -> None:
    """A link that is not set is no broken one."""
    assert link(None) == ""


def test_labels_and_times_are_filled_in_fit_for_an_address() -> None:
    """A key from a topic must not lead to another page."""
    text = link("https://g.example/d?k={{ key }}&from={{ start_time_ms }}&id={{ episode_id[:4] }}", key="a/../&k=ü b")
    assert text.startswith("https://g.example/d?k=a%2F..%2F%26k%3D%C3%BC%20b&from=1735757820000&id=")


def test_a_template_that_cannot_be_filled_costs_the_link_only() -> None:
    """The alert goes out all the same."""
    assert link("https://g.example/{{ no_such_label }}") == ""


def test_a_broken_template_is_one_of_the_settings() -> None:
    """It is told at the start, with its name."""
    with pytest.raises(ConfigError, match=r"alerts\.link"):
        link_from("{{ key")
