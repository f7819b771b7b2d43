"""Exponentially weighted mean and variance, forgetting in event time, with capped steps.

Centred form (no sums of squares, which cancel). Pure functions over arrays of keys.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Doubles, Ints

# Scores that the training data's level is worth for a new key: after n of its own the mean is (4 prior + sum) / (4 + n).
# Few, since a key may be far from where the training keys were, and its own scores say so at once.
PRIOR_COUNT = 4
MAX_WEIGHT = 0.2  # most that one score may count, also after a long silence


def weight(counts: Ints, elapsed_ms: Ints, half_life_ms: float) -> Doubles:
    """Return the weight of the newest score: 1 - 2^(-elapsed / half life), but a plain mean while evidence is thin.

    Args:
        counts: (n,) scores learnt before, >= 0.
        elapsed_ms: (n,) event time since the last one, >= 0.
        half_life_ms: event time after which a score counts half.

    Returns:
        (n,) in (0, MAX_WEIGHT].
    """
    forgetting = -np.expm1(-np.log(2.0) * elapsed_ms / half_life_ms)
    found: Doubles = np.minimum(np.maximum(forgetting, 1.0 / (counts + 1 + PRIOR_COUNT)), MAX_WEIGHT)
    return found


def learn(
    means: Doubles, variances: Doubles, scores: Doubles, weights: Doubles, caps: Doubles
) -> tuple[Doubles, Doubles]:
    """Absorb one score a key: mean += w d, variance = (1 - w)(variance + w d^2), d = score - mean cut to +-cap.

    Args:
        means, variances, scores, weights: (n,).
        caps: (n,) largest step, so that an anomaly cannot poison the statistics.

    Returns:
        New means and variances.

    Reference:
        Finch 2009, "Incremental calculation of weighted mean and variance", eq. 124 and 143; the cap is ours.

    Example:
        >>> one = np.ones(1)
        >>> learn(one, one, 5 * one, 0.5 * one, 2 * one)
        (array([2.]), array([1.5]))
    """
    steps = np.clip(scores - means, -caps, caps)
    return means + weights * steps, (1.0 - weights) * (variances + weights * steps**2)
