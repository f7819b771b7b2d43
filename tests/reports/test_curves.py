"""The curves of a report: nothing that matters is lost by drawing it small."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from streamae.reports.curves import BOTTOM, HEIGHT, LEFT, POINTS, RIGHT, TOP, WIDTH, bars, score_curve

ROWS = 20_000
SVG = "{http://www.w3.org/2000/svg}"


def drawn(scores: np.ndarray, thresholds: np.ndarray | None = None, **more: np.ndarray) -> ET.Element:
    """Parse the picture of a score."""
    size = len(scores)
    thresholds = np.full(size, np.inf) if thresholds is None else thresholds
    alarms = more.get("alarms", np.zeros(size, dtype=np.bool_))
    return ET.fromstring(score_curve(scores, thresholds, alarms, more.get("labels")))


def points(picture: ET.Element, name: str) -> list[tuple[float, float]]:
    """The points of a curve."""
    path = picture.find(f"{SVG}path[@class='{name}']")
    assert path is not None
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))]


def test_a_single_high_row_stays_in_sight() -> None:
    """Of 20,000 rows one is high: it is drawn at its place, though only a row in twenty is."""
    scores = np.ones(ROWS)
    scores[12_345] = 9.0
    found = points(drawn(scores), "score")
    assert len(found) == POINTS
    x, _ = min(found, key=lambda point: point[1])
    assert x == pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) * 12_345 / ROWS, abs=0.1)


def test_everything_lies_inside_the_frame() -> None:
    """Also infinite thresholds, huge peaks and rows without a score."""
    scores = np.random.default_rng(1).lognormal(0.0, 3.0, 3_000)
    scores[:50] = np.nan
    thresholds = np.where(np.arange(3_000) < 200, np.inf, 1e9)
    picture = drawn(scores, thresholds)
    for name in ("score", "threshold"):
        xs, ys = np.array(points(picture, name)).T
        assert xs.min() >= LEFT
        assert xs.max() <= WIDTH - RIGHT
        assert ys.min() >= TOP
        assert ys.max() <= HEIGHT - BOTTOM


def test_truth_and_alarms_are_bands_at_their_rows() -> None:
    """A run of rows is one band; a single row is wide enough to be seen."""
    labels, alarms = np.zeros((2, 10_000), dtype=np.bool_)
    labels[1_000:3_000] = True
    alarms[5_000] = True
    picture = drawn(np.ones(10_000) + np.arange(10_000) % 2, labels=labels, alarms=alarms)
    (truth,) = picture.findall(f"{SVG}rect[@class='truth']")
    (alarm,) = picture.findall(f"{SVG}rect[@class='alarm']")
    assert float(truth.get("width", 0)) == pytest.approx(0.2 * (WIDTH - LEFT - RIGHT), abs=0.2)
    assert float(alarm.get("width", 0)) >= 1.5
    assert float(alarm.get("x", 0)) == pytest.approx(LEFT + 0.5 * (WIDTH - LEFT - RIGHT), abs=0.1)


def test_scores_that_span_decades_get_a_logarithmic_axis() -> None:
    """Ticks are powers of ten then; evenly spread scores, also below zero, stay linear."""
    wide = np.ones(500)
    wide[100] = 5_000.0
    ticks = [text.text for text in drawn(wide).findall(f"{SVG}text[@text-anchor='end']")]
    assert {"1", "10", "100", "1000"} >= set(ticks) >= {"1", "1000"}
    flat = [text.text for text in drawn(np.linspace(-2.0, 3.0, 500)).findall(f"{SVG}text[@text-anchor='end']")]
    assert "0" in flat


def test_nothing_scored_is_said() -> None:
    """An empty picture explains itself."""
    assert "nothing was scored" in score_curve(np.full(9, np.nan), np.full(9, np.nan), np.zeros(9, np.bool_), None)


def test_bars_are_as_high_as_their_counts() -> None:
    """The highest fills the frame, half of it is half as high, zero has none."""
    picture = ET.fromstring(bars(np.array([4, 0, 2], dtype=np.int64), ["a", "b", "c"]))
    heights = [float(bar.get("height", 0)) for bar in picture.findall(f"{SVG}rect[@class='bar']")]
    assert heights == [HEIGHT - TOP - BOTTOM, (HEIGHT - TOP - BOTTOM) / 2]
    assert ET.fromstring(bars(np.zeros(0, dtype=np.int64), [])) is not None
