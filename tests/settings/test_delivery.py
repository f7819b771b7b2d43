"""The settings of delivery: what is wrong is said once, where it is."""

from __future__ import annotations

from typing import Any

import pytest

from streamae.settings.delivery import DeliverySettings
from tests.settings.test_alerts import problems


def test_a_wrong_receiver_is_not_blamed_on_the_routes_to_it(tmp_path: Any) -> None:
    """One slip in a kind is one line: the routes lead where they should."""
    (line,) = problems(
        tmp_path,
        """
[[alerts.receivers]]
name = "pager"
kind = "pagerdutty"

[[alerts.routes]]
receiver = "pager"
""",
    )
    assert line.startswith("alerts.receivers: [0][kind] Input should be")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"routes": [{"receiver": "b"}]}, "alerts.routes: none of alerts.receivers is called b"),
        ({"receivers": [{"name": "a", "kind": "log"}] * 2}, "alerts.receivers: two have the same name"),
        ({"warning_severity": 91}, "alerts.warning_severity: must not exceed alerts.critical_severity"),
        ({"hold_ms": 179_999}, "alerts.hold_ms: at least three times alerts.repeat_ms"),
    ],
)
def test_what_no_single_setting_can_see_is_told(given: dict[str, Any], expected: str) -> None:
    """A route to nobody, two of one name, classes upside down, alerts that end between two repeats."""
    settings = DeliverySettings.model_validate({"receivers": [{"name": "a", "kind": "log"}], **given})
    assert settings.delivery_conflicts() == [expected]
    assert DeliverySettings(receivers=settings.receivers[:1]).delivery_conflicts() == []
