"""No bytes can make the codec raise, lose a record or let a bad number through."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamae.connectors.codec import MAX_DETAIL, MAX_SIZE, Codec
from streamae.connectors.event_times import LATEST_MS
from streamae.reasons import Reason
from tests.records import PARTITION, STAMP_MS, Record, codec

MAX_KEY_BYTES = 8
CODECS = {
    "plain": codec(),
    "fields": codec(key_field="id", time_field="at", max_key_bytes=MAX_KEY_BYTES),
    "strict": codec(key_field="id", required=(True, True)),
    "nested": codec(value_fields=("a.temp", "a.b.load"), key_field="a.id", time_field="b.at"),
    "array": codec(value_fields=("values",), time_field="at", time_unit="s"),
    "long": codec(layout="long", key_field="id"),
    "long, ignoring": codec(layout="long", unknown_features="ignore"),
    "lenient": codec(key_field="id", bad_value="missing", missing_values=("-1",)),
    "text": codec(key_field="id", time_field="at", numbers="text", decimal_mark=","),
    "lenient array": codec(value_fields=("values",), bad_value="missing", numbers="text"),
    "lenient long, only": codec(layout="long", bad_value="missing", only={"id": ("m1", "7")}),
}
NAMES = ["id", "at", "temp", "load", "a", "b", "values", "name", "value", "é"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**310),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["temp", "load", "m1", "2023-11-14T22:13:20Z", STAMP_MS, STAMP_MS // 1_000, 1e31, -1e39]),
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=8),
    max_leaves=20,
)
texts = st.one_of(
    st.binary(max_size=60),
    documents.map(lambda document: json.dumps(document).encode()),
    documents.map(lambda document: json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.dictionaries(st.sampled_from(NAMES), documents, max_size=10).map(lambda document: json.dumps(document).encode()),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid record with some bytes replaced, inserted or cut off."""
    value = bytearray(b'{"id":"m1","at":1700000000000,"temp":1.5,"load":2,"values":[1,2],"name":"temp","value":3}')
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(value)


records = st.builds(
    Record,
    value=st.none() | texts | damaged(),
    key=st.none() | st.binary(max_size=12),
    timestamp=st.sampled_from([STAMP_MS, -1, 0, 2**63 - 1]),
    offset=st.integers(0, 2**62),
)


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=min(40, settings.default.max_examples), deadline=None)
@given(st.lists(records, max_size=8))
@example([Record(b"[" * 100_000)])
@example([Record(b'{"id":' * 100_000)])
@example([Record(b'{"temp":1,"x":' + b"9" * 100_000 + b"}")])
def test_any_bytes_become_columns_or_dead_letters(name: str, polled: list[Record]) -> None:
    """Nothing raises, no record vanishes or is used twice, and what is used keeps every promise of the batch."""
    batch, rejected = CODECS[name].decode({PARTITION: polled})
    seen = [id(raw) for raw in [*batch.raw, *(r.raw for r in rejected)]]
    assert len(seen) == len(set(seen))
    assert set(seen) <= {id(raw) for raw in polled}
    if name not in {"long, ignoring", "lenient long, only"}:
        assert len(seen) == len(polled)
    assert all(isinstance(r.reason, Reason) and 0 < len(r.detail) <= MAX_DETAIL for r in rejected)
    size = len(batch)
    assert [len(batch.raw), len(batch.partitions), len(batch.keys)] == [size] * 3
    assert batch.values.shape == (size, 2)
    assert not np.isinf(batch.values).any()
    assert (np.abs(batch.values[~np.isnan(batch.values)]) <= MAX_SIZE).all()
    assert batch.offsets.tolist() == [raw.offset for raw in batch.raw]
    assert ((batch.event_times_ms >= 0) & (batch.event_times_ms <= LATEST_MS)).all()
    assert all(type(key) is bytes for key in batch.keys)
    if name == "fields":
        assert all(len(key) <= MAX_KEY_BYTES for key in batch.keys)
    if name == "strict":
        assert np.isfinite(batch.values).all()


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=min(40, settings.default.max_examples), deadline=None)
@given(st.lists(records, max_size=8))
def test_a_batch_equals_its_records_one_by_one(name: str, polled: list[Record]) -> None:
    """What becomes of a record does not depend on the others polled with it."""
    subject = CODECS[name]
    together, rejected = subject.decode({PARTITION: polled})
    alone = [subject.decode({PARTITION: [each]}) for each in polled]
    single = [batch for batch, _ in alone if len(batch)]
    assert together.keys == [key for batch in single for key in batch.keys]
    assert together.event_times_ms.tolist() == [time for batch in single for time in batch.event_times_ms.tolist()]
    np.testing.assert_array_equal(together.values, np.concatenate([together.values[:0], *(b.values for b in single)]))
    reasons = {id(r.raw): (r.reason, r.detail) for r in rejected}
    assert reasons == {id(r.raw): (r.reason, r.detail) for _, refused in alone for r in refused}


def expected_of(content: dict[str, Any]) -> Reason | list[float]:
    """What the `fields` codec must make of an object: written from the documentation, value by value."""
    key, features = content.get("id"), [content.get(name) for name in ("temp", "load")]
    constants = [x for x in content.values() if isinstance(x, float) and not math.isfinite(x)]
    if constants:
        return Reason.NOT_FINITE
    if isinstance(key, bool) or not isinstance(key, str | int | None):
        return Reason.WRONG_TYPE
    if any(not isinstance(x, int | float | None) for x in features):
        return Reason.WRONG_TYPE
    if any(x is not None and abs(x) > sys.float_info.max for x in features):
        return Reason.NOT_FINITE
    if key is None:
        return Reason.MISSING_KEY
    if len(str(key).encode()) > MAX_KEY_BYTES:
        return Reason.KEY_TOO_LARGE
    if "temp" not in content and "load" not in content:
        return Reason.MISSING_FEATURE
    if any(x is not None and abs(x) > MAX_SIZE for x in features):
        return Reason.NOT_FINITE
    return [math.nan if x is None else float(x) for x in features]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "temp", "load", "other"]), scalars))
def test_flat_objects_are_judged_as_documented(content: dict[str, Any]) -> None:
    """The reason or the values of any flat object are those of a plain reading of the rules."""
    subject: Codec = codec(key_field="id", max_key_bytes=MAX_KEY_BYTES)
    batch, rejected = subject.decode({PARTITION: [Record(json.dumps(content).encode())]})
    expected = expected_of(content)
    if isinstance(expected, Reason):
        wrong = {Reason.WRONG_TYPE, Reason.NOT_FINITE}  # of two such defects the one that is read first counts
        assert {rejected[0].reason} <= (wrong if expected in wrong else {expected})
    else:
        np.testing.assert_array_equal(batch.values, np.array([expected]))
        assert batch.keys == [str(content["id"]).encode()]
