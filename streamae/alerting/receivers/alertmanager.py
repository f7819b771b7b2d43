"""Alertmanager by its v2 API: it keeps alerts in memory, so that open ones are sent again and again.

Labels are the identity of an alert there: one for each class that was reached, all else is annotation.
Must not know: how Alertmanager groups, routes and silences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamae.alerting.alert import Alert, Notice, SeverityClass
from streamae.alerting.answers import ForbiddenAddressError, UnreachableError, outcome_of
from streamae.alerting.http_client import JSON_TYPE, HttpClient, Pending, Request
from streamae.alerting.receiver import Delivered, Outcome, Receiver, Refused, Retry
from streamae.alerting.receivers.facts import MOST_TEXT, facts_of, features_of, rfc3339, words_of
from streamae.alerting.receivers.silence_api import SilenceApi
from streamae.alerting.receivers.turns import NO_TIME
from streamae.alerting.texts import inert

REPEAT_RESOLVED_MS = 15 * 60_000
MOST_IN_A_BATCH = 200
ALERTS_PATH = "/api/v2/alerts"
ABOUT_CONTENT = frozenset({400, 413, 422})  # what these refuse may be one alert of many
Described = dict[str, Any]  # an alert as Alertmanager takes it
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class Alertmanager(Receiver):
    """All members of one Alertmanager cluster: each is told everything, and what one has accepted is delivered.

    Args:
        name: as in the settings.
        urls: of the members, without `/api`.
        client: asks them.
        headers: for authentication.
        hold_ms: how long an alert stands without our word.
        repeat_ms: how often an open alert is sent again.
        zone: in which times are shown beside UTC.
        secrets: what an answer may repeat and we do not.

    Attributes:
        silences: what is silenced there.
    """

    wants_every_change = False
    groups_alerts = True
    repeat_resolved_ms = REPEAT_RESOLVED_MS

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        client: HttpClient,
        *,
        headers: Mapping[str, str],
        hold_ms: int,
        repeat_ms: int,
        zone: str | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._urls = [url.rstrip("/") for url in urls]
        self._client = client
        self._headers = {**headers, **JSON_TYPE}
        self.repeat_ms: int | None = repeat_ms
        self.silences = SilenceApi(self._urls, client, self._headers, secrets)
        self._hold_ms, self._zone, self._secrets = hold_ms, zone, secrets

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        deadline_s = self._client.clock() + self._client.timeout_ms / 1_000
        outcomes: dict[int, Outcome] = {}
        written: list[tuple[int, list[Described]]] = []
        for number, notice in enumerate(notices):
            try:
                written.append((number, self._described(notice.alert, now_ms)))
            except Exception as error:  # noqa: BLE001 - of an alert that cannot be told as it is, whatever it holds
                outcomes[number] = Refused(f"cannot be told: {type(error).__name__}")
        failed: Retry | None = None
        for start in range(0, len(written), MOST_IN_A_BATCH):
            batch = written[start : start + MOST_IN_A_BATCH]
            numbers = [number for number, _ in batch]
            results = [failed] * len(batch) if failed else self._send([one for _, one in batch], now_ms, deadline_s)
            outcomes.update(zip(numbers, results, strict=True))
            retry = next((result for result in results if isinstance(result, Retry)), None)
            failed = retry and replace(retry, may_have_arrived=False, was_tried=False)
        return [outcomes[number] for number in range(len(notices))]

    def close(self) -> None:
        self._client.close()

    def _send(self, alerts: Sequence[list[Described]], now_ms: int, deadline_s: float) -> list[Outcome]:
        """Send one batch; in halves where its content was refused, until what is wrong stands alone."""
        left_s = deadline_s - self._client.clock()
        if left_s <= 0:
            return [NO_TIME] * len(alerts)
        body = json.dumps([described for alert in alerts for described in alert]).encode()
        outcome, is_content_bad = self._post(body, now_ms, left_s)
        if is_content_bad and len(alerts) > 1:
            middle = len(alerts) // 2
            return self._send(alerts[:middle], now_ms, deadline_s) + self._send(alerts[middle:], now_ms, deadline_s)
        return [outcome] * len(alerts)

    def _post(self, body: bytes, now_ms: int, within_s: float) -> tuple[Outcome, bool]:
        """Post to every member at once; return what came of it, and whether it was refused for what it says.

        One that accepts is enough. It is refused only where nobody may yet take it; a member that is away does not
        save what another one has read and refused.
        """
        asked = [
            self._client.start(Request("POST", url + ALERTS_PATH, body, self._headers, within_s)) for url in self._urls
        ]
        retries: list[Retry] = []
        refused: list[Outcome] = []
        is_content_bad = is_delivered = False
        for pending in asked:
            outcome, status = self._result(pending, now_ms)
            is_content_bad |= status in ABOUT_CONTENT
            is_delivered |= isinstance(outcome, Delivered)
            if isinstance(outcome, Retry):
                retries.append(outcome)
            else:
                refused.append(outcome)
        if is_delivered:
            return Delivered(), False
        if refused and (is_content_bad or not retries):
            return refused[0], is_content_bad
        return replace(retries[0], may_have_arrived=any(each.may_have_arrived for each in retries)), is_content_bad

    def _result(self, pending: Pending, now_ms: int) -> tuple[Outcome, int]:
        """Wait for one member; return what came of it, and the status of its answer, 0 = none."""
        try:
            answer = self._client.result(pending)
        except UnreachableError as error:
            return Retry(str(error), may_have_arrived=error.may_have_arrived), 0
        except ForbiddenAddressError as error:
            return Refused(str(error)), 0
        return outcome_of(answer, now_ms, self._secrets), answer.status

    def _described(self, alert: Alert, now_ms: int) -> list[Described]:
        """Return the alert as Alertmanager takes it, once for each class that it has reached."""
        ends_ms = now_ms + self._hold_ms if alert.ended_ms is None else alert.ended_ms
        shared: dict[str, Any] = {
            "annotations": self._annotations(alert),
            "startsAt": rfc3339(alert.started_ms),
            "endsAt": rfc3339(max(ends_ms, alert.started_ms)),
            **({"generatorURL": alert.link} if alert.link else {}),
        }
        return [{"labels": labels_of(alert, reached), **shared} for reached in alert.classes]

    def _annotations(self, alert: Alert) -> dict[str, str]:
        """Return what people read: harmless, since Alertmanager hands it on to chats as it is."""
        facts = facts_of(alert, self._zone)
        found = {
            **facts,
            "summary": alert.summary,
            "key_state": words_of(alert.event).get("state", ""),
            "severity": "",  # the label of this name is the class
            "severity_score": facts.get("severity", ""),
            **{_NOT_IN_NAMES.sub("_", name)[:64] or "_": text for name, text in alert.extra.items()},
        }
        notes = {name: inert(text, MOST_TEXT) for name, text in found.items() if text}
        if features := features_of(alert.event):
            notes["description"] = "\n".join(inert(str(feature), MOST_TEXT) for feature in features)
        return notes


def labels_of(alert: Alert, reached: SeverityClass) -> dict[str, str]:
    """Return the labels by which Alertmanager knows the alert of one class; an empty one would be none to it."""
    return {**{name: text for name, text in alert.identity.items() if text}, "severity": reached.word}
