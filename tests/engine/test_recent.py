"""Counts of the newest records: when most came to nothing, when that is over, and of which slots."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.engine.recent import Recent

SIZE, OUTCOMES = 20, 4  # 0 good, 1 to 3 bad


def fed(*batches: tuple[int, ...], slot: int = 0, recent: Recent | None = None) -> tuple[Recent, list[int]]:
    """Counts of a slot after batches of records by outcome, and its trouble after each."""
    recent = recent or Recent(3, SIZE, OUTCOMES)
    found = []
    for batch in batches:
        counts = np.zeros((1, OUTCOMES), dtype=np.int64)
        counts[0, : len(batch)] = batch
        recent.add(np.array([slot]), counts)
        found.append(int(recent.columns["trouble"][slot]))
    return recent, found


def test_half_is_trouble_and_less_is_not() -> None:
    """Nothing is said of fewer than `size` records, nor of a share below one half."""
    assert fed((5, 5), (5, 5))[1] == [0, 1]
    assert fed((5, 5), (6, 4))[1] == [0, 0]
    assert fed((0, 10), (1, 8))[1] == [0, 0]


def test_the_commonest_reason_is_named() -> None:
    """Of both halves together, and it stays while the trouble lasts."""
    assert fed((4, 1, 5), (4, 3, 3), (0, 10))[1] == [0, 2, 2]


def test_it_is_over_well_below_half() -> None:
    """A share that wavers around one half is told once."""
    assert fed((0, 10), (0, 10), (6, 4), (6, 4), (6, 4), (9, 1), (9, 1))[1] == [0, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("each", [1, 2, 5, 10])
def test_the_size_of_steps_does_not_matter(each: int) -> None:
    """Record by record or ten at once: trouble begins with the same record."""
    good, bad = [(each,)] * (SIZE // each), [(0, each)] * (SIZE // each)
    assert fed(*good, *bad)[1].index(1) * each + each == SIZE + SIZE // 2


def test_a_step_larger_than_all_that_is_kept_is_judged_by_its_shares() -> None:
    """A poll may bring thousands of records of one key; counters are small."""
    recent, found = fed((2_500, 2_500), (60_000, 0, 20_000))
    assert found == [1, 1]
    assert recent.counts(0).tolist() == [8, 0, 2, 0]
    assert fed((400, 100))[1] == [0]


def test_slots_do_not_mix() -> None:
    """One key in trouble says nothing of another, and a key that is reset is new."""
    recent, found = fed((0, 10), (0, 10), slot=1)
    assert found == [0, 1]
    assert recent.columns["trouble"].tolist() == [0, 1, 0]
    assert fed((10,), (10,), slot=2, recent=recent)[1] == [0, 0]
    recent.columns.reset(np.array([1], dtype=np.int32))
    assert fed((0, 10), slot=1, recent=recent)[1] == [0]
