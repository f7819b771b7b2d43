"""All threshold rules, by the name they have in the settings.

To add one, write a module that ends in its `RuleSpec` (`spec.py`), and import that here. No other code lists rules; `tests/golden/made.py` names those whose state is stored.
"""

# ruff: noqa: F401, I001 - an import is an entry, in the order in which people read the rules

from __future__ import annotations

from streamae.core.thresholds.rolling import SIGMA, STATIC, QUANTILE
from streamae.core.thresholds.block_maxima import BLOCK_MAXIMA
from streamae.core.thresholds.robust import MAD
from streamae.core.thresholds.peaks import POT, DSPOT
from streamae.core.thresholds.conformal import CONFORMAL
from streamae.core.thresholds.spec import Knob, RuleSpec

RULES: dict[str, RuleSpec] = {spec.name: spec for spec in tuple(globals().values()) if isinstance(spec, RuleSpec)}
DEFAULT_RULE = BLOCK_MAXIMA.name
KNOBS: dict[str, Knob] = {  # those of the default rule first
    knob.name: knob for spec in (RULES[DEFAULT_RULE], *RULES.values()) for knob in spec.parameters
}


def rule_named(name: str) -> RuleSpec:
    """Return what is known of a rule.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> rule_named("pot").level
        'probability'
    """
    if name not in RULES:
        raise ValueError(f"no threshold rule {name!r}: one of {', '.join(RULES)}")
    return RULES[name]
