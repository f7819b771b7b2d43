"""Each key's own level and spread of every feature: what its windows are standardised by where keys differ widely.

Mean and variance of the key's rows, in event-time order, plain at first and then forgetting, in capped steps: a row is
used first and learnt after, and no run of anomalies moves them far. State lies in the `Columns` of the windows, so
that training, evaluation and the live stream have one implementation. Knows nothing about networks or scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamae.batches import Doubles, ErrorBatch, Flags, Floats, Ints, RowBatch, Slots, WindowBatch
from streamae.core.columns import Columns, Field
from streamae.core.moments import learn
from streamae.core.origins import to_own_units
from streamae.core.scaling import FLOOR_SHARE, Scaling
from streamae.core.segments import waves

MIN_ROWS = 128  # of a key before its windows are scored
HALF_LIFE_ROWS = 2_000
FREE_ROWS, CAP_SDS = 16, 3.0  # the first rows count in full, later ones move by 3 sd at most
MAX_FLOAT = 3e38


@dataclass(frozen=True, slots=True, eq=False)
class KeyLevels:
    """How keys learn their own levels; the state is in the columns it is given.

    With n earlier values of a feature: w = max(1 / (n + 1), 1 - 2^(-1 / half life)); mean and variance move by w as in
    `core.moments.learn`, each step cut to 3 sd once n >= 16. A constant channel keeps its floor: scale =
    max(sd, floor).

    Attributes:
        floors: (F,) float64 smallest scale of each feature, > 0, in its own unit.
        min_rows: rows of a key, before which its windows are withheld.
        half_life_rows: rows after which one counts half.
    """

    floors: Doubles
    min_rows: int = MIN_ROWS
    half_life_rows: int = HALF_LIFE_ROWS

    @classmethod
    def of(cls, scaling: Scaling, least: Doubles | None = None) -> KeyLevels:
        """Return the levels that go with the spreads inside of training keys (`Scaling.within`).

        Args:
            scaling: its scales are the spreads; a tenth of them is the floor.
            least: (F,) smallest scale of each feature; None = no such bound.
        """
        return cls(np.maximum(FLOOR_SHARE * scaling.scales, 0.0 if least is None else least))

    def fields(self, start: Doubles) -> dict[str, Field]:
        """Return the state of a key; `start` (F,) is the level of a feature that never had a value."""
        shape = (len(self.floors),)
        return {
            "level_rows": Field("<i8"),  # rows seen
            "level_counts": Field("<i4", shape),  # values of each feature learnt
            "level_means": Field("<f8", shape, start),
            "level_variances": Field("<f8", shape),
        }

    def follow(self, columns: Columns, rows: RowBatch) -> tuple[Doubles, Flags]:
        """Return the levels that each row finds, then learn it.

        Args:
            columns: with the state of `fields`, mutated.
            rows: N rows, per key in event-time order; NaN = missing, not learnt.

        Returns:
            (N, 2, F) means and scales before each row, and whether its key knew `min_rows` rows before it.
        """
        found = np.empty((len(rows), 2, len(self.floors)))
        is_known = np.zeros(len(rows), dtype=np.bool_)
        forgetting = -np.expm1(-np.log(2.0) / self.half_life_rows)
        for chosen in waves(rows.slots):
            slots, values = rows.slots[chosen], rows.values[chosen]
            counts, means = columns["level_counts"][slots], columns["level_means"][slots]
            variances = columns["level_variances"][slots]
            scales = np.maximum(np.sqrt(variances), self.floors)
            found[chosen, 0], found[chosen, 1] = means, scales
            is_known[chosen] = columns["level_rows"][slots] >= self.min_rows
            present = ~np.isnan(values)
            weights = np.where(present, np.maximum(1.0 / (counts + 1.0), forgetting), 0.0)
            caps = np.where(counts >= FREE_ROWS, CAP_SDS * scales, np.inf)
            columns["level_means"][slots], columns["level_variances"][slots] = learn(
                means, variances, np.where(present, values, means), weights, caps
            )
            columns["level_counts"][slots] = np.minimum(counts + present, np.iinfo(np.int32).max)
            columns["level_rows"][slots] += 1
        return found, is_known

    def is_learning(self, columns: Columns, slots: Slots) -> Flags:
        """Tell which of `slots` (n,) know too few rows of their own to be scored."""
        young: Flags = columns["level_rows"][slots] < self.min_rows
        return young

    def progress(self, columns: Columns, slots: Slots) -> Ints:
        """Return the rows that `slots` (n,) have seen, (n,) int64, at most `min_rows`."""
        seen: Ints = np.minimum(columns["level_rows"][slots], self.min_rows)
        return seen


def standardised(windows: WindowBatch) -> Floats:
    """Return what the model gets, (B, W, F) float32: values in sd of the key where windows have levels, else as they are."""
    if windows.levels is None:
        return windows.values
    means, scales = windows.levels[:, None, 0], windows.levels[:, None, 1]  # (B, 1, F)
    if windows.origins is not None:
        means = means - windows.origins[:, None]
    found: Doubles = windows.values - means
    found /= scales  # in place: the arrays of a batch are large
    return np.clip(found, -MAX_FLOAT, MAX_FLOAT, out=found).astype(np.float32)


def in_own_units(errors: ErrorBatch, windows: WindowBatch) -> ErrorBatch:
    """Return the errors of `standardised` windows with what was expected in the features' own units."""
    distances, origins = errors.expected.astype(np.float32, copy=False), windows.origins
    if windows.levels is not None:
        means = windows.levels[:, 0] if origins is None else windows.levels[:, 0] - origins
        distances = (means + windows.levels[:, 1] * distances).clip(-MAX_FLOAT, MAX_FLOAT).astype(np.float32)
    return replace(errors, expected=distances if origins is None else to_own_units(distances, origins))
