"""Names of detectors, and what they change."""

from __future__ import annotations

import pytest

from streamae.errors import ConfigError
from streamae.evaluation.detectors import DECISIONS, NETWORKS, SHIPPED, by_network, settings_of, split
from streamae.settings.tree import Settings


def test_every_name_in_the_tables_fits_the_settings() -> None:
    """A detector that cannot be set up is found here, not after hours."""
    for network in NETWORKS:
        for name in (network, *(f"{network}+{decision}" for decision in DECISIONS)):
            found = settings_of(name, Settings(), seed=3)
            assert found.train.seed == 3
            for field, value in NETWORKS[network].items():
                assert getattr(found.train, field) == value
    assert all(split(name) == (name, None) for name in SHIPPED)


def test_the_default_is_what_is_shipped() -> None:
    """Under that name nothing but the seed differs from the settings given."""
    settings = Settings()
    assert settings_of("default", settings, settings.train.seed) == settings


def test_decisions_change_the_threshold_only() -> None:
    """Sigma rules are comparisons at their own distance, on the same network."""
    base, found = Settings(), settings_of("gru+sigma3", Settings(), 0)
    assert (found.threshold.rule, found.threshold.k, found.train.kind) == ("sigma", 3.0, "gru")
    assert found.window == base.window
    assert found.episode == base.episode


@pytest.mark.parametrize("name", ["", "best", "default+", "default+best", "+sigma3"])
def test_unknown_names_are_refused(name: str) -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match=r"one of default, lstm, gru.*\+sigma8"):
        split(name)


def test_detectors_are_grouped_by_what_must_be_trained() -> None:
    """One training for all decisions of a network, whatever the order, and none twice."""
    assert by_network(["default+sigma8", "gru", "default", "gru"]) == {
        "default": ("default+sigma8", "default"),
        "gru": ("gru",),
    }


def test_changes_that_do_not_fit_are_settings_errors() -> None:
    """What the settings refuse names the detector it was for."""
    base = Settings()
    broken = base.model_copy(update={"train": base.train.model_copy(update={"window_size": 1})})
    with pytest.raises(ConfigError, match=r"detector gru: .*window_size"):
        settings_of("gru", broken, 0)
