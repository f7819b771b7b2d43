"""Odd rows: which features are named, and that usual ones are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamae.training.data_doubts import MOST_NAMES, data_doubts


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
