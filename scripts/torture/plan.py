"""The plan: every test and negative control with its figures, one line each.

A test is a function from `Context` to `Result`. Must not know: how a test does its work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.torture import controls
from scripts.torture.context import Context
from scripts.torture.faults_kills import kills
from scripts.torture.golden import golden
from scripts.torture.report import Result


@dataclass(frozen=True)
class Test:
    """One line of the plan.

    Attributes:
        id: T1, T6, ...; negative controls are N1, N2, ...
        title: what is done, in a few words.
        run: does it.
        full, quick: number of faults (records, schedules) of the full and of the quick run.
        is_control: a guard is missing: the test must fail, which is then reported as caught.
    """

    id: str
    title: str
    run: Callable[[Context], Result]
    full: int
    quick: int
    is_control: bool = False


PLAN: tuple[Test, ...] = (
    Test("T0", "undisturbed run against the oracle", golden, 0, 0),
    Test("T1", "kill -9 of one worker of three", kills, 200, 30),
    Test("N1", "no compare-and-set in the store", controls.without_cas, 1, 1, is_control=True),
    Test("N2", "no key count in the store", controls.without_key_count, 1, 1, is_control=True),
    Test("N3", "no check of the generation", controls.without_generation, 1, 1, is_control=True),
    Test("N4", "state from the future is trusted", controls.without_future, 1, 1, is_control=True),
    Test("N5", "a reader of uncommitted messages", controls.careless_reader, 1, 1, is_control=True),
)
