"""The checkpoint protocol holds under every fault, and the check would notice if it did not.

Schedules by chance (see `scripts.verify.model_check`) and schedules by Hypothesis play the same model: the real recovery
plan, progress, outbox and store, in the engine's order of steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from scripts.verify.model_check.__main__ import main
from scripts.verify.model_check.check import Cell, cells, complaints, run, table
from scripts.verify.model_check.protocols import ALL, AS_BUILT, CRASH, MIXES, NONE, VARIANTS, ZOMBIES, Protocol
from scripts.verify.model_check.schedules import Run, play
from scripts.verify.model_check.world import KEYS
from streamae.connectors.buckets import bucket_of

pytestmark = pytest.mark.slow

SCHEDULES, SEED = 50_000, 20_260
BY_NAME = {protocol.name: protocol for protocol in (AS_BUILT, *VARIANTS)}


@pytest.fixture(scope="module")
def played() -> list[Cell]:
    """Return the whole check, played once."""
    return run(SCHEDULES, SEED)


@pytest.mark.parametrize("mix", MIXES)
def test_the_protocol_as_built_survives(played: list[Cell], mix: str) -> None:
    """No schedule loses or repeats an output, ends with a wrong state or comes to a halt."""
    cell = next(cell for cell in played if cell.protocol is AS_BUILT and cell.mix == mix)
    assert cell.schedules == SCHEDULES * 6 // 10 // len(MIXES)
    assert cell.complaint is None


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_protocol_without_one_of_the_guards_fails(played: list[Cell], variant: Protocol) -> None:
    """Each guard is needed, and the check sees what happens without it, and only then."""
    mine = {cell.mix: cell for cell in played if cell.protocol is variant}
    assert set(mine) == {NONE, *variant.fails_in}
    assert [cell.complaint for cell in mine.values() if cell.complaint] == []
    assert all(mine[mix].bad_seeds for mix in variant.fails_in)


def test_the_whole_check_has_nothing_to_say(played: list[Cell]) -> None:
    """What the command prints in the end is what the tests above found."""
    assert complaints(played) == []


def test_outputs_states_and_standstill_are_told_apart(played: list[Cell]) -> None:
    """Each of the three counts moves, and for the right reason."""
    found = {(cell.protocol.name, cell.mix): cell for cell in played}
    assert found["forgets doubts", CRASH].wrong_outputs > 0
    assert found["no generation guard", ZOMBIES].wrong_outputs > 0
    assert found["no compare-and-set", ALL].wrong_outputs == 0
    assert found["no compare-and-set", ALL].wrong_state > 0
    assert found["stays blocked", CRASH].stuck == len(found["stays blocked", CRASH].bad_seeds) > 0


def test_a_broken_protocol_is_reported_with_its_seed() -> None:
    """A variant that claims to be sound is found out, and the seed shows the schedule again."""
    claims = replace(BY_NAME["forgets doubts"], fails_in=())
    cell = Cell(claims, CRASH, 300)
    for seed in range(300):
        cell.play(seed)
    assert cell.complaint is not None
    assert f"seed {cell.bad_seeds[0]}" in cell.complaint
    assert play(claims, CRASH, cell.bad_seeds[0])


def test_a_blind_check_is_reported() -> None:
    """A variant that must fail and does not is as bad as a protocol that fails."""
    cell = Cell(replace(AS_BUILT, fails_in=(CRASH,)), CRASH, 20)
    for seed in range(20):
        cell.play(seed)
    assert cell.complaint is not None
    assert "blind" in cell.complaint


def test_a_schedule_can_be_repeated() -> None:
    """The same seed plays the same moves, other seeds play others."""
    traces: list[list[str]] = [[], [], []]
    for trace, seed in zip(traces, (5, 5, 6), strict=True):
        play(AS_BUILT, ALL, seed, trace)
    assert traces[0] == traces[1] != traces[2]
    assert any("committed" in line for line in traces[0])


def test_keys_share_a_bucket() -> None:
    """Counting keys is worth a check only where a touched bucket holds a key that is not touched."""
    assert bucket_of(KEYS[0]) == bucket_of(KEYS[1])
    assert len({bucket_of(key) for key in KEYS}) == len(KEYS) - 1


def test_schedules_are_shared_out_completely() -> None:
    """The figure asked for is the figure played, but for the remainders, and most go to the protocol as built."""
    for asked in (10_000, SCHEDULES, 1_000_000):
        shared = cells(asked)
        assert asked - 2 * len(shared) < sum(cell.schedules for cell in shared) <= asked
        assert sum(cell.schedules for cell in shared if cell.protocol is AS_BUILT) > asked / 2


def test_the_table_has_a_line_for_every_protocol(played: list[Cell]) -> None:
    """What is read at night is complete."""
    lines = list(table(played))
    assert len(lines) == 2 + len(BY_NAME)
    assert all(mix in lines[1] for mix in MIXES)
    assert lines[2].startswith("as built")
    assert lines[2].count("0/0/0") == len(MIXES)


def test_the_command_says_no_by_its_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """With too few schedules the check is blind, which must not look like success."""
    assert main(["--schedules", "200", "--seed", "7"]) == 1
    printed = capsys.readouterr().out
    assert "the check is blind" in printed
    assert re.search(r"^\d+ schedules in \d+ s, seed 7$", printed, re.MULTILINE)  # what it takes to play them again


def test_the_command_shows_a_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    """A bad schedule is read move by move."""
    seed = next(seed for seed in range(1_000) if play(BY_NAME["stays blocked"], CRASH, seed))
    assert main(["--show", str(seed), "--protocol", "stays blocked", "--mix", CRASH]) == 1
    assert "faults stop" in capsys.readouterr().out
    assert main(["--show", str(seed), "--mix", CRASH]) == 0


class Schedules(RuleBasedStateMachine):
    """Hypothesis chooses moves, faults and outcomes; what it finds it makes short."""

    protocol = AS_BUILT
    mixes = MIXES
    run_: Run | None = None

    @initialize(mix=st.integers(0, len(MIXES) - 1), data=st.data())
    def begin(self, mix: int, data: st.DataObject) -> None:
        self.run_ = Run(self.protocol, self.mixes[mix % len(self.mixes)], choices(data))

    @precondition(lambda self: self.run_ is not None)
    @rule(number=st.integers(0, 2), moves=st.integers(1, 6), data=st.data())
    def move(self, number: int, moves: int, data: st.DataObject) -> None:
        assert self.run_ is not None
        self.run_.choose = choices(data)
        for _ in range(moves):
            if number not in self.run_.paused:
                self.run_.workers[number].move()

    @precondition(lambda self: self.run_ is not None)
    @rule(fault=st.integers(0, 20), data=st.data())
    def strike(self, fault: int, data: st.DataObject) -> None:
        assert self.run_ is not None
        self.run_.choose = choices(data)
        self.run_.faults[fault % len(self.run_.faults)]()

    def teardown(self) -> None:
        if self.run_ is not None:
            self.run_.choose = lambda ways: ways - 1
            assert not self.run_.finish()


def choices(data: st.DataObject) -> Callable[[int], int]:
    """Return a source of chance that Hypothesis controls."""
    return lambda ways: data.draw(st.integers(0, ways - 1))


def machine(variant: Protocol) -> type[Schedules]:
    """Return the machine for a variant, under the mixes that break it."""
    return type("Variant", (Schedules,), {"protocol": variant, "mixes": variant.fails_in or MIXES})


BOUNDED = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


def test_hypothesis_finds_nothing_either() -> None:
    """A second way to choose schedules, which follows what was interesting, agrees."""
    run_state_machine_as_test(machine(AS_BUILT), settings=BOUNDED)


@pytest.mark.parametrize("name", ["forgets doubts", "stays blocked", "saves before it commits", "two generations"])
def test_hypothesis_is_not_blind(name: str) -> None:
    """The state machine finds what is wrong with a protocol that lacks a guard."""
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(BY_NAME[name]), settings=settings(BOUNDED, max_examples=600))
