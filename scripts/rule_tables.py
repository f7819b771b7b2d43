"""The tables of threshold rules in docs/detection.md, made of what the rules say of themselves.

`python -m scripts.settings_table` writes them. A row a rule, the default first.
"""

from __future__ import annotations

import math

from streamae.core.thresholds.learning import Learning
from streamae.core.thresholds.registry import DEFAULT_RULE, KNOBS, RULES
from streamae.core.thresholds.spec import RuleSpec, Shared

ANY = Shared(Learning(half_life_ms=1.0, cap_sigma=1.0, smoothing=1.0, prior_mean=1.0, prior_sd=1.0), 1, 1)
ORDER = (RULES[DEFAULT_RULE], *(spec for spec in RULES.values() if spec.name != DEFAULT_RULE))


def state_of(spec: RuleSpec) -> str:
    """Return how many numbers a rule keeps of a key, in words."""
    rule = spec.build({name: knob.default for name, knob in KNOBS.items()}, ANY)
    one, two = (sum(math.prod(field.shape) for field in rule.fields(features).values()) for features in (1, 2))
    return f"{two - one} numbers a feature, + {2 * one - two}" if two > one else f"{one} numbers"


def rules_table() -> str:
    """Return what each rule is, and what it keeps."""
    rows = [f"| `{spec.name}` | {spec.words.alarm_when} | {state_of(spec)} |" for spec in ORDER]
    return "\n".join(["| rule | alarm when | state a key |", "|---|---|---|", *rows])


def formulas_table() -> str:
    """Return each rule exactly, and what it follows."""
    rows = [f"| `{spec.name}` | {spec.words.formula} | {spec.words.source or '-'} |" for spec in ORDER]
    return "\n".join(["| rule | alarm when | after |", "|---|---|---|", *rows])
