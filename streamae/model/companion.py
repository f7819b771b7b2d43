"""The linear companion of a network: what principal components and a ridge forecast make of the same windows.

A network that was shown few rows, or rows that its bounded units cannot reach, is wrong where a straight line is right;
linear models are wrong where things bend. What is unusual is what neither explains, so an error counts as the weighted
geometric mean of the two; who is wrong by less on rows that neither was fitted to weighs more. Fitted in closed form,
frozen in the bundle. Knows nothing about units, levels or scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from streamae.batches import Floats
from streamae.model.architecture import COMPANION, Architecture
from streamae.model.baselines import Ridge, WindowPCA, usual_components
from streamae.model.encoder_decoder import head_errors

FIT_WINDOWS = 20_000  # evenly thinned: enough for its few numbers, and bounds the memory of the fit
CHUNK = 256  # windows weighed at a time
SHARPNESS = 4  # twice the error, a sixteenth of the weight
LEAST_ERROR = 1e-3  # of the variance of a feature: below that both are right


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
        self.recent_steps = of.recent_steps
        self.shares = nn.Parameter(torch.full((2,), 0.5))  # weight of this side: recent errors, forecast errors

    @torch.no_grad()
    def fit(self, windows: Floats) -> None:
        """Fit to scaled windows (B, W, F)."""
        z = torch.from_numpy(windows[:: -(-len(windows) // FIT_WINDOWS)])
        self.pca.fit(z)
        self.ridge.fit(z)

    @torch.no_grad()
    def weigh(self, network: nn.Module, windows: Floats) -> None:
        """Set the shares: e_network^4 / (e_network^4 + e_linear^4), with the mean errors e of either side.

        Args:
            network: in evaluation mode; its heads stand beside those of this module.
            windows: (B, W, F) scaled, B >= 1; neither side was fitted to them.
        """
        ours, theirs = (self._mean_errors(side, windows) ** SHARPNESS for side in (network, self))
        self.shares.copy_(ours / (ours + theirs))

    def joined(self, network: Sequence[Tensor], linear: Sequence[Tensor]) -> list[Tensor]:
        """Return what counts of recent and forecast errors (B, F): e_network^(1 - share) e_linear^share.

        In 64 bits, then rounded: the last bits of a power depend on how many are computed at once, and with them on
        the company of a window.
        """
        sides = zip(network, linear, self.shares.double(), strict=True)
        return [(ours.double() ** (1.0 - share) * theirs.double() ** share).float() for ours, theirs, share in sides]

    def _mean_errors(self, side: nn.Module, windows: Floats) -> Tensor:
        """Return mean recent and forecast error (2,) float64 over windows and features, with a floor."""
        device, sums = next(side.parameters()).device, torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(windows), CHUNK):
            z = torch.from_numpy(windows[start : start + CHUNK]).to(device)
            errors = head_errors(z, *side(z, self.recent_steps, 1))
            sums += torch.stack([error.double().mean(dim=1).sum().cpu() for error in errors])
        return sums / len(windows) + LEAST_ERROR

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int) -> tuple[Tensor, Tensor]:
        """Return reconstruction and forecasts of the newest rows, as networks do."""
        reconstruction, _ = self.pca(z, decode_steps)
        _, forecasts = self.ridge(z, decode_steps, forecast_steps)
        return reconstruction, forecasts


def fitted_companion(of: Architecture, windows: Floats, network: nn.Module, others: Floats) -> dict[str, Floats]:
    """Return the tensors of a companion, by their names in a bundle.

    Args:
        of: the architecture that it belongs to.
        windows: (B, W, F) scaled, to fit to.
        network: that it accompanies, trained, in evaluation mode.
        others: (B, W, F) scaled, that neither was fitted to.
    """
    companion = Companion(of)
    companion.fit(windows)
    companion.weigh(network, others)
    return {COMPANION + name: tensor.detach().numpy() for name, tensor in companion.state_dict().items()}


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
