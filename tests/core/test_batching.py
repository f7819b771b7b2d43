"""Micro-batches: full ones at once, the rest after a bounded wait, nothing lost and nothing out of order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Partition, WindowBatch
from streamae.core.batching import Batch, MicroBatcher
from streamae.core.marks import KeyMark, TimeMark
from tests.core_batches import PARTITION, START_MS, per_key, quick, slots_of, window_batch

MAX_SIZE, MAX_WAIT_MS = 4, 100


def windows(count: int, start: int = 0) -> WindowBatch:
    """Windows numbered by their offsets, of three keys in turn."""
    slots = [(start + i) % 3 for i in range(count)]
    return window_batch(slots, [START_MS + (start + i) * 100 for i in range(count)], first_offset=start)


def offsets(batches: Iterable[Batch]) -> list[list[int]]:
    """Numbers of the windows of each batch, with the marks between them as -1 - their offset."""
    found = []
    for batch in batches:
        numbers = [] if batch.windows is None else batch.windows.offsets.tolist()
        for place, one in reversed(batch.marks):
            numbers.insert(place, -1 - one.offset)
        found.append(numbers)
    return found


def mark(offset: int, partition: Partition = PARTITION, *, is_before: bool = False) -> TimeMark:
    """A point of time behind, or before, the windows of a record."""
    return TimeMark(partition, offset, START_MS, is_before, ())


def marked(count: int, *marks: TimeMark, owners: Sequence[int] | None = None) -> MicroBatcher:
    """A batcher with windows, all of one partition unless told otherwise, and marks between them."""
    subject = batcher()
    subject.add_with_marks(windows(count), np.array(owners or [0] * count, dtype=np.int64), marks, 0)
    return subject


def batcher() -> MicroBatcher:
    """Batches of four, or after 100 ms."""
    return MicroBatcher(MAX_SIZE, MAX_WAIT_MS)


@pytest.mark.parametrize("count", [1, 3])
def test_a_partial_batch_waits(count: int) -> None:
    """The device is not called for less than a batch while there is time."""
    subject = batcher()
    subject.add(windows(count), 0)
    assert offsets(subject.ready(MAX_WAIT_MS - 1)) == []
    assert len(subject) == count


@pytest.mark.parametrize(("count", "full", "left"), [(4, 1, 0), (5, 1, 1), (8, 2, 0), (11, 2, 3)])
def test_full_batches_go_at_once(count: int, full: int, left: int) -> None:
    """Whatever fills a batch goes without waiting; the rest stays."""
    subject = batcher()
    subject.add(windows(count), 0)
    assert offsets(subject.ready(0)) == [list(range(i * 4, i * 4 + 4)) for i in range(full)]
    assert len(subject) == left


def test_the_rest_goes_when_the_first_has_waited_long_enough() -> None:
    """No window waits longer than `max_wait_ms`, however few there are."""
    subject = batcher()
    subject.add(windows(1), 0)
    subject.add(windows(1, start=1), 60)
    assert offsets(subject.ready(MAX_WAIT_MS)) == [[0, 1]]
    assert len(subject) == 0


def test_an_overdue_heap_goes_in_batches_of_the_limit() -> None:
    """Memory on the device stays bounded, also after a pause."""
    subject = batcher()
    subject.add(windows(10), 0)
    assert offsets(subject.ready(MAX_WAIT_MS)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_is_left_of_a_full_batch_counts_its_own_wait() -> None:
    """A remainder that has just arrived is not sent off small because windows before it had waited."""
    subject = batcher()
    subject.add(windows(3), 0)
    subject.add(windows(3, start=3), 90)
    assert offsets(subject.ready(90)) == [[0, 1, 2, 3]]
    assert offsets(subject.ready(100)) == []
    assert offsets(subject.ready(190)) == [[4, 5]]


def test_the_wait_starts_anew_after_everything_went() -> None:
    """An idle hour does not make the next window overdue."""
    subject = batcher()
    subject.add(windows(4), 0)
    assert len(offsets(subject.ready(0))) == 1
    subject.add(windows(1, start=4), 3_600_000)
    assert offsets(subject.ready(3_600_050)) == []
    assert offsets(subject.ready(3_600_100)) == [[4]]


def test_flush_gives_everything_now() -> None:
    """Shutting down leaves no window unscored."""
    subject = batcher()
    subject.add(windows(6), 0)
    assert offsets(subject.flush()) == [[0, 1, 2, 3], [4, 5]]
    assert offsets(subject.flush()) == []


def test_drop_forgets_only_the_given_slots() -> None:
    """Windows of a partition that went to another owner are not scored here."""
    subject = batcher()
    subject.add(windows(3), 0)
    subject.add(windows(3, start=3), 0)
    subject.drop(slots_of(0, 2))
    assert len(subject) == 2
    assert offsets(subject.flush()) == [[1, 4]]


def test_what_drop_leaves_counts_its_own_wait() -> None:
    """Dropped windows take their waiting time with them."""
    subject = batcher()
    subject.add(window_batch([0], [START_MS]), 0)
    subject.add(window_batch([1], [START_MS], first_offset=1), 90)
    subject.drop(slots_of(0))
    assert offsets(subject.ready(100)) == []
    assert offsets(subject.ready(190)) == [[1]]


def test_drop_of_everything_leaves_nothing_due() -> None:
    """After losing every partition there is nothing to score, also when time passes."""
    subject = batcher()
    subject.add(windows(3), 0)
    subject.drop(slots_of(0, 1, 2))
    assert offsets(subject.ready(10 * MAX_WAIT_MS)) == []


def test_no_windows_start_no_wait() -> None:
    """An empty poll does not start the clock."""
    subject = batcher()
    subject.add(windows(0), 0)
    subject.add(windows(1), 100)
    assert offsets(subject.ready(150)) == []


def test_a_mark_stands_behind_the_windows_of_its_record() -> None:
    """What time brings to a key sees all windows up to its record, and none of those that follow."""
    assert offsets(marked(6, mark(2)).flush()) == [[0, 1, 2, -3, 3], [4, 5]]


def test_a_mark_can_stand_before_the_windows_of_its_record() -> None:
    """A key that is heard again is no longer silent when its own window is judged."""
    assert offsets(marked(3, mark(2, is_before=True), mark(2)).flush()) == [[0, 1, -3, 2, -3]]


def test_marks_of_several_partitions_stand_behind_their_own_windows() -> None:
    """Where the windows of others stand does not matter: keys do not influence each other."""
    other = Partition("sensors", 9)
    subject = marked(8, mark(1), mark(4, other), mark(5), owners=[0, 0, 0, 0, 1, 0, 1, -1])
    assert offsets(subject.flush()) == [[0, 1, 4, 7, -2, -5], [2, 3, 5, 6, -6]]


def test_a_mark_with_nothing_before_it_goes_at_once() -> None:
    """An event about a silent key does not wait for windows that follow."""
    subject = marked(0, mark(7))
    assert len(subject) == 0
    assert offsets(subject.ready(0)) == [[-8]]
    subject = marked(2, mark(0, is_before=True))
    assert offsets(subject.ready(0)) == [[-1]]
    assert offsets(subject.flush()) == [[0, 1]]


def test_marks_do_not_cut_batches() -> None:
    """The device is called as seldom as without them."""
    assert offsets(marked(7, mark(0), mark(3)).ready(0)) == [[0, -1, 1, 2, 3, -4]]


def test_a_mark_behind_a_partial_batch_waits_as_long_as_that() -> None:
    """A partial batch does not go early for a mark."""
    subject = marked(2, mark(1))
    assert offsets(subject.ready(MAX_WAIT_MS - 1)) == []
    assert offsets(subject.ready(MAX_WAIT_MS)) == [[0, 1, -2]]


def test_drop_forgets_the_marks_of_the_partition() -> None:
    """What time brought to keys that are no longer ours is told by their next owner."""
    other = Partition("sensors", 9)
    subject = marked(2, mark(1), mark(1, other))
    subject.drop(slots_of(0, 1), PARTITION)
    assert offsets(subject.flush()) == [[-2]]


def of_keys(offset: int, *slots: int) -> TimeMark:
    """A mark of the keys in these slots."""
    return TimeMark(PARTITION, offset, START_MS, False, tuple(KeyMark(b"%d" % slot, slot) for slot in slots))


def phases(batch: Batch) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Numbers of the windows of each phase, and offset and slot of the marks behind it."""
    assert batch.windows is not None
    offsets = batch.windows.offsets
    return [
        (offsets[chosen].tolist(), [(one.offset, key.slot) for one, key in told]) for chosen, told in batch.phases()
    ]


def test_a_mark_parts_the_windows_of_its_key() -> None:
    """It may stand anywhere between the right two of them: keys do not influence each other."""
    subject = MicroBatcher(12, MAX_WAIT_MS)
    subject.add_with_marks(windows(12), np.zeros(12, dtype=np.int64), [of_keys(4, 1), of_keys(5, 1), of_keys(8, 2)], 0)
    (batch,) = subject.flush()
    assert phases(batch) == [
        ([0, 1, 2, 3, 4, 5, 6], [(4, 1), (5, 1)]),
        ([7, 8, 9, 10], [(8, 2)]),
        ([11], []),
    ]


def test_one_cut_serves_many_marks() -> None:
    """A key that is silent for longer than others send leaves room for what these need."""
    subject = MicroBatcher(12, MAX_WAIT_MS)
    marks = [of_keys(-1, 0), of_keys(1, 1), of_keys(4, 0, 1), of_keys(11, 1, -1)]
    subject.add_with_marks(windows(12), np.zeros(12, dtype=np.int64), marks, 0)
    (batch,) = subject.flush()
    assert phases(batch) == [
        ([], [(-1, 0), (11, -1)]),
        ([0, 1, 2, 3], [(1, 1), (4, 0)]),
        ([4, 5, 6], [(4, 1)]),
        ([7, 8, 9, 10, 11], [(11, 1)]),
    ]


@quick
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=9), st.lists(st.integers(0, 7), max_size=8))
def test_each_key_meets_its_windows_and_marks_in_one_order(found: list[tuple[int, int]], sizes: list[int]) -> None:
    """However windows arrive and whenever batches go, a key sees its marks behind the same windows."""
    marks = [of_keys(offset, slot) for offset, slot in sorted(found)]

    def order(cuts: Sequence[int]) -> dict[int, list[int]]:
        subject, start = batcher(), 0
        seen: dict[int, list[int]] = {slot: [] for slot in range(3)}

        def judge(batches: Iterable[Batch]) -> None:
            for batch in batches:
                for chosen, told in batch.phases():
                    if batch.windows is not None:
                        for slot, offset in zip(
                            batch.windows.slots[chosen], batch.windows.offsets[chosen], strict=True
                        ):
                            seen[int(slot)].append(int(offset))
                    for one, key in told:
                        seen[key.slot].append(-1 - one.offset)

        for size in cuts:
            some = [one for one in marks if start <= one.offset < start + size]
            subject.add_with_marks(windows(size, start), np.zeros(size, dtype=np.int64), some, start)
            judge(subject.ready(start))
            start += size
        judge(subject.flush())
        return seen

    expected = {
        slot: [
            at if kind == 0 else -1 - at
            for at, kind in sorted(
                [(n, 0) for n in range(max(31, sum(sizes))) if n % 3 == slot]
                + [(one.offset, 1) for one in marks if one.keys[0].slot == slot]
            )
        ]
        for slot in range(3)
    }
    assert order([*sizes, max(0, 31 - sum(sizes))]) == expected


EVENTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 70)), max_size=20)


@quick
@given(EVENTS, st.integers(1, 5), st.integers(0, 120))
def test_every_window_goes_once_in_order_and_in_time(
    events: list[tuple[int, int]], max_size: int, max_wait_ms: int
) -> None:
    """Under any arrivals: order kept, nothing lost or doubled, no batch too large, none held beyond the wait."""
    subject = MicroBatcher(max_size, max_wait_ms)
    arrived: list[int] = []
    gone: list[int] = []
    now_ms = 0
    for count, pause_ms in events:
        now_ms += pause_ms
        subject.add(windows(count, start=len(arrived)), now_ms)
        arrived += [now_ms] * count
        for batch in subject.ready(now_ms):
            found = batch.windows
            assert found is not None
            assert 0 < len(found) <= max_size
            if len(found) < max_size:
                assert now_ms - arrived[len(gone)] >= max_wait_ms
            gone += found.offsets.tolist()
        assert len(subject) == len(arrived) - len(gone) < max_size
        assert all(now_ms - waiting < max_wait_ms for waiting in arrived[len(gone) :])
    gone += [offset for batch in offsets(subject.flush()) for offset in batch]
    assert gone == list(range(len(arrived)))


def test_batches_carry_windows_whole() -> None:
    """A window keeps all its columns on its way through the queue."""
    subject = batcher()
    everything = windows(4)
    subject.add(windows(2), 0)
    subject.add(windows(2, start=2), 0)
    (found,) = subject.ready(0)
    assert found.windows is not None
    assert per_key(found.windows) == per_key(everything)
