"""Zones by name: the pinned ones, whole, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.time_zones import read_zone, zone_names

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def standard(name: str) -> ZoneInfo:
    """The same zone of the standard library."""
    with (files("tzdata") / "zoneinfo" / name).open("rb") as file:
        return ZoneInfo.from_file(file)


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"]
)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_zone_is_the_one_of_the_standard_library(name: str, moment: datetime) -> None:
    """Summer times of half an hour, of Ramadan, of the south, a day left out: all of them, up to the year 2100."""
    expected = moment.astimezone(standard(name)).utcoffset()
    found = read_zone(name).offset_at(np.array([(moment - EPOCH) // timedelta(milliseconds=1)], np.int64))
    assert timedelta(milliseconds=int(found[0])) == expected


@pytest.mark.slow
def test_no_clock_is_set_twice_in_three_days() -> None:
    """Changes of the clock are looked for three days at a time: newer data of zones that break this show here."""
    different = {(files("tzdata") / "zoneinfo" / name).read_bytes(): name for name in zone_names()}
    for name in different.values():
        zone = read_zone(name)
        assert (np.diff(zone.transitions_ms) > 3 * 86_400_000).all(), name
        assert (np.diff(zone.offsets_ms) != 0).all(), name


@pytest.mark.parametrize("name", ["", "CEST", "Europe/Rom", "../zones", "/etc/passwd", "europe/rome", "x" * 1_000])
def test_other_names_are_refused(name: str) -> None:
    """Only names of the list reach the files; a message quotes no more than it must."""
    with pytest.raises(ValueError, match="there is no time zone") as refused:
        read_zone(name)
    assert len(str(refused.value)) < 200


def test_a_similar_name_is_offered() -> None:
    """A slip of the pen is mended without a search."""
    with pytest.raises(ValueError, match="did you mean Europe/Rome"):
        read_zone("Europe/Rom")
