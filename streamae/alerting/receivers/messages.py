"""Messages to people: many alerts as one title and one text, by templates, harmless whatever keys and names hold.

Must not know: who carries them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamae.alerting.alert import Alert, Notice
from streamae.alerting.receivers.facts import (
    ending_of,
    features_of,
    numbers_of,
    shown_number,
    shown_time,
    silence_of,
    times_of,
    words_of,
)
from streamae.alerting.templates import Template
from streamae.alerting.texts import inert, one_line

MOST_SHOWN = 10
MOST_TITLE = 250
MOST_BODY = 20_000
MOST_TEXT = 500
MOST_ITEMS = 50
MOST_DEPTH = 6

TITLE = """\
{% if is_over %}{{ ending }}: {% elif over_count %}{{ open_count }} open, {{ over_count }} over: \
{% else %}{{ worst | upper }}: {% endif %}
{% if count == 1 %}{{ alerts[0].summary }}{% else %}{{ count }} alerts\
{% for name, value in shared.items() %}, {{ name }}={{ value }}{% endfor %}{% endif %}
"""

BODY = """\
{% for alert in alerts %}
- {% if alert.is_over %}{{ alert.ending }}: {% endif %}{{ alert.summary }}
{% for feature in alert.features[:3] %}
    {{ feature }}
{% endfor %}
{% if alert.silent_keys > 1 %}
    {{ alert.silent_keys }} of the {{ alert.partition_keys }} keys of its partition are silent
{% endif %}
    since {{ alert.start }}{% if alert.is_over %}, until {{ alert.end or alert.ended }}{% endif %}

{% if alert.state and alert.state != "ready" %}
    the key is {{ alert.state }}{% if alert.state_reason %}: {{ alert.state_reason }}{% endif %}

{% endif %}
{% for name, value in alert.extra.items() %}
    {{ name }}: {{ value }}
{% endfor %}
{% if alert.link %}
    {{ alert.link }}
{% endif %}
{% endfor %}
{% if more %}
and {{ more }} more
{% endif %}
"""


class MessageMaker:
    """Makes one message of what is told together.

    Args:
        receiver: its name, for templates.
        title: Jinja template of the first line; None = ours.
        body: Jinja template of the text; None = ours.
        zone: in which times are shown beside UTC.

    Raises:
        TemplateRefusedError: one of them is no template.
    """

    def __init__(self, receiver: str, title: str | None, body: str | None, zone: str | None) -> None:
        self._receiver, self._zone = receiver, zone
        self._title = Template(TITLE if title is None else title, 4 * MOST_TITLE)
        self._body = Template(BODY if body is None else body, MOST_BODY)

    def message(self, notices: Sequence[Notice]) -> tuple[str, str]:
        """Return title and text.

        Raises:
            TemplateRefusedError: a template cannot be filled in with these alerts.
        """
        values = self.values(notices)
        return one_line(self._title.fill(values), MOST_TITLE), self._body.fill(values).strip()

    def values(self, notices: Sequence[Notice]) -> dict[str, Any]:
        """Return what templates are given, all text of it harmless.

        The worst come first: open ones before those that are over, by class, then by severity.
        """
        alerts = sorted((notice.alert for notice in notices), key=_badness)
        over = [alert for alert in alerts if alert.ended_ms is not None]
        endings = {ending_of(alert).partition(":")[0] for alert in over}
        shown = [self._shown(alert) for alert in alerts[:MOST_SHOWN]]
        labels = [alert.identity for alert in alerts]
        return {
            "receiver": self._receiver,
            "alerts": shown,
            "count": len(alerts),
            "more": len(alerts) - len(shown),
            "open_count": len(alerts) - len(over),
            "over_count": len(over),
            "is_over": len(over) == len(alerts),
            "ending": inert((endings.pop() if len(endings) == 1 else "over").capitalize(), MOST_TEXT),
            "worst": max(alert.severity for alert in alerts).word,
            "shared": harmless(
                {
                    name: value
                    for name, value in labels[0].items()
                    if name != "alertname" and value and all(other.get(name) == value for other in labels)
                }
            ),
        }

    def _shown(self, alert: Alert) -> dict[str, Any]:
        event, zone = alert.event, self._zone
        times = times_of(event, zone)
        facts = {
            "summary": alert.summary,
            "severity": alert.severity.word,
            "score": numbers_of(event).get("severity", ""),
            "confidence": numbers_of(event).get("confidence", ""),
            "labels": dict(alert.identity),
            "key": alert.identity.get("key", ""),
            "features": [str(feature) for feature in features_of(event)],
            "state": "",
            "state_reason": "",
            **words_of(event),
            **silence_of(event),
            "started": shown_time(alert.started_ms, zone),
            "start": times.get("start", shown_time(alert.started_ms, zone)),
            "peak": times.get("peak", ""),
            "end": times.get("end", ""),
            "ended": "" if alert.ended_ms is None else shown_time(alert.ended_ms, zone),
            "is_over": alert.ended_ms is not None,
            "ending": ending_of(alert).capitalize(),
            "close_reason": alert.close_reason,
            "episode_id": alert.episode_id,
            "sequence": alert.sequence,
            "extra": dict(alert.extra),
            "event": dict(event),
        }
        # The only text that may become a link; its template is ours to trust, what was filled in is not.
        return {**harmless(facts), "link": one_line(alert.link, MOST_TEXT) if is_link(alert.link) else ""}


def harmless(value: Any, depth: int = MOST_DEPTH) -> Any:
    """Return a copy in which no text is more than text to a chat or mail program, bounded in size and depth."""
    if isinstance(value, str):
        return inert(value, MOST_TEXT)
    if isinstance(value, bool | int | float | None):
        return value
    if depth and isinstance(value, Mapping):
        items = list(value.items())[:MOST_ITEMS]
        return {inert(str(name), MOST_TEXT): harmless(one, depth - 1) for name, one in items}
    if depth and isinstance(value, list | tuple):
        return [harmless(one, depth - 1) for one in value[:MOST_ITEMS]]
    return "…"


def is_link(text: str) -> bool:
    """Tell whether `text` is a web address and nothing beside it."""
    return text.startswith(("http://", "https://")) and not any(letter in text for letter in "<>\"'`|\\ \t\r\n")


def _badness(alert: Alert) -> tuple[bool, int, float, int]:
    severity = alert.event.get("severity")
    number = float(severity) if isinstance(severity, int | float) and shown_number(severity) != "?" else 0.0
    return alert.ended_ms is not None, -alert.severity, -number, alert.started_ms
