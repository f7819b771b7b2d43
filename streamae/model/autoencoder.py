"""The recurrent network: one encoder with two heads, reconstruct the window and forecast each next row.

Both heads are stateless between windows: a forecast of row t comes from the encoder's output at row t - 1 of the
same window, so a window's errors depend on nothing but that window. This module knows nothing about units,
scaling, devices, files or scores; inputs are scaled and squashed already (`core/scaling.py`).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from streamae.model.architecture import Architecture
from streamae.model.encoder_decoder import EncoderDecoder


class Autoencoder(EncoderDecoder):
    """Encoder over W rows, decoder started from the encoder's final state, a linear head each.

    The decoder gets a 1-wide zero input: its state carries everything, and the plain `nn.LSTM` call stays on
    the fast path of the CPU library (1.3 times a decoder that is fed the repeated code). It decodes the newest
    row first, so that scoring the newest k rows costs k steps and not W. Time comes first inside, which is the
    layout the recurrent kernels work in (1.15 times batch first). The summary is the whole final state: hidden and,
    of an LSTM, cell states of all layers, so that a bottleneck lets nothing by.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        """Create the network with torch's default initial weights, drawn from the global generator.

        Args:
            architecture: shapes.
            dropout: share in [0, 1) of encoder outputs, and of outputs between layers, hidden in training.
        """
        super().__init__(architecture)
        self.is_lstm = architecture.kind == "lstm"
        recurrent = nn.LSTM if self.is_lstm else nn.GRU
        hidden, features, layers = architecture.hidden_size, architecture.features, architecture.layers
        between = dropout if layers > 1 else 0.0
        self.encoder = recurrent(features, hidden, layers, dropout=between)
        self.decoder = recurrent(1, hidden, layers, dropout=between)
        self.reconstruct = nn.Linear(hidden, features)
        self.forecast = nn.Linear(hidden, features)
        self.dropout = nn.Dropout(dropout)

    def summarise(self, z: Tensor, forecast_steps: int) -> tuple[Tensor, Tensor]:
        """Return the final state, (B, layers * H) or twice that, and the forecasts."""
        last = z.shape[1] - 1
        outputs, state = self.encoder(z.transpose(0, 1))  # (W, B, H)
        forecasts = self.forecast(self.dropout(outputs[last - forecast_steps : last]))  # (n, B, F)
        states = torch.cat(state) if self.is_lstm else state  # (layers or twice that, B, H)
        return states.transpose(0, 1).flatten(1), forecasts.transpose(0, 1)

    def reconstruct_from(self, summary: Tensor, steps: int) -> Tensor:
        """Run the decoder from a final state, newest row first."""
        states = summary.view(len(summary), -1, self.decoder.hidden_size).transpose(0, 1).contiguous()
        state = states.chunk(2) if self.is_lstm else states
        decoded, _ = self.decoder(summary.new_zeros(steps, len(summary), 1), state)  # (steps, B, H), newest first
        reconstruction = self.reconstruct(self.dropout(decoded)).flip(0)  # (steps, B, F), oldest first
        return cast(Tensor, reconstruction.transpose(0, 1))
