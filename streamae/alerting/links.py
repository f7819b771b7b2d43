"""The address behind an alert, from a template of the settings. Must not know: what is behind it."""

from __future__ import annotations

from urllib.parse import quote

from streamae.alerting.alert import Labels
from streamae.alerting.change import Change
from streamae.alerting.rules import LinkOf, no_link
from streamae.errors import ConfigError
from streamae.observe.logs import get_logger

LONGEST = 2_000


def link_from(template: str | None) -> LinkOf:
    """Return what makes addresses: the labels of the alert and the times of the event, each fit for an address.

    Args:
        template: `alerts.link`, such as `https://grafana.example.com/d/x?var-key={{ key }}&from={{ start_time_ms }}`.

    Raises:
        ConfigError: it is no template, or jinja2 is not installed.
    """
    if template is None:
        return no_link
    try:
        from streamae.alerting.templates import Template, TemplateRefusedError
    except ModuleNotFoundError as error:
        raise ConfigError([f"alerts.link: needs {error.name}: install streamae[alerts]"]) from error
    try:
        filled = Template(template, LONGEST)
    except TemplateRefusedError as error:
        raise ConfigError([f"alerts.link: not a Jinja template: {error}"]) from error

    def link_of(change: Change, labels: Labels) -> str:
        values = {**labels, "episode_id": change.episode_id}
        times = {"start_time_ms": change.start_ms, "end_time_ms": change.end_ms}
        try:
            return filled.fill({name: quote(str(value), safe="") for name, value in (values | times).items()}).strip()
        except TemplateRefusedError as error:  # an alert without a link is better than none
            get_logger().warning("link_not_made", why=str(error))
            return ""

    return link_of
