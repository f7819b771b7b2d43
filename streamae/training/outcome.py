"""What comes of a training: the bundle, how it came to be, and what was compared on the way.

Records only; must not know how anything is trained.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamae.batches import Doubles
from streamae.model.bundle import Bundle
from streamae.training.windows import TrainingWindows


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was tried and what came of it.

    Attributes:
        name: kind, or size of the bottleneck.
        validation_loss: on the calibration rows; compares networks with each other only.
        separation: of injected anomalies by form, see `injection.separation`; empty = it was not tried.
        seconds: its training and judging took.
        is_chosen: it is the one.
    """

    name: str
    validation_loss: float = math.nan
    separation: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    is_chosen: bool = False

    @property
    def mean(self) -> float:
        """Mean separation over the forms that the data allow, NaN where it was not tried."""
        return float(np.mean(list(self.separation.values()))) if self.separation else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A bundle and how it came to be.

    Attributes:
        bundle: the result.
        windows: it was trained and calibrated on.
        checks: (n, 3) at each validation check the step, the mean training loss since the check before, and the
            validation loss; a single row for what is fitted at once.
        warnings: what a person should hear before trusting it.
        candidates: what was compared to find kind or size; empty where both were given.
        compared: `kind`, `size`, or nothing.
    """

    bundle: Bundle
    windows: TrainingWindows
    checks: Doubles
    warnings: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
    compared: Literal["", "kind", "size"] = ""
