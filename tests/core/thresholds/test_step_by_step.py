"""Every figure of a judgement against plain numbers: one key and one score at a time, as the documentation says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import pytest

from streamae.core.columns import Columns
from streamae.core.thresholds.rule import Judgement, ThresholdRule, Wave
from tests.core_batches import START_MS
from tests.score_streams import LEARNING, STEP_MS, rule_of

WINDOWS, FEATURES, SEEDS = 2_000, 2, (1, 2, 3)
HALF_LIFE_MS = 100.0 * STEP_MS  # so that forgetting, the plain mean before and the bound after a gap all come about
SHORT = replace(LEARNING, half_life_ms=HALF_LIFE_MS)
RELATIVE = {"pot": 1e-4, "dspot": 1e-4}  # excesses are kept in 32 bits; all else is plain arithmetic in 64
LEVELS = (1.0, 40.0, 0.02, 1.0, 3.0)  # of the keys
LATE, LATE_START, GAP_AT, GAP_WINDOWS = 3, 170, 520, 400  # a key that comes later; all are away in between


class Figures(NamedTuple):
    """What is said about one score."""

    score: float
    threshold: float
    mean: float
    sd: float
    rarity: float
    learnt: int


NAMES = dict(zip(Figures._fields, ("scores", "thresholds", "means", "sds", "rarities", "counts"), strict=True))


class Key(Protocol):
    """One key of a rule, in plain numbers."""

    def judge(self, total: float, end_ms: int, is_fresh: bool) -> Figures:
        """Say what is known of a score, then learn it."""
        ...


@dataclass
class Memory:
    """What keys of all these rules remember: the smoothed score, how many there were, and when the last one was."""

    smoothed: float = 0.0
    count: int = 0
    newest_ms: int = 0

    def smooth(self, total: float, is_fresh: bool) -> float:
        """T, smoothed with weight 0.3, begun anew after a gap."""
        self.smoothed = total if is_fresh else 0.7 * self.smoothed + 0.3 * total
        return self.smoothed

    def weight(self, end_ms: int) -> float:
        """1 - 2^(-elapsed / half-life), a plain mean with 4 windows of the prior before, a fifth at most."""
        elapsed_ms = end_ms - self.newest_ms if self.count else 0
        found: float = min(max(1.0 - 0.5 ** (elapsed_ms / HALF_LIFE_MS), 1.0 / (self.count + 5)), 0.2)
        self.count, self.newest_ms = self.count + 1, end_ms
        return found


def moved(mean: float, variance: float, score: float, weight: float, sd: float) -> tuple[float, float]:
    """Finch 2009, eq. 124 and 143, in steps of at most 3 sd."""
    step = min(max(score - mean, -3.0 * sd), 3.0 * sd)
    return mean + weight * step, (1.0 - weight) * (variance + weight * step**2)


def line_of_rarity(sigmas: float) -> float:
    """7.4 false episodes in 10,000 windows at 8 sd, fewer by e^.18 with each sd more."""
    return math.log(1.0 / 7.4e-4) + 0.18 * (sigmas - 8.0)


@dataclass
class RollingKey(Memory):
    """`sigma`, `quantile` and `static`: they know the same and ask for another part of it."""

    rule: str = "sigma"
    mean: float = 1.0
    variance: float = 0.3**2
    quantile: float = 1.0 + 3.0 * 0.3

    def sd(self) -> float:
        return max(math.sqrt(self.variance), 0.1 * max(self.mean, 1.0))

    def judge(self, total: float, end_ms: int, is_fresh: bool) -> Figures:
        score, mean, sd, count = self.smooth(total, is_fresh), self.mean, self.sd(), self.count
        threshold = {"sigma": mean + 8.0 * sd, "quantile": 1.5 * self.quantile, "static": 3.0}[self.rule]
        self.mean, self.variance = moved(mean, self.variance, score, self.weight(end_ms), sd)
        if count < 64:  # the tail keeps its place in sd of the key
            self.quantile = self.mean + (self.quantile - mean) / sd * self.sd()
        self.quantile += 0.25 * sd * (0.95 if score > self.quantile else -0.05)
        return Figures(score, threshold, mean, sd, line_of_rarity((score - mean) / sd), count)


@dataclass
class MadKey(Memory):
    """Median and MAD by one comparison a score, the first eight by their mean."""

    median: float = 1.0
    deviation: float = 0.3 / 1.4826

    def judge(self, total: float, end_ms: int, is_fresh: bool) -> Figures:
        score, median, count = self.smooth(total, is_fresh), self.median, self.count
        sd = max(1.4826 * self.deviation, 0.1 * max(median, 1.0))
        weight, mad, away = self.weight(end_ms), sd / 1.4826, abs(score - median)
        if count < 8:
            self.median, self.deviation = median + weight * (score - median), mad + weight * (away - mad)
        else:  # 2 MAD of the median and 1 MAD of the MAD, by the weight
            self.median += 2.0 * weight * mad * (1.0 if score > median else -1.0)
            self.deviation = mad + weight * mad * (1.0 if away > mad else -1.0)
        return Figures(score, median + 8.0 * sd, median, sd, line_of_rarity((score - median) / sd), count)


@dataclass
class PeaksKey(Memory):
    """`pot`, and `dspot` which first takes a moving level off: a level that 2 % pass, and a Pareto tail above it."""

    is_drifting: bool = False
    probability: float = 1e-4
    mean: float = 1.0
    variance: float = 0.3**2
    level: float = 0.0
    excesses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.level = 2.0 * 0.3 + (0.0 if self.is_drifting else 1.0)

    def tail(self, sd: float) -> tuple[float, float]:
        """Shape and scale of the newest 32 excesses by L-moments; of fewer than 8 an exponential tail of one sd.

        Hosking & Wallis 1987: shape = 2 - l1 / l2, kept in [-0.4, 0.6], with l2 half the mean difference of two; scale
        by the mean of a GPD, l1 = scale / (1 - shape).
        """
        newest = np.array(self.excesses[-32:])
        if len(newest) < 8:
            return 0.0, sd
        first = float(newest.mean())
        second = float(np.abs(newest[:, None] - newest).sum()) / (2.0 * len(newest) * (len(newest) - 1))
        shape = min(max(2.0 - first / second, -0.4), 0.6)
        return shape, max(first * (1.0 - shape), 0.1 * sd)

    def judge(self, total: float, end_ms: int, is_fresh: bool) -> Figures:
        last, score, mean, count = self.smoothed, self.smooth(total, is_fresh), self.mean, self.count
        sd = max(math.sqrt(self.variance), 0.1 * max(mean, 1.0))
        base = mean if self.is_drifting else 0.0
        level, (c, b) = base + self.level, self.tail(sd)
        share, beyond = self.probability / 0.02, max(score - level, 0.0)
        if abs(c) < 1e-6:
            threshold, log_survival = level - b * math.log(share), -beyond / b
        else:
            threshold = level + b / c * (share**-c - 1.0)
            inside = 1.0 + c * beyond / b
            log_survival = -math.log(inside) / c if inside > 0.0 else -50.0  # past the end of a short tail
        rarity = -(max(log_survival, -50.0) + math.log(0.02))
        is_onset = last <= threshold < score
        if level < score <= threshold or is_onset:  # of a run of alarms the first, as high as the threshold
            self.excesses.append(min(score, threshold) - level)
        self.mean, self.variance = moved(mean, self.variance, score, self.weight(end_ms), sd)
        self.level += 0.25 * sd * (0.98 if score - base > self.level else -0.02)
        return Figures(score, threshold, mean, sd, rarity, count)


ORACLES: dict[str, Callable[[], Key]] = {
    "sigma": RollingKey,
    "quantile": lambda: RollingKey(rule="quantile"),
    "static": lambda: RollingKey(rule="static"),
    "mad": MadKey,
    "pot": PeaksKey,
    "dspot": lambda: PeaksKey(is_drifting=True),
}


class Stream(NamedTuple):
    """Scores of the keys in lock-step, with the windows at which a key is not there yet.

    Attributes:
        totals: (N, K) float64.
        end_times_ms: (N, K) int64.
        is_fresh, is_there: (N, K) bool.
    """

    totals: np.ndarray
    end_times_ms: np.ndarray
    is_fresh: np.ndarray
    is_there: np.ndarray


def eventful(seed: int) -> Stream:
    """Scores with a heavy tail: of a usual key, a loud one, one at nothing, a late one, and one that climbs and falls."""
    random, keys = np.random.default_rng(seed), len(LEVELS)
    totals = np.array(LEVELS) * random.lognormal(0.0, 0.5, (WINDOWS, keys))
    totals *= np.where(random.random((WINDOWS, keys)) < 0.02, 1.0 + random.pareto(1.5, (WINDOWS, keys)), 1.0)
    totals[:, 4] *= np.exp(2.0 * np.sin(np.arange(WINDOWS) / 40.0))  # many excesses: the ring is written over
    for key in range(keys):
        start = int(random.integers(250, 450))
        totals[start : start + 6, key] *= 60.0
    totals[600:640, 2] = 0.0
    ends = START_MS + STEP_MS * np.arange(WINDOWS)[:, None] + random.integers(0, STEP_MS // 2, (WINDOWS, keys))
    ends[300:306] = ends[300]  # six windows of one time
    ends[GAP_AT:] += GAP_WINDOWS * STEP_MS
    is_there, is_fresh = np.ones((WINDOWS, keys), dtype=np.bool_), np.zeros((WINDOWS, keys), dtype=np.bool_)
    is_there[:LATE_START, LATE] = False
    is_fresh[[0, GAP_AT]] = True
    is_fresh[0, LATE], is_fresh[LATE_START, LATE] = False, True
    is_fresh[GAP_AT, 1] = False  # late, but not begun anew
    return Stream(totals, ends, is_fresh, is_there)


def judged(rule: ThresholdRule, stream: Stream, slots: np.ndarray) -> dict[str, np.ndarray]:
    """Judge and learn all keys at once, a window after the other; return the figures by name, (N, K), NaN = not there."""
    keys = len(slots)
    states = Columns(int(slots.max()) + 1, rule.fields(FEATURES))
    states.reset(np.arange(slots.max() + 1, dtype=np.int32))
    found = {name: np.full((WINDOWS, keys), np.nan) for name in Figures._fields}
    for number in range(WINDOWS):
        rows = np.flatnonzero(stream.is_there[number])
        totals = stream.totals[number, rows]
        channels = np.repeat(totals[:, None], FEATURES, axis=1).astype(np.float32)
        ends, fresh = stream.end_times_ms[number, rows], stream.is_fresh[number, rows]
        wave = Wave(slots[rows], totals, totals, channels, ends, fresh)
        judgement: Judgement = rule.judge(states, wave)
        for name, array in found.items():
            array[number, rows] = getattr(judgement, NAMES[name])
        rule.learn(states, wave, judgement, judgement.scores > judgement.thresholds)
    return found


def plain(key: Key, stream: Stream, number: int) -> dict[str, np.ndarray]:
    """Judge one key in plain numbers; return the figures by name, (N,), NaN = not there."""
    nothing = (math.nan,) * len(Figures._fields)
    columns = zip(*(array[:, number].tolist() for array in stream), strict=True)
    told = [key.judge(total, end, fresh) if there else nothing for total, end, fresh, there in columns]
    return dict(zip(Figures._fields, np.array(told).T, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ORACLES)
def test_every_figure_is_that_of_plain_numbers(name: str, seed: int) -> None:
    """Score, threshold, mean, sd, rarity and count of keys that differ in all, over tails, anomalies and gaps."""
    rule, new_key = rule_of(name, SHORT, quantile=0.95), ORACLES[name]
    stream, slots = eventful(seed), np.array([5, 0, 3, 1, 7], dtype=np.int32)
    found = judged(rule, stream, slots)
    for number in range(len(slots)):
        expected = plain(new_key(), stream, number)
        for figure, array in expected.items():
            np.testing.assert_allclose(
                found[figure][:, number], array, rtol=RELATIVE.get(name, 1e-9), atol=1e-9, err_msg=f"{figure} {number}"
            )
    alarms = found["score"] > found["threshold"]
    assert alarms[:, [0, 1, 4]].any(axis=0).all()  # the stream is one in which something happens
    assert found["learnt"][-1].tolist() == [WINDOWS - 1 - (LATE_START if key == LATE else 0) for key in range(5)]


@pytest.mark.parametrize("is_drifting", [False, True])
def test_the_streams_reach_every_part_of_a_tail(is_drifting: bool) -> None:
    """Thin tails, rings written over, shapes at either bound and between: else their agreement would say little."""
    counts, shapes = set[int](), list[float]()
    for seed in SEEDS:
        stream = eventful(seed)
        for number in range(len(LEVELS)):
            key = PeaksKey(is_drifting=is_drifting)
            for total, end, fresh in zip(*(array[:, number].tolist() for array in stream[:3]), strict=True):
                key.judge(total, end, fresh)
                counts.add(len(key.excesses))
                shapes.append(key.tail(1.0)[0])
    assert max(counts) > 48
    assert {0, 7, 8, 32} <= counts
    assert min(shapes) == -0.4
    assert max(shapes) == 0.6
    assert np.mean((np.array(shapes) > -0.4) & (np.array(shapes) < 0.6) & (np.array(shapes) != 0.0)) > 0.1
