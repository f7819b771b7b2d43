"""The dense network: the flattened window through a few wide layers and back.

The cheapest of the trained networks. Knows nothing about units, scaling, devices, files or scores.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamae.model.architecture import Architecture
from streamae.model.encoder_decoder import EncoderDecoder


class DenseAutoencoder(EncoderDecoder):
    """Window -> hidden layers -> linear code -> hidden layers -> window; and a perceptron from rows to the next row.

    Each row is forecast from the W // 2 rows before it, by the same weights wherever it stands.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        """Create the network with torch's default initial weights, drawn from the global generator.

        Args:
            architecture: shapes.
            dropout: share in [0, 1) of hidden units hidden in training.
        """
        super().__init__(architecture)
        hidden, features, cells = architecture.hidden_size, architecture.features, architecture.cells
        self.context = architecture.forecast_context
        widths = [cells] + [hidden] * architecture.layers
        self.encoder = nn.ModuleList(nn.Linear(wide, hidden) for wide in widths[:-1])
        self.decoder = nn.ModuleList(nn.Linear(hidden, hidden) for _ in widths[2:])
        self.reconstruct = nn.Linear(hidden, cells)
        self.look_back = nn.Linear(self.context * features, hidden)
        self.forecast = nn.Linear(hidden, features)
        self.dropout = nn.Dropout(dropout)

    def summarise(self, z: Tensor, forecast_steps: int) -> tuple[Tensor, Tensor]:
        """Return the last hidden layer (B, H) and the forecasts of at most W - W // 2 rows."""
        found = z.flatten(1)
        for layer in self.encoder:
            found = self.dropout(torch.relu(layer(found)))
        most = z.shape[1] - self.context
        before = z.unfold(1, self.context, 1)[:, max(0, most - forecast_steps) : most]  # (B, n, F, context)
        hidden = self.dropout(torch.relu(self.look_back(before.flatten(2))))
        return found, cast(Tensor, self.forecast(hidden))

    def reconstruct_from(self, summary: Tensor, steps: int) -> Tensor:
        """Return the newest rows; the output layer computes no others."""
        found = self.dropout(torch.relu(summary))
        for layer in self.decoder:
            found = self.dropout(torch.relu(layer(found)))
        wanted = steps * self.features
        rows = functional.linear(found, self.reconstruct.weight[-wanted:], self.reconstruct.bias[-wanted:])
        return rows.view(len(summary), steps, self.features)
