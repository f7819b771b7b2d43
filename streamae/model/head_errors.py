"""What the two heads of a model are wrong by: one number a feature and window for each head.

Windows are scaled. Must not know which model, where windows come from, or what is made of the errors.
"""

from __future__ import annotations

from torch import Tensor


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
