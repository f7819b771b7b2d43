"""Where a new key starts: the state that a rule reaches by learning the training keys' scores.

The same for every rule: it runs over the history in learn-only mode, all training keys at once, and the states it
ends with are pooled. Knows no rule in particular.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.core.columns import Columns
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.rule import ThresholdRule, Wave


def initial_state(rule: ThresholdRule, history: ScoreHistory, step_ms: float) -> dict[str, NDArray[Any]]:
    """Return initial values of a new key by field: those of `rule` after it has learnt `history`.

    Args:
        rule: judges the new keys.
        history: scores of training rows; one key of it is enough.
        step_ms: event time between two of its windows.
    """
    keys, windows, features = history.channels.shape
    states = Columns(keys, rule.fields(features))
    states.reset(np.arange(keys, dtype=np.int32))
    rule.begin(states, history)
    totals = np.zeros((keys, windows))
    for key, length in enumerate(history.lengths.tolist()):
        totals[key, :length] = history.of(key).totals
    for number in range(int(history.lengths.max())):
        rows = np.flatnonzero(history.lengths > number)
        wave = Wave(
            rows.astype(np.int32),
            totals[rows, number],
            history.forecasts[rows, number].astype(np.float64),
            history.channels[rows, number],
            np.full(len(rows), round(number * step_ms), dtype=np.int64),
            np.full(len(rows), number == 0),
        )
        rule.learn(states, wave, rule.judge(states, wave), np.zeros(len(rows), dtype=np.bool_))
    return dict(rule.pooled(states))
