"""Transactions that run beside the engine, deterministically: each ends when its time has come, not before.

A stand-in for the thread of a real one: the work is done by whoever waits for it, or after a number of looks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future


class LateAnswer(Future[None]):
    """A transaction that ends at the latest moment: when somebody waits, or looked `looks` times."""

    def __init__(self, work: Callable[[], None], looks: int) -> None:
        super().__init__()
        self._work: Callable[[], None] | None = work
        self._looks = looks

    def done(self) -> bool:
        """Whether it has ended; each look brings the end nearer."""
        self._looks -= 1
        if self._looks < 0:
            self._end()
        return super().done()

    def result(self, timeout: float | None = None) -> None:
        """End it, and raise what it raises."""
        self._end()
        super().result(timeout)

    def _end(self) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            self.set_exception(error)
        else:
            self.set_result(None)


def late(looks: Callable[[], int]) -> Callable[[Callable[[], None]], Future[None]]:
    """Return how to run transactions that end after `looks()` looks each."""
    return lambda work: LateAnswer(work, looks())
