"""What all trained networks have in common: window -> code -> window, and forecasts beside.

A network summarises a window, the summary may pass a linear bottleneck, and what comes out is all that the decoder
has. Forecasts are a head of their own: they come from rows before the one that they are about, not from the code.
Knows nothing about units, scaling, devices, files or scores; inputs are scaled and squashed already.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

from torch import Tensor, nn

from streamae.model.architecture import Architecture


class EncoderDecoder(nn.Module):
    """A network with both heads; subclasses say how a window becomes a summary and a summary a window.

    Encoder and decoder share no weights: tying them is defined for mirrored linear layers only (recurrent cells and
    causal convolutions have no mirror image), and where it is, a bottleneck keeps the identity away at less cost.
    """

    def __init__(self, of: Architecture) -> None:
        """Create the bottleneck, where the architecture has one."""
        super().__init__()
        self.features, self.summary_size, self.code_size = of.features, of.summary_size, of.code_size
        self.compress = nn.Linear(of.summary_size, of.code_size) if of.has_bottleneck else None
        self.expand = nn.Linear(of.code_size, of.summary_size) if of.has_bottleneck else None

    @abstractmethod
    def summarise(self, z: Tensor, forecast_steps: int) -> tuple[Tensor, Tensor]:
        """Return the summary (B, S) of windows (B, W, F), and forecasts (B, n, F) of the newest n <= forecast_steps
        rows; n is less only where rows have too few before them.
        """

    @abstractmethod
    def reconstruct_from(self, summary: Tensor, steps: int) -> Tensor:
        """Return the newest `steps` rows (B, steps, F), oldest first, from summaries (B, S)."""

    def encode(self, z: Tensor, forecast_steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the code (B, C) of windows (B, W, F), and forecasts as `forward` does."""
        count = z.shape[1] - 1 if forecast_steps is None else forecast_steps
        summary, forecasts = self.summarise(z, count)
        return self.code_of(summary), forecasts

    def code_of(self, summary: Tensor) -> Tensor:
        """Return what the bottleneck leaves of summaries (B, S), the codes (B, C)."""
        return summary if self.compress is None else cast(Tensor, self.compress(summary))

    def decode(self, code: Tensor, steps: int) -> Tensor:
        """Return the newest `steps` rows (B, steps, F), oldest first, from codes (B, C)."""
        return self.reconstruct_from(code if self.expand is None else self.expand(code), steps)

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Reconstruct the newest rows, and forecast each of the newest rows from the rows before it.

        Args:
            z: (B, W, F) float32 scaled windows, oldest step first, no NaN.
            decode_steps: rows to reconstruct, 1 to W.
            forecast_steps: rows to forecast, 1 to W - 1; None = all that have enough rows before them.

        Returns:
            Reconstruction (B, decode_steps, F) and forecasts (B, n, F) of the newest rows of the window, both oldest
            step first: the last of each is about row W - 1. n is `forecast_steps`, or less where fewer rows have
            enough rows before them (`dense`).
        """
        code, forecasts = self.encode(z, forecast_steps)
        return self.decode(code, decode_steps), forecasts


def head_errors(z: Tensor, reconstruction: Tensor | None, forecasts: Tensor | None) -> list[Tensor]:
    """Return the mean squared error over the reconstructed rows and the largest over the forecast ones, (B, F) each.

    Args:
        z: (B, W, F) scaled windows.
        reconstruction: (B, n, F) of the newest n rows; None = the model has no such head, the other stands in for it.
        forecasts: (B, m, F) of the newest m rows; likewise.
    """
    found: list[Tensor] = []
    if reconstruction is not None:
        found.append((z[:, -reconstruction.shape[1] :] - reconstruction).square().mean(dim=1))
    if forecasts is not None:
        found.append((z[:, -forecasts.shape[1] :] - forecasts).square().amax(dim=1))
    return found * 2 if len(found) == 1 else found
