"""The picture is written, deterministic in its marks, and survives missing scores and thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from streamae.demo.sensor_picture import EPISODE, THRESHOLD, TRUTH, draw
from streamae.demo.stories import Span, Story

pytestmark = pytest.mark.slow

ROWS = 120


def story(**changes: object) -> Story:
    """A quiet key with one anomaly, found, of two curves."""
    times = 1_700_000_000_000 + 60_000 * np.arange(ROWS, dtype=np.int64)
    values = np.sin(np.arange(ROWS)[:, None] / [5.0, 9.0]).astype(np.float32)
    span = Span(int(times[50]), int(times[70]), "level shift")
    fields: dict[str, object] = {
        "key": "machine-001",
        "features": ("cpu", "memory"),
        "times_ms": times,
        "values": values,
        "expected": values + np.float32(0.1),
        "scores": np.where((np.arange(ROWS) >= 50) & (np.arange(ROWS) < 70), 30.0, 1.0),
        "thresholds": np.full(ROWS, 5.0),
        "truth": [span],
        "episodes": [span],
    }
    return Story(**(fields | changes))  # type: ignore[arg-type]


def share_of(path: Path, colour: str) -> float:
    """Share of pixels within a hair of `colour`."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    return float((np.abs(imread(path)[..., :3] - wanted).max(axis=-1) < 0.02).mean())


def blended(colour: str, alpha: float) -> str:
    """The colour as it looks on white."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - alpha * (255 - channel)):02x}" for channel in channels)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_column_a_story(count: int, tmp_path: Path) -> None:
    """The picture is a PNG that grows in width with the number of stories, not in height."""
    draw([story()] * count, "a title", tmp_path / "picture.png")
    height, width = imread(tmp_path / "picture.png").shape[:2]
    assert width == pytest.approx(130 * (1.5 + 5.4 * count), abs=2)
    assert height == pytest.approx(911, abs=2)


def test_truth_and_episodes_are_marked_where_there_are_any(tmp_path: Path) -> None:
    """Shading and bars appear with their spans; without them only the legend shows the colours."""
    shade = blended(TRUTH, 0.45)
    draw([story()], "marked", tmp_path / "marked.png")
    draw([story(truth=[], episodes=[])], "bare", tmp_path / "bare.png")
    assert share_of(tmp_path / "marked.png", shade) > 10 * share_of(tmp_path / "bare.png", shade) > 0
    assert share_of(tmp_path / "marked.png", EPISODE) > 2 * share_of(tmp_path / "bare.png", EPISODE) > 0


def test_single_row_anomaly_stays_visible(tmp_path: Path) -> None:
    """A spike of one row is drawn with a width one can see."""
    times = story().times_ms
    spike = [Span(int(times[60]), int(times[60]), "spike")]
    draw([story(truth=spike, episodes=[])], "spike", tmp_path / "spike.png")
    draw([story(truth=[], episodes=[])], "bare", tmp_path / "bare.png")
    shade = blended(TRUTH, 0.45)
    assert share_of(tmp_path / "spike.png", shade) > 2 * share_of(tmp_path / "bare.png", shade)


def test_learning_key_without_scores_is_drawn(tmp_path: Path) -> None:
    """Infinite thresholds, missing scores and missing forecasts leave gaps and raise no warning."""
    unknown = np.full(ROWS, np.nan)
    draw(
        [
            story(scores=unknown, thresholds=np.full(ROWS, np.inf), expected=np.full((ROWS, 2), np.nan, np.float32)),
            story(thresholds=np.where(np.arange(ROWS) < 40, np.inf, 5.0)),
        ],
        "learning",
        tmp_path / "learning.png",
    )
    assert share_of(tmp_path / "learning.png", THRESHOLD) > 0


def test_existing_picture_is_replaced(tmp_path: Path) -> None:
    """A second run overwrites the first one's file."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    draw([story()], "new", path)
    assert path.read_bytes().startswith(b"\x89PNG")
