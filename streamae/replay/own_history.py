"""A user's own history, read as the bundle sees it. Must not know what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from streamae.assembly.connectors import mapped_inputs, required_inputs
from streamae.batches import Series
from streamae.connectors.past_records import PastData, read_past
from streamae.model.bundle import Bundle
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings


def read_history(
    of: InputSettings,
    window: WindowSettings,
    features: FeatureSettings,
    data: PastData,
    bundle: Bundle,
    tell: Callable[[str], None],
) -> list[Series]:
    """Read the inputs of the bundle under its own names, whatever the files call them, in the order of time.

    Args:
        of, window, features: how to read the files.
        data: files, folders of them, or records of a topic.
        bundle: whose features are wanted.
        tell: hears what is left out, and of fields whose names do not say which feature they are.

    Raises:
        ConfigError: the fields that are named do not fit the bundle.
        DataError: the files cannot be used.
    """
    fields, texts = mapped_inputs(of, features, bundle, tell)
    of = of.model_copy(update={"value_fields": fields})
    requires = partial(required_inputs, window)
    found = read_past(data, of, texts, tell, features=bundle.numbers, requires=requires, sorts=True)
    return [replace(one, categories=bundle.words) for one in found]
