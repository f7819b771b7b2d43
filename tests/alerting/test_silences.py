"""Silences: what they cover, from when until when."""

from __future__ import annotations

import pytest

from streamae.alerting.silences import Silence, Silences

HOUR_MS = 3_600_000


def silence(name: str = "s", starts_ms: int = 0, ends_ms: int = HOUR_MS, **labels: str) -> Silence:
    """Return a silence of these patterns."""
    return Silence(name, labels, starts_ms, ends_ms, "kim@desk", "reboot")


@pytest.mark.parametrize(
    ("patterns", "labels", "is_covered"),
    [
        ({"key": "rack-7-*"}, {"key": "rack-7-1"}, True),
        ({"key": "rack-7-*"}, {"key": "rack-8-1"}, False),
        ({"key": "rack-7"}, {"key": "rack-7-1"}, False),
        ({"key": "RACK-*"}, {"key": "rack-7"}, False),
        ({"key": "a?"}, {"key": "ab"}, True),
        ({"key": "a.b"}, {"key": "axb"}, False),
        ({"key": "a*"}, {"key": "a\nb"}, True),
        ({"team": "core", "cause": "an*"}, {"team": "core", "cause": "anomaly"}, True),
        ({"team": "core", "cause": "an*"}, {"team": "core", "cause": "silence"}, False),
        ({"key": "*"}, {"cause": "delivery_failed"}, False),
    ],
)
def test_all_patterns_must_fit_the_whole_text(
    patterns: dict[str, str], labels: dict[str, str], is_covered: bool
) -> None:
    """As in the settings; and a silence of all keys hides nothing that the alerts say of themselves."""
    assert Silences([silence(**patterns)]).covers(labels, 1) is is_covered


def test_a_silence_holds_from_its_begin_and_not_at_its_end() -> None:
    """At the very moment of its end what is still open is announced."""
    found = Silences([silence(starts_ms=10, ends_ms=20, key="*")])
    assert [found.covers({"key": "a"}, now_ms) for now_ms in (9, 10, 19, 20)] == [False, True, True, False]
    assert [len(found.active(now_ms)) for now_ms in (9, 10, 19, 20)] == [0, 1, 1, 0]


def test_any_one_silence_is_enough() -> None:
    """One that is over takes nothing from another."""
    found = Silences([silence("over", 0, 5, key="a"), silence("held", 0, 50, key="*"), silence("other", key="b")])
    assert found.covers({"key": "a"}, 10)
    assert [each.id for each in found] == ["over", "held", "other"]
    assert [each.id for each in found.active(10)] == ["held", "other"]
    assert len(found) == 3
