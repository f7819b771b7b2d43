"""The `encoding` section of `bundle.json`: how it is written, and how it is read from anyone.

Everything is checked before it is used, and numbers that decide sizes are bounded before anything is made of them.
"""

from __future__ import annotations

from typing import Any

from streamae.core.categories import Vocabulary
from streamae.core.encoding import INTERVAL, Encoding
from streamae.errors import BundleError
from streamae.model.architecture import MAX_FEATURES
from streamae.model.bundle_schema import Fields
from streamae.time_zones import read_zone


def describe_encoding(encoding: Encoding) -> dict[str, Any]:
    """Return the section as plain values."""
    return {
        "fields": list(encoding.fields),
        "log_fields": list(encoding.log_fields),
        "category_fields": [vocabulary.field for vocabulary in encoding.categories],
        "categories": {
            vocabulary.field: {"known": list(vocabulary.known), "buckets": vocabulary.buckets}
            for vocabulary in encoding.categories
        },
        "interval": int(encoding.has_interval),
        "time_features": [name for name in encoding.timed if name != INTERVAL],
        "utc_offset_minutes": encoding.utc_offset_minutes,
    } | (
        ({} if encoding.zone is None else {"time_zone": encoding.zone.name})
        | ({"rate_fields": list(encoding.rate_fields)} if encoding.rate_fields else {})
    )  # bundles without are as before


def read_encoding(section: Fields, features: tuple[str, ...]) -> Encoding:
    """Read the section back.

    Args:
        section: of the description.
        features: names the bundle says it has; the encoding must derive exactly these.

    Raises:
        BundleError: a part is missing, of the wrong type, or does not fit the others.
    """
    names, described = section.texts("category_fields"), section.section("categories")
    try:
        encoding = Encoding(
            section.texts("fields"),
            section.texts("log_fields"),
            tuple(_vocabulary(name, described.section(name)) for name in names),
            ((INTERVAL,) if _flag(section, "interval") else ()) + section.texts("time_features"),
            section.integer("utc_offset_minutes"),
            read_zone(section.text("time_zone")) if section.has("time_zone") else None,
            rate_fields=section.texts("rate_fields") if section.has("rate_fields") else (),
        )
    except ValueError as error:
        raise BundleError(f"encoding: {error}") from None
    if encoding.features != features:
        raise BundleError(f"encoding: derives {len(encoding.features)} features, not the {len(features)} of the bundle")
    return encoding


def _vocabulary(name: str, described: Fields) -> Vocabulary:
    buckets = described.integer("buckets")
    if not 1 <= buckets <= MAX_FEATURES:
        raise ValueError(f"category {name!r} has {buckets} buckets, allowed are 1 to {MAX_FEATURES}")
    return Vocabulary(name, described.texts("known"), buckets)


def _flag(section: Fields, name: str) -> bool:
    number = section.integer(name)
    if number not in {0, 1}:
        raise ValueError(f"{name} is {number}, allowed are 0 and 1")
    return number == 1
