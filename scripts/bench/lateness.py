"""What it costs to wait for late records: engines that wait against one that does not, without a network, in turns.

The first two read the same records in order of time; of the third, a tenth comes `LATE_ROWS` rows late. A record costs
less among many keys than among few, since everything is done for all keys at once. There is no target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.bench.inputs import STEP_MS, Traffic, untrained_bundle
from scripts.bench.turns import Side, Taken, Turns
from streamae.batches import Record
from streamae.settings.data import WindowSettings

WINDOW_SIZE, FEATURES, HIDDEN_SIZE = 32, 8, 64
LATE_EVERY, LATE_ROWS, ALLOWED_ROWS = 10, 25, 60
OFF, IN_ORDER, LATE = "does not wait", "waits, in order", "waits, a tenth late"
SIZES = {1_000: 10, 10: 1_000}  # rows a round by number of keys
QUICK, FULL = (3,), (15,)


class LateTraffic(Traffic):
    """Every tenth record comes `LATE_ROWS` rows after its time."""

    def __init__(self, keys: int, features: tuple[str, ...], seed: int = 0) -> None:
        super().__init__(keys, features, seed)
        self._waiting: list[list[Record]] = [[] for _ in range(LATE_ROWS)]

    def rows(self, count: int) -> list[Record]:
        """Return what comes with the next `count` rows."""
        records: list[Record] = []
        for _ in range(count):
            drawn = super().rows(1)
            is_late = [self._random.integers(LATE_EVERY) == 0 for _ in drawn]
            self._waiting.append([record for record, late in zip(drawn, is_late, strict=True) if late])
            records += [record for record, late in zip(drawn, is_late, strict=True) if not late]
            records += self._waiting.pop(0)
        return records


@dataclass(frozen=True, slots=True)
class Findings:
    """Turns by number of keys."""

    taken: dict[int, Taken]

    def is_met(self) -> bool:
        """Whether there is a figure: no target is set."""
        return bool(self.taken)

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'CPU us a record':32}{'median':>10}{'more':>10}"]
        for keys, taken in self.taken.items():
            for side in (OFF, IN_ORDER, LATE):
                what = f"{keys:,} keys, {side}"
                lines.append(f"{what:32}{1e6 / taken.rate(side):>10.2f}{taken.more_us(side, OFF):>10.2f}")
        return "\n".join(lines)


def sides_of(keys: int, features: tuple[str, ...]) -> dict[str, Side]:
    """Return what is compared."""
    ordered, waits = Traffic(keys, features), {"window": WindowSettings(lateness_ms=ALLOWED_ROWS * STEP_MS)}
    return {OFF: Side(ordered), IN_ORDER: Side(ordered, waits), LATE: Side(LateTraffic(keys, features), waits)}


def measure(draws: int, sizes: Mapping[int, int] = SIZES) -> Findings:
    """Take turns with many keys, then with few."""
    bundle = untrained_bundle(WINDOW_SIZE, FEATURES, HIDDEN_SIZE)
    taken = {}
    for keys, rows in sizes.items():
        turns = Turns(bundle, sides_of(keys, bundle.features), keys, warm_rows=WINDOW_SIZE + 3 * ALLOWED_ROWS // 2)
        taken[keys] = turns.measure(draws, rows)
    return Findings(taken)
