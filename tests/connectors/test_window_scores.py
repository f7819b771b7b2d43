"""The optional curve: one record a window, which tells where it came from."""

from __future__ import annotations

import json

import numpy as np

from streamae.batches import KeyState, Partition, Status, VerdictBatch, WindowBatch
from streamae.connectors.window_scores import ScoreWriter

OWNERS = [Partition("sensors", 0), Partition("sensors", 3)]


def verdicts(**columns: object) -> VerdictBatch:
    """Return the verdicts of two windows; columns override."""
    base = {
        "statuses": np.array([Status.LEARNING, Status.ANOMALOUS], dtype=np.int8),
        "scores": np.array([0.5, 12.25]),
        "thresholds": np.array([np.inf, 9.0]),
        "means": np.ones(2),
        "sds": np.ones(2),
        "counts": np.array([3, 90]),
        "rarities": np.array([0.0, 9.0]),
        "states": np.array([KeyState.LEARNING, KeyState.READY], dtype=np.int8),
        "suspensions": np.zeros(2, dtype=np.int8),
    }
    return VerdictBatch(**(base | columns))  # type: ignore[arg-type]


def windows() -> WindowBatch:
    """Return two windows of two keys."""
    return WindowBatch(
        np.array([7, 2], dtype=np.int32),
        np.array([41, 99]),
        np.array([1_000, 2_000]),
        np.array([1_700, 2_700]),
        np.zeros((2, 8, 1), dtype=np.float32),
        np.zeros(2, dtype=np.float32),
        np.zeros(2, dtype=np.bool_),
    )


def test_a_window_is_one_record_with_its_origin_and_verdict() -> None:
    """A reader can draw the curve, and tell which input record each point belongs to."""
    first, second = ScoreWriter("scores").messages(verdicts(), windows(), [b"a", b"\xff"], OWNERS)
    assert json.loads(second.value or b"") == {
        "topic": "sensors",
        "partition": 3,
        "offset": 99,
        "time_ms": 2_700,
        "score": 12.25,
        "threshold": 9.0,
        "anomalous": True,
    }
    assert (second.topic, second.key, second.cause) == ("scores", b"\xff", (OWNERS[1], 99))
    learning = json.loads(first.value or b"")
    assert (learning["threshold"], learning["anomalous"]) == (None, False)


def test_the_same_verdict_gives_the_same_bytes() -> None:
    """A repeated window can be told by its bytes, so readers can drop it."""
    writer = ScoreWriter("scores")
    assert writer.messages(verdicts(), windows(), [b"a", b"b"], OWNERS) == ScoreWriter("scores").messages(
        verdicts(), windows(), [b"a", b"b"], OWNERS
    )


def test_codes_travel_where_they_are_asked_for() -> None:
    """Rounded to what is no noise of a device, in the order of the windows; without them the field is not there."""
    codes = np.array([[0.1234567, -2.0], [1e-9, 3.5]], dtype=np.float32)
    found = ScoreWriter("scores").messages(verdicts(), windows(), [b"a", b"b"], OWNERS, codes)
    assert [json.loads(message.value or b"")["latent"] for message in found] == [[0.12346, -2.0], [0.0, 3.5]]
    plain = ScoreWriter("scores").messages(verdicts(), windows(), [b"a", b"b"], OWNERS)
    assert all(b"latent" not in (message.value or b"") for message in plain)


def test_codes_make_the_same_bytes_on_devices_that_round_otherwise() -> None:
    """A last bit of float32 does not tell a repeated window from its first copy."""
    codes = np.full((2, 4), 0.3, dtype=np.float32)
    first, second = (
        ScoreWriter("scores").messages(verdicts(), windows(), [b"a", b"b"], OWNERS, of)
        for of in (codes, np.nextafter(codes, np.float32(1.0)))
    )
    assert first == second
