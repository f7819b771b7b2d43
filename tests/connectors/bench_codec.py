"""Decode throughput against the obvious way; outside the default run because it times.

python -m pytest -s tests/connectors/bench_codec.py
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.records import PARTITION, STAMP_MS, Record, codec

COUNT, WIDTH, ROUNDS, GOAL = 4_096, 8, 40, 4.0
FEATURES = tuple(f"f{i}" for i in range(WIDTH))


def obvious(records: list[Record]) -> tuple[list[bytes], Any, Any]:
    """Decode with json.loads and one array a record."""
    keys, times, rows = [], [], []
    for each in records:
        content = json.loads(each.value or b"")
        keys.append(content["key"].encode())
        times.append(content["ts"])
        values = content["values"] if "values" in content else [content[name] for name in FEATURES]
        rows.append(np.array(values, np.float64))
    return keys, np.array(times), np.stack(rows)


def make_records(shape: str) -> list[Record]:
    """Records of 1,000 keys with 4-decimal values, as one array or as a field each."""
    rng = random.Random(0)
    records = []
    for i in range(COUNT):
        values = [round(rng.gauss(0, 1), 4) for _ in FEATURES]
        content = {"key": f"m{rng.randrange(1_000)}", "ts": STAMP_MS + i}
        content |= {"values": values} if shape == "array" else dict(zip(FEATURES, values, strict=True))
        records.append(Record(json.dumps(content, separators=(",", ":")).encode(), timestamp=STAMP_MS + i, offset=i))
    return records


def best_seconds(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the shortest CPU time of each, taken in turns because the machine may be shared."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


@pytest.mark.parametrize("shape", ["array", "fields"])
def test_decoding_beats_the_obvious_way(shape: str) -> None:
    """The codec decodes at least four times as fast as json.loads and one array a record, to the same columns."""
    records = make_records(shape)
    subject = codec(
        FEATURES, key_field="key", time_field="ts", value_fields=("values",) if shape == "array" else FEATURES
    )
    (batch, rejected), (keys, times, values) = subject.decode({PARTITION: records}), obvious(records)
    assert (rejected, batch.keys) == ([], keys)
    np.testing.assert_array_equal(batch.event_times_ms, times)
    np.testing.assert_array_equal(batch.values, values)
    best = best_seconds({"codec": lambda: subject.decode({PARTITION: records}), "obvious": lambda: obvious(records)})
    rates = {name: COUNT / seconds / 1e3 for name, seconds in best.items()}
    ratio = rates["codec"] / rates["obvious"]
    size = len(records[0].value or b"")
    print(f"\n{shape}, {size} B: {rates['codec']:.0f} k records/s, obvious {rates['obvious']:.0f}, {ratio:.1f}x")  # noqa: T201
    assert ratio >= GOAL


def test_the_price_of_bad_values() -> None:
    """Print how fast records are decoded where each has one bad field, beside what they cost without."""
    good = make_records("fields")
    bad = [Record((one.value or b"").replace(b'"f3":', b'"f3":"n.d.","was":'), offset=one.offset) for one in good]
    subject = codec(FEATURES, key_field="key", time_field="ts", value_fields=FEATURES, bad_value="missing")
    assert sum(subject.decode({PARTITION: bad})[0].bad_values.values()) == COUNT
    best = best_seconds(
        {"good": lambda: subject.decode({PARTITION: good}), "bad": lambda: subject.decode({PARTITION: bad})}
    )
    rates = {name: COUNT / seconds / 1e3 for name, seconds in best.items()}
    print(f"\none bad field a record: {rates['bad']:.0f} k records/s, none: {rates['good']:.0f}")  # noqa: T201
