"""Block maxima against a plain loop over numbers, and what the evidence does in the cases it was made for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from streamae.batches import KeyState, Status
from streamae.core.thresholds.block_maxima import BLOCK_WINDOWS, BlockMaximaRule, rarity
from streamae.core.thresholds.prior import initial_state
from tests.score_streams import CHANNELS, Scores, column, decision_of, history, judged, quiet

RULE = BlockMaximaRule(3.0, hold=64, start_windows=64)
F32 = np.float32


@dataclass
class Tracked:
    """Oracle of one tracked score: plain numbers."""

    weight: float
    offset: float
    floor: float
    sign: float = 1.0
    mean: float = 0.0
    variance: float = 0.0
    smoothed: float = 0.0
    newest: float = 0.0
    current: float = -math.inf
    previous: float = -math.inf
    log: float = 0.0

    def sd(self) -> float:
        return max(math.sqrt(self.variance), self.floor)

    def follow(self, value: float, weight: float) -> float:
        """Smooth; return how many spreads above the usual worst."""
        exact = self.smoothed + weight * (value - self.smoothed)
        self.log = self.sign * math.log(exact + self.offset)
        self.smoothed, self.newest = float(F32(exact)), exact
        return (self.log - self.mean) / self.sd()

    def guess(self, logs: list[float]) -> None:
        self.mean = float(F32(np.mean(logs) + 2.0 * np.std(logs)))
        self.variance = float(F32(self.floor**2))

    def learn_block(self, blocks: int) -> None:
        weight = max(1.0 - 2.0 ** (-1.0 / 7.0), 1.0 / (blocks + 1))
        step = self.previous - self.mean
        if blocks > 4:
            step = min(max(step, -3.0 * self.sd()), 3.0 * self.sd())
        self.mean, self.variance = (
            float(F32(self.mean + weight * step)),
            float(F32((1.0 - weight) * (self.variance + weight * step * step))),
        )


@dataclass
class Key:
    """Oracle of one key, written from the rule's description, one window after the other."""

    features: int
    blocks: int = -1
    place: int = 0
    count: int = 0
    rate: float = 0.0
    threshold: float = 3.0
    usual: float = 0.0
    usual_variance: float = 0.0
    quiet: int = 0
    is_open: bool = False
    tracked: list[Tracked] = field(default_factory=list)
    first_logs: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tracked = [Tracked(0.3, 1.5, 0.3) for _ in range(self.features)]
        self.tracked += [Tracked(0.5, 1.0, 0.5), Tracked(0.04, 0.005, 0.5, sign=-1.0)]

    def usual_sd(self) -> float:
        return max(math.sqrt(self.usual_variance), 0.1 * max(self.usual, 1.0))

    def learn_usual(self) -> None:
        """Exponentially weighted mean and variance of the smoothed total, half-life 500 windows, steps within 3 sd."""
        weight = min(max(1.0 - 2.0 ** (-1.0 / 500.0), 1.0 / (self.count + 5)), 0.2)
        most = 3.0 * self.usual_sd()
        step = min(max(self.tracked[-2].newest - self.usual, -most), most)
        self.usual = float(F32(self.usual + weight * step))
        self.usual_variance = float(F32((1.0 - weight) * (self.usual_variance + weight * step * step)))

    def judge(self, channels: np.ndarray, forecast: float, is_first: bool) -> tuple[float, float, bool]:
        """Return evidence, threshold and whether this is an alarm; learn."""
        total = float(F32(np.mean(channels, dtype=np.float64)))
        values = [*map(float, channels), total, float(forecast)]
        depths = []
        for each, value in zip(self.tracked, values, strict=True):
            weight = each.weight
            if each.sign > 0 and is_first:
                weight = 1.0
            if each.sign < 0 and self.blocks < 0:
                weight = max(weight, 1.0 / (self.count + 1))
            depths.append(each.follow(value, weight))
        if is_first:
            self.is_open = False
        self.rate *= 0.999
        if not self.is_open:
            self.threshold = float(F32(3.0 + self.rate))
        above = sum(max(depth - 1.0, 0.0) for depth in depths[: self.features]) / self.features**0.8
        standing = 0.5 * math.log(min(max((self.tracked[-2].newest - self.usual) / self.usual_sd(), 0.5), 64.0))
        evidence = max(math.log(1.0 + 4.0 * above) + 0.8 * depths[-2] + standing, 1.6 * depths[-1])
        alarm = self.blocks >= 0 and self.count >= 64 and evidence > self.threshold
        self.follow_alarm(alarm)
        self.learn(is_first)
        return evidence, self.threshold, alarm

    def follow_alarm(self, alarm: bool) -> None:
        if alarm and not self.is_open:
            self.is_open = True
            self.rate += 1.0
        self.quiet = 0 if alarm else self.quiet + 1
        if self.quiet >= 64:
            self.is_open = False
        self.rate = float(F32(self.rate))

    def learn(self, is_first: bool) -> None:
        self.learn_usual()
        for each in self.tracked:
            each.current = float(F32(each.log)) if is_first else max(each.current, float(F32(each.log)))
        self.place = 1 if is_first else self.place + 1
        self.count += 1
        if self.blocks < 0:
            self.first_logs.append([each.log for each in self.tracked])
            if self.count >= 64:
                for each, logs in zip(self.tracked, zip(*self.first_logs, strict=True), strict=True):
                    each.guess(list(logs))
                self.blocks = 0
        if self.place == 80:
            if math.isfinite(self.tracked[0].previous) and self.blocks >= 0:
                self.blocks += 1
                for each in self.tracked:
                    each.learn_block(self.blocks)
            for each in self.tracked:
                each.previous, each.current = each.current, -math.inf
            self.place = 0


def eventful(windows: int, keys: int, seed: int) -> Scores:
    """Quiet scores with drift, bursts, frozen stretches and gaps."""
    random, scores = np.random.default_rng(seed), quiet(windows, keys, seed)
    channels, forecasts, is_first = scores.channels, scores.forecasts, scores.is_first
    for key in range(keys):
        channels[:, key] *= np.exp(np.cumsum(random.normal(0.0, 0.01, windows)))[:, None].astype(F32)
        for start in random.integers(100, windows, 6):
            rows = slice(start, start + int(random.integers(1, 40)))
            channels[rows, key, int(random.integers(CHANNELS))] *= F32(random.uniform(2.0, 50.0))
            forecasts[rows, key] *= F32(random.choice([0.0, 5.0]))
        is_first[random.integers(200, windows, 3), key] = True
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_vectorised_form_equals_a_plain_loop(seed: int) -> None:
    """Evidence and threshold agree to a millionth, alarms exactly, over drift, bursts, frozen sensors and gaps."""
    keys, scores = 3, eventful(2_500, 3, seed)
    verdicts = judged(decision_of(RULE, keys), scores)
    found = [column(verdicts, name, keys) for name in ("scores", "thresholds", "statuses")]
    alarms = 0
    for key in range(keys):
        oracle = Key(CHANNELS)
        for row in range(len(scores)):
            evidence, threshold, alarm = oracle.judge(
                scores.channels[row, key], scores.forecasts[row, key], bool(scores.is_first[row, key])
            )
            alarms += alarm
            assert (found[2][row, key] == Status.ANOMALOUS) == alarm, (row, key)
            if row >= 64:
                assert found[0][row, key] == pytest.approx(evidence, rel=1e-6, abs=2e-6), (row, key)
                assert found[1][row, key] == pytest.approx(threshold, rel=1e-6), (row, key)
    assert alarms > 20


def test_a_key_costs_five_numbers_a_score_and_eight() -> None:
    """The stated size of the state: 232 bytes at 8 features."""
    assert sum(field.size_bytes for field in RULE.fields(8).values()) == 4 * (5 * (8 + 2) + 8) == 232


def test_a_prior_of_one_key_is_the_state_after_its_training_rows() -> None:
    """Guess from all rows, then learn them block by block; the new key goes on as if it were that key."""
    scores = eventful(1_000, 1, 7)
    scores.is_first[1:] = False
    found = initial_state(RULE, history(scores), 60_000.0)
    oracle = Key(CHANNELS)
    path, slow = [], 0.0
    for row in range(1_000):  # first pass: levels of all tracked scores
        values = [*map(float, scores.channels[row, 0]), 0.0, float(scores.forecasts[row, 0])]
        values[-2] = float(np.mean(scores.channels[row, 0], dtype=np.float64))
        for each, value in zip(oracle.tracked, values, strict=True):
            each.follow(value, 1.0 if row == 0 and each.sign > 0 else each.weight) if each.sign > 0 else None
        slow = float(np.mean(scores.forecasts[:25, 0])) if row == 0 else slow + 0.04 * (values[-1] - slow)
        path.append([each.log for each in oracle.tracked[:-1]] + [-math.log(slow + 0.005)])
    for each, logs in zip(oracle.tracked, zip(*path, strict=True), strict=True):
        each.guess(list(logs))
    oracle.blocks, oracle.count = 0, -10_000  # no alarms while it learns
    oracle.tracked[-1].smoothed = float(F32(np.mean(scores.forecasts[:25, 0])))
    for row in range(1_000):
        oracle.judge(scores.channels[row, 0], scores.forecasts[row, 0], row == 0)
    assert found["blocks"] == oracle.blocks == 1_000 // BLOCK_WINDOWS - 1
    assert found["worst"] == pytest.approx([each.mean for each in oracle.tracked], rel=1e-4)
    assert found["worst_variance"] == pytest.approx([each.variance for each in oracle.tracked], rel=1e-3)
    assert found["previous"] == pytest.approx([each.previous for each in oracle.tracked], rel=1e-4)


def test_several_training_keys_are_pooled() -> None:
    """A new key starts at the mean of the training keys, unsure by their spread, and soon counts more than they."""
    scores = quiet(900, 4, 3)
    scores.channels[:, :] *= np.array([1.0, 2.0, 4.0, 8.0], dtype=F32)[None, :, None]
    together = initial_state(RULE, history(scores), 60_000.0)
    alone = [initial_state(RULE, history(scores.only([key])), 60_000.0) for key in range(4)]
    levels = np.array([each["worst"] for each in alone])
    assert together["worst"] == pytest.approx(levels.mean(axis=0), rel=1e-5)
    variances = np.mean([each["worst_variance"] for each in alone], axis=0) + levels.var(axis=0)
    assert together["worst_variance"] == pytest.approx(variances, rel=1e-5)
    assert int(together["blocks"]) == 1
    assert "previous" not in together


def test_evidence_is_on_one_scale_for_all_levels() -> None:
    """A key ten times as noisy, once it knows itself, has about the same evidence for the same jump."""
    scores = quiet(2_000, 2, 5)
    scores.channels[:, 1] = scores.channels[:, 0] * F32(10.0)
    scores.forecasts[:, 1] = scores.forecasts[:, 0] * F32(10.0)
    for key in range(2):
        scores = scores.loud(slice(1_990, 2_000), 8.0, key)
    evidence = column(judged(decision_of(RULE, 2), scores), "scores", 2)
    assert evidence[1_995, 0] > 3.0
    assert evidence[1_995, 1] == pytest.approx(evidence[1_995, 0], rel=0.35)


def test_a_frozen_sensor_is_found_by_its_low_side() -> None:
    """A forecast that is suddenly perfect for a long time is evidence, though no error is high."""
    scores = quiet(2_000, 1, 6)
    scores.channels[1_700:] *= F32(0.3)
    scores.forecasts[1_700:] = 0.0
    verdicts = judged(decision_of(RULE), scores)
    alarms = np.flatnonzero(verdicts.statuses == Status.ANOMALOUS)
    assert 1_720 < alarms[alarms >= 1_700][0] < 1_900


def test_one_low_forecast_after_a_gap_is_no_frozen_sensor() -> None:
    """The slow mean goes on over a gap; begun anew with a single low error it would cry at once."""
    scores = quiet(1_500, 1, 8)
    scores.is_first[1_400] = True
    scores.forecasts[1_400] = 0.0
    verdicts = judged(decision_of(RULE), scores)
    assert (verdicts.statuses[1_400:1_410] == Status.NORMAL).all()
    assert verdicts.states[1_400] == KeyState.RESUMING


def test_a_gap_begins_block_and_smoothing_anew() -> None:
    """What was loud before the gap is neither smoothed into the time after it nor learnt as a block."""
    scores = quiet(1_000, 1, 9).loud(slice(900, 905), 1e4)
    scores.is_first[905] = True
    decision = decision_of(RULE)
    verdicts = judged(decision, scores)
    assert (verdicts.statuses[900:905] == Status.ANOMALOUS).all()
    assert (verdicts.statuses[905:910] == Status.NORMAL).all()
    assert decision.columns["block_place"][0] == (1_000 - 905) % BLOCK_WINDOWS
    assert decision.columns["previous"][0, 0] < 3.0


def test_an_episode_does_not_shield_itself() -> None:
    """A block is learnt one block late: 100 loud windows are loud to the end."""
    scores = quiet(2_000, 1, 10).loud(slice(1_600, 1_700), 30.0)
    verdicts = judged(decision_of(RULE), scores)
    assert (verdicts.statuses[1_605:1_700] == Status.ANOMALOUS).all()


def test_repeated_alarms_raise_the_threshold_and_it_comes_down_again() -> None:
    """By one for each alarm of the last thousand windows; not within one alarm."""
    scores = quiet(3_000, 1, 11)
    for start in (1_000, 1_200, 1_400):
        scores = scores.loud(slice(start, start + 3), 300.0)
    thresholds = judged(decision_of(RULE), scores).thresholds
    assert thresholds[999] == pytest.approx(3.0, abs=0.05)
    assert thresholds[1_003] == thresholds[1_001]
    assert thresholds[1_100] == pytest.approx(3.0 + 0.9, abs=0.15)
    assert thresholds[1_500] == pytest.approx(3.0 + 0.9 + 0.74 + 0.6, abs=0.3)
    assert thresholds[2_999] < 3.0 + 0.7


def test_rarity_is_what_was_measured() -> None:
    """False episodes in 10,000 windows at eight thresholds, within a tenth."""
    rates = np.exp(-rarity(np.arange(2.2, 5.1, 0.4))) * 1e4
    assert rates == pytest.approx([7.0, 5.5, 4.5, 4.1, 3.4, 2.7, 2.1, 1.7], rel=0.1)


def test_peaks_that_come_again_and_again_are_not_all_forgiven() -> None:
    """They become the usual worst of a block, and each alarm makes the next one dearer, but they stand out of the usual
    level: a third at least is told.
    """
    scores, starts = quiet(4_000, 1, 12), range(400, 4_000, 200)
    for start in starts:
        scores = scores.loud(slice(start, start + 3), 30.0)
    alarms = judged(decision_of(RULE), scores).statuses == Status.ANOMALOUS
    assert sum(bool(alarms[start : start + 5].any()) for start in starts) >= len(starts) // 3


def test_the_first_guess_needs_some_windows() -> None:
    """Without prior a key with `min_windows` of one is still mute until a mean and an sd mean something."""
    verdicts = judged(decision_of(BlockMaximaRule(3.0, start_windows=1), min_windows=1), quiet(30))
    assert (verdicts.statuses == Status.LEARNING).sum() == 16
