"""Past data of a topic: the same rows as from a file of the same records, and words for what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamae.batches import Partition, Record
from streamae.connectors.past_records import PastRecords, read_past
from streamae.errors import DataError
from streamae.settings.data import InputSettings
from tests.records import WAVES_START_S, noisy_waves

TOPIC = "sensors"


def records(rows: list[tuple[str, dict[str, Any]]], key: bytes | None = None) -> PastRecords:
    """Return records of two partitions by key, in batches of ten; `key` is the Kafka key of them all."""
    made = [
        Record(
            TOPIC, ord(name) % 2, offset, 1_000 * content["when"], key or name.encode(), json.dumps(content).encode()
        )
        for offset, (name, content) in enumerate(rows)
    ]
    batches = []
    for index in (0, 1):
        of = [record for record in made if record.partition == index]
        batches += [{Partition(TOPIC, index): of[start : start + 10]} for start in range(0, len(of), 10)]
    return PastRecords(f"topic {TOPIC}", lambda: made[-50:], iter(batches))


@pytest.mark.parametrize("named", [{}, {"value_fields": ("load", "temp")}, {"key_field": "machine"}])
def test_a_topic_gives_the_rows_of_a_file_of_the_same_records(tmp_path: Path, named: dict[str, Any]) -> None:
    """What is learnt must not depend on where it was kept; of a topic the key and the time are Kafka's if none is named."""
    rows = noisy_waves()
    path = tmp_path / "same.jsonl"
    path.write_text("".join(json.dumps(content) + "\n" for _, content in rows), encoding="utf-8")
    with_all = InputSettings(**({"key_field": "machine", "time_field": "when"} | named))
    of_topic = InputSettings(**named) if named.get("value_fields") else with_all.model_copy(update=named)
    from_file = {one.key: one for one in read_past([path], with_all, sorts=True)}
    from_topic = {one.key: one for one in read_past(records(rows), of_topic, sorts=True)}
    assert from_topic.keys() == from_file.keys() == {"a", "b"}
    for key, one in from_topic.items():
        assert one.features == from_file[key].features
        np.testing.assert_array_equal(one.event_times_ms, from_file[key].event_times_ms)
        np.testing.assert_array_equal(one.values, from_file[key].values)


def test_what_cannot_be_used_is_said_with_its_place() -> None:
    """Somebody has to find the record, and to know how much there is in memory."""
    rows, heard = noisy_waves(rows=10), list[str]()
    rows[3][1]["temp"] = "warm"
    del rows[4][1]["temp"]
    series = read_past(records(rows), InputSettings(value_fields=("temp", "load")), tell=heard.append)
    assert sum(map(len, series)) == 19
    refused, held = heard
    assert refused.startswith(
        "topic sensors: 1 of 20 records cannot be used and are left out (1 wrong_type); the first, "
    )
    assert "the first, partition 0, offset 3: Expected `float | null`" in refused
    assert held == "topic sensors: 19 rows of 2 keys, 0.0 MiB in memory"


def test_a_topic_without_numbers_names_what_there_is() -> None:
    """The setting that answers it, and the fields to choose from."""
    rows = [(key, {"when": WAVES_START_S, "note": "text", "nested": {"word": "x"}}) for key in "ab"]
    settings = InputSettings(time_field="when")
    with pytest.raises(
        DataError, match=r"no field of numbers.*input\.value_fields; there are when, note, nested\.word"
    ):
        read_past(records(rows), settings)
