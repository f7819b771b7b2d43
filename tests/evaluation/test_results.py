"""Results survive on disk as they were, and half a result is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from streamae.evaluation.measures import COLUMNS as MEASURES
from streamae.evaluation.measures import Measures
from streamae.evaluation.results import COLUMNS, Curves, Place, Result, failure, write_table

FIGURES = Measures(**{name: 1.0 / (3 + number) for number, name in enumerate(MEASURES)})


def test_what_is_kept_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    """Figures, undefined ones too, and curves, for names that are no file names."""
    place = Place(tmp_path, "a group", "real/../odd %name", "default+sigma3@fleet", 7)
    measures = Measures(**{name: math.nan if name == "ap" else getattr(FIGURES, name) for name in MEASURES})
    kept = Result("a group", "real/../odd %name", "default+sigma3@fleet", 7, measures, rows=5, fingerprint="f")
    curves = Curves(
        np.array([True, False]), np.array([1.0 / 3.0, np.nan]), np.array([np.inf, 2.0]), np.array([False, True])
    )
    place.save(kept, curves)
    found, drawn = place.load(), place.curves()
    assert found is not None
    assert math.isnan(found.measures.ap)
    assert found.measures.nab_standard == FIGURES.nab_standard
    assert drawn is not None
    for name in Curves.__slots__:
        assert np.array_equal(getattr(drawn, name), getattr(curves, name), equal_nan=name in {"scores", "thresholds"})
    assert place.path.is_relative_to(tmp_path / "results" / "a%20group")


def test_broken_files_are_no_results(tmp_path: Path) -> None:
    """A crash while writing, or a file of another version: it is done again."""
    place = Place(tmp_path, "g", "s", "default", 0)
    assert place.load() is None
    assert place.curves() is None
    place.save(Result("g", "s", "default", 0, FIGURES, fingerprint="f"))
    assert place.load() is not None
    text = place.path.read_text(encoding="utf-8")
    for broken in (text[:-20], "[]", text.replace('"ap"', '"ape"'), text.replace('"rows"', '"lines"')):
        place.path.write_text(broken, encoding="utf-8")
        assert place.load() is None


def test_failures_count_by_whether_there_was_something_to_find(tmp_path: Path) -> None:
    """Zero where an event was missed, nothing where there was none; the reason is one line."""
    place = Place(tmp_path, "g", "s", "default", 0)
    assert failure(place, "broke\ndown", events=1).measures.ap == 0.0
    assert math.isnan(failure(place, "broke", events=0).measures.ap)
    assert failure(place, "broke\n  down").error == "broke down"


def test_the_table_has_every_digit_and_no_nan(tmp_path: Path) -> None:
    """Read back, figures are equal; undefined ones are empty cells."""
    path = tmp_path / "metrics.csv"
    write_table(path, [Result("g", "s,with comma", "default", 0, FIGURES), failure(Place(path, "g", "t", "d", 1), "x")])
    header, first, second = path.read_text(encoding="utf-8").splitlines()
    assert header == ",".join(COLUMNS)
    assert first.startswith('g,"s,with comma",default,0,')
    assert float(first.split(",")[5]) == FIGURES.ap
    assert "nan" not in second
