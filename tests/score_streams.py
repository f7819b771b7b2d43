"""Score streams with channels, for tests of threshold rules: quiet data with a heavy tail, gaps and anomalies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from streamae.batches import Doubles, Flags, Floats, Ints, ScoreBatch, VerdictBatch, WindowBatch
from streamae.core.decision import Decision
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds import registry
from streamae.core.thresholds.learning import Learning
from streamae.core.thresholds.rule import ThresholdRule
from streamae.core.thresholds.spec import Shared
from tests.core_batches import START_MS, cleared, window_batch

STEP_MS = 60_000
CHANNELS = 3
SHIPPED = "block_maxima"  # the rule of the default settings
LEARNING = Learning(half_life_ms=500.0 * STEP_MS, cap_sigma=3.0, smoothing=0.3, prior_mean=1.0, prior_sd=0.3)
KNOBS = {name: knob.default for name, knob in registry.KNOBS.items()} | {"value": 3.0, "probability": 1e-4}


def rule_of(name: str, learning: Learning = LEARNING, **knobs: float) -> ThresholdRule:
    """Return the rule of a name, with `KNOBS` but for those given."""
    return registry.rule_named(name).build(KNOBS | knobs, Shared(learning, hold=64, start_windows=64))


RULES: dict[str, ThresholdRule] = {name: rule_of(name) for name in registry.RULES}
# Not `static`: its one number for all keys follows no level, so where a test is about keys of another or of a moving
# level it is left out.
FOLLOWING: dict[str, ThresholdRule] = {name: rule for name, rule in RULES.items() if name != "static"}


@dataclass(frozen=True)
class Scores:
    """Scores of K keys in lock-step: N windows each, a row of the stream at a time.

    Attributes:
        channels: (N, K, F) float32.
        forecasts: (N, K) float32.
        is_first: (N, K) bool.
    """

    channels: Floats
    forecasts: Floats
    is_first: Flags

    def __len__(self) -> int:
        return len(self.channels)

    def loud(self, rows: slice | Sequence[int], factor: float, key: int = 0) -> Scores:
        """Return the same with some windows of a key multiplied."""
        channels, forecasts = self.channels.copy(), self.forecasts.copy()
        channels[rows, key] *= np.float32(factor)
        forecasts[rows, key] *= np.float32(factor)
        return Scores(channels, forecasts, self.is_first)

    def part(self, start: int, stop: int) -> Scores:
        """Return the windows `start` to `stop` of all keys."""
        return Scores(self.channels[start:stop], self.forecasts[start:stop], self.is_first[start:stop])

    def only(self, keys: Sequence[int]) -> Scores:
        """Return the windows of some keys."""
        chosen = list(keys)
        return Scores(self.channels[:, chosen], self.forecasts[:, chosen], self.is_first[:, chosen])


def quiet(windows: int, keys: int = 1, seed: int = 0, channels: int = CHANNELS) -> Scores:
    """Return scores of quiet data: means of 8 squared errors, about 1, as a network's are."""
    random = np.random.default_rng(seed)
    errors = random.standard_normal((windows, keys, channels, 8)).astype(np.float32) ** 2
    is_first = np.zeros((windows, keys), dtype=np.bool_)
    is_first[0] = True
    return Scores(errors.mean(axis=3), errors[..., -1].mean(axis=2), is_first)


def batch(scores: Scores, first: int = 0, slots: Ints | None = None) -> tuple[ScoreBatch, WindowBatch]:
    """Return the stream as one batch, row by row; `first` is the number of its first row, which sets the time."""
    windows, keys, features = scores.channels.shape
    channels = scores.channels.reshape(-1, features)
    times = START_MS + STEP_MS * np.repeat(np.arange(first, first + windows), keys)
    numbers = np.arange(keys) if slots is None else slots
    return (
        ScoreBatch(
            channels.mean(axis=1, dtype=np.float64).astype(np.float32),
            channels,
            np.zeros_like(channels),
            scores.forecasts.reshape(-1),
        ),
        window_batch(np.tile(numbers, windows).tolist(), times.tolist(), is_first=scores.is_first.reshape(-1).tolist()),
    )


def decision_of(
    rule: ThresholdRule,
    keys: int = 1,
    min_windows: int = 64,
    prior: ScoreHistory | None = None,
    features: int = CHANNELS,
) -> Decision:
    """Return a decision whose slots are all those of new keys."""
    found: Decision = cleared(Decision(keys, features, rule, min_windows, prior=prior, step_ms=float(STEP_MS)), keys)
    return found


def judged(decision: Decision, scores: Scores, first: int = 0, slots: Ints | None = None) -> VerdictBatch:
    """Judge the stream; the columns of the verdicts have the shape (N * K,), row by row."""
    return decision.judge(*batch(scores, first, slots))


def history(scores: Scores, lengths: Sequence[int] | None = None) -> ScoreHistory:
    """Return the stream as the scores of training keys."""
    windows, keys, _ = scores.channels.shape
    found = np.full(keys, windows) if lengths is None else np.array(lengths)
    return ScoreHistory(scores.channels.transpose(1, 0, 2).copy(), scores.forecasts.T.copy(), found.astype(np.int64))


def column(verdicts: VerdictBatch, name: str, keys: int = 1) -> Doubles:
    """Return a column of verdicts as (N, K) float64."""
    found: Doubles = getattr(verdicts, name).reshape(-1, keys).astype(np.float64)
    return found


def for_each(rules: Mapping[str, ThresholdRule]) -> pytest.MarkDecorator:
    """Return what runs a test once a rule, as its argument `rule`; all but the shipped rule are marked slow."""
    return pytest.mark.parametrize(
        "rule",
        [
            pytest.param(rule, id=name, marks=() if name == SHIPPED else pytest.mark.slow)
            for name, rule in rules.items()
        ],
    )
