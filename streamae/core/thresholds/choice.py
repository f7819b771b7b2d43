"""Threshold rules by the name they have in the settings.

To add one: write it beside this module (`rule.py` says what it is), and add its name here.
"""

from __future__ import annotations

from streamae.core.thresholds.block_maxima import BlockMaximaRule
from streamae.core.thresholds.conformal import ConformalRule
from streamae.core.thresholds.learning import Learning
from streamae.core.thresholds.peaks import PeaksRule
from streamae.core.thresholds.robust import MadRule
from streamae.core.thresholds.rolling import QuantileLimit, RollingRule, SigmaLimit, StaticLimit
from streamae.core.thresholds.rule import ThresholdRule

FAMILY_OF = {
    "sigma": "rolling",
    "static": "rolling",
    "quantile": "rolling",
    "block_maxima": "block_maxima",
    "mad": "mad",
    "pot": "pot",
    "dspot": "dspot",
    "conformal": "conformal",
}


def rule_named(
    name: str,
    learning: Learning,
    *,
    k: float,
    value: float,
    quantile: float,
    margin: float,
    probability: float,
    block_level: float,
    hold: int,
    start_windows: int,
) -> ThresholdRule:
    """Return the rule that `threshold.rule` names; each takes the parameters that belong to it.

    Raises:
        ValueError: no such rule.
    """
    rules: dict[str, ThresholdRule] = {
        "sigma": RollingRule(SigmaLimit(k), learning, quantile),
        "static": RollingRule(StaticLimit(value), learning, quantile),
        "quantile": RollingRule(QuantileLimit(margin), learning, quantile),
        "block_maxima": BlockMaximaRule(block_level, max(hold, 1), start_windows),
        "mad": MadRule(k, learning),
        "pot": PeaksRule(probability, learning),
        "dspot": PeaksRule(probability, learning, is_drifting=True),
        "conformal": ConformalRule(probability, margin, learning),
    }
    if name not in rules:
        raise ValueError(f"no threshold rule {name!r}: one of {', '.join(rules)}")
    return rules[name]
