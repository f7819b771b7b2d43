"""From "so many false episodes a key and week" to the knobs of a threshold rule that bring about as many.

An episode is at least one window, so a share of windows that fits the budget is an upper bound for episodes.
Must not know settings or rules' states.
"""

from __future__ import annotations

from streamae.core.thresholds.registry import DEFAULT_RULE, rule_named
from streamae.core.thresholds.spec import MAX_PROBABILITY

WEEK_MS = 7 * 24 * 3_600_000


def refusal(rule: str) -> str | None:
    """Return why no budget can set a rule, and what to do instead; None where one can.

    Raises:
        ValueError: there is no such rule.
    """
    reason = rule_named(rule).from_budget
    if isinstance(reason, str):
        return f'{reason}: leave the budget out, or write threshold.rule = "{DEFAULT_RULE}"'
    return None


def parameters(rule: str, per_week: float, window_ms: float) -> dict[str, float]:
    """Return the knobs of `rule`, by their names in the settings, that spend the budget.

    Each rule says how in its `from_budget`, where the share of windows is right on average over keys, not for each.

    Args:
        rule: name of a threshold rule.
        per_week: false episodes a key and week, > 0.
        window_ms: event time between two windows of a key, > 0.

    Raises:
        ValueError: there is no such rule, or it cannot be set to this budget; says why and what to do.

    Example:
        >>> parameters("pot", 7.0, 60_000.0)
        {'probability': 0.0006944444444444445}
    """
    solve, share = rule_named(rule).from_budget, per_week * window_ms / WEEK_MS
    if isinstance(solve, str):
        raise ValueError(refusal(rule))  # noqa: TRY004 - a setting is wrong, no type
    if share > MAX_PROBABILITY:
        raise ValueError(
            f"{per_week:g} a week are {share:.2g} of all windows, more than {MAX_PROBABILITY:g}: ask for less"
        )
    return solve(share)


def rate_per_week(episodes: float, windows: float, window_ms: float) -> float:
    """Return the episodes a key and week that `episodes` in `windows` windows of any keys are; 0 without windows.

    Example:
        >>> rate_per_week(3, 10_080, 60_000.0)
        3.0
    """
    return episodes * WEEK_MS / (windows * window_ms) if windows else 0.0
