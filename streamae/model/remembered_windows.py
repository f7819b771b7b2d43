"""Remembered windows of normal data, and how far a window is from the nearest of them, each feature by itself.

What recurrent networks lack: a shape that never occurred, in a range that did. The bank has a fixed size and belongs
to the model, so that keys which share a model share it. Knows nothing about levels or scores.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streamae.batches import Floats


def remember(windows: Floats, count: int) -> Floats:
    """Return (min(count, B), W, F) of the scaled windows (B, W, F), spread evenly over them."""
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(np.int64))
    return np.ascontiguousarray(windows[chosen])


class Memory:
    """A bank of windows on the device.

    Reference:
        Nearest-neighbour distance as novelty: Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining
        outliers", with k = 1 and one distance a feature.
    """

    def __init__(self, windows: Tensor) -> None:
        """Take the scaled windows (M, W, F), M >= 1."""
        self._bank = windows.permute(2, 1, 0).contiguous()  # (F, W, M)
        self._squares = self._bank.square().sum(dim=1, keepdim=True)  # (F, 1, M)

    def distances(self, z: Tensor) -> Tensor:
        """Return min over j of mean_i (z[t-i, c] - bank[j, i, c])^2, (B, F), of scaled windows (B, W, F).

        By |a - b|^2 = |a|^2 + |b|^2 - 2 a b, one matrix product a feature; cancellation below zero is cut.
        """
        ours = z.permute(2, 0, 1)  # (F, B, W)
        products = torch.bmm(ours, self._bank)  # (F, B, M)
        nearest = (self._squares - 2.0 * products).amin(dim=2)  # (F, B)
        return ((nearest + ours.square().sum(dim=2)) / z.shape[1]).clamp(min=0.0).T
