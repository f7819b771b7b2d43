"""Names in the settings lead to the rules they name, and families tell which state is kept."""

from __future__ import annotations

from typing import get_args

import pytest

from streamae.core.thresholds.block_maxima import BlockMaximaRule
from streamae.core.thresholds.choice import FAMILY_OF, rule_named
from streamae.core.thresholds.conformal import ConformalRule
from streamae.core.thresholds.peaks import PeaksRule
from streamae.core.thresholds.robust import MadRule
from streamae.core.thresholds.rolling import QuantileLimit, RollingRule, SigmaLimit, StaticLimit
from streamae.core.thresholds.rule import ThresholdRule
from streamae.settings.decisions import ThresholdSettings
from tests.score_streams import LEARNING


def named(name: str, hold: int = 32) -> ThresholdRule:
    """Return a rule with a different number for every parameter."""
    return rule_named(
        name,
        LEARNING,
        k=4.0,
        value=7.0,
        quantile=0.99,
        margin=1.5,
        probability=1e-3,
        block_level=1.8,
        hold=hold,
        start_windows=20,
    )


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
    assert named(name) == expected


def test_an_alarm_lasts_at_least_one_window() -> None:
    """Episodes that close at the first quiet window are possible; alarms of no length are not."""
    assert named("block_maxima", hold=0) == BlockMaximaRule(1.8, 1, 20)


def test_settings_names_and_families_agree() -> None:
    """Every rule that can be set exists, and a reload knows its family."""
    names = set(get_args(ThresholdSettings.model_fields["rule"].annotation))
    assert names == set(FAMILY_OF)
    assert {name: named(name).family for name in names} == FAMILY_OF


def test_an_unknown_rule_names_the_known_ones() -> None:
    """Whoever mistyped a rule reads what there is."""
    with pytest.raises(ValueError, match="sigma, static, quantile"):
        named("sigmoid")
