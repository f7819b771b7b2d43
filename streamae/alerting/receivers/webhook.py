"""A service of your own: each change as CloudEvents JSON, signed as Standard Webhooks say.

Must not know: other receivers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from streamae.alerting.alert import Action, Alert, Notice
from streamae.alerting.answers import outcome_of
from streamae.alerting.http_client import HttpClient, Request
from streamae.alerting.receiver import Outcome, Receiver
from streamae.alerting.receivers.facts import MOST_TEXT, rfc3339
from streamae.alerting.receivers.turns import tell_each
from streamae.alerting.texts import one_line
from streamae.connectors.events import EVENT_TYPE, SCHEMA_ID, event_id

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
ALERT_TYPE = "io.streamae.alert.{action}.v1"
SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret begins
LEAST_SECRET = 16
KINDS = {
    Action.TRIGGER: ("opened", "updated"),
    Action.UPDATE: ("opened", "updated"),
    Action.RESOLVE: ("closed",),
    Action.REPEAT: (),
}
_NAMESPACE = uuid.UUID("0b9b9f0e-3f43-5d1c-9a77-6a2f5e0d8c11")  # of identifiers of what is no event; never changes


class Webhook(Receiver):
    """One address that gets every change, in order.

    Args:
        name: as in the settings.
        url: where changes are posted.
        client: asks.
        headers: for authentication.
        secrets: keys of the signatures; two while one is being changed for another.
        hidden: what an answer may repeat and we do not.
    """

    wants_every_change = True
    groups_alerts = True
    repeat_ms: int | None = None
    repeat_resolved_ms = 0

    def __init__(
        self,
        name: str,
        url: str,
        client: HttpClient,
        *,
        headers: Mapping[str, str],
        secrets: Sequence[bytes] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._url, self._client, self._headers = url, client, headers
        self._secrets, self._hidden = secrets, hidden

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        def tell(notice: Notice, within_s: float) -> Outcome:
            event = cloud_event(notice, self.name)
            body = json.dumps(event, allow_nan=False).encode()
            headers = {
                **self._headers,
                "Content-Type": CONTENT_TYPE,
                "Idempotency-Key": event["id"],
                **signature_headers(event["id"], now_ms // 1_000, body, self._secrets),
            }
            request = Request("POST", self._url, body, headers, within_s)
            return outcome_of(self._client.ask(request), now_ms, self._hidden)

        return tell_each(notices, tell, self._client.clock, self._client.timeout_ms)

    def close(self) -> None:
        self._client.close()


def cloud_event(notice: Notice, receiver: str) -> dict[str, Any]:
    """Return a change as CloudEvents 1.0 in structured mode, its data the event as it stood on the output topic.

    A change has the identifier that its event has on the topic; what has no event of its own (an end that nobody
    published, alerts about streamae itself) has one that stays the same when it is sent again.
    """
    alert, action = notice.alert, notice.action
    own_id = _published_id(alert, action)
    ends_ms = _end_ms(alert.event) if own_id else alert.ended_ms
    head = {
        "specversion": "1.0",
        "id": own_id or _made_id(alert, action),
        "source": "urn:streamae:detector:" + quote(one_line(alert.identity.get("detector", ""), MOST_TEXT), safe=""),
        "type": EVENT_TYPE.format(kind=alert.event["kind"]) if own_id else ALERT_TYPE.format(action=action.value),
        "time": rfc3339(alert.started_ms if ends_ms is None else ends_ms),
        "subject": one_line(alert.identity.get("key", ""), MOST_TEXT),
        "datacontenttype": "application/json",
        "dataschema": SCHEMA_ID if alert.event else "",
        "streamaereceiver": receiver,
        "streamaeaction": action.value,
        "streamaeclass": alert.severity.word,
        "streamaesummary": one_line(alert.summary, MOST_TEXT),
        "streamaeclosereason": one_line(alert.close_reason, MOST_TEXT),
        "streamaelink": alert.link,
        "streamaelabels": json.dumps(alert.labels, sort_keys=True),
    }
    data = dict(alert.event) or {"episode_id": alert.episode_id, "summary": alert.summary, **alert.extra}
    return {**{name: text for name, text in head.items() if text}, "data": data}


def signature_headers(message_id: str, now_s: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of Standard Webhooks: identifier, time and one signature for each secret.

    Reference: Standard Webhooks 1.0, "Verifying webhook authenticity".
    """
    signed = f"{message_id}.{now_s}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets
    ]
    headers = {"webhook-id": message_id, "webhook-timestamp": str(now_s)}
    return {**headers, "webhook-signature": " ".join(signatures)} if signatures else headers


def read_secret(text: str) -> bytes:
    """Return the key that a secret stands for: `whsec_` and base64.

    Raises:
        ValueError: it is none.
    """
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) < LEAST_SECRET:
        raise ValueError(f"not {SECRET_PREFIX} and base64 of {LEAST_SECRET} bytes or more")
    return key


def _published_id(alert: Alert, action: Action) -> str:
    """Return the identifier of the alert's event on the output topic; "" where this notice tells more than it."""
    event = alert.event
    if alert.extra or event.get("kind") not in KINDS[action]:
        return ""
    try:
        return event_id(uuid.UUID(alert.episode_id), str(event["kind"]), alert.sequence)
    except ValueError:
        return ""


def _made_id(alert: Alert, action: Action) -> str:
    facts = [alert.episode_id, action.value, alert.sequence, alert.close_reason, dict(alert.extra)]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(facts, sort_keys=True)))


def _end_ms(event: Mapping[str, Any]) -> int | None:
    window = event.get("window")
    found = window.get("end_time_ms") if isinstance(window, Mapping) else None
    return found if isinstance(found, int) else None
