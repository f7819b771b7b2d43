"""Baselines behind the network's interface: fitted in closed form, served like any network.

They are what a network has to beat, and cheap enough to serve where none does. Inputs are scaled and squashed windows;
errors, whitening, memory, score and thresholds are those of the networks. Each takes `forward(z, decode_steps,
forecast_steps)` and returns reconstruction and forecasts as `Autoencoder` does, None for a head that it does not have.
Knows nothing about units, devices or files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamae.model.architecture import MAX_COMPONENTS, Architecture
from streamae.model.isolation import IsolationForest

USUAL_COMPONENTS = {"pca": 16, "pca_row": 16, "ridge": 16, "nearest_windows": 1_024, "zscore": 0, "iforest": 100}
MAX_CELLS = 2**22  # of the windows that `nearest_windows` keeps
PENALTY = 1e-2  # of `ridge`, in units of the mean variance of its inputs
ZERO_SHARE = 1e-12  # of the mean variance, added to all: moves no direction
EXACT_SIZE = 2_048  # inputs up to which principal components come from the whole covariance

Heads = tuple[Tensor | None, Tensor | None]


class WindowPCA(nn.Module):
    """Reconstruct the window from its principal components over the training windows.

    Reference:
        Pearson 1901, "On lines and planes of closest fit"; as anomaly score: Shyu et al. 2003, "A novel anomaly
        detection scheme based on principal component classifier".
    """

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(of.window_size * of.features))
        self.directions = nn.Parameter(torch.zeros(of.window_size * of.features, of.components))

    def fit(self, z: Tensor) -> None:
        """Fit to scaled windows (B, W, F)."""
        _fit_directions(self.mean, self.directions, z.flatten(1))

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> Heads:
        """Return the newest rows of the reconstructed window, (B, decode_steps, F)."""
        del forecast_steps
        flat = z.flatten(1) - self.mean
        whole = self.mean + flat @ self.directions @ self.directions.T
        return whole.view_as(z)[:, -decode_steps:], None


class RowPCA(nn.Module):
    """Reconstruct each row from its principal components over the training rows."""

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(of.features))
        self.directions = nn.Parameter(torch.zeros(of.features, of.components))

    def fit(self, z: Tensor) -> None:
        """Fit to the newest rows of scaled windows (B, W, F)."""
        _fit_directions(self.mean, self.directions, z[:, -1])

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> Heads:
        """Return the newest rows reconstructed, (B, decode_steps, F)."""
        del forecast_steps
        rows = z[:, -decode_steps:] - self.mean
        return self.mean + rows @ self.directions @ self.directions.T, None


class Ridge(nn.Module):
    """Forecast each row linearly from the rows before it.

    Reference:
        Hoerl & Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems".
    """

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        self.context = of.components
        self.weight = nn.Parameter(torch.zeros(of.components * of.features, of.features))
        self.bias = nn.Parameter(torch.zeros(of.features))

    def fit(self, z: Tensor) -> None:
        """Fit the newest rows of scaled windows (B, W, F) from the rows before."""
        inputs, targets = z[:, -1 - self.context : -1].flatten(1).double(), z[:, -1].double()
        centre, level = inputs.mean(0), targets.mean(0)
        inputs = inputs - centre
        products = inputs.T @ inputs
        penalty = PENALTY * products.diagonal().mean().clamp(min=1e-9)
        weight = torch.linalg.solve(
            products + penalty * torch.eye(len(products), dtype=products.dtype), inputs.T @ (targets - level)
        )
        self.weight.copy_(weight)
        self.bias.copy_(level - centre @ weight)

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> Heads:
        """Return forecasts of the newest rows, (B, n, F), n at most the rows that have enough before them."""
        del decode_steps
        steps = z.shape[1]
        most = steps - self.context
        count = most if forecast_steps is None else min(forecast_steps, most)
        before = z.unfold(1, self.context, 1)[:, most - count : most]  # (B, n, F, context)
        return None, before.transpose(2, 3).flatten(2) @ self.weight + self.bias


class NearestWindows(nn.Module):
    """Reconstruct the window by the most similar one of a fixed number of training windows.

    Reference:
        Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining outliers", with one neighbour.
    """

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        self.windows = nn.Parameter(torch.zeros(of.components, of.window_size, of.features))

    def fit(self, z: Tensor) -> None:
        """Keep windows spread evenly over the scaled windows (B, W, F)."""
        chosen = torch.linspace(0, len(z) - 1, len(self.windows)).round().long()
        self.windows.copy_(z[chosen])

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> Heads:
        """Return the newest rows of the most similar window, (B, decode_steps, F)."""
        del forecast_steps
        bank = self.windows.flatten(1)  # (M, W * F)
        distances = bank.square().sum(1) - 2.0 * z.flatten(1) @ bank.T  # (B, M), up to what all have in common
        return self.windows[distances.argmin(1), -decode_steps:], None


class ZScore(nn.Module):
    """Expect the mean of the training rows: the error is the squared distance from it in standard deviations."""

    def fit(self, z: Tensor) -> None:
        """Inputs are standardised already."""

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> Heads:
        """Return zeros, (B, decode_steps, F)."""
        del forecast_steps
        return torch.zeros_like(z[:, -decode_steps:]), None


Baseline = WindowPCA | RowPCA | Ridge | NearestWindows | ZScore | IsolationForest


def baseline(of: Architecture) -> Baseline:
    """Return the unfitted baseline of an architecture.

    Raises:
        KeyError: it is none.
    """
    if of.kind == "zscore":
        return ZScore()
    kinds: dict[str, type[WindowPCA | RowPCA | Ridge | NearestWindows | IsolationForest]] = {
        "pca": WindowPCA,
        "pca_row": RowPCA,
        "ridge": Ridge,
        "nearest_windows": NearestWindows,
        "iforest": IsolationForest,
    }
    return kinds[of.kind](of)


def usual_components(kind: str, asked: int, windows: int, window_size: int, features: int) -> int:
    """Return the size of a baseline: what was asked for, else the usual one, no more than the data allow.

    Principal components stay fewer than the inputs (a quarter of the features in `pca_row`, if that is less): all of
    them would reconstruct anything.

    Args:
        kind: of the baseline.
        asked: by the settings, 0 = the usual.
        windows: to train on.
        window_size, features: W and F.
    """
    wanted = asked or USUAL_COMPONENTS[kind]
    most = {
        "pca": max(1, min(windows, window_size * features // 2)),
        "pca_row": max(1, features // 4),
        "ridge": max(1, window_size // 2),
        "nearest_windows": max(1, min(windows, MAX_CELLS // (window_size * features))),
        "zscore": 0,
        "iforest": MAX_COMPONENTS,
    }
    return min(wanted, most[kind])


def _fit_directions(mean: Tensor, directions: Tensor, inputs: Tensor) -> None:
    """Set mean (D,) and principal directions (D, K) of inputs (N, D), signs fixed."""
    mean.copy_(inputs.mean(0))
    centred = inputs - inputs.mean(0)
    count = directions.shape[1]
    if centred.shape[1] <= EXACT_SIZE:
        centred = centred.double()
        products = centred.T @ centred
        # Where most features never change it is nearly all zeros, on which LAPACK now and then does not converge.
        products.diagonal().add_(ZERO_SHARE * products.diagonal().mean())
        _, vectors = torch.linalg.eigh(products)
        found = vectors[:, -count:].flip(1)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, _, found = torch.svd_lowrank(centred, q=min(count + 8, *centred.shape), niter=4)
            found = found[:, :count]
    largest = found.abs().argmax(0)
    directions.copy_(found * found[largest, torch.arange(count)].sign())
