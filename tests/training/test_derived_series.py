"""What the settings ask for is derived, and goes into the bundle."""

from __future__ import annotations

from streamae.settings.data import FeatureSettings
from streamae.time_zones import read_zone
from streamae.training.derived_series import derive
from streamae.training.options import TrainOptions
from tests.training.test_score_history import sines


def test_the_zone_of_the_settings_is_the_one_of_the_features() -> None:
    """A bundle whose hours are those of UTC, although a place was asked for, would find Monday morning odd each summer."""
    features = FeatureSettings(time_features=("hour",), time_zone="Europe/Rome")
    encoding = derive([sines("a")], TrainOptions(features=features)).encoding
    assert encoding is not None
    assert encoding.zone == read_zone("Europe/Rome")
