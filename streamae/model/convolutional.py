"""The convolutional network: causal dilated convolutions over the window, and a small decoder.

Knows nothing about units, scaling, devices, files or scores.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamae.model.architecture import Architecture
from streamae.model.encoder_decoder import EncoderDecoder


class ConvAutoencoder(EncoderDecoder):
    """Features of each row from that row and rows before it; those of the newest row are the summary of the window.

    A convolution joins the features of rows t and t - d, d = 1, 2, 4, ... until the newest row sees the whole window;
    `layers` rounds of that. Each adds to what came before (residual). Rows before the window count as zeros. Two taps
    are a linear layer over two shifted copies, which runs on the plain matrix product.

    Reference:
        van den Oord et al. 2016, "WaveNet: a generative model for raw audio" (dilated causal convolutions); Bai,
        Kolter & Koltun 2018, "An empirical evaluation of generic convolutional and recurrent networks".
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        """Create the network with torch's default initial weights, drawn from the global generator.

        Args:
            architecture: shapes.
            dropout: share in [0, 1) of each convolution's outputs hidden in training.
        """
        super().__init__(architecture)
        hidden, features = architecture.hidden_size, architecture.features
        self.dilations = architecture.dilations
        widths = [features] + [hidden] * (len(self.dilations) - 1)
        self.encoder = nn.ModuleList(nn.Linear(2 * wide, hidden) for wide in widths)
        self.reconstruct = nn.Linear(hidden, architecture.cells)
        self.forecast = nn.Linear(hidden, features)
        self.dropout = nn.Dropout(dropout)

    def summarise(self, z: Tensor, forecast_steps: int) -> tuple[Tensor, Tensor]:
        """Return the features of the newest row (B, H), and forecasts from those of the rows before."""
        found = z.transpose(0, 1)  # (W, B, F): a shift in time is a slice
        for number, (layer, dilation) in enumerate(zip(self.encoder, self.dilations, strict=True)):
            earlier = functional.pad(found, (0, 0, 0, 0, dilation, 0))[: len(found)]
            news = self.dropout(torch.relu(layer(torch.cat([earlier, found], dim=2))))
            found = found + news if number else news
        last = len(found) - 1
        forecasts = self.forecast(found[last - forecast_steps : last])
        return found[last], cast(Tensor, forecasts.transpose(0, 1))

    def reconstruct_from(self, summary: Tensor, steps: int) -> Tensor:
        """Return the newest rows; the output layer computes no others."""
        wanted = steps * self.features
        weight, bias = self.reconstruct.weight[-wanted:], self.reconstruct.bias[-wanted:]
        rows = functional.linear(self.dropout(torch.relu(summary)), weight, bias)
        return rows.view(len(summary), steps, self.features)
