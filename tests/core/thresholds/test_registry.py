"""The registry: a name leads to its rule and all that is known of it, and what rules say of themselves holds."""

from __future__ import annotations

from typing import get_args

import pytest

from streamae.core.thresholds.block_maxima import BlockMaximaRule
from streamae.core.thresholds.budget import parameters, refusal
from streamae.core.thresholds.conformal import ConformalRule
from streamae.core.thresholds.peaks import PeaksRule
from streamae.core.thresholds.registry import DEFAULT_RULE, KNOBS, RULES, rule_named
from streamae.core.thresholds.robust import MadRule
from streamae.core.thresholds.rolling import QuantileLimit, RollingRule, SigmaLimit, StaticLimit
from streamae.core.thresholds.rule import ThresholdRule
from streamae.core.thresholds.spec import Knob, Shared
from streamae.settings.decisions import ThresholdSettings
from tests.score_streams import LEARNING

DEFAULTS = {name: knob.default for name, knob in KNOBS.items()}
DIFFERENT = DEFAULTS | {
    "k": 4.0,
    "value": 7.0,
    "quantile": 0.99,
    "margin": 1.5,
    "probability": 1e-3,
    "block_level": 1.8,
}
WEEK_OF_MINUTES, MINUTE_MS = 7 * 24 * 60, 60_000.0
each_name = pytest.mark.parametrize("name", RULES)


def built(name: str, hold: int = 32) -> ThresholdRule:
    """Return a rule with a different number for every knob."""
    return RULES[name].build(DIFFERENT, Shared(LEARNING, hold=hold, start_windows=20))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigma", RollingRule(SigmaLimit(4.0), LEARNING, 0.99)),
        ("static", RollingRule(StaticLimit(7.0), LEARNING, 0.99)),
        ("quantile", RollingRule(QuantileLimit(1.5), LEARNING, 0.99)),
        ("block_maxima", BlockMaximaRule(1.8, 32, 20)),
        ("mad", MadRule(4.0, LEARNING)),
        ("pot", PeaksRule(1e-3, LEARNING)),
        ("dspot", PeaksRule(1e-3, LEARNING, is_drifting=True)),
        ("conformal", ConformalRule(1e-3, 1.5, LEARNING)),
    ],
)
def test_a_name_picks_its_rule_with_its_parameters(name: str, expected: ThresholdRule) -> None:
    """No name leads to another rule, and no parameter to another name."""
    assert built(name) == expected


def test_an_alarm_lasts_at_least_one_window() -> None:
    """Episodes that close at the first quiet window are possible; alarms of no length are not."""
    assert built("block_maxima", hold=0) == BlockMaximaRule(1.8, 1, 20)


def test_the_settings_have_the_rules_and_their_knobs() -> None:
    """Every rule can be set, every knob is a field of its own, and what is set arrives at the rules."""
    fields = ThresholdSettings.model_fields
    assert get_args(fields["rule"].annotation) == tuple(RULES)
    assert ThresholdSettings().rule == DEFAULT_RULE
    assert ThresholdSettings().knobs() == DEFAULTS
    changed = {name: 0.95 * value for name, value in DEFAULTS.items()}
    assert ThresholdSettings.model_validate(changed).knobs() == changed


def within(knob: Knob, value: float) -> bool:
    """Tell whether the settings would take a value."""
    return (
        (knob.gt is None or value > knob.gt)
        and (knob.ge is None or value >= knob.ge)
        and (knob.lt is None or value < knob.lt)
        and (knob.le is None or value <= knob.le)
    )


@each_name
def test_what_a_rule_says_of_itself_holds(name: str) -> None:
    """It is found by its name, has words for people, a level among its knobs, and counts what a key has learnt."""
    spec = RULES[name]
    assert spec.name == name == rule_named(name).name
    assert all((spec.family, spec.words.phrase, spec.words.alarm_when, spec.words.formula))
    assert not any("|" in words for words in (spec.words.alarm_when, spec.words.formula, spec.words.source))
    assert spec.level in {knob.name for knob in spec.parameters}
    assert "count" in built(name).fields(3)


@each_name
def test_a_knob_is_declared_once(name: str) -> None:
    """Rules that share a knob refer to the same one: the settings can have but one default, and one sentence for it."""
    for knob in RULES[name].parameters:
        assert KNOBS[knob.name] is knob
        assert name in knob.description.partition(":")[0].split(", ")
        assert within(knob, knob.default)


@each_name
def test_a_budget_sets_knobs_of_the_rule_or_is_refused_with_a_reason(name: str) -> None:
    """What a budget is solved for are numbers that the settings would take; a refusal says what to write instead."""
    spec = RULES[name]
    if isinstance(spec.from_budget, str):
        assert f'or write threshold.rule = "{DEFAULT_RULE}"' in str(refusal(name))
        with pytest.raises(ValueError, match=spec.from_budget):
            parameters(name, 1.0, MINUTE_MS)
        return
    assert refusal(name) is None
    knobs = {knob.name: knob for knob in spec.parameters}
    for share in (4e-3, 1.9e-2):
        found = parameters(name, share * WEEK_OF_MINUTES, MINUTE_MS)
        assert found
        assert all(within(knobs[each], value) for each, value in found.items())


def test_the_default_takes_a_budget() -> None:
    """It is what a refusal sends people to."""
    assert refusal(DEFAULT_RULE) is None


@pytest.mark.parametrize("known", [rule_named, refusal, lambda name: parameters(name, 1.0, MINUTE_MS)])
def test_an_unknown_rule_names_the_known_ones(known: object) -> None:
    """Whoever mistyped a rule reads what there is; a budget never answers for a rule that does not exist."""
    assert callable(known)
    with pytest.raises(ValueError, match="sigma, static, quantile"):
        known("sigmoid")
