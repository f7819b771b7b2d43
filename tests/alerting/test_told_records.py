"""Records of what a receiver knows survive as texts, also across releases."""

from __future__ import annotations

import json

from streamae.alerting.alert import Alert, SeverityClass
from streamae.alerting.told import Kept, Told
from streamae.alerting.told_records import ToldRecords, decoded, encoded
from streamae.batches import Partition
from streamae.connectors.memory_told import MemoryTold

HERE = Partition("anomalies", 2)
ALERT = Alert(
    "e-1",
    {"alertname": "StreamaeAnomaly", "key": "p\u00fcmp \ud800"},
    (SeverityClass.INFO, SeverityClass.CRITICAL),
    4,
    {"severity": 93.5, "features": [{"name": "load", "share": 1.0}], "close_reason": None},
    "p\u00fcmp: critical",
    1_700_000_000_000,
    1_700_000_060_000,
    "recovered",
    "https://example.test/e-1",
    {"episodes": "3"},
)
TOLD = Told(
    ALERT,
    is_resolved=True,
    told_ms=1_700_000_061_000,
    is_unknown=True,
    is_withheld=True,
    is_announced=False,
    is_tried=True,
    lost_ms=1_700_000_050_000,
)


def test_a_record_survives_every_field() -> None:
    """What is lost here is told a second time, or never taken back."""
    assert decoded(encoded(TOLD)) == TOLD


def test_fields_of_a_later_release_are_ignored() -> None:
    """A step back to the release before finds its records."""
    later = json.loads(encoded(TOLD)) | {"version": 2, "mood": {"is": "new"}}
    assert decoded(json.dumps(later).encode()) == TOLD


def test_what_cannot_be_read_costs_one_record() -> None:
    """One broken text must not make everything be told anew."""
    texts = MemoryTold()
    store = ToldRecords(texts)
    store.save([TOLD], {HERE: 9})
    texts.texts["e-2"] = b'{"episode_id": 1}'
    texts.texts["e-3"] = b"\xff"
    assert store.load() == Kept((TOLD,), {HERE: 9})


def test_a_mark_that_cannot_be_read_reaches_nowhere() -> None:
    """Then the topic says what was told."""
    texts = MemoryTold()
    texts.save({}, b"\x00")
    assert ToldRecords(texts).load() == Kept((), {})
