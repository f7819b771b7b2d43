"""Every kind of bad record is what it says, and odd records are good: the stream of the test is itself tested."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from scripts.verify.torture.bad_records import (
    HUGE,
    KINDS,
    MAX_KEY_BYTES,
    MAX_RECORD_BYTES,
    REJECTED_IF_MISSING,
    WRONG_ARRAYS,
    Kind,
    Place,
    odd,
    schedule,
)
from scripts.verify.torture.workload import FEATURES, START_MS
from streamae.batches import Partition, Record
from streamae.connectors.codec import Codec
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

NOW_MS = START_MS + 500_000_000_000
CONTENT = {"temp": 2, "load": -1, "ts": START_MS}
OF_THE_ENGINE = {Reason.LATE, Reason.DUPLICATE, Reason.EQUAL_TIME, Reason.TOO_MANY_KEYS}  # not the codec's to find


def decode(entry: tuple[bytes | None, bytes | None], value_fields: Sequence[str] = ()) -> tuple[object, str]:
    """Return the decoded values and time, or None, and the reason, or "", of one record."""
    settings = InputSettings(
        time_field="ts",
        value_fields=tuple(value_fields),
        max_record_bytes=MAX_RECORD_BYTES,
        max_key_bytes=MAX_KEY_BYTES,
    )
    codec = Codec(settings, FEATURES, [name == REJECTED_IF_MISSING for name in FEATURES])
    batch, rejected = codec.decode({Partition("t", 0): [Record("t", 0, 0, NOW_MS, *entry)]})
    if rejected:
        return None, rejected[0].reason.value
    return (batch.values[0].tolist(), int(batch.event_times_ms[0])), ""


@pytest.mark.parametrize("kind", [*KINDS, HUGE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_kind_is_refused_for_its_reason(kind: Kind, seed: int) -> None:
    """What the torture run expects of a record is what a person reading it would say."""
    entry = kind.entry(Place(b"k", CONTENT, NOW_MS), Random(seed))
    assert Reason(kind.reason)
    assert decode(entry)[1] == ("" if kind.reason in OF_THE_ENGINE else kind.reason)


@pytest.mark.parametrize("kind", WRONG_ARRAYS, ids=lambda kind: kind.name)
def test_each_wrong_array_is_refused_for_its_reason(kind: Kind) -> None:
    """Records whose features are one array have faults of their own."""
    place = Place(b"k", {"values": [2.0, -1.0], "ts": START_MS}, NOW_MS)
    assert decode((b"k", place.text().encode()), ["values"]) == (([2.0, -1.0], START_MS + 1), "")
    assert decode(kind.entry(place, Random(1)), ["values"])[1] == kind.reason


def test_without_its_fault_a_bad_record_would_be_good() -> None:
    """The reason is the fault that was planted, not something else about the record."""
    assert decode((b"k", Place(b"k", CONTENT, NOW_MS).text().encode())) == (([2.0, -1.0], START_MS + 1), "")


def test_odd_records_say_the_same_as_plain_ones() -> None:
    """Each odd spelling is decoded to the very values of the plain record."""
    random = Random(1)
    spelt = {odd(CONTENT, random) for _ in range(200)}
    assert len(spelt) == 6
    assert {str(decode((b"k", value))) for value in spelt} == {str((([2.0, -1.0], START_MS), ""))}
    assert json.dumps(CONTENT).encode() not in spelt


def test_a_schedule_holds_every_kind_and_favours_none_by_accident() -> None:
    """More than twenty kinds, each at least once; the heavy ones are rare; the same seed gives the same stream."""
    chosen = schedule(10_000, Random(4), huge=3)
    counts = Counter(kind.name for kind in chosen)
    assert len(chosen) == 10_000
    assert set(counts) == {kind.name for kind in [*KINDS, HUGE]}
    assert len(KINDS) >= 20
    assert counts[HUGE.name] == 3
    usual = np.array([counts[kind.name] for kind in KINDS if kind.weight == 1])
    assert usual.min() > 0.7 * usual.mean()
    assert counts["just over the limit"] < 20
    assert chosen == schedule(10_000, Random(4), huge=3)
    assert {kind.reason for kind in [*KINDS, *WRONG_ARRAYS]} == {
        reason.value for reason in Reason if reason not in {Reason.UNKNOWN_FEATURE, Reason.CLOCK_JUMP}
    }


def test_a_schedule_too_short_for_all_kinds_is_refused() -> None:
    """No kind is silently left out."""
    with pytest.raises(ValueError, match="cannot hold"):
        schedule(5, Random(1))
