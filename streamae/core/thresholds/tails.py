"""The generalised Pareto distribution of what lies above a high level, fitted to many keys at once.

Probability-weighted moments: closed form, no iteration, sound for shapes below 1/2 and for small samples. Pure
functions over arrays; knows nothing about keys or scores.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Doubles, Ints

MIN_SHAPE, MAX_SHAPE = -0.4, 0.6  # beyond these a few dozen excesses say nothing: limits would explode or vanish
EXPONENTIAL_BELOW = 1e-6  # |shape| at which the limit 1/shape -> 0 is taken


def fit(excesses: Doubles, counts: Ints) -> tuple[Doubles, Doubles]:
    """Fit the GPD F(y) = 1 - (1 + shape y / scale)^(-1 / shape) by probability-weighted moments.

    With b0 = mean of y and b1 = mean of y_(j) (n - j) / (n - 1) over ascending y_(1) .. y_(n), estimating E[y (1 - F)]:
    shape = 2 - b0 / (b0 - 2 b1), scale = 2 b0 b1 / (b0 - 2 b1); shape is then kept in [-0.4, 0.6].

    Args:
        excesses: (n, M) positive excesses of each row in its first `counts` places; what lies behind is ignored.
        counts: (n,) valid excesses; fewer than two give shape 0 and scale = mean.

    Returns:
        shapes (n,) and scales (n,) > 0.

    Reference:
        Hosking & Wallis 1987, "Parameter and quantile estimation for the generalized Pareto distribution", section 4
        (their k is minus our shape); the plotting position is the unbiased one.

    Example:
        >>> shape, scale = fit(np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([4]))
        >>> shape.round(3).tolist(), scale.round(3).tolist()
        ([-0.25], [3.75])
    """
    places = np.arange(excesses.shape[1])
    is_valid = places < counts[:, None]
    ordered = np.sort(np.where(is_valid, excesses, np.inf), axis=1)
    ordered = np.where(is_valid, ordered, 0.0)
    sizes = np.maximum(counts, 1).astype(np.float64)
    first = ordered.sum(axis=1) / sizes
    above = np.maximum(counts[:, None] - 1 - places, 0) / np.maximum(sizes - 1.0, 1.0)[:, None]
    second = (ordered * above).sum(axis=1) / sizes
    gap = first - 2.0 * second
    is_usable = (counts >= 2) & (gap > 1e-12 * first) & (first > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shapes = np.where(is_usable, 2.0 - first / gap, 0.0)
    shapes = np.clip(shapes, MIN_SHAPE, MAX_SHAPE)
    return shapes, np.maximum(first * (1.0 - shapes), 1e-12)  # mean of a GPD = scale / (1 - shape), kept exact


def level_of(probabilities: Doubles, shapes: Doubles, scales: Doubles) -> Doubles:
    """Return the excess that is passed with each of `probabilities` (n,) in (0, 1]: scale / shape (p^-shape - 1).

    Example:
        >>> level_of(np.array([0.5]), np.array([0.0]), np.array([1.0])).round(4).tolist()
        [0.6931]
    """
    logs = -np.log(probabilities)
    is_flat = np.abs(shapes) < EXPONENTIAL_BELOW
    safe = np.where(is_flat, 1.0, shapes)
    found: Doubles = scales * np.where(is_flat, logs, np.expm1(safe * logs) / safe)
    return found


def log_survival(excesses: Doubles, shapes: Doubles, scales: Doubles) -> Doubles:
    """Return the logarithm of the probability that each of `excesses` (n,) >= 0 is passed; at least -50.

    Example:
        >>> log_survival(np.array([2.0]), np.array([0.0]), np.array([1.0])).tolist()
        [-2.0]
    """
    is_flat = np.abs(shapes) < EXPONENTIAL_BELOW
    safe = np.where(is_flat, 1.0, shapes)
    ratios = excesses / scales
    bases = np.maximum(1.0 + safe * ratios, 1e-300)
    found: Doubles = np.maximum(np.where(is_flat, -ratios, -np.log(bases) / safe), -50.0)
    return found
