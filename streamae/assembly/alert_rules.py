"""From the alert settings to the rules of the core; names of features are resolved here.

This module must not know threshold rules or episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from streamae.batches import Doubles
from streamae.core.deviations import Deviations
from streamae.core.key_rules import AlertRules, Override
from streamae.core.maintenance import Interval, Maintenance, Weekly
from streamae.core.zones import MINUTE_MS, Zone
from streamae.errors import ConfigError
from streamae.settings.alerts import AlertSettings, DeviationSettings, MaintenanceSettings
from streamae.time_zones import read_zone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SIGNS = {"above": 1.0, "below": -1.0, "both": 0.0}


def build_alert_rules(alerts: AlertSettings, features: tuple[str, ...]) -> AlertRules:
    """Build the operator's rules.

    Args:
        alerts: what the operator asks for.
        features: of the bundle, in order.

    Raises:
        ConfigError: with every name that is no feature.
    """
    asked: list[DeviationSettings] = [alerts, *alerts.overrides]
    names = ("alerts", *(f"alerts.overrides.{number}" for number in range(len(alerts.overrides))))
    if problems := [line for name, each in zip(names, asked, strict=True) for line in _unknown(name, each, features)]:
        raise ConfigError(problems)
    usual = _deviations([alerts], features) if any(map(_is_given, asked)) else None
    return AlertRules(
        overrides=tuple(
            Override(
                each.keys,
                each.level_factor,
                each.mute,
                _deviations([alerts, each], features) if _is_given(each) else None,
            )
            for each in alerts.overrides
        ),
        maintenance=tuple(_maintenance(each) for each in alerts.maintenance),
        deviations=usual,
    )


def _by_setting(of: DeviationSettings) -> dict[str, Mapping[str, float]]:
    return {
        "direction": {name: SIGNS[side] for name, side in of.direction.items()},
        "min_deviation": of.min_deviation,
        "min_relative_deviation": of.min_relative_deviation,
    }


def _is_given(of: DeviationSettings) -> bool:
    return any(_by_setting(of).values())


def _unknown(section: str, of: DeviationSettings, features: tuple[str, ...]) -> list[str]:
    """Return a line for each name that is no feature."""
    return [
        f"{section}.{setting}: {name!r} is no feature of the bundle: {', '.join(features)}"
        for setting, given in _by_setting(of).items()
        for name in sorted(set(given) - set(features))
    ]


def _deviations(of: Sequence[DeviationSettings], features: tuple[str, ...]) -> Deviations:
    """Return what matters; later ones overrule earlier ones feature by feature."""
    merged: dict[str, dict[str, float]] = {}
    for each in of:
        for setting, given in _by_setting(each).items():
            merged.setdefault(setting, {}).update(given)
    signs, least, relative = (_by_feature(given, features) for given in merged.values())
    return Deviations(signs, least, relative)


def _by_feature(given: Mapping[str, float], features: tuple[str, ...]) -> Doubles:
    return np.array([given.get(name, 0.0) for name in features])


def _maintenance(of: MaintenanceSettings) -> Maintenance:
    stretch: Interval | Weekly
    if of.start is not None and of.end is not None:
        stretch = Interval(_ms(of.start), _ms(of.end))
    else:
        days = frozenset(DAYS.index(day) for day in of.days)
        clock = Zone.fixed(of.utc_offset_minutes) if of.time_zone is None else read_zone(of.time_zone)
        stretch = Weekly(days, _time_ms(of.from_time), _time_ms(of.to_time), clock)
    return Maintenance(of.keys, stretch, is_silent=of.skip != "learning", is_unlearnt=of.skip != "alerting")


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _time_ms(text: str | None) -> int:
    hours, minutes = (text or "00:00").split(":")
    return (60 * int(hours) + int(minutes)) * MINUTE_MS
