"""A user's own history, read as the bundle sees it. Must not know what is done with it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from streamae.assembly.connectors import required_inputs
from streamae.batches import Series
from streamae.connectors.files.series import Tell
from streamae.connectors.past_records import PastData, read_past
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings


def read_history(
    of: InputSettings,
    window: WindowSettings,
    features: FeatureSettings,
    data: PastData,
    bundle: Bundle,
    tell: Tell | None = None,
) -> list[Series]:
    """Read the inputs of the bundle under its own names, whatever the files call them, in the order of time.

    Args:
        of, window, features: how to read the files.
        data: files, folders of them, or records of a topic.
        bundle: whose features are wanted.
        tell: hears what is left out.

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
    texts = features.category_fields or words
    found = read_past(data, of, texts, tell, features=numeric, requires=partial(required_inputs, window), sorts=True)
    return [replace(one, categories=words) for one in found]
