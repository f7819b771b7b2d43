"""Keys by state, with how far they are and why they are not further: each state is reached on purpose here."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from streamae.batches import KeyState
from streamae.core.key_levels import MIN_ROWS
from streamae.core.scoring import ScoreHistory
from streamae.engine.standing import Standing, by_state, plain, standings
from streamae.model.bundle import Bundle
from tests.engines import FEATURES, START_MS, STEP_MS, WINDOW, Rig, broker_with, settings, stream, tiny_bundle

NEEDED = 20  # scores, as the rig's settings say


def told(records: list[tuple[bytes, bytes]], bundle: Bundle | None = None) -> list[Standing]:
    """What is said of the keys after these records."""
    rig = Rig(
        broker_with(records), bundle=bundle or tiny_bundle(), settings=settings(window={"max_imputed_share": 0.3})
    )
    rig.run_dry()
    return standings(rig.engine.stages, rig.engine.states)


def with_history() -> Bundle:
    """A bundle from whose training scores new keys start."""
    scores = np.random.default_rng(1).exponential(size=(1, 200, 3)).astype(np.float32)
    return replace(tiny_bundle(), history=ScoreHistory(scores[..., 1:], scores[..., 0], np.array([200])))


@pytest.mark.parametrize(
    ("rows", "bundle", "state", "progress", "reason"),
    [
        (3, tiny_bundle(), "learning", 3 / WINDOW, "first window"),
        (WINDOW + 4, tiny_bundle(), "learning", 5 / NEEDED, "scores of their own"),
        (3, with_history(), "provisional", 3 / WINDOW, "first window"),
        (WINDOW + 4, with_history(), "provisional", 5 / NEEDED, "training data"),
        (WINDOW + NEEDED, tiny_bundle(), "ready", 1.0, ""),
        (32, replace(tiny_bundle(), scaled_by="key"), "learning", 32 / MIN_ROWS, "own level"),
        (MIN_ROWS + 5, replace(tiny_bundle(), scaled_by="key"), "learning", 5 / NEEDED, "scores of their own"),
    ],
)
def test_each_state_says_how_far_and_why(rows: int, bundle: Bundle, state: str, progress: float, reason: str) -> None:
    """Three keys that have come equally far: one line, the share they have, and the words for it."""
    (one,) = told(stream(3, rows, spikes=[]), bundle)
    assert (one.state, one.keys) == (state, 3)
    assert one.progress == pytest.approx(progress, abs=1e-3)
    assert reason in one.reason
    assert sorted(one.examples) == ([] if state == "ready" else ["machine-0", "machine-1", "machine-2"])


def record(key: int, row: int, values: dict[str, float | None]) -> tuple[bytes, bytes]:
    """One record of a machine."""
    return b"machine-%d" % key, json.dumps({"ts": START_MS + row * STEP_MS} | values).encode()


def test_keys_back_after_a_gap_and_starved_ones_are_apart() -> None:
    """One fills its window anew, one sends holes only, one is as it was: three lines in the order of the table."""
    whole = dict.fromkeys(FEATURES, 0.5)
    records = stream(3, 60, spikes=[])
    records += [record(0, 200 + row, whole) for row in range(2)]
    records += [record(1, 60 + row, {FEATURES[0]: None, FEATURES[1]: 0.5}) for row in range(WINDOW)]
    found = told(records)
    assert [(one.state, one.keys, one.progress) for one in found] == [
        ("ready", 1, 1.0),
        ("resuming", 1, 2 / WINDOW),
        ("starved", 1, None),
    ]
    assert [one.examples for one in found[1:]] == [("machine-0",), ("machine-1",)]
    assert [one.features for one in found] == [(), (), (FEATURES[0],)]


def test_the_least_far_are_named_first_and_only_some() -> None:
    """Who looks wants those that are stuck; a thousand names help nobody."""
    records = [record(key, row, dict.fromkeys(FEATURES, 0.5)) for key in range(5) for row in range(key + 1)]
    (one,) = told(records)
    assert one.examples == ("machine-0", "machine-1", "machine-2")
    assert one.progress == pytest.approx(np.mean([1, 2, 3, 4, 5]) / WINDOW, abs=1e-3)


def test_counts_by_state_are_those_of_the_lines() -> None:
    """Every state has a number, also 0, and lines of one state are added up."""
    lines = [Standing("learning", "a", 2, 0.5), Standing("learning", "b", 3, 0.1), Standing("ready", "", 4, 1.0)]
    expected = {state.name.lower(): 0 for state in KeyState} | {"learning": 5, "ready": 4}
    assert by_state(lines) == expected
    assert json.loads(json.dumps(plain(lines)))[1] == {
        "state": "learning", "reason": "b", "keys": 3, "progress": 0.1, "examples": [], "features": []
    }  # fmt: skip
    assert by_state(told([])) == dict.fromkeys(expected, 0)


def test_an_event_says_the_same_of_its_key_in_numbers() -> None:
    """An alert of a key that is still new tells whoever is called what it was judged by, and until when."""
    rig = Rig(broker_with(stream(3, WINDOW + 14, spikes=[(1, WINDOW + 10), (1, WINDOW + 11)])), bundle=with_history())
    rig.run_dry()
    (line,) = standings(rig.engine.stages, rig.engine.states)
    (event,) = [json.loads(record.value or b"") for record in rig.events()]
    assert (event["state"], line.state) == ("provisional", "provisional")
    words = line.reason.replace("they have threshold.min_windows", f"it has {NEEDED}").replace("their", "its")
    assert event["state_reason"] == f"{words} ({event['statistics']['count']} so far)"


def test_what_was_counted_is_in_the_summary_from_the_first_report_on() -> None:
    """The engine counts when it reports, not in each step."""
    rig = Rig(broker_with(stream(3, 60, spikes=[])))
    rig.run_dry()
    assert rig.engine.status().key_states is None
    rig.engine.report()
    assert rig.engine.status().key_states == plain(standings(rig.engine.stages, rig.engine.states))
