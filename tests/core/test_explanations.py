"""Derived features read as sentences about the fields a person knows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.categories import Vocabulary
from streamae.core.derivations import TIMED
from streamae.core.encoding import Encoding
from tests.core_batches import quick

ENCODING = Encoding(("amount", "age"), ("amount",), (Vocabulary("shop", ("bakery", "fuel"), 1),), tuple(TIMED), -90)
SUNDAY = 1_735_438_500_000  # 2024-12-29T02:15Z, a Sunday; 90 minutes before it is still Sunday, 00:45


def said(feature: str, actual: float, expected: float, encoding: Encoding = ENCODING) -> str:
    """Return the sentence about a feature by name."""
    return encoding.explain(encoding.features.index(feature), actual, expected, SUNDAY)


def test_amounts_are_given_as_they_were_sent() -> None:
    """Nobody reads logarithms of money."""
    assert said("amount.log", math.log(1_340), math.log(20)) == "amount 1,339, expected about 19"
    assert said("amount.log", -math.log(11), 0.0) == "amount -10, expected about 0"
    assert said("age", 31.5, 30.0) == "age 31.5, expected about 30"


def test_rates_are_said_as_growth() -> None:
    """A counter of bytes that grows too fast is told in bytes a second, not by where it stands."""
    of = Encoding(("bytes",), rate_fields=("bytes",))
    assert said("bytes.rate", 4_112.0, 1_020.3, of) == "bytes grew by 4,112 a second, expected about 1,020"


def test_categories_are_named() -> None:
    """Both the value that came and the one that should have come are news; an unknown one has no name to give."""
    assert said("shop=fuel", 1.0, 0.02) == "shop is fuel, expected with 2%"
    assert said("shop=bakery", 0.0, 1.3) == "shop is not bakery, expected with 100%"
    assert said("shop~other", 1.0, -0.1) == "shop is a value that training did not know"
    assert said("shop~other", 0.0, 0.25) == "shop is a value that training knew, an unknown one was expected with 25%"


def test_intervals_have_a_unit_a_person_would_choose() -> None:
    """From milliseconds to days, and never below zero however wrong the forecast."""
    assert (
        said("interval.log", math.log1p(0.4), math.log1p(7_200))
        == "400.0 ms since the record before, expected about 2.0 h"
    )
    assert said("interval.log", math.log1p(200_000), -0.2) == "2.3 d since the record before, expected about 0 s"


def test_times_are_read_from_the_clock_that_was_configured() -> None:
    """Sine and cosine of an angle become a time and a day, in the stated offset."""
    assert said("hour.sin", 0.1, 0.2) == said("hour.cos", 0.1, 0.2) == "at 00:45 UTC-01:30, unusual here"
    assert said("weekday.cos", 0.1, 0.2) == "on a Sunday, unusual here"
    utc = Encoding(("a",), timed=("hour",))
    assert said("hour.sin", 0, 0, utc) == "at 02:15 UTC, unusual here"


@quick
@given(
    feature=st.integers(0, len(ENCODING.features) - 1),
    actual=st.floats(width=32, allow_nan=False, allow_infinity=False),
    expected=st.floats(width=32, allow_nan=False, allow_infinity=False),
    time_ms=st.integers(-(2**53), 2**53),
)
def test_every_finite_number_can_be_said(feature: int, actual: float, expected: float, time_ms: int) -> None:
    """An event must not fail on a forecast that is far off."""
    text = ENCODING.explain(feature, actual, expected, time_ms)
    assert ENCODING.sources[feature] in text or text.startswith(("at ", "on a ")) or "since" in text
    assert len(text) < 120


@pytest.mark.parametrize("feature", ENCODING.features)
def test_no_sentence_speaks_of_derived_names(feature: str) -> None:
    """`amount.log` or `hour.sin` in a sentence would be our business, not the reader's."""
    if feature not in ENCODING.fields:
        assert feature not in said(feature, 0.5, 0.1)
