"""PagerDuty by Events API v2: an incident is triggered, updated and resolved by one key.

Must not know: other receivers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from streamae.alerting.alert import Action, Alert, Notice
from streamae.alerting.answers import outcome_of
from streamae.alerting.http_client import JSON_TYPE, HttpClient, Request
from streamae.alerting.receiver import Outcome, Receiver
from streamae.alerting.receivers.facts import MOST_TEXT, facts_of, features_of, rfc3339, words_of
from streamae.alerting.receivers.turns import tell_each
from streamae.alerting.texts import one_line

ADDRESSES = {"us": "https://events.pagerduty.com/v2/enqueue", "eu": "https://events.eu.pagerduty.com/v2/enqueue"}
MOST_BYTES = 512_000
MOST_DETAILS = 60


class PagerDuty(Receiver):
    """One integration of a service at PagerDuty.

    Args:
        name: as in the settings.
        url: where events are posted.
        routing_key: integration key.
        client: asks.
        zone: in which times are shown beside UTC.
    """

    wants_every_change = False
    groups_alerts = True
    repeat_ms: int | None = None
    repeat_resolved_ms = 0

    def __init__(self, name: str, url: str, routing_key: str, client: HttpClient, zone: str | None = None) -> None:
        self.name = name
        self._url, self._routing_key, self._client, self._zone = url, routing_key, client, zone

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        def tell(notice: Notice, within_s: float) -> Outcome:
            request = Request("POST", self._url, self._body(notice), JSON_TYPE, within_s)
            return outcome_of(self._client.ask(request), now_ms, [self._routing_key])

        return tell_each(notices, tell, self._client.clock, self._client.timeout_ms)

    def close(self) -> None:
        self._client.close()

    def _body(self, notice: Notice) -> bytes:
        """Return the event, without its details where they would make it too large."""
        alert = notice.alert
        event: dict[str, Any] = {
            "routing_key": self._routing_key,
            "event_action": "resolve" if notice.action is Action.RESOLVE else "trigger",
            "dedup_key": alert.dedup_key,
            "client": "streamae",
            "payload": self._payload(alert),
        }
        if alert.link:
            event |= {"client_url": alert.link, "links": [{"href": alert.link, "text": "where to look"}]}
        body = json.dumps(event).encode()
        if len(body) > MOST_BYTES:
            del event["payload"]["custom_details"]
            body = json.dumps(event).encode()
        return body

    def _payload(self, alert: Alert) -> dict[str, Any]:
        event, identity = alert.event, alert.identity
        started_ms = event.get("start_time_ms")
        payload = {
            "summary": one_line(alert.summary, MOST_TEXT) or alert.identity.get("alertname", "streamae"),
            "source": identity.get("key") or identity.get("detector") or "streamae",
            "severity": alert.severity.word,
            "timestamp": rfc3339(started_ms if isinstance(started_ms, int) else alert.started_ms),
            "component": next((feature.name for feature in features_of(event)), ""),
            "group": identity.get("detector", ""),
            "class": identity.get("cause", ""),
        }
        texts = {name: one_line(text, MOST_TEXT) for name, text in payload.items()}
        return {**{name: text for name, text in texts.items() if text}, "custom_details": self._details(alert)}

    def _details(self, alert: Alert) -> Mapping[str, str]:
        event = alert.event
        found = {
            **{f"feature {number}": str(feature) for number, feature in enumerate(features_of(event), 1)},
            **facts_of(alert, self._zone),
            **words_of(event),
            **alert.extra,
            **alert.identity,
        }
        listed = [(name, one_line(text, MOST_TEXT)) for name, text in found.items() if text]
        return dict(listed[:MOST_DETAILS])
