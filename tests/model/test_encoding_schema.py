"""The bundle's encoding comes back as it was, and one from anybody is refused unless it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.core.categories import Vocabulary
from streamae.core.derivations import TIMED
from streamae.core.encoding import Encoding
from streamae.errors import BundleError
from streamae.model.bundle import Bundle, load_bundle
from streamae.model.bundle_schema import Fields
from streamae.model.encoding_schema import describe_encoding, read_encoding
from streamae.time_zones import read_zone
from tests.model.models import architecture, bundle
from tests.model.test_bundle import edit

ENCODING = Encoding(
    ("amount", "age"),
    ("amount",),
    (Vocabulary("shop", ("bakery", "fuel"), 2), Vocabulary("country", (), 1)),
    ("interval", "hour"),
    -90,
)


def encoded_bundle(encoding: Encoding = ENCODING) -> Bundle:
    """Return an untrained bundle of the features that are derived."""
    return replace(bundle(architecture(features=len(encoding.features))), features=encoding.features, encoding=encoding)


def again(encoding: Encoding) -> Encoding:
    """Write an encoding as plain values and read it back."""
    return read_encoding(Fields(describe_encoding(encoding), "encoding"), encoding.features)


def parts(encoding: Encoding) -> tuple[Any, ...]:
    """Return everything an encoding is made of, in a form that can be compared."""
    plain = replace(encoding, categories=())
    return plain, [(of.field, of.known, of.buckets) for of in encoding.categories]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    inputs=st.lists(names, min_size=2, max_size=4, unique=True),
    known=st.lists(names, max_size=4, unique=True),
    asked=st.sets(st.sampled_from(sorted(TIMED))),
    offset=st.integers(-1_080, 1_080),
)
def test_every_encoding_survives(inputs: list[str], known: list[str], asked: set[str], offset: int) -> None:
    """Fields and words may be anything people write, and come back in their order."""
    *fields, category = inputs
    try:
        timed = tuple(name for name in TIMED if name in asked)
        of = Encoding(tuple(fields), tuple(fields[:1]), (Vocabulary(category, known, 3),), timed, offset)
    except ValueError:
        return  # names that clash
    assert parts(again(of)) == parts(of)


def test_a_bundle_keeps_its_encoding(tmp_path: Path) -> None:
    """What was derived in training is derived live, and decides the version that events name."""
    of = encoded_bundle()
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert found.encoding is not None
    assert parts(found.encoding) == parts(ENCODING)
    assert found.inputs == ("amount", "age", "shop", "country")
    assert found.version == of.version
    rows = np.array([[5.0, 1.0, 1.0, 0.0]], dtype=np.float32)
    times = np.array([1_700_000_000_000], dtype=np.int64)
    assert found.encoding.apply(rows, times, rows[:, 0]).tobytes() == ENCODING.apply(rows, times, rows[:, 0]).tobytes()


def test_a_bundle_keeps_its_counters(tmp_path: Path) -> None:
    """Rates are frozen like all that is derived; bundles without any do not speak of them, and stay as they were."""
    of = encoded_bundle(replace(ENCODING, rate_fields=("age",)))
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert found.encoding is not None
    assert (found.encoding.rate_fields, found.encoding.counters) == (("age",), (1,))
    assert found.features[1] == "age.rate"
    assert found.version != encoded_bundle().version
    assert "rate_fields" not in describe_encoding(ENCODING)


def test_versions_tell_encodings_apart() -> None:
    """The same weights over other categories are another model."""
    turned = (Vocabulary("shop", ("fuel", "bakery"), 2), ENCODING.categories[1])
    others = [replace(ENCODING, utc_offset_minutes=0), replace(ENCODING, categories=turned)]
    versions = {replace(encoded_bundle(), encoding=other).version for other in [ENCODING, *others]}
    assert len(versions | {replace(encoded_bundle(), encoding=None).version}) == 4


def test_a_bundle_names_the_zone_and_nothing_more(tmp_path: Path) -> None:
    """The clock is made of the name where the bundle is read; bundles without a zone are the bytes they were."""
    assert "time_zone" not in describe_encoding(ENCODING)
    of = replace(ENCODING, utc_offset_minutes=0, zone=read_zone("Europe/Rome"))
    assert describe_encoding(of) == describe_encoding(replace(of, zone=None)) | {"time_zone": "Europe/Rome"}
    encoded_bundle(of).save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle").encoding
    assert found is not None
    assert found.zone == of.zone
    sentence = found.explain(found.features.index("hour.sin"), 0.5, 0.1, 1_750_000_000_000)
    assert sentence == "at 17:06 Europe/Rome, unusual here"


def test_a_bundle_without_encoding_says_nothing_about_it(tmp_path: Path) -> None:
    """Bundles of sensors are the bytes they were before there were encodings."""
    bundle().save(tmp_path / "bundle")
    assert "encoding" not in (tmp_path / "bundle" / "bundle.json").read_text()
    found = load_bundle(tmp_path / "bundle")
    assert found.encoding is None
    assert found.inputs == found.features


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda e: e.pop("fields"), "encoding.fields is missing"),
        (lambda e: e.update(fields="amount"), "encoding.fields is not a list"),
        (lambda e: e.update(fields=[]), "at least one numeric field"),
        (lambda e: e.update(fields=["amount", "amount"]), "'amount' stands twice"),
        (lambda e: e.update(log_fields=["shop"]), "log_fields: 'shop' is none"),
        (lambda e: e.update(rate_fields="age"), "encoding.rate_fields is not a list"),
        (lambda e: e.update(rate_fields=["amount"]), "rate_fields: 'amount' is one of log_fields too"),
        (lambda e: e.update(rate_fields=["age"]), "derives 10 features, not the 10 of the bundle"),
        (lambda e: e.update(log_fields=["age"]), "derives 10 features, not the 10 of the bundle"),
        (lambda e: e.update(interval=2), "interval is 2"),
        (lambda e: e.update(interval=True), "encoding.interval is not an integer"),
        (lambda e: e.update(interval=0), "derives 9 features, not the 10"),
        (lambda e: e.update(time_features=["minute"]), "'minute' is none of"),
        (lambda e: e.update(utc_offset_minutes=10**30), "utc_offset_minutes is 1000"),
        (lambda e: e.update(utc_offset_minutes=1.5), "is not an integer"),
        (lambda e: e.update(time_zone="Europe/Rom"), "no time zone 'Europe/Rom': did you mean Europe/Rome"),
        (lambda e: e.update(time_zone="../../passwd"), "there is no time zone"),
        (lambda e: e.update(time_zone=None), "time_zone is not text"),
        (lambda e: e.update(time_zone="Europe/Rome"), "are two clocks"),
        (lambda e: e.update(category_fields=["shop", "country", "x"]), "encoding.categories.x is missing"),
        (lambda e: e.update(category_fields=["shop"]), "derives 9 features"),
        (lambda e: e["categories"]["shop"].update(known=["fuel", "fuel"]), "a known value stands twice"),
        (lambda e: e["categories"]["shop"].update(known=["fuel", 7]), r"known\[1\] is not text"),
        (lambda e: e["categories"]["shop"].update(known=["fuel", "x" * 1_000]), "longer than 64"),
        (lambda e: e["categories"]["shop"].update(buckets=10**12), "has 1000000000000 buckets"),
        (lambda e: e["categories"]["shop"].update(buckets=0), "has 0 buckets"),
        (lambda e: e.update(categories=[]), "encoding.categories is not an object"),
    ],
)
def test_hostile_encodings_are_refused(tmp_path: Path, change: Change, complaint: str) -> None:
    """Every part is checked before it is used, and named; nothing large is made from a number in a file."""
    encoded_bundle().save(tmp_path / "bundle")
    edit(tmp_path / "bundle", lambda description: change(description["encoding"]))
    with pytest.raises(BundleError, match=complaint):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("section", [None, [], "x", 7])
def test_an_encoding_must_be_an_object(tmp_path: Path, section: Any) -> None:
    """Null is not the same as absent: who wrote it meant something."""
    encoded_bundle().save(tmp_path / "bundle")
    edit(tmp_path / "bundle", lambda description: description.update(encoding=section))
    with pytest.raises(BundleError, match="encoding is not an object"):
        load_bundle(tmp_path / "bundle")


def test_saving_checks_too(tmp_path: Path) -> None:
    """A bundle whose features are not those derived could never be loaded again."""
    with pytest.raises(BundleError, match="not the 10 of the bundle"):
        replace(encoded_bundle(), encoding=replace(ENCODING, timed=("hour",))).save(tmp_path / "bundle")
