"""Changes on their way to Redis: complete, and never much in one command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.connectors.buckets import BUCKETS, bucket_of
from streamae.connectors.redis_changes import CALL_BYTES, CALL_KEYS, Changes, keys_of_a_call, shared_out

KEYS = st.binary(max_size=6)
RECORDS = st.dictionaries(KEYS, st.binary(max_size=20), max_size=60)


def records(count: int, size: int) -> list[tuple[bytes, bytes]]:
    """Return so many states of so many bytes."""
    return [(b"%d" % number, b"x" * size) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "size", "deletes", "is_large"),
    [
        (CALL_KEYS, 1_000, 0, False),
        (CALL_KEYS + 1, 1, 0, True),
        (CALL_KEYS, 1, 1, True),
        (0, 0, CALL_KEYS, False),
        (3, CALL_BYTES // 3 + 1, 0, True),
    ],
)
def test_a_call_is_large_by_keys_or_by_bytes(count: int, size: int, deletes: int, is_large: bool) -> None:
    """Both keep the server busy."""
    deleted = [b"d%d" % number for number in range(deletes)]
    assert Changes.of(records(count, size), deleted, is_all=False).is_large is is_large


@given(sets=RECORDS, deletes=st.sets(KEYS, max_size=20))
def test_parts_hold_every_change_once(sets: dict[bytes, bytes], deletes: set[bytes]) -> None:
    """Side hashes get what a single command would have carried, each in its bucket."""
    deletes -= sets.keys()
    changes = Changes.of(list(sets.items()), sorted(deletes), is_all=False)
    found: dict[bytes, bytes] = {}
    for part in changes.parts():
        for bucket, fields in part.items():
            assert all(bucket_of(key) == bucket for key in fields[::2])
            found |= dict(zip(fields[::2], fields[1::2], strict=True))
    assert found == {key: b"+" + value for key, value in sets.items()} | dict.fromkeys(deletes, b"-")
    assert sum(changes.size(bucket) for bucket in range(BUCKETS)) == len(found)


@pytest.mark.parametrize(("count", "size"), [(20_000, 10), (5_000, 1_000), (300, 50_000)])
def test_no_part_is_much_larger_than_one_command_may_be(count: int, size: int) -> None:
    """A round trip carries about as much as the server handles in ten milliseconds."""
    for part in Changes.of(records(count, size), [], is_all=False).parts():
        keys = sum(len(fields) // 2 for fields in part.values())
        assert keys <= CALL_KEYS
        assert sum(len(text) for fields in part.values() for text in fields) <= CALL_BYTES + size


@given(st.lists(st.integers(0, 3_000), max_size=40), st.integers(1, 4_000))
def test_every_bucket_is_merged_once_and_few_at_a_time(sizes: list[int], at_once: int) -> None:
    """A group keeps to the bound, unless it is a single bucket; empty buckets need nothing."""
    groups = list(shared_out(sizes, at_once))
    assert [bucket for group in groups for bucket in group] == [bucket for bucket, size in enumerate(sizes) if size]
    assert all(len(group) == 1 or sum(sizes[bucket] for bucket in group) <= at_once for group in groups)


def test_larger_states_come_in_smaller_calls() -> None:
    """Bytes count as much as keys, and one state is always taken."""
    assert keys_of_a_call(0) == keys_of_a_call(1_000) == CALL_KEYS
    assert keys_of_a_call(CALL_BYTES // 10) == 10
    assert keys_of_a_call(10 * CALL_BYTES) == 1
