"""What the network and broker tests do is spread fairly, repeatable, and within the bounds they promise."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from scripts.verify.torture.brokers import gap_figures
from scripts.verify.torture.network import FAULTS, schedule


@pytest.mark.parametrize("faults", [15, 100])
def test_every_kind_of_fault_happens_as_often_as_the_others(faults: int) -> None:
    """No link and no kind is left out by chance, in the quick run neither."""
    counts = Counter(schedule(faults, Random(1)))
    assert set(counts) == set(FAULTS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert counts.total() == faults


def test_a_seed_repeats_its_schedule() -> None:
    """A run that failed can be run again."""
    assert schedule(40, Random(7)) == schedule(40, Random(7))
    assert schedule(40, Random(7)) != schedule(40, Random(8))


def test_both_links_meet_every_kind_but_lost_answers() -> None:
    """Redis has no transactions whose answer could get lost."""
    kinds = {link: {fault.kind for fault in FAULTS if fault.link == link} for link in ("kafka", "redis")}
    assert kinds["kafka"] - kinds["redis"] == {"lose_and_cut", "lose_and_stay"}
    assert kinds["redis"] == {"slow", "resets", "half_open", "black_hole"}


def test_gaps_are_told_by_their_middle_their_tail_and_the_worst() -> None:
    """One long gap among many is not averaged away."""
    assert gap_figures([1.0] * 19 + [50.0]) == {"gap_p50_s": 1.0, "gap_p95_s": 1.0, "gap_longest_s": 50.0}
    assert gap_figures([1.0] * 9 + [50.0])["gap_p95_s"] == 50.0
