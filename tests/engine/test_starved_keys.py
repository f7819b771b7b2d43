"""A key whose windows cannot be scored is said once, with the features that starve it, and once when it is over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamae.engine.starved_keys import MOST_KEYS
from tests.engines import FEATURES, START_MS, STEP_MS, WINDOW, Rig, broker_with, settings

BROKEN = FEATURES[1]


def records(keys: int, first: int, *, broken: bool) -> list[tuple[bytes, bytes]]:
    """A full window of every machine, from row `first` on; the broken ones lack a feature."""
    whole = dict.fromkeys(FEATURES, 0.5)
    return [
        (
            b"machine-%d" % key,
            json.dumps({"ts": START_MS + row * STEP_MS} | whole | ({BROKEN: None} if broken else {})).encode(),
        )
        for row in range(first, first + WINDOW)
        for key in range(keys)
    ]


def add(rig: Rig, more: list[tuple[bytes, bytes]]) -> None:
    """Send more records and let them be read."""
    for key, value in more:
        rig.broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
    rig.run_dry()


def said(rig: Rig, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Report, and return the lines about starving."""
    capsys.readouterr()
    rig.engine.report()
    return [line for line in capsys.readouterr().out.splitlines() if "starved" in line]


def make(more: list[tuple[bytes, bytes]], **parts: Any) -> Rig:
    """A process that scores windows with at most a third of their values missing."""
    rig = Rig(broker_with(more), settings=settings(window={"max_imputed_share": 0.3}), **parts)
    rig.run_dry()
    return rig


def test_a_starved_key_is_said_once_and_again_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads the log learns key, feature and remedy, and is not told the same every few seconds."""
    rig = make(records(1, 0, broken=False))
    assert said(rig, capsys) == []
    add(rig, records(1, WINDOW, broken=True))
    (line,) = said(rig, capsys)
    for part in ("warning", "key_starved", "machine-0", BROKEN, "window.missing"):
        assert part in line
    assert FEATURES[0] not in line
    add(rig, records(1, 2 * WINDOW, broken=True))
    assert said(rig, capsys) == []
    add(rig, records(1, 3 * WINDOW, broken=False))
    (line,) = said(rig, capsys)
    assert "key_no_longer_starved" in line
    assert "machine-0" in line
    assert said(rig, capsys) == []


def test_the_status_names_the_features() -> None:
    """`streamae status` and `/status` say what is missing, not only that something is."""
    rig = make(records(2, 0, broken=True))
    rig.engine.report()
    (line,) = rig.engine.status().key_states or []
    assert (line["state"], line["keys"], line["features"]) == ("starved", 2, (BROKEN,))


def test_many_starved_keys_do_not_flood_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken source starves all its keys at once: some are named, the rest is counted, with what they lack."""
    rig = make(records(MOST_KEYS + 7, 0, broken=True))
    *named, counted = said(rig, capsys)
    assert len(named) == MOST_KEYS
    assert "more_keys_starved" in counted
    assert "keys=7" in counted
    assert BROKEN in counted
    add(rig, records(MOST_KEYS + 7, WINDOW, broken=False))
    *named, counted = said(rig, capsys)
    assert len(named) == MOST_KEYS
    assert "more_keys_no_longer_starved" in counted
    assert "keys=7" in counted


def test_what_people_are_told_is_no_part_of_key_state() -> None:
    """Reporting or not, and having been told or not, leaves the bytes of a key as they are."""
    asked, silent = make(records(3, 0, broken=True)), make(records(3, 0, broken=True))
    asked.engine.report()
    add(asked, records(3, WINDOW, broken=True))
    add(silent, records(3, WINDOW, broken=True))
    assert asked.state() == silent.state()
