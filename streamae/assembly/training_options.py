"""From settings to what training needs, so that it makes windows as the live stream does."""

from __future__ import annotations

import dataclasses

from streamae.core.encoding import FeatureOptions
from streamae.core.grid import longest_gap_ms
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions


def train_options(settings: Settings) -> TrainOptions:
    """Pick what training needs out of the settings, so that it makes windows as the live stream does."""
    values = settings.window.model_dump() | settings.train.model_dump() | settings.model.model_dump()
    values["max_gap_ms"] = longest_gap_ms(
        settings.window.max_gap_ms, settings.window.grid_ms, settings.train.window_size
    )
    values |= {"features": feature_options(settings), "scaling": settings.features.scaling}
    return TrainOptions(**{field.name: values[field.name] for field in dataclasses.fields(TrainOptions)})


def feature_options(settings: Settings) -> FeatureOptions:
    """Pick what is derived from the fields out of the settings."""
    values = settings.features.model_dump()
    values["log_fields"] = tuple(name.replace("\\.", ".") for name in values["log_fields"])  # as columns of files
    return FeatureOptions(**{field.name: values[field.name] for field in dataclasses.fields(FeatureOptions)})
