"""The plan: every test and negative control with its figures, one line each.

A test is a function from `Context` to `Result`. Must not know: how a test does its work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.verify.torture import controls, suites
from scripts.verify.torture.alert_crowd import crowd
from scripts.verify.torture.alert_delays import delays
from scripts.verify.torture.alert_kills import kills as alert_kills
from scripts.verify.torture.bad_input import bad_input
from scripts.verify.torture.brokers import leaders, one_broker
from scripts.verify.torture.cardinality import cardinality
from scripts.verify.torture.context import Context, Size
from scripts.verify.torture.faults_clocks import clocks
from scripts.verify.torture.faults_kills import kills, kills_of_the_real_model
from scripts.verify.torture.faults_operator import operator
from scripts.verify.torture.faults_redis import redis_faults, store_away
from scripts.verify.torture.faults_restarts import reloads, restarts
from scripts.verify.torture.faults_time import time_torture
from scripts.verify.torture.faults_zombies import zombies
from scripts.verify.torture.golden import golden
from scripts.verify.torture.network import network
from scripts.verify.torture.rebalances import rebalances
from scripts.verify.torture.report import Result


@dataclass(frozen=True)
class Test:
    """One line of the plan.

    Attributes:
        id: T1, T6, ...; negative controls are N1, N2, ...
        title: what is done, in a few words.
        run: does it.
        full, quick, smoke: number of faults (records, schedules) of the run of that size; None = no part of it.
        is_control: a guard is missing: the test must fail, which is then reported as caught.
    """

    id: str
    title: str
    run: Callable[[Context], Result]
    full: int
    quick: int | None
    smoke: int | None = None
    is_control: bool = False

    def faults(self, size: Size) -> int | None:
        """Return the number of a run of this size."""
        return {"full": self.full, "quick": self.quick, "smoke": self.smoke}[size]


PLAN: tuple[Test, ...] = (
    Test("T0", "undisturbed run against the oracle", golden, 0, 0, 0),
    Test("T1", "kill -9 of one worker of three", kills, 200, 30, 6),
    Test("T1b", "the same with a trained network", kills_of_the_real_model, 20, 4),
    Test("T2", "orderly rolling restarts", restarts, 50, 10),
    Test("T3", "zombies: workers that stand still and come back", zombies, 60, 10),
    Test("T4", "one broker, killed and stopped", one_broker, 50, 5),
    Test("T5", "leaders and coordinators of three brokers killed", leaders, 40, 6),
    Test("T6", "Redis restarted, killed, emptied, set back, full, failed over", redis_faults, 125, 20),
    Test("T6b", "Redis away under load, seconds", store_away, 60, 10),
    Test("T7", "workers join and leave; two assignors, dynamic and static", rebalances, 300, 40),
    Test("T8", "slow, cut, silent and unreachable links; lost answers to commits", network, 100, 15),
    Test("T9", "bad records among as many good ones", bad_input, 100_000, 10_000),
    Test("T10", "far more keys than there is room for", cardinality, 5_000_000, 500_000),
    Test("T12", "wall clocks that jump", clocks, 20, 6),
    Test("T15", "settings read again, valid and invalid", reloads, 500, 60, 6),
    Test("T16", "operators move offsets, delete groups, topics and records", operator, 5, 1),
    Test("T17", "random schedules of the checkpoint protocol", suites.model_check, 1_000_000, 50_000),
    Test("T19", "hazards of the Kafka client, H1 to H15", suites.hazards, 1, None),  # `make test` has run them already
    Test("T20", "silence, clocks, late and equal times; states damaged", time_torture, 150, 20),
    Test("A1", "kill -9 of the alert process at its named points", alert_kills, 50, 9, 3),
    Test("A2", "a receiver that is ill beside one that is well; Redis killed, seconds", delays, 20, 3),
    Test("A3", "many keys at once: one mail, one group at Alertmanager", crowd, 500, 500),
    Test("N1", "no compare-and-set in the store", controls.without_cas, 1, 1, 1, is_control=True),
    Test("N2", "no key count in the store", controls.without_key_count, 1, 1, 1, is_control=True),
    Test("N3", "no check of the generation", controls.without_generation, 1, 1, 1, is_control=True),
    Test("N4", "state from the future is trusted", controls.without_future, 1, 1, 1, is_control=True),
    Test("N5", "a reader of uncommitted messages", controls.careless_reader, 1, 1, 1, is_control=True),
    Test("N6", "silences told at another record", controls.without_crossing_offset, 1, 1, 1, is_control=True),
)
