"""Draw purchases of some cards around a fraud: amounts by merchant category over their order, and the score below.

The horizontal axis counts purchases, because a burst of minutes between days would not be seen. Knows nothing about
how the stream or the scores came to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from streamae.batches import Series
from streamae.demo.sensor_demo import Outcome
from streamae.demo.sensor_picture import EPISODE, INK, LOW_SCORE, RULE, SCORE, THRESHOLD, TRUTH
from streamae.demo.transactions import FraudCase, TransactionStream

BEFORE, AFTER = 40, 24  # purchases shown around a fraud
PALETTE = colormaps["tab20"]


def draw(data: TransactionStream, cases: Sequence[FraudCase], outcome: Outcome, title: str, path: Path) -> None:
    """Write one column a fraud to `path`, a file that is replaced if it exists."""
    names = sorted({word for one in data.series if one.words is not None for word in one.words[:, 0].tolist()})
    figure = Figure(figsize=(1.2 + 4.1 * len(cases), 5.6), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, len(cases), height_ratios=[1.6, 1.0])
    for column, case in enumerate(cases):
        series = next(one for one in data.series if one.key == case.key)
        first, last = max(0, case.start_row - BEFORE), min(len(series), case.end_row + AFTER)
        above = figure.add_subplot(grid[0, column])
        below = figure.add_subplot(grid[1, column], sharex=above)
        for axes in (above, below):
            _dress(axes)
            axes.axvspan(case.start_row - 0.5, case.end_row - 0.5, color=TRUTH, alpha=0.4, linewidth=0)
            _mark(axes, series, outcome, first, last)
        _purchases(above, series, names, first, last)
        above.set_title(f"{case.key}: {case.kind.replace('_', ' ')}", fontsize=10, fontweight="bold", color=INK)
        _scores(below, series, outcome, first, last)
        if column == 0:
            above.set_ylabel("amount (log)", fontsize=8.5, color=INK)
            below.set_ylabel("score (log)", fontsize=8.5, color=INK)
        below.set_xlabel("purchase", fontsize=8.5, color=INK)
        above.set_xlim(first - 1, last)
    figure.suptitle(f"streamae demo, transactions: {title}", fontsize=13, fontweight="bold", color=INK)
    handles = [
        Line2D([], [], color=PALETTE(i % 20), marker="o", linestyle="", markersize=5, label=name)
        for i, name in enumerate(names)
    ]
    handles += [
        Line2D([], [], color=INK, marker="|", linestyle="", label="within 5 minutes of the one before"),
        Line2D([], [], color=SCORE, label="score"),
        Line2D([], [], color=THRESHOLD, linestyle="--", label="threshold of the card"),
    ]
    patches = [Patch(color=TRUTH, alpha=0.4, label="fraud"), Patch(color=EPISODE, label="published episode")]
    figure.legend(handles=[*handles, *patches], loc="outside lower center", ncols=9, frameon=False, fontsize=8)
    figure.savefig(path, facecolor="white")


def _dress(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(THRESHOLD)
    axes.grid(visible=True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_yscale("log")
    axes.tick_params(which="both", labelsize=8, colors=INK)


def _purchases(axes: Axes, series: Series, names: Sequence[str], first: int, last: int) -> None:
    """Dots of the category's colour; a stroke below those that follow within minutes."""
    rows = np.arange(first, last)
    words = [] if series.words is None else series.words[rows, 0].tolist()
    axes.scatter(rows, series.values[rows, 0], s=16, c=[PALETTE(names.index(word) % 20) for word in words], zorder=3)
    steps = np.diff(series.event_times_ms, prepend=0)[rows]
    quick = rows[steps < 300_000]
    axes.plot(quick, np.full(len(quick), 0.02), "|", color=INK, transform=axes.get_xaxis_transform(), markersize=7)


def _mark(axes: Axes, series: Series, outcome: Outcome, first: int, last: int) -> None:
    """A bar on top wherever an episode of the card was open."""
    times = series.event_times_ms
    for episode in outcome.episodes:
        if episode.key == series.key and episode.start_ms <= times[last - 1] and episode.end_ms >= times[first]:
            left, right = np.searchsorted(times, [episode.start_ms, episode.end_ms])
            axes.axvspan(left - 0.5, right + 0.5, ymin=0.96, color=EPISODE, linewidth=0)


def _scores(axes: Axes, series: Series, outcome: Outcome, first: int, last: int) -> None:
    judgement = outcome.judgements[series.key]
    rows = np.searchsorted(series.event_times_ms, judgement.end_times_ms)
    shown = (rows >= first) & (rows < last)
    thresholds = np.where(np.isfinite(judgement.thresholds), judgement.thresholds, np.nan)
    axes.plot(rows[shown], np.maximum(judgement.scores[shown], LOW_SCORE), color=SCORE, linewidth=1.1)
    axes.plot(rows[shown], thresholds[shown], color=THRESHOLD, linewidth=1.1, linestyle="--")
