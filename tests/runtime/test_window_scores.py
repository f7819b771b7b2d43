"""The curve as the engine publishes it: every window once, in the transaction of its offsets."""

from __future__ import annotations

import json
from collections import Counter

from streamae.connectors.memory import MemoryBroker
from tests.engines import WINDOW, Rig, broker_with, settings, stream

SCORES = "scores"
KEYS, ROWS = 3, 60


def rig() -> Rig:
    """Return a rig that publishes scores."""
    broker: MemoryBroker = broker_with(stream(KEYS, ROWS, spikes=[(1, 40)]))
    broker.create_topic(SCORES, 2)
    return Rig(broker, settings=settings(output={"scores_topic": SCORES}))


def points(of: Rig) -> Counter[tuple[int, int]]:
    """Return how often each input record appears on the curve."""
    found = [json.loads(record.value or b"") for record in of.broker.records(SCORES)]
    return Counter((each["partition"], each["offset"]) for each in found)


def expected(of: Rig) -> Counter[tuple[int, int]]:
    """Return each record from its key's W-th on, counted by hand from the input topic."""
    seen: Counter[bytes | None] = Counter()
    due: Counter[tuple[int, int]] = Counter()
    for record in of.broker.records("sensors"):
        seen[record.key] += 1
        if seen[record.key] >= WINDOW:
            due[record.partition, record.offset] += 1
    return due


def test_every_window_is_on_the_curve_once() -> None:
    """A lost or repeated record would show, also where nothing is anomalous."""
    whole = rig()
    whole.run_dry()
    assert points(whole) == expected(whole)
    assert sum(points(whole).values()) == KEYS * (ROWS - WINDOW + 1)


def test_a_restart_repeats_nothing_on_the_curve() -> None:
    """What a silent replay scores again was published before."""
    crashed = rig()
    crashed.step(4)
    crashed.engine.source.close()
    crashed.engine = crashed.build()
    crashed.run_dry()
    assert points(crashed) == expected(crashed)


def test_the_anomaly_stands_out() -> None:
    """The reader sees which point crossed the threshold."""
    whole = rig()
    whole.run_dry()
    found = [json.loads(record.value or b"") for record in whole.broker.records(SCORES)]
    assert {each["anomalous"] for each in found} == {True, False}
    assert all(each["score"] > each["threshold"] for each in found if each["anomalous"])
