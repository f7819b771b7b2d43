"""Threshold rules: from a key's rolling statistics to the score above which it is anomalous.

A rule is a small frozen record with one pure method. To add one: write it here, add its name to
`threshold.rule` in config.py and to `rule_named`, and its formula to the tests. Rules hold no state of their own;
what they may use is the key's mean, standard deviation and tracked quantile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamae.batches import Doubles


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What n keys know about their own scores before the one being judged.

    Attributes:
        means, sds: (n,) rolling mean and (floored) standard deviation.
        quantiles: (n,) tracked quantile.
    """

    means: Doubles
    sds: Doubles
    quantiles: Doubles


class ThresholdRule(Protocol):
    """Turns statistics into thresholds."""

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return the entry threshold of each key, (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class SigmaRule:
    """threshold = mean + k sigma.

    Attributes:
        k: standard deviations, > 0.
    """

    k: float

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return mean + k sd."""
        return statistics.means + self.k * statistics.sds


@dataclass(frozen=True, slots=True)
class StaticRule:
    """The same threshold for every key.

    Attributes:
        value: the threshold; quiet data scores about 1.
    """

    value: float

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return `value` for every key."""
        return np.full_like(statistics.means, self.value)


@dataclass(frozen=True, slots=True)
class QuantileRule:
    """threshold = margin x running quantile of the key's own scores.

    Attributes:
        margin: factor >= 1.
    """

    margin: float

    def thresholds(self, statistics: Statistics) -> Doubles:
        """Return margin x quantile."""
        return self.margin * statistics.quantiles


def track_quantile(quantiles: Doubles, scores: Doubles, sds: Doubles, probability: float) -> Doubles:
    """Move each quantile estimate by one score: up by c sd p when exceeded, else down by c sd (1 - p), c = 1/4.

    At rest P(score > quantile) = 1 - p. An anomaly of m windows lifts it by at most m / 4 standard deviations.

    Reference:
        Robbins & Monro 1951, "A stochastic approximation method", eq. 6 for the root of P(x <= q) = p; the constant
        step in units of the standard deviation is ours, so that the estimate keeps following.

    Example:
        >>> track_quantile(np.array([1.0]), np.array([5.0]), np.array([0.4]), 0.9).round(3).tolist()
        [1.09]
    """
    steps = 0.25 * sds * (np.where(scores > quantiles, 1.0, 0.0) - (1.0 - probability))
    return quantiles + steps


def rule_named(name: str, *, k: float, value: float, margin: float) -> ThresholdRule:
    """Return the rule that `threshold.rule` names.

    Raises:
        ValueError: no such rule.
    """
    rules: dict[str, ThresholdRule] = {
        "sigma": SigmaRule(k),
        "static": StaticRule(value),
        "quantile": QuantileRule(margin),
    }
    if name not in rules:
        raise ValueError(f"no threshold rule {name!r}: one of {', '.join(rules)}")
    return rules[name]
