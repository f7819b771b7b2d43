"""Charts of a training: values at their places, nothing outside the picture, well-formed markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from streamae.reports.charts import Curve, line_chart, scatter
from streamae.reports.curves import HEIGHT, WIDTH

NAMESPACE = "{http://www.w3.org/2000/svg}"


def paths(markup: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line by its class."""
    found = {}
    for path in ET.fromstring(markup).iter(f"{NAMESPACE}path"):
        numbers = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path.attrib["d"])
        found[path.attrib["class"]] = [(float(x), float(y)) for x, y in numbers]
    return found


def test_lines_share_their_axes() -> None:
    """Equal values lie at equal places, larger ones higher, later ones further right."""
    xs = np.arange(5.0)
    found = paths(line_chart([Curve("score", xs, xs), Curve("threshold", xs, xs[::-1])]))
    assert found["score"][2] == found["threshold"][2]
    assert found["score"] == sorted(found["score"], key=lambda point: point[0])
    heights = [y for _, y in found["score"]]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 3.0], [1e-6, 1.0, 1e6], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0], [-1e9, 0.0, 1e-9]]
)
def test_nothing_leaves_the_picture(values: list[float]) -> None:
    """Whatever the range, constants included."""
    xs = np.array([10.0, 20.0, 40.0])
    (points,) = paths(line_chart([Curve("score", xs, np.array(values))])).values()
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert len(points) == 3


def test_orders_of_magnitude_get_a_logarithmic_axis() -> None:
    """Each factor of ten is the same height: a loss that falls from 1 to .001 is seen all the way."""
    ys = np.array([1.0, 0.1, 0.01, 0.001])
    (points,) = paths(line_chart([Curve("score", np.arange(4.0), ys)])).values()
    steps = np.diff([y for _, y in points])
    np.testing.assert_allclose(steps, steps[0], atol=0.2)


def test_a_line_breaks_where_there_is_no_value() -> None:
    """No line across what was not measured."""
    markup = line_chart([Curve("score", np.arange(4.0), np.array([1.0, np.nan, 2.0, 3.0]))])
    assert markup.count("M", markup.index(' d="')) == 2


def test_nothing_measured_says_so() -> None:
    """Instead of an empty frame."""
    assert "no value" in line_chart([Curve("score", np.arange(2.0), np.full(2, np.nan))])


def test_a_single_point_is_a_dot() -> None:
    """A line of one point cannot be seen."""
    assert "<circle" in line_chart([Curve("score", np.ones(1), np.ones(1))])


def test_points_keep_their_proportions_and_carry_time_as_colour() -> None:
    """Both axes have one scale, up is up; first blue, last orange, and each in its order."""
    places = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    circles = list(ET.fromstring(scatter(places)).iter(f"{NAMESPACE}circle"))
    (x0, y0), (x1, _), (_, y2) = ((float(c.attrib["cx"]), float(c.attrib["cy"])) for c in circles)
    assert (x1 - x0) == pytest.approx(2 * (y0 - y2), abs=0.3)
    assert [c.attrib["fill"].split()[0] for c in circles] == ["hsl(225", "hsl(300", "hsl(15"]


@pytest.mark.parametrize("places", [np.zeros((5, 2)), np.zeros((1, 2)), np.array([[0.0, 1e9], [1.0, -1e9]])])
def test_odd_maps_stay_inside(places: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    """All codes equal, one code, or a code that explodes."""
    for circle in ET.fromstring(scatter(places, 460, 340)).iter(f"{NAMESPACE}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= 460
        assert 0 <= float(circle.attrib["cy"]) <= 340
