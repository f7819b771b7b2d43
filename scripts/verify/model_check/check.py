"""The whole check: so many schedules of the protocol as built, so many of each variant that must fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scripts.verify.model_check.protocols import AS_BUILT, MIXES, NONE, VARIANTS, Protocol
from scripts.verify.model_check.schedules import play

SEEDS_APART = 1_000_003  # between two runs with neighbouring seeds
SHARE_AS_BUILT = 0.6
NAME_WIDTH, CELL_WIDTH = 28, 14


@dataclass(slots=True)
class Cell:
    """Schedules of one protocol under one fault mix; the three counts may overlap."""

    protocol: Protocol
    mix: str
    schedules: int
    wrong_outputs: int = 0
    wrong_state: int = 0
    stuck: int = 0
    bad_seeds: list[int] = field(default_factory=list)

    @property
    def must_fail(self) -> bool:
        """Whether the protocol is known to break under this mix."""
        return self.mix in self.protocol.fails_in

    @property
    def complaint(self) -> str | None:
        """What is wrong with this cell; None when it is as it has to be."""
        name = f"{self.protocol.name} under {self.mix}"
        if self.bad_seeds and not self.must_fail:
            return f"{name}: {len(self.bad_seeds)} of {self.schedules} schedules went wrong, seed {self.bad_seeds[0]}"
        if not self.bad_seeds and self.must_fail:
            return f"{name}: none of {self.schedules} schedules went wrong: the check is blind"
        return None

    def play(self, seed: int) -> None:
        """Play one schedule and count what went wrong."""
        verdict = play(self.protocol, self.mix, seed)
        self.wrong_outputs += verdict.wrong_outputs
        self.wrong_state += verdict.wrong_state
        self.stuck += verdict.is_stuck
        if verdict:
            self.bad_seeds.append(seed)


def cells(schedules: int) -> list[Cell]:
    """Share the schedules out: every mix for the protocol as built; for a variant those that break it, and none."""
    variants = [(variant, mix) for variant in VARIANTS for mix in MIXES if mix in {NONE, *variant.fails_in}]
    as_built = int(schedules * SHARE_AS_BUILT) // len(MIXES)
    share = (schedules - as_built * len(MIXES)) // sum(variant.weight for variant, _ in variants)
    return [Cell(AS_BUILT, mix, as_built) for mix in MIXES] + [
        Cell(variant, mix, share * variant.weight) for variant, mix in variants
    ]


def run(schedules: int, seed: int, progress: Callable[[int], None] = lambda _done: None) -> list[Cell]:
    """Play about `schedules` schedules; the same seed plays the same ones."""
    played, done = cells(schedules), 0
    for cell in played:
        for number in range(cell.schedules):
            cell.play(seed * SEEDS_APART + number)
            done += 1
            if done % 500 == 0:
                progress(done)
    return played


def complaints(played: list[Cell]) -> list[str]:
    """Return what is wrong: the protocol as built broke, or a variant did not."""
    return [cell.complaint for cell in played if cell.complaint is not None]


def table(played: list[Cell]) -> Iterator[str]:
    """Return lines: a protocol a line, a fault mix a column; a dash where it was not played."""
    found = {(cell.protocol.name, cell.mix): cell for cell in played}
    yield "schedules with lost or duplicate output / wrong state / no progress, of schedules played"
    yield "protocol".ljust(NAME_WIDTH) + "".join(mix.rjust(CELL_WIDTH) for mix in MIXES)
    for protocol in (AS_BUILT, *VARIANTS):
        line = protocol.name.ljust(NAME_WIDTH)
        for mix in MIXES:
            cell = found.get((protocol.name, mix))
            text = f"{cell.wrong_outputs}/{cell.wrong_state}/{cell.stuck}" if cell else "-"
            line += text.rjust(CELL_WIDTH)
        yield f"{line}  of {max(cell.schedules for cell in played if cell.protocol is protocol):,} each"
