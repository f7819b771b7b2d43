"""Which module serves which kind of architecture."""

from __future__ import annotations

from torch import nn

from streamae.model.architecture import BASELINES, Architecture
from streamae.model.autoencoder import Autoencoder
from streamae.model.baselines import baseline
from streamae.model.convolutional import ConvAutoencoder
from streamae.model.dense import DenseAutoencoder
from streamae.model.encoder_decoder import EncoderDecoder


def network_of(architecture: Architecture, dropout: float = 0.0) -> nn.Module:
    """Return the untrained module of an architecture; its state has the names and shapes of `Architecture.shapes`."""
    return baseline(architecture) if architecture.kind in BASELINES else trained_network(architecture, dropout)


def trained_network(architecture: Architecture, dropout: float = 0.0) -> EncoderDecoder:
    """Return the module of a kind that is trained by steps, with initial weights from the global generator."""
    if architecture.kind == "dense":
        return DenseAutoencoder(architecture, dropout)
    if architecture.kind == "conv":
        return ConvAutoencoder(architecture, dropout)
    return Autoencoder(architecture, dropout)
