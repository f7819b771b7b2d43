"""From "so many false episodes a key and week" to the parameter of a threshold rule that brings about as many.

An episode is at least one window, so a share of windows that fits the budget is an upper bound for episodes.
Must not know settings or rules' states.
"""

from __future__ import annotations

import numpy as np

from streamae.core.thresholds.block_maxima import EVIDENCE_LEVEL, EVIDENCE_RATE, EVIDENCE_SLOPE
from streamae.core.thresholds.conformal import MIN_PROBABILITY
from streamae.core.thresholds.learning import SIGMA_LEVEL, SIGMA_RATE, SIGMA_SLOPE
from streamae.core.thresholds.peaks import MAX_PROBABILITY

WEEK_MS = 7 * 24 * 3_600_000
MAX_QUANTILE = 0.9999  # a tracked quantile beyond it is passed too seldom to be followed
LEAST_LEVEL, LEAST_K = 1.5, 5.0  # lines are measured from 2.2 and 8 on; no further: a larger budget is left unspent


def parameters(rule: str, per_week: float, window_ms: float) -> dict[str, float]:
    """Return the parameters of `rule`, by their names in the settings, that spend the budget.

    pot, dspot and conformal take the share of windows itself, quantile one minus it, the latter two without a margin.
    sigma, mad and block_maxima have a rate of false episodes measured at several thresholds, a straight line in its logarithm
    (`sigma_rarity`, `rarity`), which is solved for the threshold: right on average over keys, not for each.

    Args:
        rule: name of a threshold rule.
        per_week: false episodes a key and week, > 0.
        window_ms: event time between two windows of a key, > 0.

    Raises:
        ValueError: the rule cannot be set to this budget; says why and what to do.

    Example:
        >>> parameters("pot", 7.0, 60_000.0)
        {'probability': 0.0006944444444444445}
    """
    share = per_week * window_ms / WEEK_MS
    if rule == "static":
        raise ValueError("a fixed threshold has no rate of alarms: use another rule or no budget")
    if share > MAX_PROBABILITY:
        raise ValueError(
            f"{per_week:g} a week are {share:.2g} of all windows, more than {MAX_PROBABILITY:g}: ask for less"
        )
    if rule == "conformal" and share < MIN_PROBABILITY:
        raise ValueError(
            f"ranks among 256 scores tell no rarer alarms than {MIN_PROBABILITY:.2g} of all windows: use pot"
        )
    if rule == "quantile" and 1.0 - share > MAX_QUANTILE:
        raise ValueError(f"a quantile of {1 - share:.7g} cannot be tracked: use pot")
    if rule == "block_maxima":
        return {"block_level": max(EVIDENCE_LEVEL + float(np.log(EVIDENCE_RATE / share)) / EVIDENCE_SLOPE, LEAST_LEVEL)}
    if rule in {"sigma", "mad"}:
        return {"k": max(SIGMA_LEVEL + float(np.log(SIGMA_RATE / share)) / SIGMA_SLOPE, LEAST_K)}
    if rule == "quantile":
        return {"quantile": 1.0 - share, "margin": 1.0}
    return {"probability": share} | ({"margin": 1.0} if rule == "conformal" else {})


def rate_per_week(episodes: float, windows: float, window_ms: float) -> float:
    """Return the episodes a key and week that `episodes` in `windows` windows of any keys are; 0 without windows.

    Example:
        >>> rate_per_week(3, 10_080, 60_000.0)
        3.0
    """
    return episodes * WEEK_MS / (windows * window_ms) if windows else 0.0
