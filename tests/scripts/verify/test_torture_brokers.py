"""Brokers that fail: enough absences of a lone one last until they are noticed, and a role counts as moved when it is."""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random

import pytest

from scripts.verify.torture.brokers import LONGEST_ABSENCE_S, Absence, has_moved, schedule


@pytest.mark.parametrize("faults", [1, 2, 5, 50])
def test_more_than_half_of_the_absences_are_long(faults: int) -> None:
    """What is wanted of the run does not depend on how fast the machine brings the broker back."""
    absences = schedule(faults, Random(1))
    assert len(absences) == faults
    assert faults / 2 < sum(absence.is_long for absence in absences) <= faults / 2 + 1
    assert all(0 <= absence.seconds <= LONGEST_ABSENCE_S for absence in absences)
    assert schedule(faults, Random(1)) == absences


def test_brokers_are_killed_and_stopped_for_short_and_long() -> None:
    """How it goes and how long it is away have nothing to do with each other."""
    kinds = Counter((absence.is_kill, absence.is_long) for absence in schedule(50, Random(1)))
    assert len(kinds) == 4
    assert kinds[True, True] + kinds[True, False] == 30


def test_a_long_absence_lasts_until_it_is_noticed() -> None:
    """A short one asks nobody."""
    asked = count(1)
    Absence(is_kill=True, seconds=0.0, is_long=True).last(lambda: next(asked) == 3)
    assert next(asked) == 4
    Absence(is_kill=True, seconds=0.0, is_long=False).last(lambda: next(asked) < 0)
    assert next(asked) == 5


def test_an_absence_that_nobody_notices_ends_all_the_same() -> None:
    """The run says that too little was noticed; it does not hang."""
    Absence(is_kill=True, seconds=0.0, is_long=True).last(lambda: False, longest_s=0.01)


def test_a_role_has_moved_once_another_node_is_named() -> None:
    """A node that is dead is named until the others know of it: asked too early, a role that moves would not count."""
    answers = iter([1, None, 1, 2])
    assert has_moved(lambda: next(answers), 1)
    assert not has_moved(lambda: 1, 1, timeout_s=0.01)
