"""Reasons are declared once; what people and programs read of them follows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streamae.connectors.events import schema
from streamae.observe.telemetry import Telemetry
from streamae.reasons import LOUD_STARTS, REMEDIES, STARTS, CloseReason, Fruitless, Problem, Reason
from streamae.settings.tree import SETTING_NAMES

ROOT = Path(__file__).resolve().parents[1]
EVENTS, OPERATIONS = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("events.md", "operations.md"))


@pytest.mark.parametrize("reason", [*Reason, *CloseReason])
def test_a_reason_is_explained_where_events_are(reason: Reason | CloseReason) -> None:
    """Who finds the word in a header or an event finds it in docs/events.md, and the code says in a sentence what it means."""
    assert f"`{reason}`" in EVENTS
    assert reason.meaning


@pytest.mark.parametrize("start", sorted(LOUD_STARTS))
def test_a_start_that_is_told_loudly_is_explained(start: str) -> None:
    """A warning at a take-over says what to look up in docs/operations.md."""
    assert f"`{start}`" in OPERATIONS


@pytest.mark.parametrize("reason", [*Reason, *Fruitless])
def test_a_reason_has_a_remedy(reason: Reason | Fruitless) -> None:
    """Whoever is told that most records come to nothing is told which settings to look at, by names that exist."""
    named = set(re.findall(r"\b[a-z]+\.[a-z_]+\b", REMEDIES[reason]))
    assert named
    assert named <= set(SETTING_NAMES)
    assert reason.meaning


def test_metrics_have_a_series_for_each() -> None:
    """A rate needs a zero to rise from: a reason that was added is a series at once."""
    text = Telemetry().render()[0].decode()
    for metric, words in (
        ("dead_letters_total", Reason),
        ("unusable_records_ratio", REMEDIES),
        ("stream_unusable", REMEDIES),
        ("unusable_keys", REMEDIES),
        ("partition_starts_total", STARTS),
        ("store_problems", Problem),
    ):
        label = "problem" if words is Problem else "reason"
        found = set(re.findall(rf'^streamae_{metric}\{{{label}="(\w+)"\}}', text, re.MULTILINE))
        assert found == set(map(str, words))


def test_the_schema_names_every_close_reason() -> None:
    """A consumer that validates events accepts each of them."""
    assert all(f'"{reason}"' in json.dumps(schema()["properties"]["close_reason"]) for reason in CloseReason)


def test_a_reason_is_its_word() -> None:
    """It is written into headers and labels as it is, and read back from there."""
    assert Reason("late") is Reason.LATE
    assert f"{Reason.LATE}" == "late"
