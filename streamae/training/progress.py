"""Who listens to a training: steps and losses are told, what is shown of them is not known here."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listener to a training run."""

    def start(self, steps: int, summary: str) -> None:
        """Hear that training begins: at most `steps` optimiser steps; `summary` says on what."""
        ...

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Hear about optimiser step `step` (from 1); `validation_loss` only where one was measured."""
        ...

    def finish(self, summary: str) -> None:
        """Hear that training ended and why."""
        ...


class NoProgress:
    """Says nothing."""

    def start(self, steps: int, summary: str) -> None: ...

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None: ...

    def finish(self, summary: str) -> None: ...


class PartProgress:
    """Passes on what one of several trainings says, with its name in front; warnings of each would only confuse."""

    def __init__(self, whole: Progress, title: str) -> None:
        """Speak through `whole`."""
        self._whole, self._title = whole, title

    def start(self, steps: int, summary: str) -> None:
        """Pass on, titled."""
        self._whole.start(steps, f"{self._title}: {summary}")

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        """Pass on."""
        self._whole.step(step, train_loss, validation_loss)

    def finish(self, summary: str) -> None:
        """Pass the first line on, titled."""
        self._whole.finish(f"{self._title}: {summary.partition(chr(10))[0]}")
