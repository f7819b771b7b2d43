"""The tables of the documents that come from the code: all settings, and all threshold rules."""

from __future__ import annotations

import re

import pytest

from scripts.rule_tables import formulas_table, rules_table
from scripts.settings_table import DOCS, TABLES, renewed
from streamae.core.thresholds.registry import DEFAULT_RULE, RULES

NAMED = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_docs_are_current(name: str) -> None:
    """What the page says is what the code does: `python -m scripts.settings_table` makes it so."""
    assert renewed(DOCS / name) == (DOCS / name).read_text(encoding="utf-8")


def test_every_rule_has_its_rows() -> None:
    """One in each table, the default first."""
    for table in (rules_table(), formulas_table()):
        names = NAMED.findall(table)
        assert names[0] == DEFAULT_RULE
        assert sorted(names) == sorted(RULES)


def test_measured_tables_speak_of_rules_that_exist() -> None:
    """Figures are written by hand; a rule that is gone or renamed does not stay among them."""
    section = (
        (DOCS / "detection.md").read_text(encoding="utf-8").partition("## Which threshold")[2].partition("\n## ")[0]
    )
    assert set(NAMED.findall(section)) == set(RULES)


def test_state_is_counted() -> None:
    """Whoever plans memory reads how many numbers a key costs: for 10 features 68 of the default rule, 6 of sigma."""
    assert "| 5 numbers a feature, + 18 |" in rules_table()
    assert "| `sigma` | score > mean + `k` sd, exponentially forgotten, steps capped | 6 numbers |" in rules_table()
