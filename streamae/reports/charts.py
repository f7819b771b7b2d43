"""Small charts of a training as SVG: lines over any x, and points coloured by their order.

Arrays in, markup out, in the colours of the page (see `curves.py`). Holds no text but numbers. Knows nothing about networks, files or pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles
from streamae.reports.curves import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, round_ticks, svg

OLD_HUE, NEW_HUE = 225, 15  # blue to orange, both readable on light and dark
DOT = 2.2
LOG_FROM = 20.0  # largest over smallest value from which on the axis is logarithmic


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line of a chart.

    Attributes:
        name: class in the page's style.
        xs, ys: (N,) places, N >= 1; where y is not finite the line is broken.
    """

    name: str
    xs: Doubles
    ys: Doubles


def line_chart(curves: Sequence[Curve], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Draw curves on common axes; a single point is a dot. The y axis is logarithmic where values differ by much."""
    xs, ys = (np.concatenate([getattr(curve, name) for curve in curves]) for name in ("xs", "ys"))
    known = ys[np.isfinite(ys)]
    if not len(known):
        return svg(['<text x="50%" y="50%" class="label">no value</text>'], width, height)
    low, high = float(known.min()), float(known.max())
    margin = 0.05 * (high - low) or abs(high) or 1.0
    is_log = low > 0.0 and high > LOG_FROM * low
    axis = Axis(low * 0.8, high * 1.3, True, height) if is_log else Axis(low - margin, high + margin, False, height)
    across = _Across(float(xs.min()), float(xs.max()), width)
    parts = []
    for value in axis.ticks():
        y = axis.y(value)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{width - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="label" x="{LEFT - 5}" y="{y + 3}" text-anchor="end">{value:g}</text>')
    for value in round_ticks(across.low, across.high, max(3, width // 150)):
        x = across.x(value)
        anchor = "end" if x > width - 3 * RIGHT else "middle"
        parts.append(f'<text class="label" x="{x}" y="{height - 6}" text-anchor="{anchor}">{value:,g}</text>')
    parts += [_path(curve, across, axis) for curve in curves]
    return svg(parts, width, height)


def scatter(places: Doubles, width: int = 460, height: int = 340) -> str:
    """Draw points (N, 2), the first ones blue, the last ones orange; both axes have the same scale."""
    inner_width, inner_height = width - 2 * TOP, height - 2 * TOP
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, 1e-12)
    unit = min(inner_width / span[0], inner_height / span[1])
    middle = (low + high) / 2.0
    xs = np.round(width / 2 + (places[:, 0] - middle[0]) * unit, 1)
    ys = np.round(height / 2 - (places[:, 1] - middle[1]) * unit, 1)
    hues = np.linspace(OLD_HUE, NEW_HUE + 360, len(places)).round() % 360  # by way of violet and red
    dots = [
        f'<circle cx="{x}" cy="{y}" r="{DOT}" fill="hsl({hue:.0f} 70% 52%)" fill-opacity="0.7"/>'
        for x, y, hue in zip(xs.tolist(), ys.tolist(), hues.tolist(), strict=True)
    ]
    return svg(dots, width, height)


@dataclass(frozen=True, slots=True)
class _Across:
    """Maps values to x."""

    low: float
    high: float
    width: int

    def x(self, value: float) -> float:
        """Return the place of a value."""
        span = (self.high - self.low) or 1.0
        return round(LEFT + (self.width - LEFT - RIGHT) * (value - self.low) / span, 1)


def _path(curve: Curve, across: _Across, axis: Axis) -> str:
    points = list(zip(curve.xs.tolist(), curve.ys.tolist(), strict=True))
    if len(points) == 1:
        x, y = points[0]
        return f'<circle class="bar" cx="{across.x(x)}" cy="{axis.y(y)}" r="3"/>'
    pieces, is_on = list[str](), False
    for x, y in points:
        if is_known := bool(np.isfinite(y)):
            pieces.append(f"{'L' if is_on else 'M'}{across.x(x)} {axis.y(y)}")
        is_on = is_known
    return f'<path class="{curve.name}" d="{"".join(pieces)}"/>'
