"""The linear companion of a network: what principal components and a ridge forecast make of the same windows.

A network that was shown few rows, or rows that its bounded units cannot reach, is wrong where a straight line is right;
linear models are wrong where things bend. What is unusual is what neither explains, so an error counts as the geometric
mean of the two. Fitted in closed form, frozen in the bundle. Knows nothing about units, levels or scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from streamae.batches import Floats
from streamae.model.architecture import COMPANION, Architecture
from streamae.model.baselines import Ridge, WindowPCA, usual_components

FIT_WINDOWS = 20_000  # evenly thinned: enough for its few numbers, and bounds the memory of the fit


class Companion(nn.Module):
    """Both closed forms behind the interface of the networks."""

    def __init__(self, of: Architecture) -> None:
        """Prepare for the shapes of `of`; `of.companion_components` >= 1."""
        super().__init__()
        plain = {"window_size": of.window_size, "features": of.features, "hidden_size": 1, "layers": 1}
        self.pca = WindowPCA(
            Architecture("pca", **plain, recent_steps=of.recent_steps, components=of.companion_components)
        )
        self.ridge = Ridge(
            Architecture("ridge", **plain, recent_steps=of.recent_steps, components=of.companion_context)
        )

    @torch.no_grad()
    def fit(self, windows: Floats) -> None:
        """Fit to scaled windows (B, W, F)."""
        z = torch.from_numpy(windows[:: -(-len(windows) // FIT_WINDOWS)])
        self.pca.fit(z)
        self.ridge.fit(z)

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int) -> tuple[Tensor, Tensor]:
        """Return reconstruction and forecasts of the newest rows, as networks do."""
        reconstruction, _ = self.pca(z, decode_steps)
        _, forecasts = self.ridge(z, decode_steps, forecast_steps)
        return reconstruction, forecasts


def fitted_companion(of: Architecture, windows: Floats) -> dict[str, Floats]:
    """Return the tensors of a companion that is fitted to scaled windows (B, W, F), by their names in a bundle."""
    companion = Companion(of)
    companion.fit(windows)
    return {COMPANION + name: tensor.numpy() for name, tensor in companion.state_dict().items()}


def load_companion(of: Architecture, weights: Mapping[str, Floats], device: torch.device) -> Companion | None:
    """Return the companion that a bundle's tensors hold, None if there is none."""
    if not of.companion_components:
        return None
    with torch.device("meta"):
        companion = Companion(of)
    named = {name.removeprefix(COMPANION): array for name, array in weights.items() if name.startswith(COMPANION)}
    companion.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in named.items()}, assign=True)
    companion.requires_grad_(requires_grad=False).eval().to(device)
    return companion


def usual_companion(windows: int, window_size: int, features: int) -> int:
    """Return how many principal components a companion has that is fitted to so many windows."""
    return usual_components("pca", 0, windows, window_size, features)
