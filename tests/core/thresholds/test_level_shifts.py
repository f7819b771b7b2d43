"""A new normal: told once, and adopted after a stated number of windows, neither at once nor never."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamae.batches import Status
from streamae.core.episodes import EpisodeRules, Episodes
from streamae.episode_changes import ChangeKind, EpisodeChange
from tests.core_batches import every_slot
from tests.score_streams import CHANNELS, FOLLOWING, RULES, batch, decision_of, quiet

DOCS = Path(__file__).parents[3] / "docs" / "detection.md"
AT = 1_500  # windows before the shift
PROMPT, LEAST = 10, 5  # windows until it is told; windows that alarm at least
FACTORS = (5.0, 100.0)  # of the scores
KEYS = 8  # that shift by each
RELEASED_WITHIN = {  # windows from the shift to the close of its episode, 64 quiet ones of it; half-life 500, by factor
    "sigma": (500, 1_100),
    "quantile": (350, 900),
    "block_maxima": (600, 1_000),
    "mad": (1_600, 4_000),
    "pot": (1_800, 1_900),
    "dspot": (1_800, 1_900),
    "conformal": (160, 200),
}
OTHERS_RELEASED_WITHIN = (2_000, 4_000)  # of a rule that has not been measured yet
TOLD_AGAIN = {"pot", "dspot"}  # their tail is learnt after their level
RULES_OF_EPISODES = EpisodeRules(
    exit_ratio=0.7, min_duration=1, merge_gap=64, update_interval_ms=10**12, top_features=1, min_windows=64
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWING)
def test_a_level_shift_is_told_once_and_adopted_in_time(name: str) -> None:
    """The table of docs/detection.md: an episode, opened promptly, closed in time; keys that do not shift are calm."""
    keys, limits = KEYS * len(FACTORS) + 1, RELEASED_WITHIN.get(name, OTHERS_RELEASED_WITHIN)
    within = max(limits)
    scores = quiet(AT + within, keys, 17)
    for key in range(keys - 1):
        scores = scores.loud(slice(AT, None), FACTORS[key // KEYS], key)
    found, windows = batch(scores)
    verdicts = decision_of(RULES[name], keys).judge(found, windows)
    episodes = Episodes(keys, CHANNELS, RULES_OF_EPISODES)
    episodes.columns.reset(every_slot(keys))
    rows = np.zeros((len(windows), 1, CHANNELS), dtype=np.float32)
    changes = episodes.advance(verdicts, found, replace(windows, values=rows))
    alarms = (verdicts.statuses == Status.ANOMALOUS).reshape(-1, keys)[AT:].sum(axis=0)
    opened, closed = (
        [[after(each, keys) for each in changes if (each.slot, each.kind) == (key, kind)] for key in range(keys)]
        for kind in (ChangeKind.OPENED, ChangeKind.CLOSED)
    )
    told_once = 0
    for key in range(keys - 1):
        limit = limits[key // KEYS]
        assert any(-limit < when <= PROMPT for when in opened[key])  # a false one may have been open
        assert 0 <= next(when for when in closed[key] if when >= 0) < limit
        assert alarms[key] >= LEAST
        told_once += sum(0 <= when < limit for when in opened[key]) == 1
    assert told_once >= (keys - 1) * (0 if name in TOLD_AGAIN else 0.9)
    assert alarms[-1] <= 2


def after(change: EpisodeChange, keys: int) -> int:
    """Windows since the shift."""
    return change.offset // keys - AT


def test_the_documentation_says_the_same() -> None:
    """Who reads how long a rule takes reads what is tested."""
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    for name, (small, large) in RELEASED_WITHIN.items():
        assert f"| `{name}` | {small:,} | {large:,} |" in text


def test_a_fixed_threshold_adopts_nothing() -> None:
    """`static` tells a new level for as long as it lasts, as docs/detection.md warns, and no quiet key beside it."""
    scores = quiet(AT + 3_000, 2, 17).loud(slice(AT, None), FACTORS[0])
    alarms = decision_of(RULES["static"], 2).judge(*batch(scores)).statuses.reshape(-1, 2) == Status.ANOMALOUS
    assert alarms[-1_000:, 0].mean() > 0.98
    assert not alarms[:AT].any()
    assert not alarms[:, 1].any()


@pytest.mark.parametrize("name", ["sigma", "mad", "block_maxima"])
def test_a_shift_that_is_taken_back_is_over(name: str) -> None:
    """A key that returns to its old level is quiet: what was usual before is nowhere near the new threshold."""
    scores = quiet(AT + 300, 1, 18).loud(slice(AT, AT + 100), 20.0)
    verdicts = decision_of(RULES[name]).judge(*batch(scores))
    assert (verdicts.statuses[AT + 130 :] == Status.NORMAL).all()
