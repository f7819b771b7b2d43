"""What the daemon turns, and may change while it runs. Satisfied by `engine.engine.Engine`."""

from __future__ import annotations

from typing import Protocol

from streamae.engine.stages import Tuning
from streamae.engine.status import EngineStatus


class Supervised(Protocol):
    """An engine as the daemon sees it. One thread calls everything."""

    def step(self, now_ms: int) -> None:
        """Poll, score, commit what is due.

        Raises:
            RetryableError: nothing was changed; call again.
        """
        ...

    def drain(self, now_ms: int) -> None:
        """Commit and checkpoint what is in hand: before the end, and before other settings count."""
        ...

    def adopt(self, tuning: Tuning) -> None:
        """Judge by `tuning` from now on."""
        ...

    def close(self) -> None: ...

    def report(self) -> None:
        """Refresh metrics that cost something to compute."""
        ...

    def status(self) -> EngineStatus:
        """Return what the engine says of itself; cheap."""
        ...
