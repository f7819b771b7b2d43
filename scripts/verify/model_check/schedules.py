"""Random schedules: which process moves next, which fault strikes, and what is wrong in the end.

A schedule is its seed: the same seed gives the same moves, so a bad one can be read and kept as a test.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.verify.model_check import protocols
from scripts.verify.model_check.protocols import Protocol
from scripts.verify.model_check.worker import Worker
from scripts.verify.model_check.world import FINGERPRINT, IDENTITY, KEYS, PARTITION, World
from streamae.connectors.protocols import Stamp
from streamae.engine.partitions import RecoveryPolicy
from streamae.errors import RetryableError

RECORDS, WORKERS = 12, 3
GHOST = b"ghost"
MOVES = 60  # of a schedule, before the faults stop
PATIENCE = 300  # moves the survivors get to finish; a sound protocol needs fewer than a hundred
LOSING = (protocols.LOST_OFFSET, protocols.ALL)  # the mixes in which the group loses its offset


@dataclass(frozen=True, slots=True)
class Verdict:
    """What went wrong in one schedule."""

    wrong_outputs: bool = False
    wrong_state: bool = False
    is_stuck: bool = False

    def __bool__(self) -> bool:
        """Tell whether anything did."""
        return self.wrong_outputs or self.wrong_state or self.is_stuck


class Run:
    """One schedule in the making."""

    def __init__(self, protocol: Protocol, mix: str, choose: Callable[[int], int]) -> None:
        """Begin with a few records, an empty group, and workers that have just started.

        Where no fault loses stored or committed data, no state may ever be rebuilt: rebuilding is forbidden there,
        so that a protocol which throws sound state away is caught. The stored state then begins as empty, not as
        missing. In every other schedule a key is stored that is not heard of again: then no process ever knows all.
        """
        self.protocol, self.mix, self.choose = protocol, mix, choose
        self.is_calm = False
        log = [KEYS[choose(len(KEYS))] for _ in range(RECORDS)]
        self.world = World(log, protocol.store(), self._choose, is_fenced=protocol.is_fenced)
        self.world.fails = mix != protocols.NONE
        self.policy = RecoveryPolicy(on_lost_offsets="start" if mix in LOSING and choose(2) else "resume")
        is_haunted, is_sound = choose(2), mix in {protocols.NONE, protocols.CRASH, protocols.ZOMBIES}
        if is_sound:
            self.policy = RecoveryPolicy(rebuild_max_records=0)
        if is_sound or is_haunted:
            self.world.group.committed = 0
            ghosts = [(GHOST, b"")] if is_haunted else []
            self.world.store.checkpoint(PARTITION, None, 0, Stamp(FINGERPRINT, identity=IDENTITY), ghosts)
        self.workers = [self._started(number) for number in range(WORKERS)]
        self.paused: set[int] = set()
        self.snapshot: dict[Any, Any] = {}
        self.faults = self._faults()

    def move(self) -> None:
        """Let one process move or one fault strike."""
        if self.choose(5):
            owner = self.world.group.owner
            number = owner if self.choose(4) else self.choose(WORKERS)
            if number not in self.paused:
                self.workers[number].move()
        else:
            self.faults[self.choose(len(self.faults))]()

    def finish(self) -> Verdict:
        """Stop all faults, let the survivors finish, let a fresh process read everything, and judge."""
        world = self.world
        world.note("faults stop")
        self._calm_down()
        self._let_go(world.group.owner)
        self.paused.clear()
        self._give_to(self.choose(WORKERS))
        if not self._is_finished():
            return self._judge(is_stuck=True)
        world.log.extend(KEYS)  # a record of each key makes the next process load all of them
        self._replace(world.group.owner)
        if not self._is_finished():
            return self._judge(is_stuck=True)
        return self._judge(is_stuck=False)

    # Faults.

    def crash(self) -> None:
        """End a process and start another in its place."""
        self._replace(self.choose(WORKERS))

    def hand_over(self) -> None:
        """Give the partition to a process, as a rebalance among living members does."""
        owner = self.world.group.owner
        if owner in self.paused and not self.choose(3):
            self.world.rebalance(owner, is_kept=True)
            return
        self._let_go(owner)
        self._give_to(self.choose(WORKERS))

    def stop_owner(self) -> None:
        """Pause the owner wherever it stands and give its partition away; it goes on later, not knowing."""
        owner = self.world.group.owner
        self.world.note(f"{owner} is paused")
        self.paused.add(owner)
        if len(self.paused) == WORKERS:
            self.paused.clear()
        self.world.rebalance(self.choose(WORKERS))

    def wake(self) -> None:
        """Let a paused process go on."""
        if self.paused:
            number = min(self.paused)
            self.world.note(f"{number} goes on")
            self.paused.discard(number)

    def be_silent(self) -> None:
        """Let calls to the store fail, or only their answers be lost."""
        store = self.world.store
        point = store.points[self.choose(len(store.points))]
        self.world.note(f"store fails at {point}")
        store.fail_at(point, RetryableError("store is silent"), times=1 + self.choose(4))

    def decide(self) -> None:
        """End an open transaction."""
        self.world.decide()

    def keep_copy(self) -> None:
        """Note what the store holds, as a replica does."""
        self.snapshot = self.world.store.snapshot()

    def roll_back(self) -> None:
        """Let the replica take over."""
        self.world.note("store rolls back")
        self.world.store.restore(self.snapshot)
        self._stumble()

    def flush(self) -> None:
        """Empty the store."""
        self.world.note("store is flushed")
        self.world.store.flush()
        self._stumble()

    def lose_manifest(self) -> None:
        """Lose the manifest only."""
        self.world.note("store loses the manifest")
        self.world.store.lose_manifest(PARTITION)

    def lose_key(self) -> None:
        """Lose one key."""
        key = KEYS[self.choose(len(KEYS))]
        self.world.note(f"store loses {key!r}")
        self.world.store.lose_keys(PARTITION, [key])
        self._stumble()

    def move_back(self) -> None:
        """Set the committed offset back, while no process is at work."""
        if not self.choose(3):
            for number in range(WORKERS):
                self._let_go(number)
            self.world.move_back(self.choose(RECORDS))

    def lose_offset(self) -> None:
        """Let the group lose its offset, while no process is at work."""
        if not self.choose(3):
            for number in range(WORKERS):
                self._let_go(number)
            self.world.lose_offset()

    def _stumble(self) -> None:
        """Let whoever notices the loss be kept waiting: what loses data is seldom well."""
        if self.choose(2):
            self.world.store.fail_at("manifest", RetryableError("store is silent"), times=2)

    def _faults(self) -> list[Callable[[], None]]:
        mix, faults = self.mix, [self.hand_over]
        if mix != protocols.NONE:
            faults += [self.crash, self.be_silent, self.decide]
        if mix in {protocols.ZOMBIES, protocols.ALL}:
            faults += [self.stop_owner, self.wake]
        if mix in {protocols.ROLLBACK, protocols.ALL}:
            faults += [self.keep_copy, self.roll_back]
        if mix in {protocols.FLUSH, protocols.ALL}:
            faults += [self.flush, self.lose_manifest]
        if mix in {protocols.LOST_KEY, protocols.ALL}:
            faults += [self.lose_key]
        if mix in {protocols.MOVED_BACK, protocols.ALL}:
            faults += [self.move_back]
        if mix in LOSING:
            faults += [self.lose_offset]
        return faults

    # Workers.

    def _started(self, number: int) -> Worker:
        return self.protocol.worker(self.world, number, self.policy)

    def _replace(self, number: int) -> None:
        self.world.note(f"{number} crashes")
        self.workers[number] = self._started(number)
        self.paused.discard(number)
        if number == self.world.group.owner:
            self._give_to(self._choose(WORKERS))

    def _give_to(self, number: int) -> None:
        self.world.rebalance(number)

    def _let_go(self, number: int) -> None:
        """Let a living process reach its next poll, as a rebalance waits for it to do."""
        if number not in self.paused:
            worker = self.workers[number]
            while not worker.is_polling:
                worker.move()

    def _choose(self, ways: int) -> int:
        return ways - 1 if self.is_calm else self.choose(ways)

    def _calm_down(self) -> None:
        self.world.decide()
        self.is_calm, self.world.fails = True, False
        for point in self.world.store.points:
            self.world.store._waiting.pop(point, None)  # noqa: SLF001 - nothing waits any more

    def _is_finished(self) -> bool:
        owner = self.workers[self.world.group.owner]
        for _ in range(PATIENCE):
            for worker in self.workers:
                worker.move()
            if owner.is_polling and owner.is_done():
                return True
        return False

    def _judge(self, *, is_stuck: bool) -> Verdict:
        world, owner = self.world, self.workers[self.world.group.owner]
        states_wrong = not is_stuck and not all(
            world.is_true(key, owner.states.get(key, b""), len(world.log)) for key in KEYS
        )
        return Verdict(
            wrong_outputs=not is_stuck and world.has_wrong_outputs(),
            wrong_state=states_wrong or world.has_wrong_verdicts(),
            is_stuck=is_stuck,
        )


def play(protocol: Protocol, mix: str, seed: int, trace: list[str] | None = None) -> Verdict:
    """Play the schedule of one seed; `trace` collects what happened."""
    chance = random.Random(seed).random
    run = Run(protocol, mix, lambda ways: int(chance() * ways))
    run.world.trace = trace
    for _ in range(MOVES):
        run.move()
    return run.finish()
