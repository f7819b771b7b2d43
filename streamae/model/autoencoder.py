"""The network: one recurrent encoder with two heads, reconstruct the window and forecast each next row.

Both heads are stateless between windows: a forecast of row t comes from the encoder's output at row t - 1 of the
same window, so a window's errors depend on nothing but that window. This module knows nothing about units,
scaling, devices, files or scores; inputs are scaled and squashed already (`core/scaling.py`).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from streamae.model.architecture import Architecture


class Autoencoder(nn.Module):
    """Encoder over W rows, decoder started from the encoder's final state, a linear head each.

    The decoder gets a 1-wide zero input: its state carries everything, and the plain `nn.LSTM` call stays on
    the fast path of the CPU library (1.3 times a decoder that is fed the repeated code). It decodes the newest
    row first, so that scoring the newest k rows costs k steps and not W. Time comes first inside, which is the
    layout the recurrent kernels work in (1.15 times batch first).
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        """Create the network with torch's default initial weights, drawn from the global generator.

        Args:
            architecture: shapes.
            dropout: share in [0, 1) of encoder outputs, and of outputs between layers, hidden in training.
        """
        super().__init__()
        recurrent = nn.LSTM if architecture.kind == "lstm" else nn.GRU
        hidden, features, layers = architecture.hidden_size, architecture.features, architecture.layers
        between = dropout if layers > 1 else 0.0
        self.encoder = recurrent(features, hidden, layers, dropout=between)
        self.decoder = recurrent(1, hidden, layers, dropout=between)
        self.reconstruct = nn.Linear(hidden, features)
        self.forecast = nn.Linear(hidden, features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, decode_steps: int, forecast_steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Reconstruct the newest rows, and forecast each of the newest rows from the rows before it.

        Args:
            z: (B, W, F) float32 scaled windows, oldest step first, no NaN.
            decode_steps: rows to reconstruct, 1 to W.
            forecast_steps: rows to forecast, 1 to W - 1; None = all W - 1 that have a row before them.

        Returns:
            Reconstruction (B, decode_steps, F) and forecasts (B, forecast_steps, F) of the newest rows of the
            window, both oldest step first: the last of each is about row W - 1.
        """
        windows, steps = z.shape[0], z.shape[1]
        count = steps - 1 if forecast_steps is None else forecast_steps
        outputs, state = self.encoder(z.transpose(0, 1))  # (W, B, H)
        forecasts = self.forecast(self.dropout(outputs[steps - 1 - count : steps - 1]))  # (count, B, F)
        decoded, _ = self.decoder(z.new_zeros(decode_steps, windows, 1), state)  # (decode_steps, B, H), newest first
        reconstruction = self.reconstruct(self.dropout(decoded)).flip(0)  # (decode_steps, B, F), oldest first
        return cast(Tensor, reconstruction.transpose(0, 1)), cast(Tensor, forecasts.transpose(0, 1))
