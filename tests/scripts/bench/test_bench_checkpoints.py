"""The bench of checkpoints sees every command, and its verdict follows its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.bench import checkpoints


@pytest.mark.integration
def test_every_operation_is_measured() -> None:
    """Few keys go in one round trip, many in several; none is free."""
    figures = checkpoints.measure((10, 3_000))
    assert {name for name, _ in figures.taken} == {"changed keys", "whole state", "load", "manifest", "drop"}
    assert figures.taken["changed keys", 10][1] == 1
    assert figures.taken["changed keys", 3_000][1] > 3
    assert all(whole > 0 and longest > 0 for whole, _, longest in figures.taken.values())
    assert len(figures.table().splitlines()) == 11


def test_one_long_command_misses_the_target() -> None:
    """The mean does not matter: somebody else waits for the longest."""
    good = checkpoints.Figures({("load", 10): (50.0, 3, checkpoints.TARGET_MS)})
    assert good.is_met()
    assert not replace(good, taken=good.taken | {("drop", 10): (1.0, 1, checkpoints.TARGET_MS + 0.1)}).is_met()
