"""Curves and bars as SVG that takes its colours from the page: readable in light and dark, sharp at any size.

Arrays in, markup out. Holds no text but numbers and the labels it is given, which the caller has made safe. Knows
nothing about detectors, files or pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from streamae.batches import Doubles, Flags, Ints
from streamae.evaluation.metrics import runs

WIDTH, HEIGHT = 960, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22
POINTS = 900  # of a curve at most: about one a pixel
LOG_FROM = 20.0  # largest over middle score from which on the axis is logarithmic
LEAST_WIDTH = 1.5  # of a band, so that a single row is seen
TICKS = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to y: linear, or by logarithm."""

    low: float
    high: float
    is_log: bool
    height: int = HEIGHT

    def y(self, value: float) -> float:
        """Return the place of a value, kept inside."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, max(value, self.low)))
        share = (min(value, high) - low) / (high - low)
        return round(self.height - BOTTOM - share * (self.height - TOP - BOTTOM), 1)

    def ticks(self) -> list[float]:
        """Return a few round values."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 3))]
        return round_ticks(self.low, self.high, 3)


def score_curve(
    scores: Doubles, thresholds: Doubles, alarms: Flags, labels: Flags | None, ticks: Sequence[tuple[int, str]] = ()
) -> str:
    """Draw a score against its threshold, with truth as bands and alarms as a bar below.

    Args:
        scores: (N,) NaN = none.
        thresholds: (N,) NaN or infinite = none.
        alarms: (N,) bool.
        labels: (N,) bool, None = not known.
        ticks: rows and their names below the curve; none given = row numbers.
    """
    rows = len(scores)
    if not rows or not np.isfinite(scores).any():
        return svg(['<text x="50%" y="50%" class="label">nothing was scored</text>'])
    kept = _thinned(scores)
    axis = _axis(scores[kept], thresholds[kept])
    ticks = ticks or [(int(row), f"{int(row):,}") for row in round_ticks(0, rows - 1, TICKS)]
    parts = [] if labels is None else [_band(*edges, rows, TOP, HEIGHT - BOTTOM, "truth") for edges in _spans(labels)]
    for value in axis.ticks():
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axis.y(value)}" y2="{axis.y(value)}"/>')
        parts.append(f'<text class="label" x="{LEFT - 5}" y="{axis.y(value) + 3}" text-anchor="end">{value:g}</text>')
    parts += [
        f'<text class="label" x="{_x(row, rows)}" y="{HEIGHT - 6}" text-anchor="middle">{name}</text>'
        for row, name in ticks
    ]
    parts.append(_line(kept, scores[kept], rows, axis, "score"))
    parts.append(
        _line(kept, np.where(np.isfinite(thresholds[kept]), thresholds[kept], np.nan), rows, axis, "threshold")
    )
    parts += [_band(*edges, rows, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 5, "alarm") for edges in _spans(alarms)]
    return svg(parts)


def bars(counts: Ints, names: Sequence[str]) -> str:
    """Draw a bar for each of the counts (N,), with some of the names below."""
    size, most = len(counts), max(int(counts.max(initial=0)), 1)
    step = (WIDTH - LEFT - RIGHT) / max(size, 1)
    axis = Axis(0.0, float(most), is_log=False)
    parts = []
    for value in sorted({0, most // 2, most}):
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axis.y(value)}" y2="{axis.y(value)}"/>')
        parts.append(f'<text class="label" x="{LEFT - 5}" y="{axis.y(value) + 3}" text-anchor="end">{value}</text>')
    every = max(1, math.ceil(size / (2 * TICKS)))
    for number, (count, name) in enumerate(zip(counts.tolist(), names, strict=True)):
        x, y = LEFT + number * step, axis.y(count)
        if count:
            title = f"<title>{name}: {count}</title>"
            width, height = max(step * 0.8, 0.8), HEIGHT - BOTTOM - y
            parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height:.1f}">{title}</rect>'
            )
        if number % every == 0:
            parts.append(
                f'<text class="label" x="{x + step / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{name}</text>'
            )
    return svg(parts)


def svg(parts: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return a picture of these elements."""
    return f'<svg viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def _axis(scores: Doubles, thresholds: Doubles) -> Axis:
    known = scores[np.isfinite(scores)]
    compared = thresholds[np.isfinite(thresholds)]
    low, high = float(known.min()), float(known.max())
    if len(compared):
        high = max(high, float(np.median(compared)))
    middle = float(np.median(known))
    if low > 0 and high > LOG_FROM * middle:
        return Axis(max(low, middle / 100) * 0.8, high * 1.3, is_log=True)
    margin = 0.05 * (high - low) or 1.0
    return Axis(low - margin, high + margin, is_log=False)


def _thinned(scores: Doubles) -> Ints:
    """Return the rows to draw: of each stretch the one with the highest score, so that no peak is lost."""
    rows = len(scores)
    if rows <= POINTS:
        return np.arange(rows, dtype=np.int64)
    edges = np.linspace(0, rows, POINTS + 1).astype(np.int64)
    highs = np.where(np.isnan(scores), -np.inf, scores)
    return np.array(
        [start + int(np.argmax(highs[start:end])) for start, end in pairwise(edges.tolist())], dtype=np.int64
    )


def _line(kept: Ints, values: Doubles, rows: int, axis: Axis, name: str) -> str:
    """Return the curve, broken where there is no value."""
    pieces: list[str] = []
    is_on = False
    for row, value in zip(kept.tolist(), values.tolist(), strict=True):
        if math.isfinite(value):
            pieces.append(f"{'L' if is_on else 'M'}{_x(row, rows)} {axis.y(value)}")
        is_on = math.isfinite(value)
    return f'<path class="{name}" d="{"".join(pieces)}"/>'


def _band(start: int, end: int, rows: int, top: float, bottom: float, name: str) -> str:
    x = _x(start, rows)
    width = max(_x(end, rows) - x, LEAST_WIDTH)
    return f'<rect class="{name}" x="{x}" y="{top}" width="{width:.1f}" height="{bottom - top}"/>'


def _spans(flags: Flags) -> list[tuple[int, int]]:
    starts, ends = runs(flags)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _x(row: float, rows: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * row / max(rows, 1), 1)


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten in [low, high], about `count` of them.

    Example:
        >>> round_ticks(0, 2300, 4)
        [0.0, 500.0, 1000.0, 1500.0, 2000.0]
    """
    rough = max((high - low) / count, 1e-12)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]
