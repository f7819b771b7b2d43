"""Scoring beside the alert process: the interval tells noise from loss."""

from __future__ import annotations

import pytest

from scripts.bench.alerts import Findings, Turn


def findings(*ratios: float) -> Findings:
    """Return pairs of turns of which the first is so many times as fast as the second."""
    return Findings([(Turn(1_000 * ratio, 500 * ratio), Turn(1_000, 500)) for ratio in ratios], 0.1)


def test_noise_meets_the_target_and_a_loss_does_not() -> None:
    """Turns that scatter around the same speed are no loss; each a fifth slower is one."""
    assert findings(1.1, 0.9, 1.02, 0.98, 1.0, 1.05).is_met()
    assert not findings(0.8, 0.82, 0.78, 0.8, 0.81, 0.79).is_met()


def test_the_interval_holds_the_mean_ratio() -> None:
    """The mean is that of ratios, so that twice as fast and half as fast cancel each other."""
    mean, low, high = findings(2.0, 0.5, 2.0, 0.5).interval("wall")
    assert mean == pytest.approx(1.0)
    assert low < 1.0 < high
