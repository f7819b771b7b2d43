"""What a threshold rule says about itself: its name, its knobs, how it is built, what an alert budget sets, its words.

A rule's module ends in its `RuleSpec`, and `registry.py` has a line for it. The settings, backtest, tests and documents take
all they know of rules from there. Also the knobs that several rules share. Must not know any rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamae.core.thresholds.learning import Learning
from streamae.core.thresholds.rule import ThresholdRule

MAX_PROBABILITY = 0.02  # largest share of quiet windows in alarm: a Pareto tail begins at the level that 2 % pass


@dataclass(frozen=True, slots=True)
class Knob:
    """A number of one or several rules, which the settings section `threshold` has a field for.

    Attributes:
        name: of the field.
        default: its value where nothing is set.
        description: its sentence in the table of settings; begins with the rules that take it.
        gt, ge, lt, le: bounds; None = none.
    """

    name: str
    default: float
    description: str
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None


@dataclass(frozen=True, slots=True)
class Shared:
    """What every rule may use besides knobs.

    Attributes:
        learning: how statistics of a key follow its scores.
        hold: windows without alarm after which an episode is over, >= 0.
        start_windows: scores from which a key without prior is judged, >= 1.
    """

    learning: Learning
    hold: int
    start_windows: int


@dataclass(frozen=True, slots=True)
class RuleWords:
    """What people read of a rule; all but `phrase` are cells of tables in docs/detection.md, in Markdown.

    Attributes:
        phrase: a few words in the list of all rules that the setting `threshold.rule` has; rules may share one.
        alarm_when: the same in a sentence.
        formula: the same exactly. T = smoothed score, m and s = its mean and standard deviation, p = probability.
        source: publications that it follows; empty where there is none.
    """

    phrase: str
    alarm_when: str
    formula: str
    source: str


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One threshold rule.

    Attributes:
        name: value of the setting `threshold.rule`.
        family: shared by rules that keep the same state; a change of family makes keys learn again.
        words: what people read of it.
        parameters: the knobs that it takes.
        level: name of the one of them that a backtest turns.
        build: makes the rule of the values of all knobs of all rules, by name, and what is shared. Of a family each may
            have to learn what another is judged by.
        from_budget: returns the knobs, by name, with which about so large a share of quiet windows is in alarm; raises
            ValueError with what to do where it cannot. Or the reason why no budget can set this rule.
    """

    name: str
    family: str
    words: RuleWords
    parameters: tuple[Knob, ...]
    level: str
    build: Callable[[Mapping[str, float], Shared], ThresholdRule]
    from_budget: Callable[[float], dict[str, float]] | str


K = Knob("k", 8.0, "sigma, mad: (robust) standard deviations above the key's usual score.", gt=0)
MARGIN = Knob("margin", 1.5, "quantile, conformal: factor above the quantile, or that rank.", ge=1)
PROBABILITY = Knob("probability", 5e-4, "pot, dspot, conformal: quiet windows above it.", gt=0, le=MAX_PROBABILITY)
