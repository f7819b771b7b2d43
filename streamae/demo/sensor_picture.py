"""Draw what the detector saw: curves with their forecast, the score against its threshold, truth and episodes.

The only module that imports matplotlib (extra `report`). It takes arrays that are cut to what shall be seen and
knows nothing about how they came to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from streamae.demo.stories import Span, Story

MEASURED, EXPECTED, SCORE, THRESHOLD = "#1d3557", "#2a9d8f", "#5e548e", "#6c757d"
TRUTH, EPISODE, INK, RULE = "#f4a261", "#d62828", "#22223b", "#dee2e6"
LOW_SCORE = 0.05  # bottom of the log axis: quiet keys score about 1


def draw(stories: Sequence[Story], title: str, path: Path) -> None:
    """Write one column of axes a story to `path` (PNG or whatever its suffix says); parent folders must exist.

    Args:
        stories: one to three, with the same number of curves.
        title: above everything.
        path: file, replaced if it exists.
    """
    curves = len(stories[0].features)
    figure = Figure(figsize=(1.5 + 5.4 * len(stories), 1.9 + 1.55 * (curves + 1.3)), dpi=130, layout="constrained")
    grid = figure.add_gridspec(curves + 1, len(stories), height_ratios=[1.0] * curves + [1.3])
    for column, story in enumerate(stories):
        times = story.times_ms.astype("datetime64[ms]")
        first: Axes | None = None
        for row in range(curves + 1):
            axes = figure.add_subplot(grid[row, column], sharex=first)
            first = first or axes
            _dress(axes, is_bottom=row == curves)
            _mark(axes, story)
            if row < curves:
                axes.plot(times, story.values[:, row], color=MEASURED, linewidth=1.1)
                axes.plot(times, story.expected[:, row], color=EXPECTED, linewidth=1.1, linestyle=(0, (4, 1.5)))
                axes.set_title(story.features[row], loc="left", fontsize=8.5, color=INK, pad=3)
            else:
                _scores(axes, times, story)
                axes.set_title("score (log)", loc="left", fontsize=8.5, color=INK, pad=3)
            if row == 0:
                axes.set_title(story.key, loc="right", fontsize=11, fontweight="bold", color=INK, pad=3)
            axes.set_xlim(times[0], times[-1])
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    _legend(figure)
    figure.savefig(path, facecolor="white")


def _dress(axes: Axes, *, is_bottom: bool) -> None:
    """Keep frame and grid quiet, and name times below the lowest axes only."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(THRESHOLD)
    axes.grid(visible=True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK, labelbottom=is_bottom)
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _mark(axes: Axes, story: Story) -> None:
    """Shade the truth and draw a bar over each published episode; widths have a minimum to stay visible."""
    least = int(story.times_ms[-1] - story.times_ms[0]) // 150
    for span in story.truth:
        left, right = _edges(span, least)
        axes.axvspan(left, right, color=TRUTH, alpha=0.45, linewidth=0)
    for span in story.episodes:
        left, right = _edges(span, least)
        axes.axvspan(left, right, ymin=0.955, color=EPISODE, linewidth=0)


def _edges(span: Span, least: int) -> tuple[float, float]:
    """Return both ends in matplotlib's days since the epoch, at least `least` ms apart."""
    end_ms = max(span.end_ms, span.start_ms + least)
    return span.start_ms / 86_400_000, end_ms / 86_400_000


def _scores(axes: Axes, times: NDArray[np.datetime64], story: Story) -> None:
    """Draw score and threshold on a log axis, red where the score is above, with the words for truth on top."""
    scores = np.maximum(story.scores, LOW_SCORE)
    thresholds = np.where(np.isfinite(story.thresholds), story.thresholds, np.nan)
    axes.set_yscale("log")
    axes.plot(times, scores, color=SCORE, linewidth=1.1)
    axes.plot(times, thresholds, color=THRESHOLD, linewidth=1.1, linestyle="--")
    above = np.nan_to_num(story.scores, nan=-np.inf) > np.nan_to_num(thresholds, nan=np.inf)
    axes.plot(times, np.where(above, scores, np.nan), color=EPISODE, linewidth=1.8)
    finite = np.concatenate([scores[np.isfinite(scores)], thresholds[np.isfinite(thresholds)], [1.0]])
    axes.set_ylim(max(LOW_SCORE, 0.7 * float(finite.min())), 6.0 * float(finite.max()))
    for span in story.truth:
        middle = (span.start_ms + span.end_ms) / 2 / 86_400_000
        axes.text(middle, 0.93, span.label, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8)


def _legend(figure: Figure) -> None:
    """One legend for all columns, below them."""
    handles = [
        Line2D([], [], color=MEASURED, label="measured"),
        Line2D([], [], color=EXPECTED, linestyle=(0, (4, 1.5)), label="forecast by the model"),
        Line2D([], [], color=SCORE, label="score"),
        Line2D([], [], color=THRESHOLD, linestyle="--", label="threshold of the key"),
        Patch(color=TRUTH, alpha=0.45, linewidth=0, label="injected anomaly"),
        Patch(color=EPISODE, linewidth=0, label="published episode"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
