"""Fields are features by name: a list in another order is put right or refused, and never believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from streamae.connectors.field_names import map_fields
from streamae.errors import ConfigError
from tests.records import PARTITION, codec, record

FEATURES = ("temp", "load", "net.in")


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ((), FEATURES),
        (FEATURES, FEATURES),
        (("load", "net.in", "temp"), FEATURES),
        ((r"net\.in", "load", "temp"), ("temp", "load", r"net\.in")),
        (("a.load", "b.in", "c.temp"), ("c.temp", "a.load", "b.in")),
        (("load", "a.temp", "b.in"), ("a.temp", "load", "b.in")),
        ({"load": "cpu.load1"}, ("temp", "cpu.load1", "net.in")),
        ({"net.in": "a", "temp": "b", "load": "c"}, ("b", "c", "a")),
    ],
)
def test_each_feature_gets_the_path_of_its_name(given: Any, paths: tuple[str, ...]) -> None:
    """By a table, by the whole path, or by its last part: in no case does the order of a list count."""
    assert map_fields(FEATURES, given) == paths


@drawn(st.permutations(FEATURES), st.sampled_from(["", "a.", "a.b."]))
def test_no_permutation_is_believed(names: list[str], prefix: str) -> None:
    """Whatever the order in which a user writes the names, each feature gets its own."""
    wanted = tuple(prefix + name for name in FEATURES)
    assert map_fields(FEATURES, [prefix + name for name in names]) == wanted


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("load", "y", "z"), "[load, y, z] for the features [temp, load, net.in]"),
        (("load", "temp", "z"), "which is which is not told by their names"),
        (("a.load", "b.load", "net.in"), 'write input.value_fields = {"temp" = "a.load", ...}'),
        (("temp", "load"), "2 names for 3 features; give 3, or one name for an array: temp, load, net.in"),
        ({"tmp": "a"}, "'tmp' is no feature; there are temp, load, net.in"),
    ],
)
def test_what_names_do_not_tell_is_refused_with_both_lists(given: Any, reason: str) -> None:
    """The message holds what was given, what is wanted, and the table that settles it."""
    with pytest.raises(ConfigError) as caught:
        map_fields(FEATURES, given, takes_array=True)
    assert str(caught.value).startswith("input.value_fields: ")
    assert reason in str(caught.value)


def test_order_alone_is_taken_only_where_somebody_is_told() -> None:
    """For bundles that do not say how their rows were made; names that stand elsewhere are refused even then."""
    told: list[str] = []
    assert map_fields(FEATURES, ("x", "load", "z"), told.append) == ("x", "load", "z")
    assert told == [
        (
            "input.value_fields: [x, load, z] for the features [temp, load, net.in]: taken in this order, because their"
            ' names do not tell: write input.value_fields = {"temp" = "x", ...}'
        )
    ]
    with pytest.raises(ConfigError, match="not told by their names"):
        map_fields(FEATURES, ("load", "y", "z"), told.append)
    assert len(told) == 1


def test_one_name_may_be_any() -> None:
    """There is nothing to mix up with a single feature, and an array has its own order."""
    assert map_fields(("temp",), ("payload.v",)) == ("payload.v",)
    assert map_fields(FEATURES, ("values",), takes_array=True) == ("values",)
    with pytest.raises(ConfigError, match="1 names for 3 features; give 3: "):
        map_fields(FEATURES, ("values",))


@pytest.mark.parametrize(
    ("settings", "contents", "rows"),
    [
        ({"value_fields": ("b.load", "a.temp")}, [{"a": {"temp": 1}, "b": {"load": 2}}], [[1, 2]]),
        ({"value_fields": {"temp": "load", "load": "temp"}}, [{"load": 1, "temp": 2}], [[1, 2]]),
        (
            {"value_fields": {"temp": "t", "load": "l"}, "layout": "long"},
            [{"name": "t", "value": 1}, {"name": "l", "value": 2}],
            [[1, np.nan], [np.nan, 2]],
        ),
        ({"value_fields": ("load", "temp"), "layout": "long"}, [{"name": "temp", "value": 1}], [[1, np.nan]]),
    ],
)
def test_the_codec_reads_by_name(settings: dict[str, Any], contents: list[Any], rows: list[Any]) -> None:
    """Both layouts: the first feature is the temperature wherever it stands in the settings."""
    batch, rejected = codec(("temp", "load"), **settings).decode({PARTITION: [record(content) for content in contents]})
    assert rejected == []
    np.testing.assert_array_equal(batch.values, rows)
