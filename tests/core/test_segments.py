"""Grouping a micro-batch by slot replaces a loop over records and must not be told from one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.segments import Segments, is_last, waves
from tests.core_batches import quick, slots_of

SLOTS = st.lists(st.integers(0, 5), max_size=40)
BIG = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(st.integers(-5, 5), st.integers(-(2**62), 2**62 - 1))), max_size=40
)


@quick
@given(SLOTS)
def test_order_groups_equal_slots_and_keeps_arrival_order(numbers: list[int]) -> None:
    """Inside a key the sorted batch is still in arrival order: episodes depend on it."""
    segments = Segments.of(slots_of(*numbers))
    assert segments.order.tolist() == sorted(range(len(numbers)), key=lambda i: (numbers[i], i))
    assert segments.slots.tolist() == sorted(numbers)


@quick
@given(SLOTS)
def test_ids_ranks_and_borders_describe_the_same_groups(numbers: list[int]) -> None:
    """Number of the group, place in it and its borders agree with a count by hand."""
    segments = Segments.of(slots_of(*numbers))
    distinct = sorted(set(numbers))
    assert segments.uniques.tolist() == distinct
    assert segments.ids.tolist() == [distinct.index(n) for n in sorted(numbers)]
    seen: dict[int, int] = defaultdict(int)
    for n, rank in zip(sorted(numbers), segments.ranks.tolist(), strict=True):
        assert rank == seen[n]
        seen[n] += 1
    assert (segments.ends - segments.starts + 1).tolist() == [seen[n] for n in distinct]


@quick
@given(BIG)
def test_running_max_restarts_at_each_slot(pairs: list[tuple[int, int]]) -> None:
    """A key's running maximum never sees another key, however far apart their numbers are."""
    segments = Segments.of(slots_of(*(slot for slot, _ in pairs)))
    values = np.array([value for _, value in pairs], dtype=np.int64)[segments.order]
    newest: dict[int, int] = {}
    expected = []
    for slot, value in zip(segments.slots.tolist(), values.tolist(), strict=True):
        newest[slot] = max(newest.get(slot, value), value)
        expected.append(newest[slot])
    assert segments.running_max(values).tolist() == expected


@quick
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), max_size=30))
def test_newest_finds_the_latest_present_cell_of_the_same_key(rows: list[tuple[int, bool, int]]) -> None:
    """Neither another key's cell nor one before the given rank is found; -1 where there is none."""
    segments = Segments.of(slots_of(*(slot for slot, *_ in rows)))
    present, since = ([rows[index][part] for index in segments.order] for part in (1, 2))
    found = segments.newest(np.array(present, dtype=bool).reshape(-1, 1), np.array(since, dtype=int).reshape(-1, 1))
    expected = []
    for place, (start, rank) in enumerate(zip(segments.starts[segments.ids].tolist(), since, strict=True)):
        older = [other for other in range(start, place + 1) if present[other]]
        expected.append(older[-1] if older and older[-1] - start >= rank else -1)
    assert found.ravel().tolist() == expected


@pytest.mark.parametrize("far", [2**61, 2**62, 2**63 - 1])
def test_running_max_of_absurd_times_does_not_overflow(far: int) -> None:
    """One record from the end of time next to one from its beginning does not disturb other keys."""
    segments = Segments.of(slots_of(0, 0, 1, 1, 2))
    values = np.array([-far, far, 5, 3, -far], dtype=np.int64)
    assert segments.running_max(values).tolist() == [-far, far, 5, 5, -far]


@quick
@given(SLOTS)
def test_previous_is_the_value_before_of_the_same_slot(numbers: list[int]) -> None:
    """The first element of a key sees the key's stored value, every other one its predecessor."""
    segments = Segments.of(slots_of(*numbers))
    values = np.arange(len(numbers), dtype=np.int64) * 3
    stored = -1 - segments.uniques.astype(np.int64)
    last = dict(zip(segments.uniques.tolist(), stored.tolist(), strict=True))
    expected = []
    for slot, value in zip(segments.slots.tolist(), values.tolist(), strict=True):
        expected.append(last[slot])
        last[slot] = value
    assert segments.previous(values, stored).tolist() == expected


@quick
@given(SLOTS)
def test_waves_are_a_sequential_loop_in_disguise(numbers: list[int]) -> None:
    """Every element occurs once, no slot twice in a wave, and a key's elements come in arrival order."""
    found = [wave.tolist() for wave in waves(slots_of(*numbers))]
    assert sorted(index for wave in found for index in wave) == list(range(len(numbers)))
    assert all(wave == sorted(wave) for wave in found)
    assert all(len({numbers[index] for index in wave}) == len(wave) for wave in found)
    for slot in set(numbers):
        visited = [index for wave in found for index in wave if numbers[index] == slot]
        assert visited == [index for index, number in enumerate(numbers) if number == slot]


def test_waves_are_as_few_as_possible() -> None:
    """One wave an element of the busiest key: quiet keys do not lengthen the loop."""
    numbers = [0] * 7 + list(range(1, 100))
    assert len(list(waves(slots_of(*numbers)))) == 7


def test_is_last_marks_the_end_of_each_slot() -> None:
    """The newest element of each key is found, also when a key has only one."""
    assert is_last(Segments.of(slots_of(3, 1, 3, 3, 2))).tolist() == [True, True, False, False, True]


def test_nothing_gives_nothing() -> None:
    """A poll without records passes through every operation."""
    segments = Segments.of(slots_of())
    empty = np.zeros(0, dtype=np.int64)
    assert len(segments.uniques) == 0
    assert len(segments.running_max(empty)) == 0
    assert len(segments.previous(empty, empty)) == 0
    assert list(waves(slots_of())) == []
    assert is_last(segments).tolist() == []


@quick
@given(SLOTS)
def test_grouping_leaves_its_input_alone(numbers: list[int]) -> None:
    """Batches are shared between stages: none may write into one."""
    slots = slots_of(*numbers)
    values = np.arange(len(numbers), dtype=np.int64)
    segments = Segments.of(slots)
    segments.running_max(values)
    segments.previous(values, segments.uniques.astype(np.int64))
    list(waves(slots))
    assert slots.tolist() == numbers
    assert values.tolist() == list(range(len(numbers)))
