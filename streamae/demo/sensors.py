"""Labelled streams made up from a seed: keyed, seasonal, correlated machine metrics with injected anomalies.

Each key mixes a few latent factors (a daily season, a slow and a fast load) into its features, so that features
move together; keys differ in phase, level, amplitude and noise, and the noise has heavy tails. Anomalies of five
kinds lie only behind the training rows, far enough apart that their episodes cannot merge. This module knows
nothing about models, thresholds or topics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Ints, Series
from streamae.errors import DataError

SPACING_ROWS = 128  # normal rows on both sides of an anomaly: a window of 64 plus a hold of 32 fits between two
START_MS = 1_735_689_600_000  # 2025-01-01T00:00Z, event time of row 0
FACTORS = 3  # season, slow load, fast load
TAIL_FREEDOM = 3.5  # degrees of freedom of the noise's t distribution
CATALOGUE = (
    ("cpu_percent", 52.0, 8.0),
    ("requests_per_s", 840.0, 110.0),
    ("latency_ms", 38.0, 5.5),
    ("memory_mb", 6100.0, 720.0),
    ("temperature_c", 47.0, 4.2),
    ("fan_rpm", 3900.0, 420.0),
    ("disk_io_mb_s", 175.0, 24.0),
    ("network_mbit_s", 410.0, 55.0),
)  # name, usual level, standard deviation of the noiseless signal: zero is at least six of them away


class Kind(StrEnum):
    """What is wrong during an injected anomaly."""

    SPIKE = "spike"  # one to four rows far away
    LEVEL_SHIFT = "level_shift"  # the curve goes on, displaced
    DROPOUT = "dropout"  # reads zero
    CORRELATION_BREAK = "correlation_break"  # moves against its factors, each value by itself plausible
    FROZEN_SENSOR = "frozen_sensor"  # repeats one value exactly while the others go on


LENGTHS = {
    Kind.SPIKE: (1, 4),
    Kind.LEVEL_SHIFT: (24, 60),
    Kind.DROPOUT: (12, 40),
    Kind.CORRELATION_BREAK: (24, 60),
    Kind.FROZEN_SENSOR: (32, 64),
}  # fewest and most rows, both included
LONGEST = max(longest for _, longest in LENGTHS.values())


@dataclass(frozen=True, slots=True)
class Injection:
    """One injected anomaly: rows [start_row, end_row) of `key` in these feature numbers."""

    key: str
    kind: Kind
    start_row: int
    end_row: int
    features: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticStream:
    """All keys over the same rows.

    Attributes:
        features: the F feature names.
        step_ms: time between rows.
        train_rows: rows at the front that are free of anomalies.
        series: one a key; labels are True inside injections, no value is missing.
        injections: by key, then by row.
    """

    features: tuple[str, ...]
    step_ms: int
    train_rows: int
    series: list[Series]
    injections: list[Injection]


@dataclass(frozen=True, slots=True, eq=False)
class _Signal:
    """One key before anomalies: `clean` and `values` (N, F) in units, `levels` and `spreads` (F,)."""

    clean: Doubles
    values: Doubles
    levels: Doubles
    spreads: Doubles


def generate(
    keys: int = 60,
    rows: int = 2_000,
    features: int = 8,
    step_ms: int = 60_000,
    seed: int = 7,
    anomalies_per_key: float = 2.0,
    train_rows: int = 1_000,
    season_rows: int = 96,
) -> SyntheticStream:
    """Make a stream; equal arguments give equal bits.

    Args:
        keys: number of keys, >= 1.
        rows: rows of each key, training rows included.
        features: number of features, >= 1.
        step_ms: event time between two rows of a key.
        seed: of everything random.
        anomalies_per_key: mean number a key; a fraction is spread over keys at random. Kinds come equally often.
        train_rows: rows at the front that stay normal.
        season_rows: rows of one "day".

    Raises:
        DataError: the rows behind the training rows cannot hold that many anomalies.
    """
    random = np.random.default_rng(seed)
    catalogue = [CATALOGUE[i] if i < len(CATALOGUE) else (f"sensor_{i}", 100.0, 14.0) for i in range(features)]
    mixing = _mixing(features, random)
    counts = np.full(keys, int(anomalies_per_key)) + (random.random(keys) < anomalies_per_key % 1.0)
    _check_room(rows - train_rows, int(counts.max()))
    kinds = [list(Kind)[i % len(Kind)] for i in range(int(counts.sum()))]
    random.shuffle(kinds)
    times = START_MS + step_ms * np.arange(rows, dtype=np.int64)
    names = tuple(name for name, _, _ in catalogue)
    series: list[Series] = []
    injections: list[Injection] = []
    for number in range(keys):
        key = f"machine-{number:03d}"
        signal = _signal(catalogue, mixing, rows, season_rows, random)
        own = [kinds.pop() for _ in range(counts[number])]
        placed = _inject(key, signal, own, train_rows, random)
        labels = np.zeros(rows, dtype=np.bool_)
        for injection in placed:
            labels[injection.start_row : injection.end_row] = True
        series.append(Series(key, names, times, signal.values, labels))
        injections += placed
    return SyntheticStream(names, step_ms, train_rows, series, injections)


def _check_room(rows: int, most: int) -> None:
    """Raise DataError unless `most` anomalies with their spacing fit into `rows` rows."""
    needed = most * (LONGEST + SPACING_ROWS) + SPACING_ROWS
    if most and rows < needed:
        raise DataError(f"{most} anomalies a key need {needed} rows behind the training rows, there are {rows}")


def _mixing(features: int, random: np.random.Generator) -> Doubles:
    """Weights (FACTORS, F) of unit-variance factors in each feature, columns of length one; season leads."""
    weights = random.uniform(0.25, 0.9, (FACTORS, features)) * random.choice([-1.0, 1.0], (FACTORS, features))
    weights[0] = np.abs(weights[0]) + 0.5  # machines are busy by day in every feature
    normalised: Doubles = weights / np.linalg.norm(weights, axis=0)
    return normalised


def _signal(
    catalogue: list[tuple[str, float, float]],
    mixing: Doubles,
    rows: int,
    season_rows: int,
    random: np.random.Generator,
) -> _Signal:
    """Make one key's normal curve: own phase, level, amplitude and noise over the shared mixing."""
    features = len(catalogue)
    spreads = np.array([spread for _, _, spread in catalogue]) * random.uniform(0.8, 1.2, features)
    levels = np.array([level for _, level, _ in catalogue]) + 0.4 * spreads * random.standard_normal(features)
    day = 2.0 * np.pi * (np.arange(rows) / season_rows + random.uniform())
    season = np.sqrt(2.0) * (0.95 * np.sin(day) + 0.31 * np.sin(2.0 * day + random.uniform(0.0, 2.0 * np.pi)))
    factors = np.stack([season, _wander(rows, 0.97, random), _wander(rows, 0.8, random)])
    clean = levels + spreads * (factors.T @ mixing)
    noise = random.standard_t(TAIL_FREEDOM, (rows, features)) * random.uniform(0.06, 0.14, features)
    return _Signal(clean, clean + spreads * noise, levels, spreads)


def _wander(rows: int, memory: float, random: np.random.Generator) -> Doubles:
    """Return a first-order autoregression of about unit variance, (rows,)."""
    steps = random.standard_normal(rows) * np.sqrt(1.0 - memory**2)
    lags = memory ** np.arange(min(rows, 400))
    wandering: Doubles = np.convolve(steps, lags)[:rows]
    return wandering


def _inject(
    key: str, signal: _Signal, kinds: list[Kind], train_rows: int, random: np.random.Generator
) -> list[Injection]:
    """Spread `kinds` over the rows behind the training rows and change `signal.values` in place."""
    placed: list[Injection] = []
    if not kinds:
        return placed
    first, last = train_rows + SPACING_ROWS, len(signal.values) - SPACING_ROWS
    borders = np.linspace(first, last + SPACING_ROWS, len(kinds) + 1).astype(int)
    for kind, low, high in zip(kinds, borders[:-1], borders[1:] - SPACING_ROWS, strict=True):
        shortest, longest = LENGTHS[kind]
        length = int(random.integers(shortest, longest + 1))
        most = max(1, signal.values.shape[1] // 2)
        count = int(random.integers(1, min(3, most) + 1))
        chosen = np.sort(random.choice(signal.values.shape[1], count, replace=False))
        start = _start(kind, signal, chosen, int(low), int(high) - length, length, random)
        rows = slice(start, start + length)
        WRONG[kind](signal, rows, chosen, random)
        placed.append(Injection(key, kind, start, start + length, tuple(int(feature) for feature in chosen)))
    return placed


def _start(
    kind: Kind, signal: _Signal, features: Ints, low: int, high: int, length: int, random: np.random.Generator
) -> int:
    """Choose a start row in [low, high]; kinds that need a moving curve take the most visible of several draws."""
    draws = random.integers(low, high + 1, 16)
    if kind not in (Kind.CORRELATION_BREAK, Kind.FROZEN_SENSOR):
        return int(draws[0])
    deviations = (signal.clean[:, features] - signal.levels[features]) / signal.spreads[features]

    def visible(start: int) -> float:
        part = deviations[start : start + length]
        moved = part if kind is Kind.CORRELATION_BREAK else part - part[0]
        return float(np.abs(moved).mean())

    return int(max(draws.tolist(), key=visible))


def _spike(signal: _Signal, rows: slice, features: Ints, random: np.random.Generator) -> None:
    """Throw the features 6 to 10 spreads off, each to its own side."""
    sizes = random.uniform(6.0, 10.0, len(features)) * random.choice([-1.0, 1.0], len(features))
    signal.values[rows, features] += sizes * signal.spreads[features]


def _level_shift(signal: _Signal, rows: slice, features: Ints, random: np.random.Generator) -> None:
    """Displace the features by 4 to 6 spreads, each to its own side."""
    sizes = random.uniform(4.0, 6.0, len(features)) * random.choice([-1.0, 1.0], len(features))
    signal.values[rows, features] += sizes * signal.spreads[features]


def _dropout(signal: _Signal, rows: slice, features: Ints, _random: np.random.Generator) -> None:
    """Read zero."""
    signal.values[rows, features] = 0.0


def _correlation_break(signal: _Signal, rows: slice, features: Ints, _random: np.random.Generator) -> None:
    """Mirror the features at their level: busy when the rest is idle."""
    signal.values[rows, features] = 2.0 * signal.levels[features] - signal.values[rows, features]


def _frozen_sensor(signal: _Signal, rows: slice, features: Ints, _random: np.random.Generator) -> None:
    """Repeat the first value."""
    signal.values[rows, features] = signal.values[rows.start, features]


WRONG: dict[Kind, Callable[[_Signal, slice, NDArray[np.int64], np.random.Generator], None]] = {
    Kind.SPIKE: _spike,
    Kind.LEVEL_SHIFT: _level_shift,
    Kind.DROPOUT: _dropout,
    Kind.CORRELATION_BREAK: _correlation_break,
    Kind.FROZEN_SENSOR: _frozen_sensor,
}
