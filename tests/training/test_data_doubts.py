"""Odd rows: which features are named, and that usual ones are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Series
from streamae.settings.data import WindowSettings
from streamae.training.data_doubts import MOST_NAMES, data_doubts, order_doubts


def rows(features: int = 3, count: int = 100, seed: int = 0) -> NDArray[np.float64]:
    """Return usual rows."""
    return np.random.default_rng(seed).normal(size=(count, features))


def test_usual_rows_raise_no_doubt() -> None:
    """A sentence that is always there is read by nobody."""
    holes = rows()
    holes[::3, 1] = np.nan
    assert data_doubts(("a", "b", "c"), holes, rows(seed=1)) == ()


def test_each_doubt_names_its_features() -> None:
    """A constant one, one that is mostly missing and one that ended, each by name and in a sentence of its own."""
    fit, newer = rows(), rows(count=40, seed=1)
    fit[:, 0] = 7.0
    fit[np.arange(100) % 5 > 0, 1] = np.nan
    newer[:, 2] = np.nan
    constant, missing, unseen = data_doubts(("a", "b", "c"), fit, newer)
    assert constant.startswith("feature 'a': one value only")
    assert missing.startswith("feature 'b': no value in more than 50% of the rows")
    assert unseen.startswith("feature 'c': no value in the newest 40 rows")


def test_many_features_are_counted() -> None:
    """A plant of a thousand sensors does not fill the screen."""
    fit = np.zeros((10, 20))
    (text,) = data_doubts([f"x{i}" for i in range(20)], fit, rows(20))
    assert text.count("'x") == MOST_NAMES
    assert f"and {20 - MOST_NAMES} more" in text


def test_without_newer_rows_nothing_is_said_about_them() -> None:
    """Too short a series is refused elsewhere, with a better reason."""
    assert data_doubts(("a", "b", "c"), rows(), rows(count=0)) == ()


def cards(times: list[int], amounts: list[float], ids: list[str] | None = None) -> list[Series]:
    """Return one card."""
    own = None if ids is None else np.array(ids, dtype=object)
    return [Series("c0", ("amount",), np.array(times, np.int64), np.array(amounts)[:, None], ids=own)]


def test_rows_of_one_time_are_said_to_be_kept_and_repeated_ones_to_be_left_out() -> None:
    """Nothing is lost without a word, and nothing is said to be lost that is a row."""
    times, amounts = [1, 2, 2, 2, 3, 0], [9.0, 9.0, 9.0, 8.0, 9.0, 9.0]
    lost, shared = order_doubts(cards(times, amounts), WindowSettings(), is_keyed=True)
    assert lost == "2 of 6 rows are not newer than an earlier row of their key and are left out, most of 'c0'"
    assert shared.startswith("1 of 6 rows have the time of an earlier row of their key and are rows of their own")
    dropping = WindowSettings(equal_time="drop")
    assert [one[:11] for one in order_doubts(cards(times, amounts), dropping, is_keyed=True)] == ["3 of 6 rows"]
    named = cards(times, amounts, ["a", "b", "c", "d", "e", "f"])
    assert [one[:11] for one in order_doubts(named, WindowSettings(), is_keyed=True)] == ["1 of 6 rows", "2 of 6 rows"]


def test_rows_in_order_and_rows_that_a_grid_merges_raise_no_doubt() -> None:
    """A sentence that is always there is read by nobody."""
    assert order_doubts(cards([1, 2, 3], [9.0, 9.0, 9.0]), WindowSettings(), is_keyed=True) == ()
    assert order_doubts(cards([1, 2, 2], [9.0, 9.0, 8.0]), WindowSettings(grid_ms=10), is_keyed=True) == ()
