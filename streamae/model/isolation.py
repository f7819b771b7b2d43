"""The isolation forest behind the network's interface: grown in numpy, walked by torch on the device.

Grown here and not by scikit-learn: random splits are forty lines, the trees have to be arrays of a fixed size anyway for
a bundle to hold them without pickle, and so it is tested on every machine and serving needs no further library. Knows
nothing about units, devices or files.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from streamae.batches import Doubles, Floats, Ints
from streamae.model.architecture import ISOLATION_DEPTH, Architecture

SUBSAMPLE = 2**ISOLATION_DEPTH  # rows a tree; its usual depth is then the depth of ours
MAX_CELLS = 2**23  # of the arrays that trees are grown with at a time
NEVER = 1e30  # a threshold that no value exceeds
SEED = 0
EULER = 0.5772156649015329


def average_length(counts: Ints) -> Doubles:
    """Return the average depth c(n) at which one of n rows stands alone in a random tree, an array of any shape.

    c(n) = 2 (ln(n - 1) + gamma) - 2 (n - 1) / n, c(2) = 1, c(n) = 0 below.

    Example:
        >>> average_length(np.array([1, 2, 256])).round(3).tolist()
        [0.0, 1.0, 10.245]
    """
    n = np.maximum(counts, 3).astype(np.float64)
    found: Doubles = 2.0 * (np.log(n - 1.0) + EULER) - 2.0 * (n - 1.0) / n
    return np.where(counts > 2, found, np.where(counts == 2, 1.0, 0.0))


class IsolationForest(nn.Module):
    """Judge each row by how few random splits set it apart.

    The score of a row is 2^(c(n) - h), h its mean depth over the trees: about 1 for usual rows, and doubled by each
    split that it is cut off earlier. The paper's 2^(-h / c(n)) orders rows alike, but lies between 0.3 and 0.8
    whatever happens, where no threshold can tell a rare score from a usual one. The score has no features: it is shared
    out among those that split the row's paths, short paths counting more (each by 2^(-depth)), so that the mean over
    features is the score, and comes out as the squared distance of a "reconstruction" that lies towards the mean.

    Reference:
        Liu, Ting & Zhou 2008, "Isolation forest".
    """

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        shapes = of.shapes()
        self.feature, self.threshold, self.length = (
            nn.Parameter(torch.zeros(shapes[name])) for name in ("feature", "threshold", "length")
        )
        self.usual = nn.Parameter(torch.ones(shapes["usual"]))

    def fit(self, z: Tensor) -> None:
        """Grow the trees on the newest rows of scaled windows (B, W, F)."""
        rows = z[:, -1].numpy()
        size = min(SUBSAMPLE, len(rows))
        for parameter, found in zip(
            (self.feature, self.threshold, self.length), grow(rows, len(self.feature), size), strict=True
        ):
            parameter.copy_(torch.from_numpy(found))
        self.usual.fill_(max(float(average_length(np.array(size))), 1.0))

    def forward(
        self, z: Tensor, decode_steps: int, forecast_steps: int | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return rows (B, decode_steps, F) whose squared distance from the newest ones is their score."""
        del forecast_steps
        newest = z[:, -decode_steps:]
        rows = newest.flatten(0, 1)  # (N, F)
        trees = torch.arange(len(self.feature), device=z.device)
        at = torch.zeros(len(rows), len(trees), dtype=torch.long, device=z.device)
        features, is_split = list[Tensor](), list[Tensor]()
        for _ in range(ISOLATION_DEPTH):
            feature, threshold = self.feature[trees, at].long().clamp(0, rows.shape[1] - 1), self.threshold[trees, at]
            features.append(feature)
            is_split.append(threshold < NEVER)
            at = 2 * at + 1 + (rows.gather(1, feature) > threshold).long()
        length = self.length[trees, at - self.feature.shape[1]]  # (N, T)
        scores = torch.exp2(self.usual - length.mean(dim=1, keepdim=True))  # (N, 1)
        weights = torch.exp2(-length)
        shares = torch.zeros_like(rows)
        for feature, counts in zip(features, is_split, strict=True):
            shares.scatter_add_(1, feature, weights * counts)
        total = shares.sum(dim=1, keepdim=True)
        shares = torch.where(total > 0.0, shares / total.clamp(min=1e-30), 1.0 / rows.shape[1])
        distances = (scores * shares * rows.shape[1]).sqrt()
        signs = torch.where(rows < 0.0, -1.0, 1.0)
        return (rows - signs * distances).view_as(newest), None


def grow(rows: Floats, trees: int, size: int) -> tuple[Floats, Floats, Floats]:
    """Return feature and threshold of each inner node and length of each leaf of T trees, see `_grow`.

    Args:
        rows: (N, F) to draw from.
        trees: T, how many.
        size: rows a tree, <= N.
    """
    random = np.random.default_rng(SEED)
    at_once = max(1, MAX_CELLS // max(len(rows), SUBSAMPLE * rows.shape[1]))
    blocks = [_grow(rows, min(at_once, trees - start), size, random) for start in range(0, trees, at_once)]
    feature, threshold, length = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return feature, threshold, length


def _grow(rows: Floats, trees: int, size: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return feature and threshold of each inner node, and length of each leaf, of complete trees grown level by level.

    A node whose rows cannot be split sends everything to the left, to leaves that know at which depth it stands.

    Returns:
        (T, 2^D - 1) twice and (T, 2^D), float32, nodes level by level.
    """
    features = rows.shape[1]
    drawn = rows[random.random((trees, len(rows))).argpartition(size - 1, axis=1)[:, :size]]  # (T, n, F)
    at = np.zeros((trees, size), dtype=np.int64)  # node of each row within its level
    chosen, thresholds, lengths = list[Ints](), list[Floats](), np.full((trees, 1), np.nan)
    for depth in range(ISOLATION_DEPTH + 1):
        nodes = 2**depth
        place = (np.arange(trees)[:, None] * nodes + at).ravel()
        counts = np.bincount(place, minlength=trees * nodes).reshape(trees, nodes)
        low, high = (np.full((trees * nodes, features), edge, dtype=np.float32) for edge in (np.inf, -np.inf))
        np.minimum.at(low, place, drawn.reshape(-1, features))
        np.maximum.at(high, place, drawn.reshape(-1, features))
        can_split = (low < high).reshape(trees, nodes, features)
        ends = ~can_split.any(axis=2) | (depth == ISOLATION_DEPTH)
        lengths = np.where(np.isnan(lengths) & ends, depth + average_length(counts), lengths)
        if depth == ISOLATION_DEPTH:
            break
        feature = np.where(can_split, random.random(can_split.shape), -1.0).argmax(axis=2)  # (T, nodes)
        low, high = (
            np.take_along_axis(of.reshape(can_split.shape), feature[:, :, None], 2)[:, :, 0] for of in (low, high)
        )
        span = np.where(ends, 0.0, high) - np.where(ends, 0.0, low)
        draw = (np.where(ends, 0.0, low) + random.random(feature.shape) * span).astype(np.float32)
        threshold = np.where(ends, np.float32(NEVER), np.minimum(draw, np.nextafter(high, np.float32(-np.inf))))
        feature[ends] = 0
        chosen.append(feature)
        thresholds.append(threshold.astype(np.float32))
        of_row = np.take_along_axis(feature, at, 1)[:, :, None]
        goes_right = np.take_along_axis(drawn, of_row, 2)[:, :, 0] > np.take_along_axis(threshold, at, 1)
        at, lengths = 2 * at + goes_right, np.repeat(lengths, 2, axis=1)
    joined = np.concatenate(chosen, axis=1).astype(np.float32), np.concatenate(thresholds, axis=1)
    return *joined, lengths.astype(np.float32)
