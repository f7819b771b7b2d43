"""Engines that differ in their settings only, in turns in one process: what a setting costs.

Figures are CPU time a record; medians over rounds of what stands beside each other within a round, so that a busy
neighbour hits all sides or none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from scripts.bench.embedded import EmbeddedEngine, NullModel
from scripts.bench.inputs import Traffic
from scripts.bench.memory import ForgetfulStore
from streamae.batches import Record
from streamae.engine.stages import WindowModel
from streamae.model.bundle import Bundle
from streamae.settings.section import Section


@dataclass(frozen=True, slots=True)
class Side:
    """One of several engines.

    Attributes:
        traffic: what it reads; sides of the same object read the same records.
        sections: settings by the name of their section; all others have their defaults.
    """

    traffic: Traffic
    sections: Mapping[str, Section] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """CPU microseconds a record in each round, by side."""

    us: dict[str, list[float]]

    def rate(self, side: str) -> float:
        """Records a CPU second, median over rounds."""
        return 1e6 / median(self.us[side])

    def ratio(self, side: str, against: str) -> float:
        """Speed of one side relative to another's, median over rounds."""
        return median(other / own for own, other in zip(self.us[side], self.us[against], strict=True))

    def more_us(self, side: str, against: str) -> float:
        """What a record costs more than on another side, median over rounds."""
        return median(own - other for own, other in zip(self.us[side], self.us[against], strict=True))


class Turns:
    """Engines with full windows. Without a network until `use` gives them one."""

    def __init__(self, bundle: Bundle, sides: Mapping[str, Side], keys: int, warm_rows: int, threads: int = 1) -> None:
        """Serve `warm_rows` rows of all keys, which do not count."""
        self._sides, self._threads, self._turns = dict(sides), threads, 0
        self.engines = {
            name: EmbeddedEngine(bundle, keys, threads, ForgetfulStore(), NullModel(), **side.sections)
            for name, side in sides.items()
        }
        for _ in range(warm_rows):  # row by row, for their records would fill the memory
            self._round(1, 1)

    def use(self, model: WindowModel) -> None:
        """Let all engines score with `model` from now on."""
        for each in self.engines.values():
            each.engine.stages = replace(each.engine.stages, runner=model)

    def measure(self, draws: int, rows: int, parts: int = 1) -> Taken:
        """Draw `rows` further rows of all keys so many times, and take turns over each of `parts` of them.

        Who begins goes round; the first draw does not count.
        """
        self._round(rows, parts)
        rounds = [one for _ in range(draws) for one in self._round(rows, parts)]
        return Taken({name: [one[name] for one in rounds] for name in self._sides})

    def _round(self, rows: int, parts: int) -> list[dict[str, float]]:
        torch.set_num_threads(self._threads)
        traffics = {id(side.traffic): side.traffic for side in self._sides.values()}
        drawn = {each: traffic.rows(rows) for each, traffic in traffics.items()}
        return [
            self._turn({each: _part(records, number, parts) for each, records in drawn.items()})
            for number in range(parts)
        ]

    def _turn(self, drawn: dict[int, list[Record]]) -> dict[str, float]:
        self._turns += 1
        names, taken = list(self._sides), dict[str, float]()
        first = self._turns % len(names)
        for name in names[first:] + names[:first]:
            records = drawn[id(self._sides[name].traffic)]
            self.engines[name].produce(records)
            started = time.process_time()
            self.engines[name].consume()
            taken[name] = (time.process_time() - started) * 1e6 / max(1, len(records))
        return taken


def _part(records: list[Record], number: int, parts: int) -> list[Record]:
    return records[number * len(records) // parts : (number + 1) * len(records) // parts]
