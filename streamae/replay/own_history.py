"""A user's own history, read as the bundle sees it. Must not know what is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streamae.batches import Series
from streamae.connectors.files.tables import read_series
from streamae.errors import ConfigError, DataError
from streamae.model.bundle import Bundle
from streamae.settings.data import FeatureSettings, InputSettings


def read_history(
    of: InputSettings, features: FeatureSettings, data: Sequence[Path], bundle: Bundle, *, needs_times: bool = False
) -> list[Series]:
    """Read the inputs of the bundle under its own names, whatever the files call them.

    Args:
        of, features: how to read the files.
        data: CSV or Parquet files, or folders of them.
        bundle: whose features are wanted.
        needs_times: refuse files without a time column.

    Raises:
        ConfigError: other numbers of fields are named than the bundle has.
        DataError: the files cannot be used.
    """
    encoding = bundle.encoding
    numeric = bundle.features if encoding is None else encoding.fields
    words = () if encoding is None else tuple(vocabulary.field for vocabulary in encoding.categories)
    for name, given, wanted in (
        ("input.value_fields", of.value_fields, numeric),
        ("features.category_fields", features.category_fields, words),
    ):
        if given and len(given) != len(wanted):
            raise ConfigError([f"{name}: {len(given)} names, the bundle has {len(wanted)}"])
    fields, texts = (
        given or tuple(name.replace(".", "\\.") for name in names)
        for given, names in ((of.value_fields, numeric), (features.category_fields, words))
    )
    found = read_series(data, of.model_copy(update={"value_fields": fields}), texts, needs_times=needs_times)
    if any(len(one.categories) != len(words) for one in found):
        raise DataError(f"a category field is missing in the data: the bundle has {', '.join(words)}")
    return [replace(one, features=numeric, categories=words) for one in found]
