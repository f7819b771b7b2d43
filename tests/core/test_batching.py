"""Micro-batches: full ones at once, the rest after a bounded wait, nothing lost and nothing out of order."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import WindowBatch
from streamae.core.batching import MicroBatcher
from tests.core_batches import START_MS, per_key, quick, slots_of, window_batch

MAX_SIZE, MAX_WAIT_MS = 4, 100


def windows(count: int, start: int = 0) -> WindowBatch:
    """Windows numbered by their offsets, of three keys in turn."""
    slots = [(start + i) % 3 for i in range(count)]
    return window_batch(slots, [START_MS + (start + i) * 100 for i in range(count)], first_offset=start)


def offsets(batches: Iterable[WindowBatch]) -> list[list[int]]:
    """Numbers of the windows of each batch."""
    return [batch.offsets.tolist() for batch in batches]


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
            assert 0 < len(batch) <= max_size
            if len(batch) < max_size:
                assert now_ms - arrived[len(gone)] >= max_wait_ms
            gone += batch.offsets.tolist()
        assert len(subject) == len(arrived) - len(gone) < max_size
        assert all(now_ms - waiting < max_wait_ms for waiting in arrived[len(gone) :])
    gone += [offset for batch in subject.flush() for offset in batch.offsets.tolist()]
    assert gone == list(range(len(arrived)))


def test_batches_carry_windows_whole() -> None:
    """A window keeps all its columns on its way through the queue."""
    subject = batcher()
    everything = windows(4)
    subject.add(windows(2), 0)
    subject.add(windows(2, start=2), 0)
    (found,) = subject.ready(0)
    assert per_key(found) == per_key(everything)
