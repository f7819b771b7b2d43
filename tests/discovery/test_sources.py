"""Records of a topic as a source: what Kafka says of a record counts where no field does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from streamae.batches import Partition, Record
from streamae.discovery.proposal import Proposal
from streamae.discovery.scene import Wish
from streamae.discovery.sources import Source, proposal_for, topic_source, try_reading
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings
from tests.discovery.tables import NOW_MS, START, noise, settings_of

ROWS = 200
FIRST_MS = int(START.timestamp() * 1_000)


def _topic(keys: tuple[bytes | None, ...], **fields: Any) -> Source:
    """Return a topic of two partitions in which each key reports every ten seconds."""
    temps = noise(ROWS * len(keys))
    records = {
        Partition("t", index): [
            Record("t", index, row, FIRST_MS + 10_000 * row, key, json.dumps({"temp": temps[row], **fields}).encode())
            for row in range(ROWS)
        ]
        for index, key in enumerate(keys)
    }
    return topic_source("t", records, InputSettings())


def _proposed(source: Source, **given: Any) -> Proposal:
    names = frozenset(f"input.{name}" for name in given)
    return proposal_for([source], Wish(InputSettings(**given), WindowSettings(), FeatureSettings(), names), NOW_MS)


def test_kafka_keys_and_timestamps_count_where_no_field_does() -> None:
    """Many topics have their key and time outside of the message."""
    source = _topic((b"a", b"b"))
    proposal = _proposed(source)
    assert proposal.refusals == ()
    assert proposal.doubts == ()
    assert not {"input.key_field", "input.time_field"} & settings_of(proposal).keys()
    assert proposal.scene.key.count == 2
    assert proposal.scene.rhythm is not None
    assert proposal.scene.rhythm.step_ms == 10_000
    trial = try_reading([source], proposal, ())
    assert (trial.records, trial.rows, trial.said) == (2 * ROWS, 2 * ROWS, ())


def test_records_without_any_key_are_refused() -> None:
    """Live, each of them would be a dead letter."""
    (refusal,) = _proposed(_topic((None,))).refusals
    assert "--input.key_field" in refusal
    assert _proposed(_topic((None,), device="d1")).refusals == ()


def test_a_key_in_several_partitions_is_told() -> None:
    """Each partition then learns of it by itself: that is the producer's to mend, before anything is trained."""
    texts = [doubt.text for doubt in _proposed(_topic((b"a", b"a"))).doubts]
    assert any("1 of 1 keys stand in several partitions" in text for text in texts)
    assert _proposed(_topic((b"a", b"b"))).doubts == ()


def test_records_of_a_topic_are_looked_at_as_they_came() -> None:
    """One partition after the other would look as if half of the records came late."""
    source = _topic((b"a", b"b"), device="d1")
    found = _proposed(source, key_field="device").scene
    assert found.rhythm is not None
    assert found.rhythm.late == 0


def test_only_the_records_that_are_meant_are_looked_at() -> None:
    """Others may have other keys and times."""
    source = _topic((b"a", b"b"), kind="cpu")
    proposal = _proposed(source, only={"kind": "cpu"})
    assert proposal.scene.rows == 2 * ROWS
    assert np.array_equal(np.unique(proposal.scene.key.codes), [0, 1])
