"""Which module serves which kind of architecture."""

from __future__ import annotations

from torch import nn

from streamae.model.architecture import RECURRENT, Architecture
from streamae.model.autoencoder import Autoencoder
from streamae.model.baselines import baseline


def network_of(architecture: Architecture, dropout: float = 0.0) -> nn.Module:
    """Return the untrained module of an architecture; its state has the names and shapes of `Architecture.shapes`."""
    if architecture.kind in RECURRENT:
        return Autoencoder(architecture, dropout)
    return baseline(architecture)
