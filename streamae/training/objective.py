"""What the optimiser makes small: the errors of both heads, and what variants of training add to them.

Windows are scaled. Must not know: where they come from, the optimiser, or when to stop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from streamae.model.encoder_decoder import EncoderDecoder
from streamae.settings.training import TrainSettings

FORECAST_BURN_IN = 4  # first rows of a window are forecast from too little to teach anything
MAX_LOG_VARIANCE = 10.0


def burn_in(steps: int) -> int:
    """Return how many rows at the start of a window of `steps` rows need no forecast, at least one."""
    return max(1, min(FORECAST_BURN_IN, steps // 2))


def losses(network: nn.Module, z: Tensor) -> Tensor:
    """Return the loss of scaled windows (B, W, F): mean squares of reconstruction and of forecast errors, added.

    Where a network has one head, that counts twice, so that losses compare.
    """
    steps = z.shape[1]
    return _window_losses(network(z, steps, steps - burn_in(steps)), z).mean()


def _window_losses(heads: tuple[Tensor | None, Tensor | None], z: Tensor) -> Tensor:
    """Return the loss (B,) of each window, from what the heads say about it."""
    parts = [(found - z[:, -found.shape[1] :]).square().mean(dim=(1, 2)) for found in heads if found is not None]
    return torch.stack(parts).sum(dim=0) * (2.0 / len(parts))


class Objective(nn.Module):
    """Loss of one training step.

    Variational: the code becomes a normal distribution around itself, whose log variance comes from a layer that only
    training has; the decoder gets a sample, and the distance of the distributions from a standard normal one,

        KL = 1/2 sum_j (m_j^2 + v_j - 1 - log v_j),

    is added, times 2 * variational_weight / (W * F): with weight 1 that is the evidence bound for errors as wide as
    the data, so useful weights are well below. Scoring takes the mean code, so that a replay decides alike. The
    published score is the reconstruction probability E_q[log N(x; x'(code), s^2)]. With the mean in place of
    samples, and a feature's calibration level as its s^2, that is -1/2 sum_c (e_c / s_c^2 + log(2 pi s_c^2)) with
    squared errors e: it falls exactly as the sum of the whitened errors, which are scored here, rises.

    Denoising: inputs get noise, or are hidden behind the mean; what counts is the clean window.
    Sparse: mean |code| is added. Trimmed: the worst windows of a batch teach nothing, since training data may hold
    anomalies.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes"; An & Cho 2015, "Variational autoencoder based
        anomaly detection using reconstruction probability"; Vincent et al. 2008, "Extracting and composing robust
        features with denoising autoencoders"; Rousseeuw 1984, "Least median of squares regression" (trimming).
    """

    def __init__(self, network: EncoderDecoder, settings: TrainSettings) -> None:
        """Wrap a network to train, whose weights are part of this module's; the settings say which variants to use."""
        super().__init__()
        self.network, self.settings = network, settings
        summary, code = network.summary_size, network.code_size
        self.log_variance = nn.Linear(summary, code) if settings.variational_weight else None

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return what to differentiate and, of it, the loss of the heads; both without shape.

        Args:
            z: (B, W, F) scaled windows.
        """
        steps, of = z.shape[1], self.settings
        summary, forecasts = self.network.summarise(self._corrupted(z), steps - burn_in(steps))
        code = self.network.code_of(summary)
        penalties, sample = code.new_zeros(len(z)), code
        if of.sparsity:
            penalties = penalties + of.sparsity * code.abs().mean(dim=1)
        if self.log_variance is not None:
            log_variance = self.log_variance(summary).clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)
            sample = code + torch.randn_like(code) * (0.5 * log_variance).exp()
            distances = 0.5 * (code.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)  # KL, (B,)
            penalties = penalties + distances * (2.0 * of.variational_weight / math.prod(z.shape[1:]))
        by_window = _window_losses((self.network.decode(sample, steps), forecasts), z)
        kept = by_window.detach().argsort()[: max(1, len(z) - math.floor(of.trim_share * len(z)))]
        loss = by_window[kept].mean() if of.trim_share else by_window.mean()
        total = loss + (penalties[kept].mean() if of.trim_share else penalties.mean())
        if of.l1:
            weights = (weight for weight in self.network.parameters() if weight.dim() > 1)
            total = total + of.l1 * torch.stack([weight.abs().sum() for weight in weights]).sum()
        return total, loss

    def _corrupted(self, z: Tensor) -> Tensor:
        """Return what the network gets to see of clean windows."""
        of = self.settings
        if of.noise_sd:
            z = z + of.noise_sd * torch.randn_like(z)
        if of.mask_share:
            z = z * (torch.rand_like(z) >= of.mask_share)
        return z
