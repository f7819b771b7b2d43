"""Crash sweeps: a process dies at an executed line of a run, once for each line, or for one line of each part of it.

`pytest --every-line` takes all lines; otherwise `--sweep-seed` draws one from each part, so that a sample covers the
run from its beginning to its end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

OPTION_ALL, OPTION_SEED = "--every-line", "--sweep-seed"


@dataclass(frozen=True)
class Sweep:
    """Which lines are tried.

    Attributes:
        seed: of the sample.
        takes_all: every line instead of a sample.
    """

    seed: int = 0
    takes_all: bool = False

    def lines(self, total: int, part: int, parts: int) -> list[int]:
        """Return the lines to try in one of `parts` equal parts of a run of `total` lines, counted from 1."""
        here = range(1 + part * total // parts, 1 + (part + 1) * total // parts)
        return list(here) if self.takes_all else random.Random(f"{self.seed} {part}").sample(here, min(1, len(here)))

    def __str__(self) -> str:
        """Say how to run the same again."""
        return OPTION_ALL if self.takes_all else f"{OPTION_SEED} {self.seed}"
